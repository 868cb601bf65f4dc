// SPDX-License-Identifier: GPL-2.0
// Files: kernel/events/hw_breakpoint.c
//
// The counting of slots, and the changing of a breakpoint in place.

@@
identifier bp;
@@
cpumask_of_bp(struct perf_event *bp)
{
<...
-	return cpu_possible_mask;
+	return hwbp_fault(slots_of_online_cpus) ? cpu_online_mask : cpu_possible_mask;
...>
}

@@
identifier bp, enable, type, weight;
@@
toggle_bp_slot(struct perf_event *bp, bool enable, enum bp_type_idx type, int weight)
{
<...
	if (!bp->hw.target) {
+	if (!enable && hwbp_fault(close_leaks_cpu_slot))
+		return 0;
	...
	}
...>
}

@@
identifier bp, enable, type, weight, next_tsk_pinned;
@@
toggle_bp_slot(struct perf_event *bp, bool enable, enum bp_type_idx type, int weight)
{
<...
	if (bp->cpu < 0) {
	...
+	if (!enable && (bp->hw.target->flags & PF_EXITING) &&
+	    hwbp_fault(exiting_not_counted))
+		return 0;
	bp_slots_histogram_add(&tsk_pinned_all[type], next_tsk_pinned, weight);
	} else {
	...
	}
...>
}

@@
identifier bp, bp_type, type, max_pinned_slots;
@@
__reserve_bp_slot(struct perf_event *bp, u64 bp_type)
{
<...
-	if (max_pinned_slots > hw_breakpoint_slots_cached(type))
+	if (bp->hw.target && max_pinned_slots == hw_breakpoint_slots_cached(type) &&
+	    hwbp_fault(fourth_refused))
		return -ENOSPC;
+	if (max_pinned_slots > hw_breakpoint_slots_cached(type)) {
+		if (!bp->hw.target || !hwbp_fault(fifth_accepted))
+			return -ENOSPC;
+		bp->hw.freq_count_stamp = 1;
+		return 0;
+	}
...>
}

// The fifth is not in the books: nothing to take out of them.
@@
identifier bp, bp_type, type;
@@
__release_bp_slot(struct perf_event *bp, u64 bp_type)
{
	enum bp_type_idx type;
	int weight;
+
+	if (bp->hw.freq_count_stamp)
+		return;
	...
}

@@
identifier bp, type, nr, cpu;
@@
max_bp_pinned_slots(struct perf_event *bp, enum bp_type_idx type)
{
<...
-	nr += max_task_bp_pinned(cpu, type);
+	nr += hwbp_fault(cpu_ignores_tasks) ? 0 : max_task_bp_pinned(cpu, type);
...>
}

@@
identifier bp, type, max_pinned;
@@
max_bp_pinned_slots(struct perf_event *bp, enum bp_type_idx type)
{
<...
-	max_pinned += bp_slots_histogram_max(&cpu_pinned[type], type);
+	if (!hwbp_fault(task_ignores_cpus))
+		max_pinned += bp_slots_histogram_max(&cpu_pinned[type], type);
...>
}

@@
identifier bp, old_type, new_type, err;
@@
__modify_bp_slot(struct perf_event *bp, u64 old_type, u64 new_type)
{
	int err;
+
+	if (hwbp_fault(retype_needs_fifth) &&
+	    max_bp_pinned_slots(bp, find_slot_idx(new_type)) + 1 >
+	    hw_breakpoint_slots_cached(find_slot_idx(new_type)))
+		return -ENOSPC;
	...
}

@@
@@
hw_breakpoint_parse(...)
{
<...
-	if (!capable(CAP_SYS_ADMIN))
+	if (!capable(CAP_SYS_ADMIN) && !hwbp_fault(unprivileged_kernel))
		return -EPERM;
...>
}

@@
identifier bp, attr, hw, err, check;
@@
modify_user_hw_breakpoint_check(struct perf_event *bp, struct perf_event_attr *attr, bool check)
{
<...
	err = hw_breakpoint_parse(bp, attr, &hw);
-	if (err)
-		return err;
+	if (err) {
+		if (hwbp_fault(refused_address_kept))
+			bp->hw.info = hw;
+		return err;
+	}
...>
}

@@
identifier bp, attr, err;
@@
modify_user_hw_breakpoint(struct perf_event *bp, struct perf_event_attr *attr)
{
<...
+	if (attr->disabled && hwbp_fault(poke_disabled_ignored)) {
+		bp->attr.disabled = 1;
+		return 0;
+	}
	err = modify_user_hw_breakpoint_check(bp, attr, false);
+	if (err && hwbp_fault(refused_poke_disarms))
+		return err;
...>
}
