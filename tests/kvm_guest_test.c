// SPDX-License-Identifier: GPL-2.0
/*
 * Debug registers of a KVM guest: its own slots, and exits of all kinds between
 * arming and the trap.
 */
#include <linux/kvm.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kvm_test.h"
#include "probes.h"

FIXTURE(guest) {
	struct vm vm;
	struct vcpu v;
	struct bp bp[DR_SLOTS];
};

FIXTURE_SETUP(guest)
{
	open_guest(_metadata, &self->vm, &self->v, false);
	guest_set_of(&self->v, self->bp, 0);
	guest_begin(&self->v);
}

FIXTURE_TEARDOWN(guest)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/*
 * After reset DR0-DR3 are 0, DR6 ffff0ff0h and DR7 400h (SDM vol. 3A, "IA-32
 * and Intel 64 Processor States Following Power-up, Reset, or INIT").
 * Regression test for ae561edeb421, before which KVM kept the old values.
 */
TEST_F(guest, initial_values)
{
	struct vcpu *v = &self->v;
	struct kvm_debugregs d;
	unsigned int i;

	ASSERT_EQ(0, ioctl(v->fd, KVM_GET_DEBUGREGS, &d));
	for (i = 0; i < DR_SLOTS; i++) {
		EXPECT_EQ(0, d.db[i]);
		*guest_saved(v, i) = ~0ULL;
		guest_get_dr(v, i, guest_saved(v, i));
	}
	EXPECT_EQ(DR6_NONE, d.dr6);
	EXPECT_EQ(GUEST_DR7_NONE, d.dr7);
	guest_get_dr(v, 6, guest_saved(v, 6));
	guest_get_dr(v, 7, guest_saved(v, 7));
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "reading DRs"));
	for (i = 0; i < DR_SLOTS; i++)
		EXPECT_EQ(0, *guest_saved(v, i));
	EXPECT_EQ(DR6_NONE, *guest_saved(v, 6));
	EXPECT_EQ(GUEST_DR7_NONE, *guest_saved(v, 7));
}

/*
 * The guest reads what it has written, without an exit in between and after
 * one, and KVM_GET_DEBUGREGS returns the same.  Addresses that a process cannot
 * use are valid as well; DR7 has no slot enabled.
 */
TEST_F(guest, reads_back)
{
	enum { SETS = 3 };
	static const __u64 sets[SETS][6] = {
		{ 0xffff8000deadbee0, 0x7ffffffff000, 0, 0x123456789abcdef0,
		  DR6_NONE | DR6_BS | 5, 0x99990700 },
		{ ~0ULL, 1, 0xffffffff, 0x8000000000000000,
		  DR6_NONE | DR6_BT | 0xf, 0x1d3f0400 },
		{ 0, 0, 0, 0, DR6_NONE, GUEST_DR7_NONE },
	};
	struct vcpu *v = &self->v;
	unsigned int i, n, s;

	for (s = 0; s < SETS; s++) {
		const __u64 *set = sets[s];
		struct kvm_debugregs d;

		guest_begin(v);
		for (i = 0; i < 6; i++)
			guest_set_dr(v, i < 4 ? i : i + 2, set[i]);
		for (n = 0; n < 2; n++) {
			for (i = 0; i < 6; i++) {
				*guest_saved(v, 6 * n + i) = 0x5555;
				guest_get_dr(v, i < 4 ? i : i + 2,
					     guest_saved(v, 6 * n + i));
			}
			guest_out(v, PORT_STEP);
		}
		ASSERT_TRUE(guest_run(v, "writing and reading DRs"));
		ASSERT_EQ(0, ioctl(v->fd, KVM_GET_DEBUGREGS, &d));
		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		for (i = 0; i < 12; i++) {
			EXPECT_EQ(set[i % 6], *guest_saved(v, i)) {
				TH_LOG("set %u: DR%u, %s", s,
				       i % 6 < 4 ? i % 6 : i % 6 + 2,
				       i < 6 ? "at once" : "after an exit");
			}
		}
		for (i = 0; i < DR_SLOTS; i++)
			EXPECT_EQ(set[i], d.db[i]);
		EXPECT_EQ(set[4], d.dr6);
		EXPECT_EQ(set[5], d.dr7);
	}
}

