// SPDX-License-Identifier: GPL-2.0
// Files: kernel/events/core.c
//
// Breakpoints as perf events.

@@
identifier bp, attr;
@@
perf_event_modify_breakpoint(struct perf_event *bp, struct perf_event_attr *attr)
{
<...
+	if (hwbp_fault(perf_modify_ignored))
+		return 0;
	_perf_event_disable(bp);
...>
}

@@
identifier event, attr, err, func;
@@
perf_event_modify_attr(struct perf_event *event, struct perf_event_attr *attr)
{
<...
	err = func(event, attr);
-	if (err)
+	if (err || hwbp_fault(perf_modify_skips_children))
		goto out;
...>
}

@@
identifier throttle, event, hwc;
@@
perf_swevent_overflow(struct perf_event *event, ...)
{
	struct hw_perf_event *hwc = &event->hw;
	int throttle = 0;
+
+	if (event->attr.type == PERF_TYPE_BREAKPOINT && hwbp_fault(burst_throttled))
+		throttle = 1;
	...
}

@@
identifier bp, sample;
@@
perf_bp_event(struct perf_event *bp, ...)
{
<...
-	perf_sample_data_init(&sample, bp->attr.bp_addr, 0);
+	perf_sample_data_init(&sample, hwbp_fault(sample_no_address) ? 0 : bp->attr.bp_addr, 0);
...>
}

@@
identifier event, regs;
@@
perf_exclude_event(struct perf_event *event, struct pt_regs *regs)
{
<...
-	if (event->attr.exclude_kernel && !user_mode(regs))
+	if (event->attr.exclude_kernel && !user_mode(regs) &&
+	    !hwbp_fault(exclude_kernel_ignored))
		return 1;
...>
}

@@
identifier event, regs;
@@
perf_exclude_event(struct perf_event *event, struct pt_regs *regs)
{
<...
-	if (event->attr.exclude_user && user_mode(regs))
+	if (event->attr.exclude_user && user_mode(regs) &&
+	    !hwbp_fault(exclude_user_ignored))
		return 1;
...>
}

@@
identifier event;
@@
perf_event_remove_on_exec(...)
{
<...
-	if (!event->attr.remove_on_exec)
+	if (!event->attr.remove_on_exec || hwbp_fault(remove_on_exec_ignored))
		continue;
...>
}

@@
identifier event, clone_flags;
@@
inherit_task_group(struct perf_event *event, ..., u64 clone_flags, ...)
{
<...
-	(event->attr.inherit_thread && !(clone_flags & CLONE_THREAD))
+	(event->attr.inherit_thread && !(clone_flags & CLONE_THREAD) && !hwbp_fault(inherit_thread_ignored))
...>
}

@@
identifier event;
expression E;
@@
perf_sigtrap(struct perf_event *event)
{
<...
+	if (hwbp_fault_nth(sigtrap_one_in_100, 100))
+		return;
+	if (sigismember(&current->blocked, SIGTRAP) &&
+	    hwbp_fault(sigtrap_blocked_fatal)) {
+		force_sig_fault(SIGTRAP, TRAP_PERF, E);
+		return;
+	}
	send_sig_perf(E, ...);
...>
}

@@
identifier event;
@@
perf_sigtrap(struct perf_event *event)
{
<...
	send_sig_perf(...,
-		event->attr.sig_data
+		hwbp_fault(sigtrap_no_data) ? 0 : event->attr.sig_data
	);
...>
}

@@
@@
__perf_event_task_sched_out(...)
{
<...
+	hwbp_fault_note_switch();
	if (__this_cpu_read(perf_sched_cb_usages))
		perf_pmu_sched_task(...);
...>
}
