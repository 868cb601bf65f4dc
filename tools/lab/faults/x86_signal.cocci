// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/kernel/signal.c arch/x86/kernel/signal_64.c
//
// The resume flag over a signal: cleared for the handler, restored after it.

@@
identifier regs;
@@
handle_signal(..., struct pt_regs *regs)
{
<...
-	regs->flags &= ~(X86_EFLAGS_DF|X86_EFLAGS_RF|X86_EFLAGS_TF);
+	regs->flags &= ~(X86_EFLAGS_DF|X86_EFLAGS_TF);
+	if (!hwbp_fault(handler_keeps_rf))
+		regs->flags &= ~X86_EFLAGS_RF;
...>
}

@@
identifier regs;
expression E;
@@
restore_sigcontext(struct pt_regs *regs, ...)
{
<...
	regs->flags = E;
+	if (hwbp_fault(sigreturn_loses_rf))
+		regs->flags &= ~X86_EFLAGS_RF;
...>
}
