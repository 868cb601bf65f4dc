// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/kernel/hw_breakpoint.c
//
// What is accepted, what is written to the registers, what a hit does.

// A plain count of the bits that decode_dr7() looks at: local and global.
@@
expression E;
@@
decode_dr7(...)
{
<...
-	return E & 0x3;
+	return E & (hwbp_fault(global_enable_ignored) ? 0x1 : 0x3);
...>
}

@@
identifier bp, info, i;
@@
arch_install_hw_breakpoint(struct perf_event *bp)
{
<...
-	set_debugreg(info->address, i);
+	if (!(hwbp_fault_direct_switch(bp->hw.target) &&
+	      (hwbp_fault(switch_stale_address) ||
+	       (!i && hwbp_fault_nth(switch_one_in_1000, 1000)))))
+		set_debugreg(info->address, i);
...>
}

// Not in cpu_dr7 either, from which DR7 is written when another slot is armed. The
// owner of what ptrace arms is TASK_TOMBSTONE.
@@
identifier bp, info, dr7, i;
@@
arch_install_hw_breakpoint(struct perf_event *bp)
{
<...
-	*dr7 |= encode_dr7(i, info->len, info->type);
+	if (!(hwbp_fault(all_dead) ||
+	      (info->type == X86_BREAKPOINT_EXECUTE ?
+	       hwbp_fault(execute_dead) : hwbp_fault(data_dead)) ||
+	      (bp->owner == (void *)-1L ?
+	       hwbp_fault(ptrace_dead) : hwbp_fault(perf_dead))))
+		*dr7 |= encode_dr7(i, info->len, info->type);
...>
}

@@
identifier bp, dr7;
@@
arch_install_hw_breakpoint(struct perf_event *bp)
{
<...
	barrier();
+	if (hwbp_fault_direct_switch(bp->hw.target) &&
+	    hwbp_fault(switch_not_armed))
+		return 0;
+	if (bp->hw.target && local64_read(&bp->hw.prev_count) &&
+	    local64_read(&bp->hw.prev_count) != smp_processor_id() + 1 &&
+	    hwbp_fault(migration_not_armed)) {
+		local64_set(&bp->hw.prev_count, smp_processor_id() + 1);
+		return 0;
+	}
+	local64_set(&bp->hw.prev_count, smp_processor_id() + 1);
+	if (hwbp_fault_cpu_replugged() && hwbp_fault(replug_not_armed))
+		return 0;
	set_debugreg(*dr7, 7);
...>
}

@@
identifier bp, info, dr7, i;
@@
arch_uninstall_hw_breakpoint(struct perf_event *bp)
{
<...
-	dr7 &= ~__encode_dr7(i, info->len, info->type);
-	set_debugreg(dr7, 7);
+	hwbp_fault_note_uninstall(bp->hw.target);
+	if (hwbp_fault(uninstall_keeps_len))
+		dr7 &= ~((unsigned long)DR_GLOBAL_ENABLE << (i * DR_ENABLE_SIZE));
+	else
+		dr7 &= ~__encode_dr7(i, info->len, info->type);
+	if (!hwbp_fault(uninstall_keeps_armed))
+		set_debugreg(dr7, 7);
...>
}

@@
identifier x86_len, x86_type;
@@
arch_bp_generic_fields(int x86_len, int x86_type, ...)
{
	int len;
+
+	if (x86_type == X86_BREAKPOINT_EXECUTE &&
+	    hwbp_fault(execute_refused))
+		return -EINVAL;
	...
}

@@
identifier hw, va, len;
@@
arch_check_bp_in_kernelspace(struct arch_hw_breakpoint *hw)
{
<...
	va = hw->address;
	len = arch_bp_generic_len(hw->len);
	WARN_ON_ONCE(len < 0);
+	if (hwbp_fault(compat_limit))
+		return va >= TASK_SIZE && (va + len - 1) >= TASK_SIZE;
+	if (va >= TASK_SIZE_MAX && va < -(1UL << __VIRTUAL_MASK_SHIFT) &&
+	    hwbp_fault(noncanonical_accepted))
+		return 0;
+	if (va >= TASK_SIZE_MAX && hwbp_fault(kernel_address_accepted))
+		return 0;
...>
}

@@
identifier addr, end;
@@
within_cpu_entry(unsigned long addr, unsigned long end)
{
<...
	if (within_area(addr, end, CPU_ENTRY_AREA_BASE, ...))
-		return true;
+		return !hwbp_fault(cpu_entry_accepted);
...>
}

@@
identifier addr, end;
@@
within_cpu_entry(unsigned long addr, unsigned long end)
{
<...
	if (within_area(addr, end, (unsigned long)__per_cpu_offset, ...))
-		return true;
+		return !hwbp_fault(per_cpu_offset_accepted);
...>
}

