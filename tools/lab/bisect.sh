#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Find the commit that broke breakpoints: for "git bisect run", in a kernel tree.
#
#	cd linux
#	git bisect start BAD GOOD
#	git bisect run .../run_tests.sh --bisect [-t PATTERN]...
#
# Builds what is checked out, with the lab's small configuration and outside the tree, boots
# it in QEMU without KVM, and runs the suite there, or only the tests that match. KSRC=DIR:
# that kernel instead of the current directory.
#
# Exit code: 0 good, 1 bad, 125 cannot be built or booted, 128 bad usage or no emulator
# (which ends the bisection).
me=bisect
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

stop()
{
	say "$*"
	exit 128
}

tree=$(cd "${KSRC:-.}" && pwd) || exit 128
patterns=
while [ $# -gt 0 ]; do
	case $1 in
	-t | --test)
		[ $# -gt 1 ] || stop "$1 needs a pattern"
		case $2 in *"'"*) stop "no test matches $2" ;; esac
		patterns="$patterns --test '$2'"
		shift 2 ;;
	*) stop "no such option: $1" ;;
	esac
done
[ -f "$tree/arch/x86/kernel/hw_breakpoint.c" ] || stop "$tree is no kernel source"
for tool in make gcc flex bison bc cpio qemu-system-x86_64; do
	command -v $tool >/dev/null 2>&1 || stop "$tool is missing"
done
out=$lab/bisect
mkdir -p "$out" || exit 128
initrd=$("$here/initramfs.sh") || stop "no initramfs"

kernel=$(KSRC=$tree "$here/kernel.sh" -i) || exit 125
eval "set -- $patterns"
stoppable "$here/run.sh" --bisect --kernel "$kernel" --initrd "$initrd" --output "$out" "$@" \
	>"$out.out" 2>&1
code=$?
# What was wrong, or why it is not known
sed -n '/^# FAILED/,/^[0-9]/{/^#  /p}; /^run: /p' "$out.out"
tail -n 1 "$out.out"
exit $code
