// SPDX-License-Identifier: GPL-2.0
/*
 * A preloaded library that plays a kernel which loses traps rarely: how long
 * does the suite take to see it?
 *
 *   LOSE_EVERY=N	every Nth trap is lost, of all tracers together
 *   LOSE_SWITCH=N	every Nth of those traps that are a thread's first after
 *			another armed thread had a trap on that CPU
 *   LOSE_COUNTS=FILE	where traps and such switches are counted; must be
 *			there, or each process counts for itself
 *
 * The thread goes on, as if its registers had not been loaded.
 *
 *   gcc -O2 -D_GNU_SOURCE -shared -fPIC lose.c -o lose.so -ldl
 *   : >counts
 *   LD_PRELOAD=$PWD/lose.so LOSE_COUNTS=$PWD/counts LOSE_EVERY=1000000 \
 *	tests/soak_64 5m
 *   LD_PRELOAD=$PWD/lose.so LOSE_COUNTS=$PWD/counts LOSE_SWITCH=1000 \
 *	tests/context_switch_test_64
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define CPUS	256

static struct counts {
	unsigned long traps;
	unsigned long switches;
	pid_t last[CPUS];
} *counts;

static unsigned long every, every_switch;
static pid_t (*real_waitpid)(pid_t pid, int *status, int options);

static unsigned long number(const char *name)
{
	return getenv(name) ? strtoul(getenv(name), NULL, 0) : 0;
}

static void __attribute__((constructor)) begin(void)
{
	int fd = -1, flags = MAP_SHARED | MAP_ANONYMOUS;

	real_waitpid = dlsym(RTLD_NEXT, "waitpid");
	every = number("LOSE_EVERY");
	every_switch = number("LOSE_SWITCH");
	if (getenv("LOSE_COUNTS")) {
		fd = open(getenv("LOSE_COUNTS"), O_RDWR | O_CLOEXEC);
		if (fd < 0 || ftruncate(fd, sizeof(*counts))) {
			perror("LOSE_COUNTS");
			exit(2);
		}
		flags = MAP_SHARED;
	}
	counts = mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, flags, fd,
		      0);
	if (counts == MAP_FAILED)
		exit(2);
	if (fd >= 0)
		close(fd);
}

/* Field 39 of /proc/TID/stat (proc(5)) */
static int cpu_of(pid_t tid)
{
	char path[32], text[1024], *s;
	int fd, field;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	s = strrchr(text, ')');
	for (field = 2; s && field < 39; field++)
		s = strchr(s + 1, ' ');
	return s ? atoi(s) : 0;
}

static unsigned long count(unsigned long *what)
{
	return __atomic_add_fetch(what, 1, __ATOMIC_RELAXED);
}

static int is_lost(pid_t tid)
{
	pid_t *last;
	int lost = every && !(count(&counts->traps) % every);

	if (!every_switch)
		return lost;
	last = &counts->last[cpu_of(tid) % CPUS];
	if (__atomic_exchange_n(last, tid, __ATOMIC_RELAXED) != tid)
		lost |= !(count(&counts->switches) % every_switch);
	return lost;
}

pid_t waitpid(pid_t pid, int *status, int options)
{
	siginfo_t info;
	int own_status;
	pid_t got;

	if (!status)
		status = &own_status;
	for (;;) {
		got = real_waitpid(pid, status, options);
		if (got <= 0 || *status != (SIGTRAP << 8 | 0x7f) ||
		    ptrace(PTRACE_GETSIGINFO, got, NULL, &info) ||
		    info.si_code != TRAP_HWBKPT || !is_lost(got))
			return got;
		ptrace(PTRACE_CONT, got, NULL, NULL);
	}
}