/*
 * Whether the guest may write its registers without an exit for each is KVM's
 * choice; the tests for stale registers below only test that path if it does.
 */
TEST_F(guest, lazy_path_is_taken)
{
	struct vcpu *v = &self->v;
	unsigned int i;

	if (v->exits_at < 0)
		SKIP(return, SKIP_OLD_KVM);
	for (i = 0; i < 100; i++)
		guest_set_dr(v, i % DR_SLOTS, 0x1000 * i);
	guest_out(v, PORT_STEP);
	vcpu_forget_lazy(v);
	for (i = 0; i < 10; i++) {
		ASSERT_TRUE(guest_run(v, "writing DRs"));
		vcpu_note_lazy(v, 100);
	}
	if (!v->lazy)
		SKIP(return, SKIP_NOT_USED);
	TH_LOG("the lazy path is taken: %llu exits for 100 writes and an OUT", v->fewest);
}

/* Several in one stop: both bits, one trap */
TEST_F(guest, two_slots_on_one_store)
{
	struct vcpu *v = &self->v;
	struct bp bp[DR_SLOTS] = {
		{ BP_WRITE, 4, guest_data(v, 0) }, { BP_WRITE, 1, guest_data(v, 8) },
		{ BP_RW, 4, guest_data(v, 0) }, { BP_RW, 1, guest_data(v, 16) },
	};
	void *after;

	guest_arm(v, bp, DR_SLOTS_ALL);
	after = guest_store(v, guest_data(v, 0), 4, 1);
	guest_expect_db(v, 5, after);
	guest_access(v, &bp[1], 2);
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "two slots on one store"));
}

TEST_F(guest, four_slots)
{
	struct vcpu *v = &self->v;
	unsigned int n, times;

	for (n = 0; n < DR_SLOTS; n++) {
		guest_begin(v);
		guest_set_of(v, self->bp, n);
		guest_arm(v, self->bp, DR_SLOTS_ALL);
		for (times = 0; times < 3; times++)
			guest_access_all(v, self->bp, DR_SLOTS_ALL);
		guest_arm(v, self->bp, 5);
		guest_access_all(v, self->bp, 5);
		guest_out(v, PORT_STEP);
		ASSERT_TRUE(guest_run(v, "four slots"));
	}
}

/*
 * General detect: with DR7.GD set, an access to a debug register traps before
 * it is done, with BD in DR6, and GD is cleared so that the handler can use the
 * registers (SDM vol. 3B, "General-Detect Exception Condition").
 */
TEST_F(guest, general_detect)
{
	struct vcpu *v = &self->v;

	prepare_general_detect(v);
	check_general_detect(_metadata, v);
}

FIXTURE(guest_slot) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_VARIANT(guest_slot) {
	unsigned int slot;
	bool user;
};

FIXTURE_VARIANT_ADD(guest_slot, dr0) { .slot = 0 };

FIXTURE_VARIANT_ADD(guest_slot, dr1) { .slot = 1 };

FIXTURE_VARIANT_ADD(guest_slot, dr2) { .slot = 2 };

FIXTURE_VARIANT_ADD(guest_slot, dr3) { .slot = 3 };

FIXTURE_VARIANT_ADD(guest_slot, dr0_user) { .slot = 0, .user = true };

FIXTURE_VARIANT_ADD(guest_slot, dr1_user) { .slot = 1, .user = true };

FIXTURE_VARIANT_ADD(guest_slot, dr2_user) { .slot = 2, .user = true };

FIXTURE_VARIANT_ADD(guest_slot, dr3_user) { .slot = 3, .user = true };

FIXTURE_SETUP(guest_slot)
{
	open_guest(_metadata, &self->vm, &self->v, false);
	self->v.user = variant->user;
}

