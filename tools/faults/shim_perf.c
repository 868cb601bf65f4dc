// SPDX-License-Identifier: GPL-2.0
/*
 * The faults of perf_event_open() and of what is done to its events: see
 * shim.h.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/types.h>

#include "shim.h"

#define FDS	1024

/* What the shim knows of an event, by its file descriptor */
static struct event {
	bool open;
	bool group;
	bool all_tasks;
	int cpu;
} events[FDS];

static long (*real_syscall)(long nr, long a, long b, long c, long d, long e,
			    long f);
static int (*real_ioctl)(int fd, unsigned long request, ...);
static ssize_t (*real_read)(int fd, void *buf, size_t size);
static int (*real_close)(int fd);
static int (*real_poll)(struct pollfd *fds, nfds_t nr, int timeout);
static int (*real_sigaction)(int sig, const struct sigaction *action,
			     struct sigaction *old);

static void __attribute__((constructor)) find_real_ones(void)
{
	real_syscall = dlsym(RTLD_NEXT, "syscall");
	real_ioctl = dlsym(RTLD_NEXT, "ioctl");
	real_read = dlsym(RTLD_NEXT, "read");
	real_close = dlsym(RTLD_NEXT, "close");
	real_poll = dlsym(RTLD_NEXT, "poll");
	real_sigaction = dlsym(RTLD_NEXT, "sigaction");
}

/* The CPUs whose four slots have been used together */
static bool had_all_slots[CPU_SETSIZE];

static struct event *event(int fd)
{
	return fd >= 0 && fd < FDS && events[fd].open ? &events[fd] : NULL;
}

/* The event that the broken kernel makes of @attr, at open and when modified */
static void fault_attr(struct perf_event_attr *attr)
{
	if (attr->type != PERF_TYPE_BREAKPOINT)
		return;
	if (attr->bp_type == HW_BREAKPOINT_RW && fault("perf_rw_as_w"))
		attr->bp_type = HW_BREAKPOINT_W;
	else if (attr->bp_type == HW_BREAKPOINT_W && fault("perf_w_as_rw"))
		attr->bp_type = HW_BREAKPOINT_RW;
	if (attr->bp_type != HW_BREAKPOINT_X && attr->bp_len > 1 &&
	    fault("perf_len_halved"))
		attr->bp_len /= 2;
}

static void fault_flags(struct perf_event_attr *attr)
{
	if (fault("perf_inherit_lost"))
		attr->inherit = 0;
	if (fault("perf_inherit_always") && !attr->sigtrap)
		attr->inherit = 1;
	if (fault("perf_exclude_kernel_ignored"))
		attr->exclude_kernel = 0;
	if (fault("perf_exclude_user_ignored"))
		attr->exclude_user = 0;
	if (fault("perf_disabled_ignored"))
		attr->disabled = 0;
	if (fault("perf_remove_on_exec_ignored"))
		attr->remove_on_exec = 0;
	if (fault("perf_sigtrap_never"))
		attr->sigtrap = 0;
	if (fault("perf_sig_data_zero"))
		attr->sig_data = 0;
	if (fault("perf_enable_on_exec_ignored"))
		attr->enable_on_exec = 0;
}

static int other_errno(int err)
{
	return err == EINVAL ? EIO : EINVAL;
}

static long real_open(const struct perf_event_attr *attr, pid_t pid, int cpu,
		      int group, unsigned long flags)
{
	return real_syscall(SYS_perf_event_open, (long)attr, pid, cpu, group,
			    flags, 0);
}

/* An event that never fires, in place of one that was refused */
static long open_dummy(pid_t pid, int cpu, unsigned long flags)
{
	struct perf_event_attr dummy = {
		.size = sizeof(dummy),
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
		.exclude_kernel = 1,
	};

	return real_open(&dummy, pid, cpu, -1, flags);
}

/* Once a CPU's four slots were used together, or a tracee's, they are lost */
static bool cpu_slot_lost(pid_t pid, int cpu)
{
	unsigned int i, used = 0;

	if (pid != -1 || cpu < 0 || cpu >= CPU_SETSIZE ||
	    !fault("perf_cpu_slots_lost"))
		return false;
	for (i = 0; i < FDS; i++)
		used += events[i].open && events[i].all_tasks &&
			events[i].cpu == cpu;
	if (!used && (had_all_slots[cpu] || slots_were_armed)) {
		errno = ENOSPC;
		return true;
	}
	had_all_slots[cpu] |= used == 3;
	return false;
}