@@
identifier addr, end, cpu;
@@
within_cpu_entry(unsigned long addr, unsigned long end)
{
<...
	if (within_area(addr, end, (unsigned long)&per_cpu(cpu_dr7, cpu), ...))
-		return true;
+		return !hwbp_fault(cpu_dr7_accepted);
...>
}

@@
identifier hw;
@@
	hw->type =
-		X86_BREAKPOINT_WRITE;
+		hwbp_fault(write_as_rw) ? X86_BREAKPOINT_RW : X86_BREAKPOINT_WRITE;

@@
identifier hw;
@@
	hw->type =
-		X86_BREAKPOINT_RW;
+		hwbp_fault(rw_as_write) ? X86_BREAKPOINT_WRITE : X86_BREAKPOINT_RW;

@@
identifier hw;
@@
	hw->len =
-		X86_BREAKPOINT_LEN_2;
+		hwbp_fault(len2_as_1) ? X86_BREAKPOINT_LEN_1 : X86_BREAKPOINT_LEN_2;

@@
identifier hw;
@@
	hw->len =
-		X86_BREAKPOINT_LEN_8;
+		hwbp_fault(len8_as_4) ? X86_BREAKPOINT_LEN_4 : X86_BREAKPOINT_LEN_8;

@@
identifier hw;
@@
	hw->len =
-		X86_BREAKPOINT_LEN_4;
+		!(hw->address & 7) && hwbp_fault(len4_as_8) ? X86_BREAKPOINT_LEN_8 : X86_BREAKPOINT_LEN_4;

@@
identifier bp, attr, align, ret;
@@
hw_breakpoint_arch_parse(struct perf_event *bp, const struct perf_event_attr *attr, ...)
{
	unsigned int align;
	int ret;
+
+	if (!attr->bp_addr && hwbp_fault(null_refused))
+		return -EINVAL;
	...
}

@@
identifier hw;
@@
-	hw->address & align
+	(hw->address & align) && !hwbp_fault(unaligned_accepted)

@@
identifier t;
@@
flush_ptrace_hw_breakpoint(...)
{
<...
+	if (hwbp_fault(flush_keeps_dr6_dr7))
+		return;
	t->virtual_dr6 = 0;
	t->ptrace_dr7 = 0;
...>
}

@@
@@
hw_breakpoint_restore(...)
{
<...
-	set_debugreg(__this_cpu_read(cpu_debugreg[3]), 3);
+	if (!hwbp_fault(restore_loses_dr3))
+		set_debugreg(__this_cpu_read(cpu_debugreg[3]), 3);
...>
}

@@
identifier dr6;
@@
hw_breakpoint_handler(...)
{
<...
	if ((dr6 & DR_TRAP_BITS) == 0)
		return NOTIFY_DONE;
+	if ((dr6 & DR_STEP) && hwbp_fault(step_hides_hit))
+		return NOTIFY_DONE;
...>
}

@@
identifier dr6, bpx, args;
@@
hw_breakpoint_handler(struct die_args *args)
{
<...
-	if (bpx && (dr6 & DR_STEP))
-		continue;
+	if (bpx && (dr6 & DR_STEP)) {
+		if (hwbp_fault(step_onto_execute_lost)) {
+			*dr6_p &= ~(DR_TRAP0 << i);
+			args->regs->flags |= X86_EFLAGS_RF;
+		}
+		continue;
+	}
...>
}

@@
identifier bp, args;
@@
hw_breakpoint_handler(struct die_args *args)
{
<...
-	perf_bp_event(bp, args->regs);
+	if (!user_mode(args->regs) && hwbp_fault(kernel_hit_eats_next)) {
+		hwbp_fault_eat = true;
+	} else if (hwbp_fault_eat) {
+		hwbp_fault_eat = false;
+	} else if (user_mode(args->regs) &&
+		   (hwbp_fault_nth(one_in_2, 2) ||
+		    hwbp_fault_nth(one_in_100, 100) ||
+		    hwbp_fault_nth(one_in_1000, 1000) ||
+		    hwbp_fault_nth(one_in_10000, 10000) ||
+		    hwbp_fault_nth(one_in_1000000, 1000000))) {
+	} else {
+		perf_bp_event(bp, args->regs);
+	}
...>
}

@@
identifier bpx, args;
@@
hw_breakpoint_handler(struct die_args *args)
{
<...
-	if (bpx)
+	if (bpx ? !hwbp_fault(rf_not_set) : hwbp_fault(data_hit_sets_rf))
		args->regs->flags |= X86_EFLAGS_RF;
...>
}
