/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One traced thread, and the traps that are expected of it.
 *
 * A test never waits "long enough" and never just counts.  Before it continues
 * the tracee it states in a struct trap what the next event must be.  A missed
 * trap is detected at the next event, a spurious or doubled one as an unexpected
 * stop, a misattributed one by DR6 or ip.
 *
 * Nothing here depends on the harness: functions return 0, 1 after they have
 * reported a failure, or a negative errno if a system call failed, and the
 * test asserts that.
 */
#ifndef HW_BREAKPOINT_TRACEE_H
#define HW_BREAKPOINT_TRACEE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/ucontext.h>
#include <sys/user.h>

#include "debugreg.h"

/* The instruction pointer for PTRACE_PEEKUSER */
#ifdef __x86_64__
#define REG_IP	offsetof(struct user, regs.rip)
#else
#define REG_IP	offsetof(struct user, regs.eip)
#endif

/* The instruction pointer in a signal handler's context */
#ifdef __x86_64__
#define UC_IP	REG_RIP
#else
#define UC_IP	REG_EIP
#endif

/* Events that are recorded, and how many of them a report shows by default */
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
 * enum tracee_how - how the tracer attaches
 * @TRACEE_TRACEME: the child calls PTRACE_TRACEME
 * @TRACEE_ATTACH: PTRACE_ATTACH
 * @TRACEE_SEIZE: PTRACE_SEIZE and PTRACE_INTERRUPT
 */
enum tracee_how {
	TRACEE_TRACEME,
	TRACEE_ATTACH,
	TRACEE_SEIZE,
};

/**
 * struct stop - one event of a tracee
 * @status: from waitpid()
 * @info: from PTRACE_GETSIGINFO; zeroed if there is none
 * @ip: instruction pointer
 * @dr6: DR6 from PTRACE_PEEKUSER
 * @progress: the tracee's access number at that time
 */
struct stop {
	int status;
	siginfo_t info;
	unsigned long ip;
	unsigned long dr6;
	unsigned long progress;
};

/**
 * struct trap - the trap that must be the next event
 * @ip: the expected ip: the instruction itself for an execute breakpoint, the
 *	next one for a data breakpoint
 * @slots: the slots that DR6 must show, bit n for DRn, and no other
 * @step: DR6 must show BS as well
 * @progress: the access number
 * @mem: memory shared with the tracee that is to be checked, or NULL
 * @mem_size: 1, 2, 4 or 8 bytes
 * @mem_value: its expected value: from before the instruction at an execute
 *	breakpoint, from after it at a data breakpoint
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
 * @pid: its process id if that differs, otherwise 0
 * @progress: its current access number, in memory shared with the tracer.  Needs
 *	no volatile: between two writes there is a call of a probe, which is
 *	opaque to the compiler
 * @body: the function that it runs; the thread exits with 0 when this returns
 * @arg: for @body
 * @describe: describes access number @n for messages; may be NULL
 * @id: number of this tracee among several, for messages
 * @traps: number of verified traps
 * @events: number of events
 * @missed: number of expected traps that were missed
 * @unexpected: number of unexpected traps
 * @wrong: number of other events that were not the expected ones
 * @dr7: the value last written
 * @cpu: the CPU that the tracee has recorded, shared like @progress; may be NULL
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

/* Room for the name of a test: FIXTURE.VARIANT.TEST */
#define TEST_NAME_SIZE		128

extern char test_name[TEST_NAME_SIZE];
extern unsigned int tracee_events_shown;
extern void (*tracee_on_dead_type)(void);
extern bool tracee_retries_enospc;

void *shared_alloc(size_t size);
unsigned long long monotonic_ns(void);
void reset_slot_retries(void);
bool retry_on_enospc(int err);
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
int tracee_wait_trap(struct tracee *t, struct stop *s, unsigned long progress);
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

void __attribute__((format(printf, 1, 2))) test_err(const char *fmt, ...);
void __attribute__((format(printf, 1, 2))) driver_msg(const char *fmt, ...);
void report_unexpected_sigtrap(void);

void tracee_report_events(struct tracee *t);
void __attribute__((format(printf, 3, 4)))
tracee_report(struct tracee *t, const struct stop *s, const char *fmt, ...);

#endif /* HW_BREAKPOINT_TRACEE_H */
