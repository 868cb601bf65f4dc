// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/ia32/ia32_signal.c arch/x86/kernel/signal_32.c

@@
identifier regs;
expression E;
@@
ia32_restore_sigcontext(struct pt_regs *regs, ...)
{
<...
	regs->flags = E;
+	if (hwbp_fault(compat_sigreturn_loses_rf))
+		regs->flags &= ~X86_EFLAGS_RF;
...>
}
