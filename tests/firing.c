// SPDX-License-Identifier: GPL-2.0
/*
 * Which types of breakpoint fire on this machine: see firing.h.
 */
#include <errno.h>
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "firing.h"
#include "probes.h"

/*
 * Seconds after which firing_probe() gives up on a machine where it hangs, and
 * milliseconds of CPU time, where a breakpoint is hit for ever
 */
#define LIMIT		30
#define CPU_LIMIT	500

/* Limit of stops in one try: the slot is disabled at the first one */
#define MAX_STOPS	16

static struct firing firing[FIRING_WAYS][4];
static const enum bp_type types[] = { BP_EXECUTE, BP_WRITE, BP_RW };

static unsigned int watched, unused;
static unsigned long sink;

/* One access of each kind to the watched addresses */
static void touch(void)
{
	probe_call_target(0, &sink, 0);
	probe_load4(&watched, 0);
	probe_store4(&watched, 0);
}

static const void *address(enum bp_type type, bool used)
{
	if (type == BP_EXECUTE)
		return probe_target(used ? 0 : 1);
	return used ? &watched : &unused;
}

/* The events of try_perf(), each of them open where it is not negative */
static int events[DR_SLOTS] = { -1, -1, -1, -1 };

static void close_events(void)
{
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		if (events[i] >= 0)
			close(events[i]);
		events[i] = -1;
	}
}

/* Interrupts a waitpid(), and ends what an event does for ever */
static void on_limit(int sig)
{
	(void)sig;
	close_events();
}

static int poke(pid_t pid, unsigned int n, unsigned long val)
{
	return ptrace(PTRACE_POKEUSER, pid, dr_offset(n), val) ? -errno : 0;
}

static bool reads_back(pid_t pid, unsigned int n, unsigned long val)
{
	errno = 0;
	return (unsigned long)ptrace(PTRACE_PEEKUSER, pid, dr_offset(n),
				     NULL) == val && !errno;
}

/* Continue to the next stop; returns its signal, or -ECHILD if there is none */
static int next_stop(pid_t pid)
{
	int status;

	if (ptrace(PTRACE_CONT, pid, NULL, NULL) ||
	    waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
		return -ECHILD;
	return WSTOPSIG(status);
}

/*
 * Arm a slot, let the child make each access once, and check for a trap.  The
 * kernel assigns the hardware registers in the order in which breakpoints are
 * installed, so the lower slots are armed first, with addresses that are not
 * accessed.
 */
static int try_ptrace(pid_t pid, enum bp_type type, unsigned int slot,
		      struct firing *f)
{
	unsigned long addr = 0, dr7 = 0;
	unsigned int i, stops;
	int sig, err;

	for (i = 0; i <= slot; i++) {
		addr = (unsigned long)address(type, i == slot);
		dr7 |= dr7_encode(i, type, type == BP_EXECUTE ? 1 : 4);
		err = poke(pid, i, addr) ?: poke(pid, 7, dr7);
		if (err) {
			poke(pid, 7, 0);
			return err;
		}
	}
	f->reads_back = f->reads_back && reads_back(pid, slot, addr) &&
			reads_back(pid, 7, dr7);
	for (stops = 0; stops < MAX_STOPS; stops++) {
		sig = next_stop(pid);
		if (sig < 0)
			return sig;
		poke(pid, 7, 0);
		if (sig == SIGSTOP)
			break;
	}
	f->fired += stops > 0;
	return stops < MAX_STOPS ? 0 : -ECHILD;
}

static void child(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(errno);
	for (;;) {
		syscall(SYS_tgkill, getpid(), getpid(), SIGSTOP);
		touch();
	}
}

static int open_event(enum bp_type type, bool used)
{
	static const unsigned int code[] = {
		[BP_EXECUTE] = HW_BREAKPOINT_X, [BP_WRITE] = HW_BREAKPOINT_W,
		[BP_RW] = HW_BREAKPOINT_RW,
	};
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT, .size = sizeof(attr),
		.bp_type = code[type], .bp_len = 4,
		.bp_addr = (unsigned long)address(type, used),
		.exclude_kernel = 1, .exclude_hv = 1,
	};
	int fd;

	/* A 64-bit kernel requires 8 for execute breakpoints, of 32-bit tasks as well */
	if (type == BP_EXECUTE)
		attr.bp_len = 8;
	fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1,
		     PERF_FLAG_FD_CLOEXEC);
	if (fd < 0 && errno == EINVAL && type == BP_EXECUTE) {
		attr.bp_len = 4;
		fd = syscall(SYS_perf_event_open, &attr, 0, -1, -1,
			     PERF_FLAG_FD_CLOEXEC);
	}
	return fd < 0 ? -errno : fd;
}

/* The same with counting events of this thread */
static int try_perf(enum bp_type type, unsigned int slot, struct firing *f)
{
	unsigned long long n;
	unsigned int i;
	int err = 0;

	for (i = 0; i <= slot && !err; i++) {
		events[i] = open_event(type, i == slot);
		if (events[i] < 0)
			err = events[i];
	}
	if (!err) {
		touch();
		if (read(events[slot], &n, sizeof(n)) == sizeof(n))
			f->fired += n > 0;
		else
			err = -ECHILD;
	}
	close_events();
	return err;
}

