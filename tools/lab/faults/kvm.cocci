// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/kvm/x86.c arch/x86/kvm/svm/svm.c
//
// A guest's debug registers and the host's.

@@
identifier vcpu;
@@
vcpu_enter_guest(struct kvm_vcpu *vcpu)
{
<...
	kvm_update_dr0123(vcpu);
-	kvm_update_dr7(vcpu);
+	if (!hwbp_fault(kvm_dr7_not_updated))
+		kvm_update_dr7(vcpu);
...>
}

@@
identifier vcpu;
@@
vcpu_enter_guest(struct kvm_vcpu *vcpu)
{
<...
-	kvm_update_dr0123(vcpu);
+	if (!hwbp_fault(kvm_dr0123_not_updated))
+		kvm_update_dr0123(vcpu);
...>
}

@@
identifier vcpu;
@@
vcpu_enter_guest(struct kvm_vcpu *vcpu)
{
<...
-	if (hw_breakpoint_active())
+	if ((vcpu->arch.dr7 & DR7_BP_EN_MASK) && hwbp_fault(kvm_guest_dr7_left)) {
+		set_debugreg(vcpu->arch.db[0], 0);
+		set_debugreg(vcpu->arch.db[1], 1);
+		set_debugreg(vcpu->arch.db[2], 2);
+		set_debugreg(vcpu->arch.db[3], 3);
+		set_debugreg(vcpu->arch.dr7, 7);
+	} else if (hw_breakpoint_active() && !hwbp_fault(kvm_host_not_restored))
		hw_breakpoint_restore();
...>
}

@@
identifier vcpu;
@@
kvm_vcpu_reset(struct kvm_vcpu *vcpu, ...)
{
<...
-	memset(vcpu->arch.db, 0, sizeof(vcpu->arch.db));
+	if (!hwbp_fault(kvm_reset_keeps_db))
+		memset(vcpu->arch.db, 0, sizeof(vcpu->arch.db));
...>
}

@@
identifier run_flags;
@@
-	run_flags & KVM_RUN_LOAD_GUEST_DR6
+	(run_flags & KVM_RUN_LOAD_GUEST_DR6) || ((vcpu->arch.switch_db_regs & KVM_DEBUGREG_WONT_EXIT) && hwbp_fault(kvm_dr6_stale))
@@
identifier vcpu;
@@
vcpu_enter_guest(struct kvm_vcpu *vcpu)
{
<...
+	if (hwbp_fault(kvm_guest_dr6_left))
+		set_debugreg(vcpu->arch.dr6, 6);
	vcpu->arch.last_vmentry_cpu = vcpu->cpu;
...>
}

@@
identifier vcpu;
@@
kvm_skip_emulated_instruction(struct kvm_vcpu *vcpu)
{
<...
-	if (unlikely(rflags & X86_EFLAGS_TF))
+	if (unlikely(rflags & X86_EFLAGS_TF) && !hwbp_fault(kvm_skip_forgets_step))
		r = kvm_vcpu_do_singlestep(vcpu);
...>
}

@@
identifier vcpu;
@@
x86_emulate_instruction(struct kvm_vcpu *vcpu, ...)
{
<...
-	if (r && (ctxt->tf || (vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP)))
+	if (r && (ctxt->tf || (vcpu->guest_debug & KVM_GUESTDBG_SINGLESTEP)) &&
+	    !hwbp_fault(kvm_emulator_forgets_step))
		r = kvm_vcpu_do_singlestep(vcpu);
...>
}

@@
identifier vcpu, type;
@@
kvm_vcpu_check_code_breakpoint(struct kvm_vcpu *vcpu, int type, ...)
{
<...
	WARN_ON_ONCE(...);
+	if (hwbp_fault(kvm_emulator_forgets_breakpoint))
+		return false;
...>
}

@@
identifier vcpu;
@@
kvm_deliver_exception_payload(struct kvm_vcpu *vcpu, ...)
{
<...
-	vcpu->arch.dr6 &= ~DR_TRAP_BITS;
+	if (hwbp_fault(kvm_db_clears_dr6))
+		vcpu->arch.dr6 = DR6_ACTIVE_LOW;
+	else
+		vcpu->arch.dr6 &= ~DR_TRAP_BITS;
...>
}

@@
identifier vcpu;
@@
-	if (vcpu->arch.dr7 & DR7_GD) {
+	if ((vcpu->arch.dr7 & DR7_GD) && !hwbp_fault(kvm_db_keeps_gd)) {
		vcpu->arch.dr7 &= ~DR7_GD;
		...
	}
