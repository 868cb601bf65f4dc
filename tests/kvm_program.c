// SPDX-License-Identifier: GPL-2.0
/*
 * The programs that guests run, and the exceptions that are expected of them.
 * See kvm_vm.h.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "environment.h"
#include "kvm_vm.h"
#include "tracee.h"

/**
 * guest_emit() - append bytes to the program
 * @v: a vCPU
 * @bytes: machine code
 * @n: number of bytes
 */
void guest_emit(struct vcpu *v, const void *bytes, size_t n)
{
	if (v->pc + n > v->area + AT_PROBES) {
		test_err("the program of the guest is too long");
		abort();
	}
	memcpy(v->pc, bytes, n);
	v->pc += n;
}

/**
 * guest_emit_imm64() - append a mov of 64 bits
 * @v: a vCPU
 * @opcode: 0xb8 and the number of the register
 * @imm: immediate value
 */
void guest_emit_imm64(struct vcpu *v, __u8 opcode, __u64 imm)
{
	GUEST_INSN(v, 0x48, opcode);
	guest_emit(v, &imm, sizeof(imm));
}

/**
 * guest_emit_rax() - append mov $imm64, %rax
 * @v: a vCPU
 * @val: immediate value
 */
void guest_emit_rax(struct vcpu *v, __u64 val)
{
	guest_emit_imm64(v, 0xb8, val);
}

/**
 * guest_emit_rdi() - append mov $imm64, %rdi
 * @v: a vCPU
 * @p: address
 */
void guest_emit_rdi(struct vcpu *v, const void *p)
{
	guest_emit_imm64(v, 0xbf, addr_of(p));
}

/**
 * guest_expect() - append to the list of expected exceptions
 * @v: a vCPU
 * @vector: of the exception
 * @ip: saved rip
 * @dr6: DR6 as read by the handler, for #DB
 */
void guest_expect(struct vcpu *v, unsigned int vector, const void *ip,
		  __u64 dr6)
{
	if (v->n_expected == GUEST_LOG) {
		test_err("too many expected events");
		abort();
	}
	v->expected[v->n_expected++] = (struct event){
		.vector = vector, .ip = addr_of(ip), .dr6 = dr6,
	};
}

/**
 * guest_expect_db() - append a #DB to the list of expected exceptions
 * @v: a vCPU
 * @slots: the slots that DR6 must show, bit n for DRn
 * @ip: saved rip
 */
void guest_expect_db(struct vcpu *v, unsigned int slots, const void *ip)
{
	guest_expect(v, V_DB, ip, DR6_NONE | slots);
}

/**
 * guest_expect_step() - append a #DB of TF, after the instruction appended last
 * @v: a vCPU
 */
void guest_expect_step(struct vcpu *v)
{
	guest_expect(v, V_DB, v->pc, DR6_NONE | DR6_BS);
}

/**
 * guest_probe() - address of an execute target: nop, ret
 * @v: a vCPU
 * @n: 0 to 15
 *
 * Return: the address, the same for the guest and the host.
 */
void *guest_probe(struct vcpu *v, unsigned int n)
{
	return v->area + AT_PROBES + 16 * n;
}

/**
 * guest_data() - address of data
 * @v: a vCPU
 * @offset: 0 to 4095
 *
 * Return: the address, the same for the guest and the host.
 */
void *guest_data(struct vcpu *v, unsigned int offset)
{
	return v->area + AT_DATA + offset;
}

/**
 * guest_saved() - where guest_get_dr() may store a value
 * @v: a vCPU
 * @n: 0 to 511
 *
 * Return: the address, the same for the guest and the host.
 */
__u64 *guest_saved(struct vcpu *v, unsigned int n)
{
	return (__u64 *)(v->area + AT_SAVED) + n;
}

/**
 * guest_reset_log() - forget the exceptions seen so far
 * @v: a vCPU
 */
