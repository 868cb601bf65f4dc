// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/kernel/traps.c
//
// The debug exception.

@@
identifier f = {debug_read_reset_dr6, debug_read_clear_dr6};
@@
f(...)
{
<...
-	set_debugreg(DR6_RESERVED, 6);
+	if (hwbp_fault(dr6_reset_to_0))
+		set_debugreg(0, 6);
+	else if (!hwbp_fault(dr6_not_reset))
+		set_debugreg(DR6_RESERVED, 6);
...>
}

@@
identifier regs, dr6;
@@
exc_debug_kernel(struct pt_regs *regs, unsigned long dr6)
{
<...
-	if (test_thread_flag(TIF_BLOCKSTEP)) {
+	if (test_thread_flag(TIF_BLOCKSTEP) && !hwbp_fault(kernel_db_loses_btf)) {
	...
	}
...>
}

@@
identifier regs, dr6;
@@
exc_debug_kernel(struct pt_regs *regs, unsigned long dr6)
{
<...
	WARN_ON_ONCE(user_mode(regs));
+	if (hwbp_fault(kernel_db_wipes_dr6))
+		current->thread.virtual_dr6 = 0;
...>
}

@@
identifier dr7;
@@
exc_debug_kernel(...)
{
<...
-	local_db_restore(dr7);
+	if (!hwbp_fault(kernel_db_disarms))
+		local_db_restore(dr7);
...>
}

@@
identifier regs, dr6, icebp;
@@
exc_debug_user(struct pt_regs *regs, unsigned long dr6)
{
	bool icebp;
+	bool stale = hwbp_fault(dr7_restored_stale);
+	unsigned long dr7 = stale ? local_db_save() : 0;
<...
-	current->thread.virtual_dr6 = (dr6 & DR_STEP);
+	if (hwbp_fault(step_loses_bs))
+		current->thread.virtual_dr6 = 0;
+	else if (hwbp_fault(dr6_sticky))
+		current->thread.virtual_dr6 |= (dr6 & DR_STEP);
+	else
+		current->thread.virtual_dr6 = (dr6 & DR_STEP);
...>
}

@@
identifier regs, dr6;
@@
exc_debug_user(struct pt_regs *regs, unsigned long dr6)
{
<...
	irqentry_exit_to_user_mode(regs);
+	if (stale)
+		local_db_restore(dr7);
...>
}

@@
identifier icebp, dr6;
@@
exc_debug_user(..., unsigned long dr6)
{
<...
-	icebp = !dr6;
+	icebp = !dr6 && !hwbp_fault(int1_no_signal);
...>
}

@@
identifier regs, dr6;
@@
exc_debug_user(struct pt_regs *regs, unsigned long dr6)
{
<...
-	send_sigtrap(regs, 0, get_si_code(dr6));
+	send_sigtrap(regs, 0, get_si_code(hwbp_fault(si_code_brkpt) ?
+		     dr6 & ~DR_TRAP_BITS : dr6));
...>
}

@@
identifier regs, dr6;
@@
exc_debug_user(struct pt_regs *regs, unsigned long dr6)
{
<...
	clear_thread_flag(TIF_BLOCKSTEP);
+	if ((dr6 & DR_STEP) && hwbp_fault(step_forgets_tf_owner))
+		clear_thread_flag(TIF_FORCED_TF);
...>
}
