// SPDX-License-Identifier: GPL-2.0
// Files: kernel/exit.c

@@
identifier tsk;
@@
do_exit(...)
{
<...
-	flush_ptrace_hw_breakpoint(tsk);
+	if (!hwbp_fault(exit_leaks_slots))
+		flush_ptrace_hw_breakpoint(tsk);
...>
}
