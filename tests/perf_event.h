/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Breakpoints through perf_event_open(2), with what its tests share.
 *
 * Every event excludes the kernel unless a test says otherwise: that is what
 * an unprivileged user may have (perf_event_paranoid 2), and the only kind of
 * which the count is a promise (the kernel may access user memory as often
 * and as wide as it likes).
 */
#ifndef HW_BREAKPOINT_PERF_EVENT_H
#define HW_BREAKPOINT_PERF_EVENT_H

#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

/*
 * The length of an execute breakpoint.  The manual page says sizeof(long); a
 * 64-bit kernel takes its own, 8, and nothing else, from 32-bit tasks as well
 * (arch_build_bp_info() in arch/x86/kernel/hw_breakpoint.c).  See
 * perf_execute.len_is_sizeof_long.
 */
#define PERF_EXECUTE_LEN	((unsigned int)perf_execute_len())

/**
 * kernel_is() - whether the kernel is of a release or a later one
 * @major: first number of the release
 * @minor: second number of the release
 *
 * Only for what an old kernel cannot know, never for what it does wrong.
 *
 * Return: true where it is.
 */
static inline bool kernel_is(unsigned int major, unsigned int minor)
{
	unsigned int a = 0, b = 0;
	struct utsname u;

	if (uname(&u) || sscanf(u.release, "%u.%u", &a, &b) != 2)
		return true;
	return a > major || (a == major && b >= minor);
}

/* What types of breakpoint the open events are of, by file descriptor */
static unsigned char perf_types[1024];

/* The NEEDS_ bit of an event */
static inline unsigned int perf_type_of(const struct perf_event_attr *attr)
{
	if (attr->type != PERF_TYPE_BREAKPOINT)
		return 0;
	if (attr->bp_type == HW_BREAKPOINT_X)
		return NEEDS_EXECUTE;
	return attr->bp_type == HW_BREAKPOINT_W ? NEEDS_WRITE : NEEDS_RW;
}

/**
 * perf_attr() - a breakpoint, the kernel excluded
 * @bp_type: HW_BREAKPOINT_W, HW_BREAKPOINT_RW, HW_BREAKPOINT_X
 * @addr: address
 * @len: bytes; PERF_EXECUTE_LEN for HW_BREAKPOINT_X
 *
 * Return: attributes for perf_open().
 */
static inline struct perf_event_attr perf_attr(unsigned int bp_type,
					       const void *addr,
					       unsigned int len)
{
	struct perf_event_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.size = sizeof(attr);
	attr.type = PERF_TYPE_BREAKPOINT;
	attr.bp_type = bp_type;
	attr.bp_addr = (unsigned long)addr;
	attr.bp_len = len;
	attr.exclude_kernel = 1;
	attr.exclude_hv = 1;
	return attr;
}

/**
 * perf_try_once() - perf_event_open(2), with nothing added
 * @attr: attributes
 * @pid: task; 0 for the caller, -1 for all
 * @cpu: CPU; -1 for all
 *
 * For tests that want to see that no slot is left.
 *
 * Return: a file descriptor that execve() closes, or a negative errno.
 */
static inline int perf_try_once(const struct perf_event_attr *attr, pid_t pid,
				int cpu)
{
	int fd = syscall(SYS_perf_event_open, attr, pid, cpu, -1,
			 PERF_FLAG_FD_CLOEXEC);

	if (fd >= 0 && fd < (int)ARRAY_SIZE(perf_types))
		perf_types[fd] = perf_type_of(attr);
	return fd < 0 ? -errno : fd;
}

/**
 * perf_try() - perf_event_open(2), after a while if others have all slots
 * @attr: attributes
 * @pid: as for perf_try_once()
 * @cpu: as for perf_try_once()
 *
 * Return: as for perf_try_once(); see slots_may_come_back().
 */
static inline int perf_try(const struct perf_event_attr *attr, pid_t pid,
			   int cpu)
{
	int fd;

	do {
		fd = perf_try_once(attr, pid, cpu);
	} while (slots_may_come_back(fd));
	return fd;
}

/**
 * perf_try_close() - whether an event would be accepted
 * @attr: attributes
 * @pid: as for perf_try()
 * @cpu: as for perf_try()
 *
 * Return: 0, or the negative errno of the refusal.
 */
static inline int perf_try_close(const struct perf_event_attr *attr, pid_t pid,
				 int cpu)
{
	int fd = perf_try(attr, pid, cpu);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/**
 * perf_no_slot() - that no slot is left for an event
 * @attr: attributes
 * @pid: as for perf_try_once()
 * @cpu: as for perf_try_once()
 *
 * Return: true for ENOSPC; false for another refusal, or for none.
 */
static inline bool perf_no_slot(const struct perf_event_attr *attr, pid_t pid,
				int cpu)
{
	int fd = perf_try_once(attr, pid, cpu);

	if (fd >= 0)
		close(fd);
	return fd == -ENOSPC;
}

/**
 * perf_execute_len() - the length that execute breakpoints need here
 *
 * Return: 8 on a 64-bit kernel, 4 on a 32-bit one.
 */
static inline int perf_execute_len(void)
{
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_X, NULL, 4);

	attr.disabled = 1;
	return sizeof(long) == 4 && !perf_try_close(&attr, 0, -1) ? 4 : 8;
}

