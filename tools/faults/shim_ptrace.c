// SPDX-License-Identifier: GPL-2.0
/*
 * The faults of ptrace(): see shim.h.
 *
 * What a tracer reads back is what it wrote, as in most real faults: only traps
 * tell the truth.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "debugreg.h"
#include "shim.h"

#define TIDS		256
#define STOPPED_BY(sig)	((sig) << 8 | 0x7f)

const char *fault_name = "none";
pid_t started_as;
bool slots_were_armed;

/*
 * What the shim knows of one tracee; its tracer alone asks, so every thread has
 * its own table.
 */
static __thread struct known {
	pid_t tid;
	unsigned int nr;
	/* As the tracer wrote it, and as the kernel was given it */
	unsigned long asked[8];
	unsigned long given[8];
	bool poked[8];
	/* How it was resumed last; 0 where it was not yet */
	int request;
	unsigned long traps;
	unsigned long last_dr6;
	/* The stop before us is a debug trap, and can be reported twice */
	bool reportable;
	/* It did not go on: the next event is this stop again */
	bool again;
	/* The stop before us is invented, this one comes after it */
	bool invented;
	bool held;
	int held_status;
} known[TIDS];

static __thread unsigned int tracees;

/* Whose slots a child that nobody has poked yet could have */
static __thread struct known *parent;

static long (*real_ptrace)(int request, ...);
static pid_t (*real_waitpid)(pid_t pid, int *status, int options);

static void __attribute__((constructor)) find_real_ones(void)
{
	real_ptrace = dlsym(RTLD_NEXT, "ptrace");
	real_waitpid = dlsym(RTLD_NEXT, "waitpid");
	started_as = getpid();
	if (getenv("HWBP_FAULT"))
		fault_name = getenv("HWBP_FAULT");
}

static struct known *find(pid_t tid)
{
	unsigned int i;

	for (i = 0; i < tracees; i++)
		if (known[i].tid == tid)
			return &known[i];
	return NULL;
}

static struct known *know(pid_t tid)
{
	struct known *k = find(tid);

	if (k)
		return k;
	if (tracees == TIDS)
		tracees = 0;
	k = &known[tracees];
	*k = (struct known){ .tid = tid, .nr = tracees++ };
	return k;
}

/* The number goes to somebody else from here on */
static void forget(struct known *k)
{
	k->tid = 0;
	if (parent == k)
		parent = NULL;
}

static unsigned long field(unsigned long dr7, unsigned int slot)
{
	return dr7 >> (16 + 4 * slot) & 0xf;
}

static unsigned long set_field(unsigned long dr7, unsigned int slot,
			       unsigned long code)
{
	return (dr7 & ~DR7_FIELD(slot, 0xf)) | DR7_FIELD(slot, code);
}

static bool enabled(unsigned long dr7, unsigned int slot)
{
	return dr7 & (DR7_LOCAL(slot) | DR7_GLOBAL(slot));
}

static long real_poke(pid_t tid, unsigned int n, unsigned long val)
{
	return real_ptrace(PTRACE_POKEUSER, tid, dr_offset(n), val);
}

static unsigned long real_peek(pid_t tid, unsigned int n)
{
	errno = 0;
	return real_ptrace(PTRACE_PEEKUSER, tid, dr_offset(n), NULL);
}

/* What a kernel without a fault shows: what was asked for, while it is there */
static unsigned long seen_dr(struct known *k, unsigned int n)
{
	unsigned long val = real_peek(k->tid, n);

	return !errno && k->poked[n] && val == k->given[n] ? k->asked[n] : val;
}

/* The DR7 that the broken kernel makes of @dr7 */
static unsigned long fault_dr7(struct known *k, unsigned long dr7)
{
	static const unsigned char shorter[4] = { 0, 0, 3, 1 };
	unsigned long was = seen_dr(k, 7);
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		unsigned long code = field(dr7, i), len = code >> 2;
		bool on = enabled(dr7, i), was_on = enabled(was, i);

		if (i == 2 && on && fault("never_armed"))
			dr7 &= ~(DR7_LOCAL(i) | DR7_GLOBAL(i));
		if (len && fault("length_shortened"))
			dr7 = set_field(dr7, i,
					(code & 3) | shorter[len] << 2);
		if ((code & 3) == BP_RW && fault("rw_treated_as_w"))
			dr7 = set_field(dr7, i, (code & ~3UL) | BP_WRITE);
		if ((code & 3) == BP_WRITE && fault("w_treated_as_rw"))
			dr7 = set_field(dr7, i, code | BP_RW);
		if (!on && was_on && fault("disable_ignored"))
			dr7 |= was & dr7_mask(i);
		if (on && !(dr7 & DR7_LOCAL(i)) &&
		    fault("global_enable_ignored"))
			dr7 &= ~DR7_GLOBAL(i);
		if (on && was_on && !(field(was, i) & 3) && (code & 3) &&
		    fault("retype_lost"))
			dr7 = set_field(dr7, i, field(was, i));
		if (on && was_on && dr7 != was && fault("modify_disarms"))
			dr7 &= ~(DR7_LOCAL(i) | DR7_GLOBAL(i));
	}
	if (k->nr % 4 == 3 && fault("one_tracee_never_armed"))
		dr7 = 0;
	return dr7;
}

