// SPDX-License-Identifier: GPL-2.0
/*
 * Debug exceptions of instructions that KVM's emulator performs in a guest.
 *
 * With the module parameter force_emulation_prefix KVM emulates any instruction that
 * follows ud2 and the letters "kvm" (6c86eedc206d, then a module parameter of kvm).
 * Its #DB must leave DR6, DR7 and the interrupt shadow as the CPU's does (dfc1c4687e9c,
 * 51543660c521, 00b6520669bc).
 */
#include "kvm_test.h"

FIXTURE(emulation) {
	struct vm vm;
	struct vcpu v;
};

/* Append the prefix; the instruction that is appended next is emulated */
static void emulate_next(struct vcpu *v)
{
	GUEST_INSN(v, 0x0f, 0x0b, 'k', 'v', 'm');
}

FIXTURE_SETUP(emulation)
{
	struct vcpu *v = &self->v;

	open_guest(_metadata, &self->vm, v, false);
	guest_begin(v);
	/* Where the letters are executed they are an imul of 0x6d(%rsi) */
	guest_emit_imm64(v, 0xbe, addr_of(guest_data(v, 0x800)));
	emulate_next(v);
	GUEST_INSN(v, 0x90, 0x90);
	guest_out(v, PORT_STEP);
	ASSERT_EQ(0, guest_start(v));
	ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
	if (*(__u64 *)(v->area + AT_COUNT))
		SKIP(_exit(EXIT_SKIPPED), SKIP_OLD_KVM);
	guest_begin(v);
}

FIXTURE_TEARDOWN(emulation)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* One step for each, emulated or not */
TEST_F(emulation, own_tf)
{
	struct vcpu *v = &self->v;
	unsigned int i;

	guest_emit_rdi(v, guest_data(v, 0));
	guest_set_tf(v);
	for (i = 0; i < 4; i++) {
		emulate_next(v);
		GUEST_INSN(v, 0x90);
		guest_expect_step(v);
		GUEST_INSN(v, 0x90);
		guest_expect_step(v);
		emulate_next(v);
		GUEST_INSN(v, 0x89, 0x07);	/* mov %eax, (%rdi) */
		guest_expect_step(v);
	}
	guest_clear_tf(v);
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "steps over emulated instructions"));
}

/*
 * The shadow of sti holds off interrupts, not the #DB of TF, whose delivery ends it
 * (00b6520669bc)
 */
TEST_F(emulation, own_tf_over_sti)
{
	struct vcpu *v = &self->v;
	unsigned int i;

	guest_set_tf(v);
	for (i = 0; i < 4; i++) {
		emulate_next(v);
		GUEST_INSN(v, 0xfb);	/* sti */
		guest_expect_step(v);
		GUEST_INSN(v, 0x90);
		guest_expect_step(v);
		emulate_next(v);
		GUEST_INSN(v, 0xfa);	/* cli */
		guest_expect_step(v);
	}
	guest_clear_tf(v);
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "steps over emulated sti and cli"));
}

/* DR6 bits from before stay, as the CPU never clears them */
TEST_F(emulation, step_keeps_dr6)
{
	struct vcpu *v = &self->v;

	guest_set_dr(v, 6, DR6_NONE | DR6_BT);
	guest_set_tf(v);
	emulate_next(v);
	GUEST_INSN(v, 0x90);
	guest_expect(v, V_DB, v->pc, DR6_NONE | DR6_BT | DR6_BS);
	guest_clear_tf(v);
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "a step with another bit in DR6"));
}

/* In all slots: once, before the instruction, and the next execution again */
TEST_F(emulation, execute_breakpoint)
{
	struct vcpu *v = &self->v;
	struct bp bp[DR_SLOTS] = {};
	unsigned int slot, pass, i;

	for (slot = 0; slot < DR_SLOTS; slot++) {
		/* Twice: the address of the instruction is only known then */
		for (pass = 0; pass < 2; pass++) {
			guest_begin(v);
			guest_arm(v, bp, 1 << slot);
			emulate_next(v);
			bp[slot] = (struct bp){ BP_EXECUTE, 1, v->pc };
			GUEST_INSN(v, 0x90);
			guest_expect_db(v, 1 << slot, bp[slot].addr);
			guest_out(v, PORT_STEP);
		}
		for (i = 0; i < 3; i++) {
			guest_reset_log(v);
			ASSERT_TRUE(guest_run(v, "on an emulated instruction")) {
				TH_LOG("slot %u", slot);
			}
		}
		bp[slot].addr = NULL;
	}
}

/* mov to and from DR with DR7.GD: BD, before it is done, and GD is cleared */
TEST_F(emulation, general_detect)
{
	struct vcpu *v = &self->v;

	prepare_general_detect(v);
	emulate_next(v);
	check_general_detect(_metadata, v);
}

TEST_HARNESS_MAIN