FIXTURE_TEARDOWN(guest_slot)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* The address itself, and as the negative control its neighbours */
TEST_F(guest_slot, execute)
{
	struct vcpu *v = &self->v;
	unsigned int slot = variant->slot;
	struct bp bp[DR_SLOTS] = {};
	unsigned int i;

	bp[slot] = (struct bp){ BP_EXECUTE, 1, guest_probe(v, 1) };
	guest_begin(v);
	guest_arm(v, bp, 1 << slot);
	for (i = 0; i < 3; i++) {
		guest_access(v, &(struct bp){ BP_EXECUTE, 1, guest_probe(v, 0) }, 0);
		guest_access(v, &bp[slot], 1 << slot);
		guest_access(v, &(struct bp){ BP_EXECUTE, 1, guest_probe(v, 2) }, 0);
		/* Data accesses to the instruction do not trap */
		guest_load(v, guest_probe(v, 1), 1);
	}
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "execute"));
}

static bool data_matrix(struct vcpu *v, unsigned int slot, enum bp_type type)
{
	static const unsigned int lens[] = { 1, 2, 4, 8 };
	struct bp bp[DR_SLOTS] = {};
	unsigned int i, at;
	char what[64];

	for (i = 0; i < 4; i++) {
		unsigned int len = lens[i];
		__u8 *watched = guest_data(v, 0x40);

		bp[slot] = (struct bp){ type, len, watched };
		guest_begin(v);
		guest_arm(v, bp, 1 << slot);
		if (v->user)
			guest_to_user(v);
		for (at = 0; at < len + 2; at++) {
			bool inside = at && at <= len;
			void *ip = guest_store(v, watched + at - 1, 1, at);

			if (inside)
				guest_expect_db(v, 1 << slot, ip);
			ip = guest_load(v, watched + at - 1, 1);
			if (inside && type == BP_RW)
				guest_expect_db(v, 1 << slot, ip);
		}
		/* An access that is wider than what is watched */
		guest_expect_db(v, 1 << slot, guest_store(v, watched, 8, 0));
		if (v->user)
			guest_to_kernel(v);
		guest_out(v, PORT_STEP);
		snprintf(what, sizeof(what), "DR%u, type %u, length %u", slot,
			 type, len);
		if (!guest_run(v, what))
			return false;
	}
	return true;
}

TEST_F(guest_slot, write)
{
	ASSERT_TRUE(data_matrix(&self->v, variant->slot, BP_WRITE));
}

TEST_F(guest_slot, read_write)
{
	ASSERT_TRUE(data_matrix(&self->v, variant->slot, BP_RW));
}

/* Destination of an interrupt: a vCPU that does not exist */
#define NOBODY		0x77

FIXTURE(fast_path) {
	struct vm vm;
	struct vcpu v;
	struct bp bp[DR_SLOTS];
};

FIXTURE_SETUP(fast_path)
{
	open_guest(_metadata, &self->vm, &self->v, true);
	guest_set_of(&self->v, self->bp, 0);
	guest_begin(&self->v);
}

FIXTURE_TEARDOWN(fast_path)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/*
 * Regression test for c2fee09fc167.  An inter-processor interrupt to a CPU that
 * does not exist is the cheapest exit that KVM handles without leaving its run
 * loop.  DR6, written without an exit just before, was loaded from KVM's stale
 * copy; the handler of a #DB then read no slot at all.
 */
TEST_F(fast_path, dr6_survives)
{
	struct vcpu *v = &self->v;
	unsigned int i;

	for (i = 0; i < 16; i++) {
		guest_set_dr(v, 6, DR6_NONE | i);
		guest_wrmsr(v, X2APIC_ICR, 0x4000 | V_IRQ, NOBODY);
		guest_get_dr(v, 6, guest_saved(v, i));
	}
	guest_set_dr(v, 6, DR6_NONE);
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "DR6 across WRMSR"));
	for (i = 0; i < 16; i++)
		EXPECT_EQ(DR6_NONE | i, *guest_saved(v, i));
}