static int other_errno(int err)
{
	return err == EINVAL ? EIO : EINVAL;
}

/* What becomes of a call that the kernel refused */
static long refused(struct known *k, long ret)
{
	int err = errno;

	if (fault("refused_accepted"))
		return 0;
	if (fault("refused_disarms"))
		real_poke(k->tid, 7, 0);
	errno = fault("wrong_errno") ? other_errno(err) : err;
	return ret;
}

static long poke_dr(struct known *k, unsigned int n, unsigned long val)
{
	unsigned long written = val;
	long ret;

	if (n == 7)
		written = fault_dr7(k, val);
	if (n < DR_SLOTS && fault("address_off_by_one"))
		written = val + 1;
	if (n < DR_SLOTS && k->poked[n] && val && fault("second_address_ignored"))
		written = k->asked[n];
	if (n == 6 && fault("poke_dr6_ignored"))
		return 0;

	ret = real_poke(k->tid, n, written);
	/* An odd address does not suit every length: then the right one */
	if (ret && written != val) {
		written = val;
		ret = real_poke(k->tid, n, val);
	}
	if (ret)
		return refused(k, ret);
	k->asked[n] = val;
	k->given[n] = written;
	k->poked[n] = true;
	parent = k;
	slots_were_armed |= n == 7 && val & 0xff;
	return ret;
}

static unsigned long peek_dr6(struct known *k, unsigned long val)
{
	unsigned long slots = val & DR_SLOTS_ALL;

	if (k->invented)
		val = dr6_encode(1, false);
	if (fault("dr6_stale_bit"))
		val |= k->last_dr6 & DR_SLOTS_ALL;
	if (fault("dr6_lowest_slot_only"))
		val = (val & ~(unsigned long)DR_SLOTS_ALL) | (slots & -slots);
	if (fault("dr6_loses_bs"))
		val &= ~DR6_BS;
	if (fault("dr6_empty"))
		val = DR6_NONE;
	k->last_dr6 = val;
	return val;
}

static unsigned long peek_dr(struct known *k, unsigned int n)
{
	unsigned long val = n == 6 ? real_peek(k->tid, n) : seen_dr(k, n);

	if (errno && !k->invented)
		return refused(k, val);
	if (n == 6)
		return peek_dr6(k, val);
	if (n == 7 && fault("dr7_readback_loses_enable"))
		val &= ~0xffUL;
	if (n < DR_SLOTS && fault("address_readback_0"))
		val = 0;
	return val;
}

static void fault_siginfo(siginfo_t *info)
{
	if (info->si_signo != SIGTRAP)
		return;
	if (info->si_code == TRAP_HWBKPT && fault("si_code_wrong"))
		info->si_code = TRAP_BRKPT;
	if (info->si_code == TRAP_HWBKPT && fault("si_addr_zero"))
		info->si_addr = NULL;
}

static long get_siginfo(struct known *k, siginfo_t *info)
{
	long ret = real_ptrace(PTRACE_GETSIGINFO, k->tid, NULL, info);

	if (k->invented) {
		*info = (siginfo_t){ .si_signo = SIGTRAP, .si_code = TRAP_HWBKPT };
		ret = 0;
	}
	if (!ret)
		fault_siginfo(info);
	return ret;
}

static bool is_resume(int request)
{
	switch (request) {
	case PTRACE_CONT:
	case PTRACE_SINGLESTEP:
	case PTRACE_SINGLEBLOCK:
	case PTRACE_SYSCALL:
	case PTRACE_SYSEMU:
	case PTRACE_SYSEMU_SINGLESTEP:
		return true;
	}
	return false;
}

static long resume(struct known *k, int request, unsigned long sig)
{
	bool reportable = k->reportable;

	if (k->invented) {
		k->invented = false;
		return 0;
	}
	k->reportable = false;
	k->request = request;
	/* Reported twice: the thread stays, and its stop is reported again */
	if (reportable && k->traps % 50 == 8 && fault("trap_doubled")) {
		k->again = true;
		return 0;
	}
	if (request == PTRACE_SINGLESTEP && fault("step_runs_on"))
		request = PTRACE_CONT;
	if (request == PTRACE_SYSCALL && fault("syscall_runs_on"))
		request = PTRACE_CONT;
	if (fault("signal_lost"))
		sig = 0;
	return real_ptrace(request, k->tid, NULL, sig);
}

