/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Breakpoints through perf_event_open(2): helpers for tests.
 *
 * Every event excludes the kernel unless a test says otherwise.  An
 * unprivileged user may have only these (perf_event_paranoid 2), and only their
 * count is exact: how often and how wide the kernel accesses user memory is not
 * specified.
 */
#ifndef HW_BREAKPOINT_PERF_EVENT_H
#define HW_BREAKPOINT_PERF_EVENT_H

#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
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
 * 64-bit kernel accepts only its own, 8, also from 32-bit tasks
 * (arch_build_bp_info() in arch/x86/kernel/hw_breakpoint.c).  See
 * perf_execute.len_is_sizeof_long.
 */
#define PERF_EXECUTE_LEN	((unsigned int)perf_execute_len())

/**
 * kernel_is() - whether the kernel is of a given release or a later one
 * @major: first number of the release
 * @minor: second number of the release
 *
 * Only for features that an old kernel cannot have, never for bugs.
 *
 * Return: true if it is, or cannot be determined.
 */
static inline bool kernel_is(unsigned int major, unsigned int minor)
{
	unsigned int a = 0, b = 0;
	struct utsname u;

	if (uname(&u) || sscanf(u.release, "%u.%u", &a, &b) != 2)
		return true;
	return a > major || (a == major && b >= minor);
}

/* The types of the open events, by file descriptor */
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
 * perf_attr() - attributes of a breakpoint that excludes the kernel
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
 * perf_try_once() - perf_event_open(2) without retries
 * @attr: attributes
 * @pid: task; 0 for the caller, -1 for all
 * @cpu: CPU; -1 for all
 *
 * For tests that expect to find no free slot.
 *
 * Return: a close-on-exec file descriptor, or a negative errno.
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
 * perf_try() - perf_event_open(2), with retries while no slot is free
 * @attr: attributes
 * @pid: as for perf_try_once()
 * @cpu: as for perf_try_once()
 *
 * Return: as for perf_try_once(); see retry_on_enospc().
 */
static inline int perf_try(const struct perf_event_attr *attr, pid_t pid,
			   int cpu)
{
	int fd;

	do {
		fd = perf_try_once(attr, pid, cpu);
	} while (retry_on_enospc(fd));
	return fd;
}

/**
 * perf_try_close() - whether an event is accepted
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
 * perf_gets_enospc() - whether an event is refused for lack of a slot
 * @attr: attributes
 * @pid: as for perf_try_once()
 * @cpu: as for perf_try_once()
 *
 * Return: true for ENOSPC; false for another error, or for success.
 */
static inline bool perf_gets_enospc(const struct perf_event_attr *attr, pid_t pid,
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
 * Return: 8 on a 64-bit kernel, which may accept 4 as well from 32-bit tasks; 4 on a
 * 32-bit one.
 */
static inline int perf_execute_len(void)
{
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_X, NULL, 8);

	attr.disabled = 1;
	return perf_try_close(&attr, 0, -1) == -EINVAL ? 4 : 8;
}

/**
 * perf_open() - open an event, or skip the test
 * @_metadata: the test's
 * @attr: attributes
 * @pid: as for perf_try()
 * @cpu: as for perf_try()
 *
 * Return: a file descriptor.
 */
static inline int perf_open(struct __test_metadata *_metadata,
			    const struct perf_event_attr *attr, pid_t pid,
			    int cpu)
{
	int fd = perf_try(attr, pid, cpu);

	skip_if_refused(_metadata, fd < 0 ? fd : 0, "perf_event_open");
	report_unexpected_sigtrap();
	return fd;
}

/**
 * skip_if_perf_refused() - skip the test if perf breakpoints are not permitted
 * @_metadata: the test's
 *
 * For fixture setup, after which a test may require that events open.
 */
static inline void skip_if_perf_refused(struct __test_metadata *_metadata)
{
	struct perf_event_attr attr = perf_attr(HW_BREAKPOINT_W, NULL, 1);

	attr.disabled = 1;
	report_unexpected_sigtrap();
	watchdog_limit_cpu();
	skip_if_refused(_metadata, perf_try_close(&attr, 0, -1), "perf_event_open");
}