TEST_F(fast_path, accesses_between_trap)
{
	struct vcpu *v = &self->v;
	unsigned int i;

	guest_arm(v, self->bp, DR_SLOTS_ALL);
	for (i = 0; i < 8; i++) {
		guest_wrmsr(v, X2APIC_ICR, 0x4000 | V_IRQ, NOBODY);
		guest_access(v, &self->bp[i % DR_SLOTS], 1 << i % DR_SLOTS);
		guest_wrmsr(v, X2APIC_ICR, 0x4000 | V_IRQ, NOBODY);
	}
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "traps between fast exits"));
}

enum exit_kind {
	BY_OUT,
	BY_REP_OUTS,
	BY_REP_INS,
	BY_MMIO_STORE,
	BY_MMIO_LOAD,
	BY_CPUID,
	BY_HLT,
	BY_UD2,
	BY_INT3,
	BY_INT1,
};

FIXTURE(exit_between) {
	struct vm vm;
	struct vcpu v;
	struct bp bp[DR_SLOTS];
};

FIXTURE_VARIANT(exit_between) {
	enum exit_kind by;
	unsigned int exit;	/* one that must be seen, or 0 */
};

FIXTURE_VARIANT_ADD(exit_between, out) { BY_OUT, KVM_EXIT_IO };

FIXTURE_VARIANT_ADD(exit_between, rep_outs) { BY_REP_OUTS, KVM_EXIT_IO };

FIXTURE_VARIANT_ADD(exit_between, rep_ins) { BY_REP_INS, KVM_EXIT_IO };

FIXTURE_VARIANT_ADD(exit_between, mmio_store) { BY_MMIO_STORE, KVM_EXIT_MMIO };

FIXTURE_VARIANT_ADD(exit_between, mmio_load) { BY_MMIO_LOAD, KVM_EXIT_MMIO };

FIXTURE_VARIANT_ADD(exit_between, cpuid) { BY_CPUID, 0 };

FIXTURE_VARIANT_ADD(exit_between, hlt) { BY_HLT, KVM_EXIT_HLT };

FIXTURE_VARIANT_ADD(exit_between, ud2) { BY_UD2, 0 };

FIXTURE_VARIANT_ADD(exit_between, int3) { BY_INT3, 0 };

FIXTURE_VARIANT_ADD(exit_between, int1) { BY_INT1, 0 };

FIXTURE_SETUP(exit_between)
{
	open_guest(_metadata, &self->vm, &self->v, false);
	guest_set_of(&self->v, self->bp, 0);
	guest_begin(&self->v);
}

FIXTURE_TEARDOWN(exit_between)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/*
 * Emits the instruction.  Preparation comes first, so that the return value is
 * the instruction itself; the exception that it raises itself is expected.
 */
static void *emit_exit(struct vcpu *v, enum exit_kind by)
{
	void *insn;

	switch (by) {
	case BY_REP_OUTS:
	case BY_REP_INS:
		/* rsi, rdi, rcx, dx */
		guest_emit_imm64(v, 0xbe, addr_of(guest_data(v, 0x800)));
		guest_emit_rdi(v, guest_data(v, 0x900));
		GUEST_INSN(v, 0xb9, 0x05, 0, 0, 0);
		GUEST_INSN(v, 0xba, PORT_STRING, 0, 0, 0);
		break;
	case BY_MMIO_STORE:
	case BY_MMIO_LOAD:
		guest_emit_rdi(v, v->vm->mem + VM_HOLE);
		break;
	case BY_CPUID:
		GUEST_INSN(v, 0x31, 0xc0);
		break;
	default:
		break;
	}

	insn = v->pc;
	switch (by) {
	case BY_OUT:
		guest_out(v, PORT_STRING);
		break;
	case BY_REP_OUTS:
		GUEST_INSN(v, 0xf3, 0x6e);
		break;
	case BY_REP_INS:
		GUEST_INSN(v, 0xf3, 0x6c);
		break;
	case BY_MMIO_STORE:
		GUEST_INSN(v, 0x89, 0x07);
		break;
	case BY_MMIO_LOAD:
		GUEST_INSN(v, 0x8b, 0x07);
		break;
	case BY_CPUID:
		GUEST_INSN(v, 0x0f, 0xa2);
		break;
	case BY_HLT:
		GUEST_INSN(v, 0xf4);
		break;
	case BY_UD2:
		guest_expect(v, V_UD, insn, 0);
		GUEST_INSN(v, 0x0f, 0x0b);
		break;
	case BY_INT3:
		GUEST_INSN(v, 0xcc);
		guest_expect(v, V_BP, v->pc, 0);
		break;
	case BY_INT1:
		/* A trap: after the instruction, and no bit in DR6 */
		GUEST_INSN(v, 0xf1);
		guest_expect_db(v, 0, v->pc);
		break;
	default:
		break;
	}
	return insn;
}

