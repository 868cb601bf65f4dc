// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/kernel/process.c arch/x86/kernel/process_64.c
//
// fork and exec.

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
