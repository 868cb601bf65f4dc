// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/kernel/step.c

@@
identifier child;
@@
enable_single_step(struct task_struct *child)
{
<...
-	set_task_syscall_work(child, SYSCALL_EXIT_TRAP);
+	if (!hwbp_fault(step_over_syscall))
+		set_task_syscall_work(child, SYSCALL_EXIT_TRAP);
...>
}