void guest_reset_log(struct vcpu *v)
{
	memset(v->area + AT_LOG, 0, GUEST_LOG * sizeof(struct event));
	*(__u64 *)(v->area + AT_COUNT) = 0;
}

/**
 * guest_begin() - start a new program, with no exception expected
 * @v: a vCPU
 */
void guest_begin(struct vcpu *v)
{
	v->pc = v->area + AT_CODE;
	v->n_expected = 0;
	guest_reset_log(v);
}

/**
 * guest_set_dr() - append a write of a debug register
 * @v: a vCPU
 * @n: 0 to 7
 * @val: value
 */
void guest_set_dr(struct vcpu *v, unsigned int n, __u64 val)
{
	guest_emit_rax(v, val);
	GUEST_INSN(v, 0x0f, 0x23, 0xc0 | n << 3);
}

/**
 * guest_get_dr() - append a read of a debug register
 * @v: a vCPU
 * @n: 0 to 7
 * @to: where the value is stored, from guest_saved()
 */
void guest_get_dr(struct vcpu *v, unsigned int n, __u64 *to)
{
	GUEST_INSN(v, 0x0f, 0x21, 0xc0 | n << 3);
	guest_emit_rdi(v, to);
	GUEST_INSN(v, 0x48, 0x89, 0x07);
}

/**
 * guest_store() - append a store
 * @v: a vCPU
 * @at: address
 * @len: 1, 2, 4 or 8 bytes
 * @val: value
 *
 * Return: the instruction after the store, where a data trap is reported.
 */
void *guest_store(struct vcpu *v, void *at, unsigned int len,
		  __u64 val)
{
	guest_emit_rdi(v, at);
	guest_emit_rax(v, val);
	switch (len) {
	case 1:
		GUEST_INSN(v, 0x88, 0x07);
		break;
	case 2:
		GUEST_INSN(v, 0x66, 0x89, 0x07);
		break;
	case 4:
		GUEST_INSN(v, 0x89, 0x07);
		break;
	default:
		GUEST_INSN(v, 0x48, 0x89, 0x07);
	}
	return v->pc;
}

/**
 * guest_load() - append a load
 * @v: a vCPU
 * @at: address
 * @len: 1, 2, 4 or 8 bytes
 *
 * Return: the instruction after the load, where a data trap is reported.
 */
void *guest_load(struct vcpu *v, void *at, unsigned int len)
{
	guest_emit_rdi(v, at);
	switch (len) {
	case 1:
		GUEST_INSN(v, 0x8a, 0x07);
		break;
	case 2:
		GUEST_INSN(v, 0x66, 0x8b, 0x07);
		break;
	case 4:
		GUEST_INSN(v, 0x8b, 0x07);
		break;
	default:
		GUEST_INSN(v, 0x48, 0x8b, 0x07);
	}
	return v->pc;
}

/**
 * guest_call() - append call *%rax
 * @v: a vCPU
 * @at: target
 */
void guest_call(struct vcpu *v, void *at)
{
	guest_emit_rax(v, addr_of(at));
	GUEST_INSN(v, 0xff, 0xd0);
}

/**
 * guest_out() - append an OUT, which exits
 * @v: a vCPU
 * @port: PORT_STEP or another one
 */
void guest_out(struct vcpu *v, __u8 port)
{
	GUEST_INSN(v, 0xe6, port);
}

/**
 * guest_wrmsr() - append a WRMSR
 * @v: a vCPU
 * @msr: number
 * @low: eax
 * @high: edx
 */
void guest_wrmsr(struct vcpu *v, __u32 msr, __u32 low,
		 __u32 high)
{
	GUEST_INSN(v, 0xb9);
	guest_emit(v, &msr, 4);
	GUEST_INSN(v, 0xb8);
	guest_emit(v, &low, 4);
	GUEST_INSN(v, 0xba);
	guest_emit(v, &high, 4);
	GUEST_INSN(v, 0x0f, 0x30);
}

