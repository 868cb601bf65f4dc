// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/kernel/process.c arch/x86/kernel/process_64.c
//
// fork and exec.

@@
identifier p;
@@
copy_thread(struct task_struct *p, ...)
{
<...
	memset(p->thread.ptrace_bps, 0, sizeof(p->thread.ptrace_bps));
+	if (hwbp_fault(fork_clears_parent))
+		memset(current->thread.ptrace_bps, 0,
+		       sizeof(p->thread.ptrace_bps));
...>
}

@@
identifier tsk;
@@
flush_thread(...)
{
<...
-	flush_ptrace_hw_breakpoint(tsk);
+	if (!hwbp_fault(exec_keeps))
+		flush_ptrace_hw_breakpoint(tsk);
...>
}
