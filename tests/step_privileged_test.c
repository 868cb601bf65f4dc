// SPDX-License-Identifier: GPL-2.0
/*
 * Steps over instructions that need a privilege: port I/O, which a hypervisor
 * intercepts, and cli and sti after iopl(3), which the kernel skips.
 */
#include <sys/io.h>

#include "step_over.h"

/* Of the diagnostic codes of firmware; see arch/x86/kernel/io_delay.c */
#define PORT	0x80

DECLARE_PROBE(over_in);
DEFINE_PROBE(over_in, BEFORE, "in $" PROBE_STR(PORT) ", %al", AFTER);
DECLARE_PROBE(over_out);
DEFINE_PROBE(over_out, BEFORE "xor %eax, %eax", "out %al, $" PROBE_STR(PORT), AFTER);
/* See fixup_iopl_exception() in arch/x86/kernel/traps.c */
DECLARE_PROBE(over_cli);
DEFINE_PROBE(over_cli, BEFORE, "cli", AFTER);
DECLARE_PROBE(over_sti);
DEFINE_PROBE(over_sti, BEFORE, "sti", AFTER);

/* The tracee inherits either */
static int permit_port(void)
{
	return ioperm(PORT, 1, 1);
}

static int permit_cli(void)
{
	return iopl(3);
}

static bool always(void)
{
	return true;
}

#define PORT_INSN(name)							\
	{ .probe = PROBE_ENTRY(over_##name, 0, false), .permit = permit_port }
#define FLAG_INSN(name)							\
	{ .probe = PROBE_ENTRY(over_##name, 0, false), .permit = permit_cli, \
	  .emulated = always }

FIXTURE_VARIANT_ADD(step_over, in) PORT_INSN(in);
FIXTURE_VARIANT_ADD(step_over, out) PORT_INSN(out);
FIXTURE_VARIANT_ADD(step_over, cli) FLAG_INSN(cli);
FIXTURE_VARIANT_ADD(step_over, sti) FLAG_INSN(sti);

TEST_HARNESS_MAIN
