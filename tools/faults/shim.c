// SPDX-License-Identifier: GPL-2.0
/*
 * A broken kernel, as a library to preload: it stands between a test and the
 * C library's ptrace() and waitpid(), and HWBP_FAULT names the one thing that
 * goes wrong.  A test that stays green under every fault tests nothing.
 *
 *   LD_PRELOAD=./shim.so HWBP_FAULT=never_armed ./slots_test_64
 *
 * What a tracer reads back is always what it wrote, as in most real faults:
 * only traps tell the truth.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "debugreg.h"

#define TIDS	256

/* What the shim knows of one tracee */
static struct known {
	pid_t tid;
	unsigned int nr;
	unsigned long dr[8];
	bool poked[8];
	unsigned long traps;
	unsigned long last_dr6;
	int again;
	bool told;
} known[TIDS];

static unsigned int tracees;

static long (*real_ptrace)(int request, ...);
static pid_t (*real_waitpid)(pid_t pid, int *status, int options);
static const char *fault_name;

/* Is this the fault that was asked for? */
static bool fault(const char *name)
{
	return !strcmp(fault_name, name);
}

static void __attribute__((constructor)) find_real_ones(void)
{
	real_ptrace = dlsym(RTLD_NEXT, "ptrace");
	real_waitpid = dlsym(RTLD_NEXT, "waitpid");
	fault_name = getenv("HWBP_FAULT");
	if (!fault_name)
		fault_name = "none";
}

static struct known *know(pid_t tid)
{
	unsigned int i;

	for (i = 0; i < tracees && i < TIDS; i++)
		if (known[i].tid == tid)
			return &known[i];
	if (tracees == TIDS)
		tracees = 0;
	known[tracees] = (struct known){ .tid = tid, .nr = tracees };
	return &known[tracees++];
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

/* The DR7 that the broken kernel makes of @dr7 */
static unsigned long spoil_dr7(struct known *k, unsigned long dr7)
{
	static const unsigned char shorter[4] = { 0, 0, 3, 1 };
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++) {
		unsigned long code = field(dr7, i), len = code >> 2;

		if (i == 2 && enabled(dr7, i) && fault("never_armed"))
			dr7 &= ~(DR7_LOCAL(i) | DR7_GLOBAL(i));
		if (len && fault("length_shortened"))
			dr7 = set_field(dr7, i,
					(code & 3) | shorter[len] << 2);
		if ((code & 3) == BP_RW && fault("rw_treated_as_w"))
			dr7 = set_field(dr7, i, (code & ~3UL) | BP_WRITE);
		if ((code & 3) == BP_WRITE && fault("w_treated_as_rw"))
			dr7 = set_field(dr7, i, code | BP_RW);
		if (!enabled(dr7, i) && enabled(k->dr[7], i) &&
		    fault("disable_ignored"))
			dr7 |= k->dr[7] & dr7_mask(i);
		if (enabled(dr7, i) && !(dr7 & DR7_LOCAL(i)) &&
		    fault("global_enable_ignored"))
			dr7 &= ~DR7_GLOBAL(i);
		if (enabled(dr7, i) && enabled(k->dr[7], i) &&
		    !(field(k->dr[7], i) & 3) && (code & 3) &&
		    fault("retype_lost"))
			dr7 = set_field(dr7, i, field(k->dr[7], i));
		if (enabled(dr7, i) && enabled(k->dr[7], i) &&
		    fault("modify_disarms") && dr7 != k->dr[7])
			dr7 &= ~(DR7_LOCAL(i) | DR7_GLOBAL(i));
	}
	if (k->nr % 4 == 3 && fault("one_tracee_never_armed"))
		dr7 = 0;
	return dr7;
}

static long poke_dr(struct known *k, unsigned int n, unsigned long val)
{
	unsigned long spoiled = val;
	long ret;

	if (n == 7)
		spoiled = spoil_dr7(k, val);
	if (n < DR_SLOTS && fault("address_off_by_one"))
		spoiled = val + 1;
	if (n < DR_SLOTS && k->poked[n] && val && fault("second_address_ignored"))
		spoiled = k->dr[n];

	ret = real_ptrace(PTRACE_POKEUSER, k->tid, dr_offset(n), spoiled);
	/* An odd address does not suit every length: then the right one */
	if (ret && spoiled != val)
		ret = real_ptrace(PTRACE_POKEUSER, k->tid, dr_offset(n), val);
	if (ret && n < DR_SLOTS && fault("refused_accepted"))
		ret = 0;
	if (ret && fault("refused_disarms")) {
		int err = errno;

		real_ptrace(PTRACE_POKEUSER, k->tid, dr_offset(7), 0UL);
		errno = err;
	}
	if (!ret) {
		k->dr[n] = val;
		k->poked[n] = true;
	}
	return ret;
}