/* Skip the test if the event is of a type that never fires here */
static inline void skip_if_event_dead(int fd)
{
	if (fd >= 0 && fd < (int)ARRAY_SIZE(perf_types) &&
	    firing_dead(BY_PERF, perf_types[fd]))
		skip_running_test();
}

/**
 * perf_count() - read the count of an event
 * @fd: event, without a read_format
 *
 * Skips the test if the event is of a type that never fires here.
 *
 * Return: the count; all ones if it cannot be read.
 */
static inline unsigned long long perf_count(int fd)
{
	unsigned long long n;

	skip_if_event_dead(fd);
	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : ~0ULL;
}

/**
 * reap() - wait for a child to exit with 0
 * @pid: child
 *
 * A child that hangs is killed, which is a failure.
 *
 * Return: 0; else the wait status, or -1 if the wait expired.
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
			watchdog_expired();
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
 * open_patching_event() - open an event whose opening and closing patches kernel text
 *
 * Opening the first software event of a kind enables a static key, closing the last
 * one disables it (perf_swevent_init() and sw_perf_event_destroy() in
 * kernel/events/core.c), both synchronously and by the caller.  Page faults are
 * supported by every kernel.  If another process has such an event open nothing is
 * patched.
 *
 * Return: as for perf_try_once().
 */
static inline int open_patching_event(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_PAGE_FAULTS,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return perf_try_once(&attr, 0, -1);
}

/**
 * patch_text() - let the kernel patch its own text, now
 *
 * See open_patching_event().
 *
 * Return: 0 or a negative errno.
 */
static inline int patch_text(void)
{
	int fd = open_patching_event();

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/**
 * struct waiting_child - a child that waits to be released
 * @pid: its process id
 * @go: write end of the pipe that it waits on
 */
struct waiting_child {
	pid_t pid;
	int go;
};

/**
 * child_start() - fork a child that waits while events are opened on it
 * @h: filled in
 * @fn: called after child_release(); the child exits with 0 on return
 * @arg: for @fn
 *
 * Return: 0 or a negative errno.
 */
static inline int child_start(struct waiting_child *h, void (*fn)(void *arg), void *arg)
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
 * child_release() - let the child run, and wait for its exit
 * @h: from child_start()
 *
 * Return: as for reap().
 */
static inline int child_release(struct waiting_child *h)
{
	if (write(h->go, "", 1) != 1)
		return -1;
	close(h->go);
	return reap(h->pid);
}

/* The environment of a program that was executed by perf_exec() */
#define PERF_IMAGE_ENV	"HW_BREAKPOINT_PERF_IMAGE=1"

/**
 * perf_exec() - execute this program again
 * @env: the only string of the new environment
 *
 * Return: only on failure.
 */
static inline void perf_exec(const char *env)
{
	const char *path = (const char *)getauxval(AT_EXECFN);
	char *argv[2] = { (char *)path }, *envp[2] = { (char *)env };

	execve(path, argv, envp);
	execve("/proc/self/exe", argv, envp);
}

/* Memory of both programs */
#define PERF_IMAGE_PAGE	((void *)FIXED_ADDRESS)

/**
 * perf_map_image_page() - map PERF_IMAGE_PAGE
 *
 * Return: true if it is mapped now.
 */
static inline bool perf_map_image_page(void)
{
	return mmap(PERF_IMAGE_PAGE, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
		    0) == PERF_IMAGE_PAGE;
}

/**
 * perf_is_image() - whether this program was executed by perf_exec()
 *
 * For a constructor, which takes the place of main() then.
 *
 * Return: true if it was.
 */
static inline bool perf_is_image(void)
{
	return getenv("HW_BREAKPOINT_PERF_IMAGE");
}

#endif /* HW_BREAKPOINT_PERF_EVENT_H */
