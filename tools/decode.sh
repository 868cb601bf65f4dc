#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Say in words what debug registers mean.
#
# Usage: decode.sh REGISTER=VALUE...
#
# REGISTER: DR0 to DR3, DR6 and DR7, in any order; VALUE as in a failure's record, decimal
# or 0x and hexadecimal. A failure's lines can be given as they are:
#
#	decode.sh DR0 0x7f31c000 DR1 0 DR2 0 DR3 0 DR6 0xffff0ff1 DR7 0x10001
#
# Bits and encodings: Intel SDM vol. 3, "Debug Registers"; AMD APM vol. 2, "Software-Debug
# Resources". Exit code: 0, or 2 for bad usage.

usage()
{
	[ $# -eq 0 ] || echo "decode.sh: $*" >&2
	sed -n 's/^# Usage: /Usage: /p' "$0" >&2
	exit 2
}

# number TEXT: to $value, all 64 bits
number()
{
	case $1 in
	0[xX]*[!0-9a-fA-F]* | 0[xX] | 0[xX]?????????????????*) usage "not a number: $1" ;;
	0[xX]*) ;;
	'' | *[!0-9]* | ???????????????????*) usage "not a number: $1" ;;
	0?*) usage "not a decimal number: $1" ;;
	esac
	value=$(($1))
}

dr0='' dr1='' dr2='' dr3='' dr6='' dr7=''
[ $# -gt 0 ] || usage
while [ $# -gt 0 ]; do
	name=${1%%=*}
	case $1 in
	*=*) text=${1#*=} ;;
	*)
		[ $# -gt 1 ] || usage "$1 has no value"
		shift
		text=$1 ;;
	esac
	shift
	number "$text"
	case $name in
	[dD][rR]0) dr0=$value ;;
	[dD][rR]1) dr1=$value ;;
	[dD][rR]2) dr2=$value ;;
	[dD][rR]3) dr3=$value ;;
	[dD][rR]6) dr6=$value ;;
	[dD][rR]7) dr7=$value ;;
	*) usage "no such register: $name" ;;
	esac
done

# bit REGISTER N
bit()
{
	[ $((($1 >> $2) & 1)) -eq 1 ]
}

if [ -n "$dr7" ]; then
	printf 'DR7 %#x\n' "$dr7"
	slot=-1
	for address in "$dr0" "$dr1" "$dr2" "$dr3"; do
		slot=$((slot + 1))
		how=
		! bit "$dr7" $((2 * slot)) || how=local
		! bit "$dr7" $((2 * slot + 1)) || how=${how:+$how and }global
		if [ -z "$how" ]; then
			echo "  slot $slot: disabled"
			continue
		fi
		case $(((dr7 >> (18 + 4 * slot)) & 3)) in
		0) len=1 ;;
		1) len=2 ;;
		2) len=8 ;;
		3) len=4 ;;
		esac
		case $(((dr7 >> (16 + 4 * slot)) & 3)) in
		0) what=execute ;;
		1) what="write, length $len" ;;
		2) what="I/O, length $len (needs CR4.DE; ptrace refuses it)" ;;
		3) what="read/write, length $len" ;;
		esac
		[ "$what" != execute ] || [ "$len" -eq 1 ] || what="execute, length $len: must be 1"
		[ -z "$address" ] || what="$what, at $(printf %#x "$address")"
		[ $((${address:-0} & (len - 1))) -eq 0 ] ||
			what="$what: not aligned, the CPU ignores its low bits"
		echo "  slot $slot: $what ($how)"
	done
	! bit "$dr7" 8 || echo "  bit 8, LE: exact local breakpoints, no meaning today"
	! bit "$dr7" 9 || echo "  bit 9, GE: exact global breakpoints, no meaning today"
	! bit "$dr7" 11 || echo "  bit 11: RTM, debugging of transactions"
	! bit "$dr7" 13 || echo "  bit 13, GD: the next mov of a debug register raises #DB"
	[ $((dr7 & ~0xffff2fff)) -eq 0 ] || echo "  bits that are reserved: $(printf %#x $((dr7 & ~0xffff2fff)))"
fi

if [ -n "$dr6" ]; then
	printf 'DR6 %#x\n' "$dr6"
	none=y
	for slot in 0 1 2 3; do
		bit "$dr6" $slot || continue
		none=
		text="  slot $slot: hit"
		if [ -n "$dr7" ] && [ $(((dr7 >> (2 * slot)) & 3)) -eq 0 ]; then
			text="  slot $slot: its condition was met, but it is disabled in DR7"
		fi
		echo "$text"
	done
	bit "$dr6" 11 || { echo "  bit 11, BLD, is 0: a bus lock (if the CPU reports those)"; none=; }
	! bit "$dr6" 13 || { echo "  bit 13, BD: a mov of a debug register while DR7.GD was set"; none=; }
	! bit "$dr6" 14 || { echo "  bit 14, BS: a single step"; none=; }
	! bit "$dr6" 15 || { echo "  bit 15, BT: a task switch"; none=; }
	bit "$dr6" 16 || { echo "  bit 16, RTM, is 0: inside a transaction"; none=; }
	[ -z "$none" ] || echo "  no reason for a #DB at all"
fi
exit 0