static long detach(struct known *k, unsigned long sig)
{
	long ret;

	if (fault("detach_disarms"))
		real_poke(k->tid, 7, 0);
	if (fault("detach_loses_signal"))
		sig = 0;
	ret = real_ptrace(PTRACE_DETACH, k->tid, NULL, sig);
	if (!ret)
		forget(k);
	return ret;
}

#define U_DEBUGREG	offsetof(struct user, u_debugreg)
#define U_SIZE		sizeof(((struct user *)0)->u_debugreg[0])

long ptrace(enum __ptrace_request request, ...)
{
	unsigned long addr, data;
	struct known *k;
	unsigned int n;
	va_list ap;
	pid_t tid;

	va_start(ap, request);
	tid = va_arg(ap, pid_t);
	addr = va_arg(ap, unsigned long);
	data = va_arg(ap, unsigned long);
	va_end(ap);

	if (request == PTRACE_TRACEME)
		return real_ptrace(request, tid, addr, data);
	k = know(tid);
	n = (addr - U_DEBUGREG) / U_SIZE;
	if (addr >= U_DEBUGREG && n < 8 && !((addr - U_DEBUGREG) % U_SIZE)) {
		if (request == PTRACE_POKEUSER)
			return poke_dr(k, n, data);
		if (request == PTRACE_PEEKUSER)
			return peek_dr(k, n);
	}
	if (is_resume(request))
		return resume(k, request, data);
	if (request == PTRACE_GETSIGINFO)
		return get_siginfo(k, (siginfo_t *)data);
	if (request == PTRACE_DETACH)
		return detach(k, data);
	return real_ptrace(request, tid, addr, data);
}

/* Was this a trap of a debug register, and not a step? */
static bool is_trap(pid_t pid, int status)
{
	siginfo_t info;

	return status == STOPPED_BY(SIGTRAP) &&
	       !real_ptrace(PTRACE_GETSIGINFO, pid, NULL, &info) &&
	       info.si_code == TRAP_HWBKPT;
}

/* Give @to, which is new or has executed a program, what @from once was given */
static void arm_like(struct known *to, const struct known *from)
{
	unsigned int n;

	for (n = 0; n < DR_SLOTS; n++)
		real_poke(to->tid, n, from->given[n]);
	real_poke(to->tid, 7, from->given[7]);
}

/* What the broken kernel does at a stop, before the tracer hears of it */
static void at_stop(struct known *k, int status)
{
	if (!k->request && !k->poked[7] && parent && parent != k &&
	    fault("child_inherits"))
		arm_like(k, parent);
	if ((status >> 16 == PTRACE_EVENT_FORK ||
	     status >> 16 == PTRACE_EVENT_VFORK) &&
	    fault("fork_disarms_parent"))
		real_poke(k->tid, 7, 0);
	if (k->given[7] && !real_peek(k->tid, 7) && !errno &&
	    fault("exec_keeps"))
		arm_like(k, k);
}

/* Is this trap not to be seen by the tracer? */
static bool is_lost(struct known *k)
{
	return fault_from_start("never_fires") || fault("stops_firing") ||
	       (fault("every_1000th_lost") && !(k->traps % 1000));
}

/*
 * The event that the tracer of @k gets for the real one; false where it gets
 * none, and the thread has gone on.
 */
static bool fault_event(struct known *k, int *status)
{
	if (WIFSTOPPED(*status))
		at_stop(k, *status);
	k->reportable = is_trap(k->tid, *status);
	if (k->reportable) {
		k->traps++;
		if (!is_lost(k))
			return true;
		real_ptrace(k->request, k->tid, NULL, NULL);
		return false;
	}
	if (k->request && fault("extra_trap")) {
		k->held_status = *status;
		k->held = true;
		k->invented = true;
		*status = STOPPED_BY(SIGTRAP);
	}
	return true;
}

/* An event that the shim has for who waits for @pid */
static struct known *own_event(pid_t pid, int *status)
{
	unsigned int i;

	for (i = 0; i < tracees; i++) {
		struct known *k = &known[i];

		if (!k->tid || (pid != -1 && pid != k->tid))
			continue;
		if (k->again) {
			k->again = false;
			*status = STOPPED_BY(SIGTRAP);
			return k;
		}
		if (k->held && !k->invented) {
			k->held = false;
			*status = k->held_status;
			return k;
		}
	}
	return NULL;
}

pid_t waitpid(pid_t pid, int *status, int options)
{
	struct known *k;
	int own_status;
	pid_t got;

	if (!status)
		status = &own_status;
	k = own_event(pid, status);
	if (k) {
		got = k->tid;
	} else {
		do {
			got = real_waitpid(pid, status, options);
			if (got <= 0)
				return got;
			k = find(got);
			if (!k && WIFSTOPPED(*status))
				k = know(got);
		} while (k && !fault_event(k, status));
	}
	if (k && !WIFSTOPPED(*status))
		forget(k);
	return got;
}
