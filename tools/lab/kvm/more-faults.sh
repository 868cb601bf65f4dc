#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Two more bugs of KVM than those of tools/lab/faults, into a kernel source
# that has those already.
#
# Usage: more-faults.sh KERNEL-SOURCE
#
# kvm.hwbp_more=N on the command line, or /sys/module/kvm/parameters/hwbp_more at
# any time, chooses:
#   1  reload_on_load_only: 70e4da7a8ff6 out and 172b2386ed16 in, as between the
#      two.  The guest's registers are loaded anew only after the vCPU itself
#      has been.  (172b2386ed16 out and 70e4da7a8ff6 in is what every kernel since
#      34e9f860071f, 5.17, is: no bug.)
#   2  dr6_not_read_back: DR6 not read when the guest has had it to itself
#
# Each edit must apply exactly once.
# shellcheck disable=SC2016 # $0 in single quotes is for awk

set -eu

src=${1:?usage: more-faults.sh KERNEL-SOURCE}
x86=$src/arch/x86/kvm/x86.c
svm=$src/arch/x86/kvm/svm/svm.c

die()
{
	echo "more-faults.sh: $*" >&2
	exit 1
}

edit()
{
	awk "$2" "$1" >"$1.new" || die "an edit does not fit $1"
	mv "$1.new" "$1"
}

[ -f "$src/.hwbp_fault" ] || die "$src lacks the faults of tools/lab/faults"
stamp=$(cksum <"$0")
if [ -f "$src/.hwbp_more" ]; then
	[ "$(cat "$src/.hwbp_more")" = "$stamp" ] && exit 0
	die "$src has other faults already: unpack it again"
fi

# KVM_DEBUGREG_RELOAD of 172b2386ed16 was bit 2.
edit "$x86" '
/^\t\tif \(!hwbp_fault\(kvm_dr7_not_updated\)\)$/ {
	$0 = "\t\tif (!hwbp_fault(kvm_dr7_not_updated) && hwbp_kvm_more != 1)"
	synced++
}
{ print }
/^static int kvm_vcpu_do_singlestep\(struct kvm_vcpu \*vcpu\);$/ {
	print ""
	print "int hwbp_kvm_more;"
	print "module_param_named(hwbp_more, hwbp_kvm_more, int, 0644);"
	declared++
}
/^void kvm_arch_vcpu_load\(/ { load = 1 }
load && /vcpu->arch.l1tf_flush_l1d = true;/ {
	print "\tif (hwbp_kvm_more == 1)"
	print "\t\tvcpu->arch.switch_db_regs |= 4;"
	load = 0
	loaded++
}
/^\t\tset_debugreg\(vcpu->arch.eff_db\[3\], 3\);$/ {
	print "\t\tvcpu->arch.switch_db_regs &= ~4;"
	entered++
}
END { exit !(synced == 1 && declared == 1 && loaded == 1 && entered == 1) }
'

edit "$svm" '
/^\tvcpu->arch.dr6 = svm->vmcb->save.dr6;$/ {
	print "\tif (hwbp_kvm_more != 2)"
	$0 = "\t" $0
	read++
}
{ print }
/^#include "svm_ops.h"$/ {
	print ""
	print "extern int hwbp_kvm_more;"
	declared++
}
END { exit !(read == 1 && declared == 1) }
'
echo "$stamp" >"$src/.hwbp_more"
