# SPDX-License-Identifier: GPL-2.0
# Files: arch/x86/kernel/nmi.c
#
# The way out of an NMI. Not a semantic patch, as spatch does not parse the body of
# DEFINE_IDTENTRY_RAW().
s/^\tlocal_db_restore(.*);$/\tif (!hwbp_fault(nmi_disarms))\n\t&/