/**
 * guest_set_tf() - append pushf; orl $0x100, (%rsp); popf
 * @v: a vCPU
 *
 * The first step ends after the instruction that is appended next.
 */
void guest_set_tf(struct vcpu *v)
{
	GUEST_INSN(v, 0x9c, 0x81, 0x0c, 0x24, 0, 1, 0, 0, 0x9d);
}

/**
 * guest_clear_tf() - append pushf; andl $~0x100, (%rsp); popf, and expect their steps
 * @v: a vCPU
 */
void guest_clear_tf(struct vcpu *v)
{
	GUEST_INSN(v, 0x9c);
	guest_expect_step(v);
	GUEST_INSN(v, 0x81, 0x24, 0x24, 0xff, 0xfe, 0xff, 0xff);
	guest_expect_step(v);
	GUEST_INSN(v, 0x9d);
	guest_expect_step(v);
}

/**
 * guest_to_user() - append an IRETQ to ring 3, where the program continues
 * @v: a vCPU
 */
void guest_to_user(struct vcpu *v)
{
	GUEST_INSN(v, 0x6a, SEL_DATA_USER);
	guest_emit_rax(v, addr_of(v->area + AT_STACK_USER));
	GUEST_INSN(v, 0x50, 0x6a, 0x02, 0x6a, SEL_CODE_USER);
	guest_emit_rax(v, addr_of(v->pc + 13));
	GUEST_INSN(v, 0x50, 0x48, 0xcf);
}

/**
 * guest_to_kernel() - append an INT, after which the program continues in ring
 * 0
 * @v: a vCPU
 */
void guest_to_kernel(struct vcpu *v)
{
	GUEST_INSN(v, 0xcd, V_KERNEL);
}

/**
 * guest_jump() - append a jump
 * @v: a vCPU
 * @to: target
 */
void guest_jump(struct vcpu *v, const void *to)
{
	__s32 rel = addr_of(to) - addr_of(v->pc + 5);

	GUEST_INSN(v, 0xe9);
	guest_emit(v, &rel, 4);
}

/**
 * dr7_of() - DR7 that arms breakpoints of a guest
 * @bp: four breakpoints
 * @slots: those to arm, bit n for DRn
 *
 * Return: the value.
 */
__u64 dr7_of(const struct bp *bp, unsigned int slots)
{
	__u64 dr7 = GUEST_DR7_NONE;
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++)
		if (slots & 1 << i)
			dr7 |= dr7_encode(i, bp[i].type, bp[i].len);
	return dr7;
}

/**
 * guest_arm() - append writes of all four addresses, then of DR7
 * @v: a vCPU
 * @bp: four breakpoints
 * @slots: those that DR7 arms, bit n for DRn
 */
void guest_arm(struct vcpu *v, const struct bp *bp, unsigned int slots)
{
	__u64 execute = 0;
	unsigned int i;

	guest_set_dr(v, 7, GUEST_DR7_NONE);
	for (i = 0; i < DR_SLOTS; i++) {
		guest_set_dr(v, i, addr_of(bp[i].addr));
		if (bp[i].type == BP_EXECUTE)
			execute |= 1 << i;
	}
	*(__u64 *)(v->area + AT_EXECUTE) = execute;
	guest_set_dr(v, 7, dr7_of(bp, slots));
}

/**
 * guest_access() - append an access that hits a breakpoint
 * @v: a vCPU
 * @bp: breakpoint
 * @slots: its bit if it is armed and a trap is expected; otherwise 0
 */
void guest_access(struct vcpu *v, const struct bp *bp, unsigned int slots)
{
	void *ip = bp->addr;

	if (v->user)
		guest_to_user(v);
	if (bp->type == BP_EXECUTE)
		guest_call(v, bp->addr);
	else
		ip = guest_store(v, bp->addr, bp->len, 0x1122334455667788ULL);
	if (slots)
		guest_expect_db(v, slots, ip);
	if (v->user)
		guest_to_kernel(v);
}