static long __attribute__((noinline))
open_event(const struct perf_event_attr *wanted, pid_t pid, int cpu, int group,
	   unsigned long flags)
{
	struct perf_event_attr attr;
	long fd;

	if (!wanted || wanted->size > sizeof(attr) ||
	    wanted->type != PERF_TYPE_BREAKPOINT)
		return real_open(wanted, pid, cpu, group, flags);
	memset(&attr, 0, sizeof(attr));
	memcpy(&attr, wanted, wanted->size ?: PERF_ATTR_SIZE_VER0);
	fault_attr(&attr);
	fault_flags(&attr);
	fd = cpu_slot_lost(pid, cpu) ? -1 :
	     real_open(&attr, pid, cpu, group, flags);
	if (fd < 0 && errno == ENOSPC && fault("perf_fifth_accepted"))
		fd = open_dummy(pid, cpu, flags);
	if (fd < 0 && errno != ENOSPC && fault("perf_bad_accepted"))
		fd = open_dummy(pid, cpu, flags);
	if (fd < 0 && fault("perf_wrong_errno"))
		errno = other_errno(errno);
	if (fd >= 0 && fd < FDS)
		events[fd] = (struct event){
			.open = true,
			.group = attr.read_format & PERF_FORMAT_GROUP,
			.all_tasks = pid == -1,
			.cpu = cpu,
		};
	return fd;
}

/*
 * syscall() with the seven words that any call of it may have; under another
 * name, as the header's has no fixed number.  All but one call must be the
 * real one's by a jump: some return twice on one stack.
 */
long shim_syscall(long nr, long a, long b, long c, long d, long e, long f)
	__asm__("syscall");

long shim_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	if (nr == SYS_perf_event_open)
		return open_event((void *)a, b, c, d, e);
	return real_syscall(nr, a, b, c, d, e, f);
}

int close(int fd)
{
	struct event *e = event(fd);

	if (e) {
		e->open = false;
		if (fault("perf_close_leaks"))
			return 0;
	}
	return real_close(fd);
}

int poll(struct pollfd *fds, nfds_t nr, int timeout)
{
	int n;

	/* Nobody gives the lost slots back: there is nothing to wait for */
	if (!nr && fault("perf_cpu_slots_lost"))
		timeout = 0;
	n = real_poll(fds, nr, timeout);
	if (n > 0 && event(fds->fd) && fault("perf_wakeup_lost"))
		return 0;
	return n;
}

ssize_t read(int fd, void *buf, size_t size)
{
	ssize_t n = real_read(fd, buf, size);
	struct event *e = event(fd);
	uint64_t *count = buf;

	if (!e || n < 8)
		return n;
	/* Of a group, the last one */
	if (fault("perf_count_plus_one"))
		count[e->group ? n / 8 - 1 : 0]++;
	if (e->group)
		return n;
	if (fault_from_start("perf_never_counts") || fault("perf_stops_counting"))
		*count = 0;
	return n;
}

static int modify(int fd, struct perf_event_attr *wanted)
{
	struct perf_event_attr attr;

	if (fault("perf_modify_ignored"))
		return 0;
	if (!wanted || wanted->size > sizeof(attr))
		return real_ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, wanted);
	memset(&attr, 0, sizeof(attr));
	memcpy(&attr, wanted, wanted->size);
	fault_attr(&attr);
	return real_ioctl(fd, PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &attr);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int ret;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);

	if (!event(fd))
		return real_ioctl(fd, request, arg);
	if ((request == PERF_EVENT_IOC_DISABLE && fault("perf_disable_ignored")) ||
	    (request == PERF_EVENT_IOC_ENABLE && fault("perf_enable_ignored")) ||
	    (request == PERF_EVENT_IOC_RESET && fault("perf_reset_ignored")))
		return 0;
	if (request == PERF_EVENT_IOC_MODIFY_ATTRIBUTES)
		ret = modify(fd, arg);
	else
		ret = real_ioctl(fd, request, arg);
	if (ret && fault("perf_bad_accepted"))
		ret = 0;
	if (ret && fault("perf_wrong_errno"))
		errno = other_errno(errno);
	return ret;
}

static void (*trap_handler)(int sig, siginfo_t *info, void *context);
static unsigned int traps;

static void relay(int sig, siginfo_t *info, void *context)
{
	unsigned int n = __atomic_add_fetch(&traps, 1, __ATOMIC_RELAXED);

	if (fault("sigtrap_lost") && n % 10 == 7)
		return;
	if (fault("sigtrap_swallowed"))
		return;
	if (fault("sigtrap_no_address"))
		info->si_addr = NULL;
	trap_handler(sig, info, context);
	if (fault("sigtrap_twice"))
		trap_handler(sig, info, context);
}

int sigaction(int sig, const struct sigaction *action, struct sigaction *old)
{
	struct sigaction relayed;

	if (sig == SIGTRAP && fault("handler_ignored"))
		return 0;
	if (sig != SIGTRAP || !action || !(action->sa_flags & SA_SIGINFO) ||
	    strncmp(fault_name, "sigtrap_", 8))
		return real_sigaction(sig, action, old);
	trap_handler = action->sa_sigaction;
	relayed = *action;
	relayed.sa_sigaction = relay;
	return real_sigaction(sig, &relayed, old);
}
