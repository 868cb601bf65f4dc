// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/kernel/ptrace.c
//
// The debug registers as the tracer sees them.

@@
identifier thread;
@@
ptrace_get_debugreg(...)
{
<...
- thread->ptrace_dr7
+ hwbp_fault(peek_dr7_global) ? ptrace_get_dr7(thread->ptrace_bps) : thread->ptrace_dr7
...>
}

@@
identifier thread;
@@
ptrace_get_debugreg(...)
{
<...
- thread->virtual_dr6 ^ DR6_RESERVED
+ hwbp_fault(peek_dr6_raw) ? thread->virtual_dr6 : thread->virtual_dr6 ^ DR6_RESERVED
...>
}

@@
identifier bp, val;
@@
ptrace_get_debugreg(...)
{
<...
	if (bp)
		val =
-			bp->hw.info.address;
+			bp->attr.disabled && hwbp_fault(peek_disabled_0) ? 0 : bp->hw.info.address;
...>
}

@@
identifier thread, n, val, rc, tsk;
@@
ptrace_set_debugreg(struct task_struct *tsk, int n, unsigned long val)
{
	struct thread_struct *thread = &tsk->thread;
	int rc = -EIO;
+	if ((n == 4 || n == 5) && hwbp_fault(dr4_accepted))
+		return 0;
<...
-	thread->virtual_dr6 = val ^ DR6_RESERVED;
+	if (!hwbp_fault(poke_dr6_ignored))
+		thread->virtual_dr6 = val ^ DR6_RESERVED;
...>
}

@@
identifier attr;
@@
ptrace_register_breakpoint(...)
{
<...
	ptrace_breakpoint_init(&attr);
+	if (hwbp_fault(kernel_hits_reported))
+		attr.exclude_kernel = 0;
+	if (hwbp_fault(fork_inherits))
+		attr.inherit = 1;
+	if (hwbp_fault(clone_inherits)) {
+		attr.inherit = 1;
+		attr.inherit_thread = 1;
+	}
...>
}

@@
identifier thread, i, bp;
@@
ptrace_triggered(struct perf_event *bp, ...)
{
<...
-	thread->virtual_dr6 |= (DR_TRAP0 << i);
+	if (bp->parent && i == HBP_NUM)
+		i = 0;
+	if (i && (thread->virtual_dr6 & DR_TRAP_BITS) &&
+	    hwbp_fault(dr6_lowest_only))
+		return;
+	if (i && hwbp_fault(dr6_by_rank)) {
+		int n;
+		int rank = 0;
+
+		for (n = 0; n < i; n++)
+			if (thread->ptrace_bps[n] &&
+			    !thread->ptrace_bps[n]->attr.disabled)
+				rank++;
+		i = rank;
+	}
+	thread->virtual_dr6 |= (DR_TRAP0 << i);
...>
}

@@
identifier tsk, data;
identifier type, len, bp, disabled;
@@
ptrace_write_dr7(struct task_struct *tsk, unsigned long data)
{
<...
-	bp = ptrace_register_breakpoint(tsk, len, type, 0, disabled);
+	if (hwbp_fault(dr7_before_address))
+		bp = ERR_PTR(-EINVAL);
+	else
+		bp = ptrace_register_breakpoint(tsk, len, type, 0, disabled);
...>
}

@@
identifier tsk, data, rc, type, len, bp, disabled;
@@
ptrace_write_dr7(struct task_struct *tsk, unsigned long data)
{
<...
+	if (disabled && !bp->attr.disabled && hwbp_fault(disable_ignored))
+		continue;
+	if (!disabled && !bp->attr.disabled &&
+	    hwbp_fault(retype_enabled_ignored))
+		continue;
	rc = ptrace_modify_breakpoint(bp, len, type, disabled);
...>
}

@@
identifier tsk, data, thread, old_dr7;
@@
ptrace_write_dr7(struct task_struct *tsk, unsigned long data)
{
<...
+	if (tsk != tsk->group_leader && hwbp_fault(second_thread))
+		return 0;
	old_dr7 = ptrace_get_dr7(thread->ptrace_bps);
...>
}

@@
identifier tsk, data;
@@
ptrace_write_dr7(struct task_struct *tsk, unsigned long data)
{
<...
	ret = rc;
+	if (hwbp_fault(dr7_half_applied))
+		return ret;
...>
}

@@
identifier tsk, nr, addr, bp, err, attr;
@@
ptrace_set_breakpoint_addr(struct task_struct *tsk, int nr, unsigned long addr)
{
<...
	attr.bp_addr = addr;
+	if (hwbp_fault(poke_reregisters)) {
+		unregister_hw_breakpoint(bp);
+		t->ptrace_bps[nr] = NULL;
+		bp = register_user_hw_breakpoint(&attr, ptrace_triggered,
+						 NULL, tsk);
+		if (IS_ERR(bp))
+			return PTR_ERR(bp);
+		t->ptrace_bps[nr] = bp;
+		return 0;
+	}
	err = modify_user_hw_breakpoint(bp, &attr);
...>
}

@@
identifier tsk, nr, addr, t, bp, err;
@@
ptrace_set_breakpoint_addr(struct task_struct *tsk, int nr, unsigned long addr)
{
	struct thread_struct *t = &tsk->thread;
	struct perf_event *bp = t->ptrace_bps[nr];
	int err = 0;
+	if (nr == 3 && bp && !bp->attr.disabled &&
+	    hwbp_fault(poke_enabled_dr3_ignored))
+		return 0;
	...
}

@@
identifier child;
@@
ptrace_disable(struct task_struct *child)
{
+	if (hwbp_fault(detach_disarms))
+		flush_ptrace_hw_breakpoint(child);
+	if (!hwbp_fault(detach_keeps_step))
		user_disable_single_step(child);
}

@@
identifier child, regno, value;
@@
putreg32(struct task_struct *child, unsigned regno, u32 value)
{
<...
	return ptrace_set_debugreg(child, regno / 4,
-		value
+		hwbp_fault(compat_sign_extended) ? (long)(int)value : value
	);
...>
}

@@
identifier child, regno, val;
@@
getreg32(struct task_struct *child, unsigned regno, u32 *val)
{
<...
-	*val = ptrace_get_debugreg(child, regno / 4);
+	*val = ptrace_get_debugreg(child, regno / 4);
+	if (hwbp_fault(compat_peek_truncated))
+		*val &= 0xffff;
...>
}

@@
identifier si_code;
expression E;
@@
send_sigtrap(..., int si_code)
{
<...
	force_sig_fault(SIGTRAP, si_code,
-		E
+		hwbp_fault(sigtrap_no_address) ? NULL : E
	);
...>
}