/**
 * guest_access_all() - append accesses that hit each of four breakpoints
 * @v: a vCPU
 * @bp: four breakpoints
 * @slots: those that are armed, bit n for DRn
 */
void guest_access_all(struct vcpu *v, const struct bp *bp,
		      unsigned int slots)
{
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++)
		guest_access(v, &bp[i], slots & 1 << i);
}

/**
 * guest_set_of() - choose four breakpoints of all kinds
 * @v: a vCPU
 * @bp: filled in
 * @n: rotates addresses and slots, from 0
 */
void guest_set_of(struct vcpu *v, struct bp *bp, unsigned int n)
{
	struct bp all[DR_SLOTS] = {
		{ BP_EXECUTE, 1, guest_probe(v, n) },
		{ BP_WRITE, 4, guest_data(v, 0x100 + 0x40 * n) },
		{ BP_RW, 1, guest_data(v, 0x113 + 0x40 * n) },
		{ BP_WRITE, 8, guest_data(v, 0x120 + 0x40 * n) },
	};
	unsigned int i;

	for (i = 0; i < DR_SLOTS; i++)
		bp[i] = all[(i + n) % DR_SLOTS];
}

/* A test that continues after a failure may fail thousands of times */
#define MAX_REPORTS	3

/* Rows of the report, the last right one first */
#define MAX_ROWS	16

/* The first exception that is not the expected one; the log is large enough */
static unsigned int first_wrong(const struct vcpu *v)
{
	const struct event *seen = (struct event *)(v->area + AT_LOG);
	__u64 count = *(__u64 *)(v->area + AT_COUNT);
	unsigned int n;

	for (n = 0; n < v->n_expected && n < count; n++) {
		const struct event *o = &v->expected[n], *s = &seen[n];

		if (o->vector != s->vector || o->ip != s->ip ||
		    (o->vector == V_DB && o->dr6 != s->dr6))
			break;
	}
	return n;
}

/**
 * vcpu_report() - report a failure, with the exceptions and registers of the
 * guest
 * @v: a vCPU
 * @fmt: what is wrong
 */
