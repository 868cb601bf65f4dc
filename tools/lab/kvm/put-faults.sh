#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Put KVM's debug-register bugs back into a kernel source, one choosable at a
# time, to see whether kvm_guest_test catches them.
#
# Usage: put-faults.sh KERNEL-SOURCE
#
# kvm.hwbp_fault=N on the command line, or /sys/module/kvm/parameters/hwbp_fault
# at any time, chooses; 0 is the good KVM.
#   1  both fixes of 2016 out: 70e4da7a8ff6, and 172b2386ed16 (which 34e9f860071f
#      took out of 5.17 again, because 70e4da7a8ff6 does without)
#   2  70e4da7a8ff6 out, 172b2386ed16 in: the guest's registers are loaded anew
#      only after the vCPU itself has been
#   3  c2fee09fc167 out: DR6 loaded anew at every entry, the fast path's too
#   4  the host's registers not loaded again after the guest ran
#   5  the guest's DR7 left active in a host without breakpoints
#   6  the guest's DR7 left active in a host that has some
#   7  DR6 not read back after the guest had it to itself
# 172b2386ed16 out alone is what every kernel since 5.17 is: 0.
#
# Each edit must apply exactly once, or the kernel is not what it says it is.
# shellcheck disable=SC2016 # $0 in single quotes is for awk

set -eu

src=${1:?usage: put-faults.sh KERNEL-SOURCE}
x86=$src/arch/x86/kvm/x86.c
svm=$src/arch/x86/kvm/svm/svm.c

die()
{
	echo "put-faults.sh: $*" >&2
	exit 1
}

edit()
{
	awk "$2" "$1" >"$1.new" || die "an edit does not fit $1"
	mv "$1.new" "$1"
}

[ -f "$x86" ] || die "no KVM in $src"
[ -f "$svm" ] || die "no kvm_amd in $src"
if grep -q hwbp_kvm_fault "$x86"; then
	exit 0
fi

# KVM_DEBUGREG_RELOAD of 172b2386ed16 was bit 2.
edit "$x86" '
{ print }
/^static int kvm_vcpu_do_singlestep\(struct kvm_vcpu \*vcpu\);$/ {
	print ""
	print "int hwbp_kvm_fault;"
	print "module_param_named(hwbp_fault, hwbp_kvm_fault, int, 0644);"
	declared++
}
/^void kvm_arch_vcpu_load\(/ { load = 1 }
load && /vcpu->arch.l1tf_flush_l1d = true;/ {
	print "\tif (hwbp_kvm_fault == 2)"
	print "\t\tvcpu->arch.switch_db_regs |= 4;"
	load = 0
	loaded++
}
/^\t\tset_debugreg\(vcpu->arch.eff_db\[3\], 3\);$/ {
	print "\t\tvcpu->arch.switch_db_regs &= ~4;"
	entered++
}
END { exit !(declared == 1 && loaded == 1 && entered == 1) }
'

edit "$x86" '
/^\t\tkvm_update_dr7\(vcpu\);$/ && last ~ /kvm_update_dr0123\(vcpu\);$/ {
	print "\t\tif (hwbp_kvm_fault != 1 && hwbp_kvm_fault != 2)"
	$0 = "\t" $0
	synced++
}
/^\t\thw_breakpoint_restore\(\);$/ && last ~ /if \(hw_breakpoint_active\(\)\)$/ {
	print "\t\tif (hwbp_kvm_fault != 4)"
	print "\t" $0
	print "\tif (hwbp_kvm_fault == (hw_breakpoint_active() ? 6 : 5))"
	$0 = "\t\tset_debugreg(vcpu->arch.dr7, 7);"
	restored++
}
{ print; last = $0 }
END { exit !(synced == 1 && restored == 1) }
'
# The statement above has two ifs now, and braces are wanted.
edit "$x86" '
/^\tif \(hw_breakpoint_active\(\)\)$/ { $0 = $0 " {"; braced++ }
{ print }
/^\t\t\thw_breakpoint_restore\(\);$/ { print "\t}"; braced++ }
END { exit braced != 2 }
'

edit "$svm" '
{ print }
/^#include "svm_ops.h"$/ {
	print ""
	print "extern int hwbp_kvm_fault;"
	declared++
}
END { exit declared != 1 }
'
edit "$svm" '
/^\tif \(unlikely\(run_flags & KVM_RUN_LOAD_GUEST_DR6\)\)$/ {
	print "\tif (unlikely(run_flags & KVM_RUN_LOAD_GUEST_DR6) ||"
	print "\t    (hwbp_kvm_fault == 3 &&"
	print "\t     (vcpu->arch.switch_db_regs & KVM_DEBUGREG_WONT_EXIT)))"
	fast++
	next
}
/^\tvcpu->arch.dr6 = svm->vmcb->save.dr6;$/ {
	print "\tif (hwbp_kvm_fault != 7)"
	$0 = "\t" $0
	read++
}
{ print }
END { exit !(fast == 1 && read == 1) }
'
