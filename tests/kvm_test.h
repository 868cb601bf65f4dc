/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Setup of the KVM tests, and when they are skipped.
 */
#ifndef HW_BREAKPOINT_KVM_TEST_H
#define HW_BREAKPOINT_KVM_TEST_H

#include <linux/kvm.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "environment.h"
#include "harness.h"
#include "kvm_vm.h"

/*
 * A VM with one vCPU that was able to run one instruction.  Any obstacle to
 * that skips the test, with its name.
 */
#define LAZY_READS	32
#define LAZY_RUNS	5

static inline void skip_if_kvm_unusable(struct __test_metadata *_metadata,
					struct vcpu *v, const char *failed)
{
	unsigned int i;

	if (failed) {
		TH_LOG("%s: %s", failed, strerror(errno));
		SKIP(_exit(EXIT_SKIPPED), SKIP_NO_KVM);
	}
	/*
	 * As packaged, QEMU's SVM loses its own breakpoints at VMRUN and
	 * #VMEXIT, and then the whole machine hangs.  An environment variable
	 * states that it is fixed.
	 */
	if (environment_is_tcg() && !getenv("HW_BREAKPOINT_TCG_SVM"))
		SKIP(_exit(EXIT_SKIPPED), SKIP_TCG_SVM);
	guest_begin(v);
	guest_out(v, PORT_STEP);
	for (i = 0; i < LAZY_RUNS * LAZY_READS; i++) {
		guest_get_dr(v, i % DR_SLOTS, guest_saved(v, 0));
		if (i % LAZY_READS == LAZY_READS - 1)
			guest_out(v, PORT_STEP);
	}
	if (guest_start(v) || vcpu_run(v)) {
		TH_LOG("KVM_RUN: %s", strerror(errno));
		SKIP(_exit(EXIT_SKIPPED), SKIP_NO_KVM);
	}
	if (v->run->exit_reason != KVM_EXIT_IO) {
		TH_LOG("the guest's first instruction causes exit reason %u",
		       v->run->exit_reason);
		SKIP(_exit(EXIT_SKIPPED), SKIP_NO_KVM);
	}

	/* From here on nothing is skipped; the result is only noted */
	vcpu_forget_lazy(v);
	for (i = 0; i < LAZY_RUNS; i++) {
		ASSERT_TRUE(vcpu_run_to(v, PORT_STEP));
		vcpu_note_lazy(v, LAZY_READS);
	}
}

static inline void open_guest(struct __test_metadata *_metadata, struct vm *vm,
			      struct vcpu *v, bool irqchip)
{
	const char *failed = vm_create(vm, 0, irqchip);

	if (!failed)
		failed = vcpu_create(v, vm, 0);
	skip_if_kvm_unusable(_metadata, v, failed);
}

/* perf may be refused by the environment; any other error is a failure */
static inline void arm_host(struct __test_metadata *_metadata, struct host *h)
{
	skip_if_refused(_metadata, host_arm(h), "perf_event_open");
}

/* Stay on one CPU, on which the guest ran and the host's traps are made */
static inline int pin_to_current_cpu(void)
{
	int cpu = sched_getcpu();

	return cpu < 0 || pin_to_cpu(0, cpu) ? -1 : cpu;
}

/* For the mov to DR0 that check_general_detect() appends */
static inline void prepare_general_detect(struct vcpu *v)
{
	guest_set_dr(v, 0, 0x1000);
	guest_set_dr(v, 7, GUEST_DR7_NONE | DR7_GD);
	guest_emit_rax(v, 0x2000);
}

/* It traps before it is done, once, and GD is cleared */
static inline void check_general_detect(struct __test_metadata *_metadata,
					struct vcpu *v)
{
	guest_expect(v, V_DB, v->pc, DR6_NONE | DR6_BD);
	GUEST_INSN(v, 0x0f, 0x23, 0xc0);	/* mov %rax, %dr0 */
	guest_get_dr(v, 0, guest_saved(v, 0));
	guest_get_dr(v, 7, guest_saved(v, 1));
	guest_out(v, PORT_STEP);
	ASSERT_TRUE(guest_run(v, "general detect"));
	EXPECT_EQ(0x2000, *guest_saved(v, 0));
	EXPECT_EQ(GUEST_DR7_NONE, *guest_saved(v, 1));
}

#endif /* HW_BREAKPOINT_KVM_TEST_H */