static long peek_dr(struct known *k, unsigned int n)
{
	unsigned long val;

	errno = 0;
	val = real_ptrace(PTRACE_PEEKUSER, k->tid, dr_offset(n), NULL);
	if (errno)
		return val;

	/* Readback is never what is wrong, but where the fault says so */
	if (n != 6 && k->poked[n])
		val = k->dr[n];
	if (n == 7 && fault("dr7_readback_loses_enable"))
		val &= ~0xffUL;
	if (n == 6 && fault("dr6_stale_bit"))
		val |= k->last_dr6 & DR_SLOTS_ALL;
	if (n == 6 && (val & DR_SLOTS_ALL) && fault("dr6_lowest_slot_only"))
		val = (val & ~(unsigned long)DR_SLOTS_ALL) |
		      (val & -val & DR_SLOTS_ALL);
	if (n == 6 && (val & DR6_BS) && fault("dr6_loses_bs"))
		val &= ~DR6_BS;
	if (n == 6)
		k->last_dr6 = val;
	return val;
}

static void spoil_siginfo(siginfo_t *info)
{
	if (info->si_signo != SIGTRAP)
		return;
	if (info->si_code == 4 && fault("si_code_wrong"))
		info->si_code = 1;
	if (info->si_code == 4 && fault("si_addr_zero"))
		info->si_addr = NULL;
}

static bool is_resume(int request)
{
	return request == PTRACE_CONT || request == PTRACE_SINGLESTEP ||
	       request == PTRACE_SYSCALL;
}

#define U_DEBUGREG	offsetof(struct user, u_debugreg)
#define U_SIZE		sizeof(((struct user *)0)->u_debugreg[0])

long ptrace(enum __ptrace_request request, ...)
{
	unsigned long addr, data;
	unsigned int n;
	va_list ap;
	pid_t tid;
	long ret;

	va_start(ap, request);
	tid = va_arg(ap, pid_t);
	addr = va_arg(ap, unsigned long);
	data = va_arg(ap, unsigned long);
	va_end(ap);

	n = (addr - U_DEBUGREG) / U_SIZE;
	if (addr >= U_DEBUGREG && n < 8 && !((addr - U_DEBUGREG) % U_SIZE)) {
		if (request == PTRACE_POKEUSER)
			return poke_dr(know(tid), n, data);
		if (request == PTRACE_PEEKUSER)
			return peek_dr(know(tid), n);
	}
	if (is_resume(request) && tracees) {
		struct known *k = know(tid);

		/* Told twice: the thread stays, and its stop is reported again */
		if (k->told && !k->again && fault("trap_doubled")) {
			k->again = k->traps % 50 == 7;
			k->told = false;
			if (k->again)
				return 0;
		}
		k->told = false;
	}
	ret = real_ptrace(request, tid, addr, data);
	if (request == PTRACE_GETSIGINFO && !ret)
		spoil_siginfo((siginfo_t *)data);
	return ret;
}

/* Was this a trap of a debug register, and not a step? */
static bool is_trap(pid_t pid, int status)
{
	siginfo_t info;

	return pid > 0 && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP &&
	       !(status >> 16) &&
	       !real_ptrace(PTRACE_GETSIGINFO, pid, NULL, &info) &&
	       info.si_code == 4;
}

pid_t waitpid(pid_t pid, int *status, int options)
{
	unsigned int i;
	int dummy;

	if (!status)
		status = &dummy;
	for (i = 0; i < tracees && i < TIDS; i++) {
		struct known *k = &known[i];

		if (k->again && (pid == -1 || pid == k->tid)) {
			*status = SIGTRAP << 8 | 0x7f;
			k->again = 0;
			return k->tid;
		}
	}

	for (;;) {
		pid_t got = real_waitpid(pid, status, options);
		struct known *k;

		if (!is_trap(got, *status))
			return got;
		k = know(got);
		k->told = true;
		k->traps++;
		if (k->traps % 1000 || !fault("every_1000th_lost"))
			return got;
		real_ptrace(PTRACE_CONT, got, NULL, NULL);
	}
}
