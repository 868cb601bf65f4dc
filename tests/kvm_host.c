// SPDX-License-Identifier: GPL-2.0
/*
 * Breakpoints of the host, while guests run.  See kvm_vm.h.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kvm_vm.h"
#include "probes.h"
#include "tracee.h"

static unsigned long host_words[2][DR_SLOTS];

/**
 * host_set_of() - choose four breakpoints of all kinds, not at the guest's
 * addresses
 * @n: 0 or 1, for other addresses
 *
 * Return: the breakpoints, not armed.
 */
struct host host_set_of(unsigned int n)
{
	return (struct host){
		.bp = {
			{ BP_WRITE, 4, &host_words[n][0] },
			{ BP_EXECUTE, 1, (void *)probe_target(n) },
			{ BP_WRITE, sizeof(long), &host_words[n][2] },
			{ BP_RW, 1, &host_words[n][3] },
		},
	};
}

/**
 * host_disarm() - close the events
 * @h: armed or not
 */
void host_disarm(struct host *h)
{
	while (h->n)
		close(h->fd[--h->n]);
}

static int open_retrying(struct perf_event_attr *attr)
{
	int fd;

	do {
		fd = syscall(SYS_perf_event_open, attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
		if (fd < 0)
			fd = -errno;
	} while (retry_on_enospc(fd));
	return fd;
}

static int host_open(const struct bp *bp)
{
	static const unsigned int types[] = {
		[BP_EXECUTE] = 4, [BP_WRITE] = 2, [BP_RW] = 3,
	};
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = types[bp->type],	/* HW_BREAKPOINT_* */
		.bp_addr = addr_of(bp->addr),
		.bp_len = bp->len,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};
	int fd;

	/* An execute breakpoint is as long as a long in the kernel */
	if (bp->type == BP_EXECUTE)
		attr.bp_len = 8;
	fd = open_retrying(&attr);
	if (fd == -EINVAL && bp->type == BP_EXECUTE) {
		attr.bp_len = 4;
		fd = open_retrying(&attr);
	}
	return fd;
}

/**
 * host_arm() - arm breakpoints as counting events of this thread
 * @h: from host_set_of()
 *
 * Return: 0, or a negative errno with nothing armed.
 */
int host_arm(struct host *h)
{
	for (h->n = 0; h->n < DR_SLOTS; h->n++) {
		int fd = host_open(&h->bp[h->n]);

		if (fd < 0) {
			host_disarm(h);
			return fd;
		}
		h->fd[h->n] = fd;
		h->expected[h->n] = 0;
	}
	return 0;
}

/**
 * host_access_one() - make an access that hits a breakpoint, in user mode
 * @bp: breakpoint
 */
void host_access_one(const struct bp *bp)
{
	void (*call)(void *, unsigned long) = bp->addr;
	unsigned long word;

	if (bp->type == BP_EXECUTE)
		call(&word, 1);
	else if (bp->len == 1)
		probe_store1(bp->addr, 1);
	else
		probe_store4(bp->addr, 1);
}

/**
 * host_access() - make an access for each of four breakpoints, and expect its
 * trap
 * @h: armed breakpoints
 */
void host_access(struct host *h)
{
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		host_access_one(&h->bp[i]);
		h->expected[i]++;
	}
}

/**
 * host_check() - compare the counts with the number of accesses
 * @h: armed breakpoints
 * @when: for the message
 *
 * Return: true; false after a message.
 */
bool host_check(struct host *h, const char *when)
{
	bool good = true;
	unsigned int i;
	__u64 n;

	for (i = 0; i < h->n; i++) {
		if (read(h->fd[i], &n, sizeof(n)) != sizeof(n))
			n = ~0ULL;
		if (n == h->expected[i])
			continue;
		test_err("%s, on CPU %d: the host's breakpoint %u (type %u, len %u, at %p)",
			 when, sched_getcpu(), i, h->bp[i].type, h->bp[i].len,
		       h->bp[i].addr);
		printf("#   %lu traps expected, %llu seen\n", h->expected[i], n);
		good = false;
	}
	fflush(stdout);
	return good;
}

static sigjmp_buf out_of_loop;

static void leave_loop(int sig)
{
	(void)sig;
	siglongjmp(out_of_loop, 1);
}

/**
 * host_access_ends() - host_access_one(), which may trap for ever
 * @bp: breakpoint
 *
 * An execute breakpoint that belongs to no event in the host is never passed:
 * the instruction traps for ever.  It is detected by a second of this
 * process's own CPU time, which is enough for millions of traps.
 *
 * Return: true; false after a message if it traps for ever.
 */
bool host_access_ends(const struct bp *bp)
{
	struct sigaction sa = { .sa_handler = leave_loop };
	struct sigevent ev = {
		.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1,
	};
	struct itimerspec second = { .it_value.tv_sec = 1 };
	timer_t timer;
	bool ends;

	if (sigaction(SIGUSR1, &sa, NULL) ||
	    timer_create(CLOCK_PROCESS_CPUTIME_ID, &ev, &timer))
		return false;
	if (sigsetjmp(out_of_loop, 1)) {
		ends = false;
	} else {
		timer_settime(timer, 0, &second, NULL);
		host_access_one(bp);
		ends = true;
	}
	timer_delete(timer);
	if (!ends)
		test_err("the host's own access (type %u, at %p) traps for ever",
			 bp->type, bp->addr);
	return ends;
}

/* A thread that arms and hits breakpoints of its own; on CPU *arg */
static void *armed_thread(void *arg)
{
	struct host h = host_set_of(1);
	bool good = !pin_to_cpu(0, *(int *)arg) && !host_arm(&h);

	if (good) {
		host_access(&h);
		good = host_check(&h, "another thread");
	}
	host_disarm(&h);
	return good ? arg : NULL;
}

/**
 * host_run_armed_thread() - run a thread that arms and hits breakpoints of its
 * own
 * @cpu: CPU number
 *
 * Return: true; false if it could not, or after a message.
 */
bool host_run_armed_thread(int cpu)
{
	pthread_t thread;
	void *good = NULL;

	if (pthread_create(&thread, NULL, armed_thread, &cpu))
		return false;
	pthread_join(thread, &good);
	return good;
}