void __attribute__((format(printf, 2, 3)))
vcpu_report(struct vcpu *v, const char *fmt, ...)
{
	const struct event *seen = (struct event *)(v->area + AT_LOG);
	__u64 count = *(__u64 *)(v->area + AT_COUNT);
	__u64 n, max = count > v->n_expected ? count : v->n_expected;
	static unsigned int reports;
	struct kvm_debugregs d = {};
	struct kvm_regs r = {};
	va_list ap;

	if (__atomic_fetch_add(&reports, 1, __ATOMIC_RELAXED) >= MAX_REPORTS)
		return;
	if (max > GUEST_LOG)
		max = GUEST_LOG;
	flockfile(stdout);
	printf("# %s: ", test_name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	ioctl(v->fd, KVM_GET_REGS, &r);
	ioctl(v->fd, KVM_GET_DEBUGREGS, &d);
	printf("\n#   VM at %#llx, vCPU area %#llx, rip %#llx rflags %#llx\n",
	       addr_of(v->vm->mem),
	       addr_of(v->area), r.rip, r.rflags);
	printf("#   DR0-DR3 %#llx %#llx %#llx %#llx DR6 %#llx DR7 %#llx\n",
	       d.db[0], d.db[1], d.db[2], d.db[3], d.dr6, d.dr7);
	printf("#   last exit: reason %u", v->run->exit_reason);
	if (v->run->exit_reason == KVM_EXIT_IO)
		printf(", port %#x", v->run->io.port);
	if (v->run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
		printf(", suberror %u", v->run->internal.suberror);
	if (v->exits_at >= 0)
		printf("; exits since the entry %llu; lazy path %s\n",
		       v->exits,
		       v->lazy ? "taken" : "not taken");
	else
		printf("; this KVM counts no exits\n");
	printf("#   host CPU %d; %s\n", sched_getcpu(), environment());
	printf("#   exceptions in the guest: %u expected, %llu seen\n",
	       v->n_expected, count);
	n = first_wrong(v);
	if (n)
		n--;
	if (max > n + MAX_ROWS)
		max = n + MAX_ROWS;
	for (; n < max; n++) {
		const struct event *o = &v->expected[n], *s = &seen[n];

		printf("#   %2llu:", n);
		if (n < v->n_expected)
			printf(" expected vector %llu ip %#llx DR6 %#llx;",
			       o->vector,
			       o->ip,
			       o->dr6);
		if (n < count)
			printf(" seen vector %llu ip %#llx DR6 %#llx rflags %#llx",
			       s->vector,
			       s->ip,
			       s->dr6,
			       s->flags);
		printf("\n");
	}
	funlockfile(stdout);
	fflush(stdout);
}

/**
 * guest_start() - set the vCPU to the first instruction of its program, in
 * ring 0
 * @v: a vCPU
 *
 * Return: 0, or -1 with errno.
 */
int guest_start(struct vcpu *v)
{
	struct kvm_regs r = {
		.rip = addr_of(v->area + AT_CODE),
		.rsp = addr_of(v->area + AT_STACK),
		.rflags = 2,
	};

	vcpu_complete_io(v);
	return ioctl(v->fd, KVM_SET_REGS, &r);
}

/**
 * vcpu_run_to() - run until the guest writes to a port, with no other exit
 * @v: a vCPU
 * @port: port
 *
 * Return: true; false after a report.
 */
bool vcpu_run_to(struct vcpu *v, unsigned int port)
{
	int ret = vcpu_run(v);

	if (!ret && v->run->exit_reason == KVM_EXIT_IO &&
	    v->run->io.port == port)
		return true;
	vcpu_report(v, "the guest does not reach port %#x: KVM_RUN %d, %s", port,
		    ret, ret ? strerror(errno) : "another exit");
	return false;
}

/**
 * guest_check() - compare the exceptions seen with the expected ones
 * @v: a vCPU
 * @when: for the report
 *
 * Return: true; false after a report.
 */
bool guest_check(struct vcpu *v, const char *when)
{
	__u64 count = *(__u64 *)(v->area + AT_COUNT);
	unsigned int n = first_wrong(v);

	if (n == v->n_expected && n == count)
		return true;
	vcpu_report(v, "%s: wrong from exception %u on", when, n);
	return false;
}

/**
 * guest_run() - run the program up to the PORT_STEP at its end, and check it
 * @v: a vCPU
 * @what: for the report
 *
 * Return: true; false after a report.
 */
bool guest_run(struct vcpu *v, const char *what)
{
	if (guest_start(v)) {
		vcpu_report(v, "KVM_SET_REGS: %s", strerror(errno));
		return false;
	}
	return vcpu_run_to(v, PORT_STEP) && guest_check(v, what);
}

/**
 * vcpu_forget_lazy() - start counting the exits of MOV DR
 * @v: a vCPU
 *
 * vcpu_note_lazy() then tells whether the guest accessed its registers without
 * an exit for each.  The first access exits, and so does the OUT at the end;
 * other exits (timer interrupts of the host) only add to the count, so the
 * minimum of several runs is used.  If only the OUT exits, KVM emulates MOV DR
 * in software or the CPU switches the registers by itself.
 */
void vcpu_forget_lazy(struct vcpu *v)
{
	v->fewest = ~0ULL;
	v->lazy = false;
}

/**
 * vcpu_note_lazy() - update @v->lazy after a run
 * @v: a vCPU
 * @dr_accesses: number of accesses to debug registers in that run
 */
void vcpu_note_lazy(struct vcpu *v, unsigned int dr_accesses)
{
	if (v->exits_at < 0)
		return;
	if (v->exits < v->fewest)
		v->fewest = v->exits;
	v->lazy = v->fewest >= 2 && v->fewest < dr_accesses;
}
