#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What lab.sh has the emulated host do, and the guest Linux in that:
#   in-host.sh test | faults [NAME...] | report [SECONDS]
#   in-host.sh load KIND SECONDS      one load until it loses a trap
#
# Runs under busybox ash.  Sleeps only wait for the machine beside; no verdict
# depends on them.

cd /suite || exit 1
# For kvm_emulation_test
echo 1 >/sys/module/kvm/parameters/force_emulation_prefix
known=/suite/tcg-kvm.txt
more=/sys/module/kvm/parameters/hwbp_more

now()
{
	cut -d' ' -f1 /proc/uptime
}

# since TIME: seconds, two places
since()
{
	awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.2f", b - a }'
}

is_known()
{
	[ -r $known ] || return 1
	while read -r pattern _; do
		case $pattern in
		'' | '#'*) continue ;;
		esac
		# shellcheck disable=SC2254 # it is a pattern
		case $1 in
		$pattern) return 0 ;;
		esac
	done <$known
	return 1
}

# failures PROGRAM...: "SECONDS NAME" for each, except known ones
failures()
{
	start=$(now)
	for program; do
		"./$program" 2>&1 | while read -r not ok nr name rest; do
			[ "$not $ok" = "not ok" ] || continue
			is_known "$program:$name" && continue
			echo "$(since "$start") $program:$name"
		done
	done
}

# choose NAME: the bug that KVM has from now on
choose()
{
	case $1 in
	reload_on_load_only) echo none >/proc/hwbp_fault && echo 1 >$more ;;
	dr6_not_read_back) echo none >/proc/hwbp_fault && echo 2 >$more ;;
	*) echo 0 >$more && echo "$1" >/proc/hwbp_fault ;;
	esac
}

faults()
{
	missed=0
	# shellcheck disable=SC2046 # a list of names
	[ $# -gt 0 ] || set -- none $(sed -n 's/^\(kvm_[^ ]*\) .*/\1/p' /proc/hwbp_fault) \
		reload_on_load_only dr6_not_read_back
	for name; do
		choose "$name" || return 1
		start=$(now)
		failures kvm_guest_test_64 kvm_host_test_64 kvm_step_test_64 \
			kvm_emulation_test_64 >/tmp/caught
		all=$(since "$start")
		choose none
		if [ -s /tmp/caught ]; then
			echo "$name: caught after $(head -n 1 /tmp/caught | cut -d' ' -f1) s of $all s, by $(wc -l </tmp/caught) tests"
			sed 's/^[^ ]* /    /' /tmp/caught
			[ "$name" != none ] || missed=1
		else
			echo "$name: nothing failed, $all s"
			[ "$name" = none ] || missed=1
		fi
	done
	return $missed
}

# load KIND SECONDS: prints when the first trap was lost, if any
load()
{
	start=$(now)
	case $1 in
	report0) ./report_loop 0 "$2" ;;
	report1) ./report_loop 1 "$2" ;;
	*)
		runs=0
		while :; do
			# Printed at once, while the program continues
			failures "$1" | {
				read -r _ lost || exit 0
				echo "$1: lost, $lost, $(since "$start") s"
				exit 1
			} || return 1
			runs=$((runs + 1))
			[ "$(since "$start" | cut -d. -f1)" -lt "$2" ] || break
		done
		echo "$1: none lost in $runs runs, $(since "$start") s"
		;;
	esac
}

# guest NR COMMAND: a guest Linux on CPU 0, its console in /tmp/guest.NR
guest()
{
	nr=$1
	shift
	mkdir -p "/tmp/cmd.$nr"
	echo "$*" >"/tmp/cmd.$nr/cmd"
	(cd "/tmp/cmd.$nr" && echo cmd | cpio -o -H newc 2>/dev/null | gzip) |
		cat /guest.gz - >"/tmp/initrd.$nr"
	: >"/tmp/guest.$nr"
	taskset 1 /lib64/ld-linux-x86-64.so.2 --library-path /qemu /qemu/qemu \
		-L /qemu -nodefaults -no-user-config -machine microvm,acpi=off \
		-accel kvm -cpu host -m 128 -kernel /vmlinux \
		-initrd "/tmp/initrd.$nr" -append \
		"console=ttyS0 panic=-1 quiet reboot=t" -display none \
		-serial stdio -monitor none -no-reboot </dev/null \
		>"/tmp/guest.$nr" 2>&1 &
}

# until_in FILE WORDS SECONDS
until_in()
{
	i=0
	until grep -q "$2" "$1"; do
		i=$((i + 1))
		[ $i -lt $((5 * $3)) ] || return 1
		sleep 0.2
	done
}

# beside KIND-IN-GUEST KIND-IN-HOST SECONDS: both on CPU 0, from when the guest
# is up
beside()
{
	guest 1 "echo lab: go; /bin/sh /in-host.sh load $1 $3"
	if ! until_in /tmp/guest.1 "lab: go" 60; then
		echo "    the guest Linux does not come up"
		tail -n 5 /tmp/guest.1
		kill %1 2>/dev/null
		wait
		return
	fi
	taskset 1 /bin/sh /in-host.sh load "$2" "$3" >/tmp/host.1 2>&1 &
	until_in /tmp/guest.1 "lost\|stopped\|lab: exit" $(($3 * 4 + 120)) ||
		echo "    the guest Linux gives no result"
	tr -d '\r' </tmp/guest.1 | grep -E "lost|stopped" | sed 's/^/    guest: /'
	until_in /tmp/host.1 "lost\|stopped" $(($3 * 4 + 60))
	sed 's/^/    host:  /' /tmp/host.1
	kill %1 %2 2>/dev/null
	wait
}

# two_guests SECONDS: the report's loop in each, with other addresses
two_guests()
{
	for nr in 0 1; do
		guest $nr "echo lab: go; /bin/sh /in-host.sh load report$nr $1"
	done
	for nr in 0 1; do
		until_in /tmp/guest.$nr "lab: exit" $(($1 * 4 + 60)) ||
			echo "    guest $nr gives no result"
		tr -d '\r' </tmp/guest.$nr | grep -E "lost|stopped" |
			sed "s/^/    guest $nr: /"
	done
	kill %1 %2 2>/dev/null
	wait
}

report()
{
	seconds=${1:-20}
	program=context_switch_test_64
	for name in none kvm_dr7_not_updated; do
		echo "$name: the KVM programs"
		faults $name | sed -n '1s/^[^:]*:/   /p'
		choose $name || return 1
		echo "$name: $program in a guest Linux and in the host"
		beside $program $program "$seconds"
		echo "$name: the report's loop in a guest Linux and in the host"
		beside report1 report0 "$seconds"
		echo "$name: the report's loop in two guest Linux"
		two_guests "$seconds"
		choose none
	done
}

# The lab's QEMU is fixed (build-qemu.sh)
export HW_BREAKPOINT_TCG_SVM=1
# Others read it, though it is a terminal
export HW_BREAKPOINT_KTAP=1
what=$1
shift
case $what in
test)	./run_tests.sh -k $known -t 'kvm_*' ;;
faults)	faults "$@" ;;
load)	load "$@" ;;
report)	report "$@" ;;
esac
