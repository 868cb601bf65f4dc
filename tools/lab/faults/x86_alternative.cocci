// SPDX-License-Identifier: GPL-2.0
// Files: arch/x86/kernel/alternative.c
//
// The temporary address space in which kernel text is patched.

@@
@@
use_temporary_mm(...)
{
<...
-	if (hw_breakpoint_active())
+	if (hw_breakpoint_active() && !hwbp_fault(poking_keeps_armed))
		hw_breakpoint_disable();
...>
}

@@
@@
unuse_temporary_mm(...)
{
<...
-	if (hw_breakpoint_active())
+	if (hw_breakpoint_active() && !hwbp_fault(poking_disarms))
		hw_breakpoint_restore();
...>
}
