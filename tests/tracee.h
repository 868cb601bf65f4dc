/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One traced thread, and the ledger of its traps.
 *
 * A test never waits "long enough" and never just counts.  For every stop it
 * says beforehand what must come next, in a struct trap, and asks for exactly
 * that.  A missed trap shows at the very next event, a spurious or doubled
 * one as a stop that nothing owes, a misattributed one in DR6 or ip.
 *
 * Nothing here depends on the harness: functions return 0, or 1 after they
 * have printed the whole picture, or a negative errno where they could not
 * even try, and the test asserts it.
 */
#ifndef HW_BREAKPOINT_TRACEE_H
#define HW_BREAKPOINT_TRACEE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/ucontext.h>

#include "debugreg.h"

/*
 * Seconds without any event after which a hang is called a failure; once that
 * has happened in a program, it has failed, and its other waits are short.
 */
#define TRACEE_WATCHDOG		60
#define TRACEE_WATCHDOG_SHORT	5

/* The instruction pointer in a signal handler's context */
#ifdef __x86_64__
#define UC_IP	REG_RIP
#else
#define UC_IP	REG_EIP
#endif

#ifndef __printf
#define __printf(fmt, args)	__attribute__((__format__(__printf__, fmt, args)))
#endif

/* Events kept for the picture, and how many of them it shows by default */
#define TRACEE_EVENTS		64
#define TRACEE_EVENTS_SHOWN	16

/* siginfo si_code of a SIGTRAP; uapi asm-generic/siginfo.h */
#ifndef TRAP_TRACE
#define TRAP_TRACE	2
#endif
#ifndef TRAP_HWBKPT
#define TRAP_HWBKPT	4
#endif

/**
 * enum tracee_how - how the tracer gets hold of the thread
 * @TRACEE_TRACEME: the child asks for it with PTRACE_TRACEME
 * @TRACEE_ATTACH: PTRACE_ATTACH
 * @TRACEE_SEIZE: PTRACE_SEIZE and PTRACE_INTERRUPT
 */
enum tracee_how {
	TRACEE_TRACEME,
	TRACEE_ATTACH,
	TRACEE_SEIZE,
};

/**
 * struct stop - one event of a tracee, as seen
 * @status: from waitpid()
 * @info: from PTRACE_GETSIGINFO; zeroed where there is none
 * @ip: instruction pointer
 * @dr6: DR6 as PTRACE_PEEKUSER shows it
 * @progress: the access number that the tracee says it is at
 */
struct stop {
	int status;
	siginfo_t info;
	unsigned long ip;
	unsigned long dr6;
	unsigned long progress;
};

/**
 * struct trap - the one event that is owed next
 * @ip: where the thread must stand: the instruction itself for an execute
 *	breakpoint, the one behind it for a data breakpoint
 * @slots: the slots that DR6 must show, bit n for DRn, and no other
 * @step: DR6 must show BS as well
 * @progress: the access number
 * @mem: memory to look at from the tracer, shared with the tracee, or NULL
 * @mem_size: 1, 2, 4 or 8 bytes
 * @mem_value: what must be there: not yet written at an execute breakpoint,
 *	already written at a data breakpoint
 */
struct trap {
	const void *ip;
	unsigned int slots;
	bool step;
	unsigned long progress;
	const void *mem;
	unsigned int mem_size;
	unsigned long long mem_value;
};

/**
 * struct tracee - a traced thread
 * @tid: its thread id
 * @pid: its process, where that is another number; otherwise 0
 * @progress: where it says how far it has come; shared with the tracer.  No
 *	volatile is needed: what lies between a write and the next is a call
 *	of a probe, which the compiler cannot see into
 * @body: what it runs; the thread exits with 0 when this returns
 * @arg: for @body
 * @describe: for messages, what access number @n is; may be NULL
 * @id: for messages, which of many tracees this is
 * @traps: traps verified so far
 * @events: events seen so far
 * @missed: traps that did not come
 * @unexpected: traps that nothing owed
 * @wrong: other events that were not what was owed
 * @dr7: as it was written last
 * @cpu: where the tracee may say on which CPU it is; shared like @progress
 * @log: the last events, with the time in ns of CLOCK_MONOTONIC
 */
struct tracee {
	pid_t tid;
	pid_t pid;
	unsigned long *progress;
	void (*body)(struct tracee *t);
	void *arg;
	void (*describe)(struct tracee *t, unsigned long n, char *buf,
			 size_t size);
	unsigned int id;
	unsigned long traps;
	unsigned long events;
	unsigned long missed;
	unsigned long unexpected;
	unsigned long wrong;
	unsigned long dr7;
	int *cpu;
	struct {
		unsigned long long time;
		int cpu;
		int status;
		unsigned long ip;
		unsigned long dr6;
		unsigned long progress;
	} log[TRACEE_EVENTS];
};

extern unsigned int tracee_events_shown;
extern void (*tracee_on_dead_type)(void);
extern bool tracee_waits_for_slots;

void *shared_alloc(size_t size);
unsigned int watchdog_seconds(void);
void watchdog_lapsed(void);
void be_patient(void);
bool slots_may_come_back(int err);
int pin_to_cpu(pid_t tid, int cpu);
int allowed_cpus(int *cpus, int max);

int tracee_start(struct tracee *t, enum tracee_how how);
int tracee_adopt(struct tracee *t, pid_t tid);
void tracee_stop(struct tracee *t);
void tracee_sync(void);

int tracee_peek(struct tracee *t, unsigned int n, unsigned long *val);
int tracee_poke(struct tracee *t, unsigned int n, unsigned long val);
int tracee_poke_addr(struct tracee *t, unsigned int slot, const void *addr);
int tracee_arm(struct tracee *t, unsigned int slot, enum bp_type type,
	       unsigned int len, const void *addr);
int tracee_disarm(struct tracee *t, unsigned int slot);
int tracee_disarm_all(struct tracee *t);

int tracee_resume(struct tracee *t, int request, int sig);
int tracee_cont(struct tracee *t);
int tracee_wait(struct tracee *t, struct stop *s);
struct tracee *tracee_wait_any(struct tracee *set, unsigned int n,
			       struct stop *s);

int tracee_check_trap(struct tracee *t, const struct stop *s,
		      const struct trap *want);
int tracee_check_sync(struct tracee *t, const struct stop *s,
		      unsigned long progress);
int tracee_check_exit(struct tracee *t, const struct stop *s);

int tracee_expect_trap(struct tracee *t, const struct trap *want);
int tracee_expect_hit(struct tracee *t, unsigned int slots, const void *ip,
		      unsigned long progress);
int tracee_expect_sync(struct tracee *t, unsigned long progress);
int tracee_expect_exit(struct tracee *t);

void die_of_stray_sigtrap(void);

void tracee_report_events(struct tracee *t);
void __printf(3, 4) tracee_report(struct tracee *t, const struct stop *s,
				  const char *fmt, ...);

#endif /* HW_BREAKPOINT_TRACEE_H */