/* Try until it has fired; if the first try fails make all FIRING_TRIES */
static void try_type(enum firing_by by, enum bp_type type, pid_t pid)
{
	struct firing *f = &firing[by][type];

	f->reads_back = true;
	do {
		/* Each register twice, then only the first one, which is faster */
		unsigned int slot = f->tried < 2 * DR_SLOTS ?
				    f->tried % DR_SLOTS : 0;

		f->err = by == BY_PTRACE ? try_ptrace(pid, type, slot, f) :
					   try_perf(type, slot, f);
		if (f->err)
			return;
		f->tried++;
	} while (f->fired < f->tried ? f->tried < FIRING_TRIES : !f->fired);
}

/**
 * firing_probe() - try every type of breakpoint
 *
 * To be called once, before anything else traces or opens events.  Normally each
 * type traps at the first try.  If this hangs it gives up after LIMIT seconds;
 * the types that were not tried are not regarded as dead.
 */
void firing_probe(void)
{
	struct itimerval limit = { .it_value.tv_sec = LIMIT }, none = {};
	struct itimerval cpu = { .it_value.tv_usec = CPU_LIMIT * 1000 };
	struct sigaction action = { .sa_handler = on_limit }, old, old_prof;
	int status, err = -ECHILD;
	pid_t self = getpid(), pid;
	unsigned int i;

	sigaction(SIGALRM, &action, &old);
	sigaction(SIGPROF, &action, &old_prof);
	setitimer(ITIMER_REAL, &limit, NULL);
	setitimer(ITIMER_PROF, &cpu, NULL);

	pid = fork();
	if (!pid)
		child(self);
	if (pid > 0 && waitpid(pid, &status, __WALL) == pid)
		err = WIFSTOPPED(status) ? 0 :
		      WIFEXITED(status) ? -WEXITSTATUS(status) : -ECHILD;
	for (i = 0; i < 3; i++) {
		if (err)
			firing[BY_PTRACE][types[i]].err = err;
		else
			try_type(BY_PTRACE, types[i], pid);
		try_type(BY_PERF, types[i], 0);
	}
	if (pid > 0) {
		kill(pid, SIGKILL);
		while (waitpid(pid, &status, __WALL) == pid &&
		       WIFSTOPPED(status))
			;
	}

	setitimer(ITIMER_REAL, &none, NULL);
	setitimer(ITIMER_PROF, &none, NULL);
	sigaction(SIGALRM, &old, NULL);
	sigaction(SIGPROF, &old_prof, NULL);
}

/**
 * firing_of() - result of firing_probe() for one type
 * @by: interface
 * @type: breakpoint type; not BP_IO
 *
 * Return: the result.
 */
const struct firing *firing_of(enum firing_by by, enum bp_type type)
{
	return &firing[by][type];
}

/**
 * firing_dead() - whether a type of breakpoint never fires on this machine
 * @by: interface
 * @types: set of NEEDS_EXECUTE, NEEDS_WRITE and NEEDS_RW
 *
 * Return: true if at least one of @types was accepted FIRING_TRIES times and
 * never fired.
 */
bool firing_dead(enum firing_by by, unsigned int types)
{
	unsigned int type;

	for (type = BP_EXECUTE; type <= BP_RW; type++)
		if (types & 1U << type && !firing[by][type].fired &&
		    firing[by][type].tried == FIRING_TRIES)
			return true;
	return false;
}

static const char *errno_name(int err)
{
	static const struct {
		int err;
		const char *name;
	} names[] = {
		{ EPERM, "EPERM" }, { EACCES, "EACCES" }, { ENOSYS, "ENOSYS" },
		{ ENOSPC, "ENOSPC" }, { EINVAL, "EINVAL" }, { EIO, "EIO" },
		{ ENOENT, "ENOENT" }, { ENODEV, "ENODEV" },
		{ EOPNOTSUPP, "EOPNOTSUPP" }, { EMFILE, "EMFILE" },
	};
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (names[i].err == err)
			return names[i].name;
	return "another error";
}

/**
 * firing_text() - describe the results of firing_probe()
 * @by: interface
 * @buf: filled with "execute fires, write never fires (0 of 64), ..."
 * @size: size of @buf in bytes
 */
void firing_text(enum firing_by by, char *buf, size_t size)
{
	static const char * const names[] = {
		[BP_EXECUTE] = "execute", [BP_WRITE] = "write",
		[BP_RW] = "read/write",
	};
	unsigned int i;
	size_t len = 0;

	for (i = 0; i < 3; i++) {
		const struct firing *f = &firing[by][types[i]];
		char state[48] = "not known";

		if (f->fired && f->fired == f->tried)
			snprintf(state, sizeof(state), "fires");
		else if (f->fired)
			snprintf(state, sizeof(state),
				 "fires at times (%u of %u)", f->fired,
				 f->tried);
		else if (f->tried == FIRING_TRIES)
			snprintf(state, sizeof(state), "never fires (0 of %u)",
				 f->tried);
		else if (f->err != -ECHILD)
			snprintf(state, sizeof(state), "refused (%s)",
				 errno_name(-f->err));
		len += snprintf(buf + len, size - len, "%s%s %s",
				i ? ", " : "", names[types[i]], state);
		if (len >= size)
			return;
	}
}