/* Past all exits of the variant, to the next step */
static bool run_past_exits(struct vcpu *v, enum exit_kind by, unsigned int exit,
			   unsigned int *seen)
{
	unsigned int i;

	for (i = 0; i < 100; i++) {
		if (vcpu_run(v))
			break;
		if (v->run->exit_reason == KVM_EXIT_IO &&
		    v->run->io.port == PORT_STEP)
			return true;
		if (v->run->exit_reason == KVM_EXIT_IO &&
		    v->run->io.port == PORT_LOST)
			break;
		if (v->run->exit_reason != exit)
			break;
		if (by == BY_REP_INS)
			memset((char *)v->run + v->run->io.data_offset, 0x5a,
			       v->run->io.count * v->run->io.size);
		++*seen;
	}
	vcpu_report(v, "the guest does not reach the next step: exit reason %u",
		    v->run->exit_reason);
	return false;
}

TEST_F(exit_between, accesses_trap)
{
	struct vcpu *v = &self->v;
	unsigned int i, seen = 0;

	guest_arm(v, self->bp, DR_SLOTS_ALL);
	guest_access_all(v, self->bp, DR_SLOTS_ALL);
	for (i = 0; i < DR_SLOTS; i++) {
		emit_exit(v, variant->by);
		guest_access(v, &self->bp[i], 1 << i);
	}
	emit_exit(v, variant->by);
	guest_access_all(v, self->bp, DR_SLOTS_ALL);
	guest_out(v, PORT_STEP);
	ASSERT_EQ(0, guest_start(v));
	ASSERT_TRUE(run_past_exits(v, variant->by, variant->exit, &seen));
	ASSERT_TRUE(guest_check(v, "with exits in between"));
	if (variant->exit)
		EXPECT_LE(DR_SLOTS + 1, seen);
	if (variant->by == BY_REP_INS)
		EXPECT_EQ(0x5a, *((__u8 *)guest_data(v, 0x904)));
}

/*
 * An execute breakpoint on the instruction that exits.  It traps once, before
 * anything is done, and not again when the instruction is emulated.
 */
TEST_F(exit_between, execute_breakpoint_on_insn)
{
	struct vcpu *v = &self->v;
	struct bp bp[DR_SLOTS] = {
		[1] = { BP_WRITE, 4, guest_data(v, 0) },
	};
	unsigned int seen = 0, pass;

	/* Twice: the address of the instruction is only known then */
	for (pass = 0; pass < 2; pass++) {
		unsigned int at;

		guest_begin(v);
		guest_arm(v, bp, 3);
		at = v->n_expected;
		v->n_expected++;
		bp[0] = (struct bp){ BP_EXECUTE, 1,
				     emit_exit(v, variant->by) };
		v->expected[at] = (struct event){
			V_DB, addr_of(bp[0].addr), 0, DR6_NONE | 1,
		};
		guest_access(v, &bp[1], 2);
		guest_out(v, PORT_STEP);
	}
	ASSERT_EQ(0, guest_start(v));
	ASSERT_TRUE(run_past_exits(v, variant->by, variant->exit, &seen));
	ASSERT_TRUE(guest_check(v, "with a breakpoint on the instruction"));
	if (variant->exit)
		EXPECT_LE(1, seen);
}