/**
 * perf_open() - open an event, or skip
 * @_metadata: the test's
 * @attr: attributes
 * @pid: as for perf_try()
 * @cpu: as for perf_try()
 *
 * Return: a file descriptor; -1 where the test is skipped and has to return.
 */
static inline int perf_open(struct __test_metadata *_metadata,
			    const struct perf_event_attr *attr, pid_t pid,
			    int cpu)
{
	int fd = perf_try(attr, pid, cpu);

	if (!may_go_on(_metadata, fd < 0 ? fd : 0, "perf_event_open"))
		return -1;
	die_of_stray_sigtrap();
	return fd;
}

/**
 * perf_usable() - whether there are breakpoints from perf at all, or skip
 * @_metadata: the test's
 *
 * For the setup of fixtures, so that what follows may demand that an event
 * opens.
 *
 * Return: false where the test is skipped and has to return.
 */
static inline bool perf_usable(struct __test_metadata *_metadata)
{
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_W, NULL, 1);

	attr.disabled = 1;
	die_of_stray_sigtrap();
	return may_go_on(_metadata, perf_try_close(&attr, 0, -1),
			 "perf_event_open");
}

/* What is expected of an event of a dead type cannot be judged */
static inline void perf_check_fires(int fd)
{
	if (fd >= 0 && fd < (int)ARRAY_SIZE(perf_types) &&
	    firing_dead(BY_PERF, perf_types[fd]))
		skip_running_test();
}

/**
 * perf_count() - how often an event has fired
 * @fd: event, without a read_format
 *
 * Skips the test where the event is of a type that is dead here.
 *
 * Return: the count; all ones where it cannot be read.
 */
static inline unsigned long long perf_count(int fd)
{
	unsigned long long n;

	perf_check_fires(fd);
	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : ~0ULL;
}

/**
 * reap() - wait for a child to exit with 0
 * @pid: child
 *
 * A hang is a failure here, not a wait for the harness's timeout.
 *
 * Return: 0; else the wait status, or -1 where it hangs (it is killed).
 */
static inline int reap(pid_t pid)
{
	struct pollfd p = { .events = POLLIN };
	int status = -1, n;

	p.fd = syscall(SYS_pidfd_open, pid, 0);
	if (p.fd >= 0) {
		do {
			n = poll(&p, 1, watchdog_seconds() * 1000);
		} while (n < 0 && errno == EINTR);
		close(p.fd);
		if (!n) {
			watchdog_lapsed();
			kill(pid, SIGKILL);
			return -1;
		}
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return status;
}

/**
 * struct held - a child that waits for a word
 * @pid: its process id
 * @go: write end of the pipe it waits on
 */
struct held {
	pid_t pid;
	int go;
};

/**
 * held_start() - fork a child that waits, for events to be opened on it
 * @h: filled in
 * @fn: what it does after held_release(); it exits with 0 on return
 * @arg: for @fn
 *
 * Return: 0, or a negative errno.
 */
static inline int held_start(struct held *h, void (*fn)(void *arg), void *arg)
{
	int fd[2];
	char c;

	h->pid = -1;
	h->go = -1;
	if (pipe(fd))
		return -errno;
	h->go = fd[1];
	h->pid = fork();
	if (h->pid < 0)
		return -errno;
	if (!h->pid) {
		close(fd[1]);
		if (read(fd[0], &c, 1) != 1)
			_exit(1);
		close(fd[0]);
		fn(arg);
		_exit(0);
	}
	close(fd[0]);
	return 0;
}

/**
 * held_release() - let the child run, and wait for its end
 * @h: from held_start()
 *
 * Return: as for reap().
 */
static inline int held_release(struct held *h)
{
	if (write(h->go, "", 1) != 1)
		return -1;
	close(h->go);
	return reap(h->pid);
}

/**
 * perf_exec() - start this very program anew
 * @args: argv from [1] on, the last of them NULL; at most 6
 *
 * Return: only where it fails.
 */
static inline void perf_exec(const char *const *args)
{
	const char *path = (const char *)getauxval(AT_EXECFN);
	char *argv[8] = { (char *)path };
	unsigned int i;

	for (i = 0; i < 6 && args[i]; i++)
		argv[i + 1] = (char *)args[i];
	execve(path, argv, (char *[]){ NULL });
	execve("/proc/self/exe", argv, (char *[]){ NULL });
}

#endif /* HW_BREAKPOINT_PERF_EVENT_H */