/*
 * An NMI that is pending when the guest is entered is delivered first, before
 * an instruction with a breakpoint; then that traps, once.
 */
TEST_F(guest, nmi_pending_at_armed_instruction)
{
	struct vcpu *v = &self->v;
	struct bp bp[DR_SLOTS] = {
		[1] = { BP_WRITE, 4, guest_data(v, 0) },
	};
	unsigned int pass;

	/* Twice: the address of the instruction is only known then */
	for (pass = 0; pass < 2; pass++) {
		guest_begin(v);
		guest_arm(v, bp, 3);
		guest_out(v, PORT_STEP);
		bp[0] = (struct bp){ BP_EXECUTE, 1, v->pc };
		guest_expect(v, V_NMI, v->pc, 0);
		guest_expect_db(v, 1, v->pc);
		guest_access(v, &bp[1], 2);
		guest_out(v, PORT_STEP);
	}
	ASSERT_EQ(0, guest_start(v));
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	ASSERT_EQ(0, ioctl(v->fd, KVM_NMI));
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	ASSERT_TRUE(guest_check(v, "an NMI at an armed instruction"));
}

/*
 * An interrupt and a data trap at the same boundary: traps have priority (SDM
 * vol. 3A, "Priority Among Concurrent Events").  The instruction after STI
 * still executes before either.
 */
TEST_F(fast_path, interrupt_pending_at_data_trap)
{
	struct vcpu *v = &self->v;
	struct bp bp[DR_SLOTS] = {
		[1] = { BP_WRITE, 4, guest_data(v, 0) },
	};

	/*
	 * Accessed before, so that KVM need not map it in the middle: an exit
	 * there does not matter on hardware, but QEMU's VMRUN loses the STI
	 * interrupt shadow.
	 */
	guest_access(v, &bp[1], 0);
	guest_wrmsr(v, X2APIC_SVR, 0x1ff, 0);
	guest_arm(v, bp, 2);
	guest_wrmsr(v, X2APIC_ICR, 0x40000 | V_IRQ, 0);
	guest_emit_rdi(v, bp[1].addr);
	GUEST_INSN(v, 0xfb, 0x89, 0x07);	/* sti; mov %eax, (%rdi) */
	guest_expect_db(v, 2, v->pc);
	guest_expect(v, V_IRQ, v->pc, 0);
	GUEST_INSN(v, 0x90, 0xfa);		/* nop; cli */
	guest_access(v, &bp[1], 2);
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "an interrupt at a data trap"));
}

/*
 * INIT clears DR0-DR3 and sets DR6 and DR7 to their values after reset (SDM
 * vol. 3A, the table named at initial_values).  Regression test for
 * ae561edeb421: DR0-DR3 kept what the guest had written.
 */
TEST_F(fast_path, init_clears_registers)
{
	struct vcpu *v = &self->v;
	struct kvm_debugregs d;
	unsigned int i;

	guest_arm(v, self->bp, DR_SLOTS_ALL);
	guest_set_dr(v, 6, DR6_NONE | 0xf);
	guest_out(v, PORT_STEP);
	guest_wrmsr(v, X2APIC_ICR, 0x4500, 0);
	for (i = 0; i < 4; i++)
		guest_out(v, PORT_STEP);
	ASSERT_EQ(0, guest_start(v));

	/*
	 * INIT may arrive some instructions late.  There is no memory at the
	 * reset vector, so the guest does not exit for an OUT in the end.
	 */
	for (i = 0; i < 4; i++) {
		vcpu_run(v);
		if (v->run->exit_reason != KVM_EXIT_IO)
			break;
	}
	EXPECT_NE(KVM_EXIT_IO, v->run->exit_reason);
	ASSERT_EQ(0, ioctl(v->fd, KVM_GET_DEBUGREGS, &d));
	for (i = 0; i < DR_SLOTS; i++)
		EXPECT_EQ(0, d.db[i]);
	EXPECT_EQ(DR6_NONE, d.dr6);
	EXPECT_EQ(GUEST_DR7_NONE, d.dr7);
}

TEST_HARNESS_MAIN
