#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Put the faults of the list into an unpacked kernel source tree (6.1 or 6.12).
#
#	apply.sh SRCDIR
#
# They are compiled in and off; include/linux/hwbp_fault.h and
# kernel/events/hwbp_fault.c, which come from here, say how one is switched on.
# The edits are semantic patches, one file of them for each kernel file (or two)
# named in the patch's "Files:" line, and sed scripts where a function cannot be
# parsed; a file that this kernel does not have is passed over. What counts is
# that in the end every fault of the list has a site: one that has none is an
# error that names it.
#
# A tree that has the same faults already is left as it is. One that has others
# is refused: unpack it again.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

die()
{
	echo "apply.sh: $*" >&2
	exit 1
}

[ $# -eq 1 ] || die "usage: apply.sh SRCDIR"
src=$1
[ -f "$src/arch/x86/kernel/hw_breakpoint.c" ] ||
	die "no kernel source tree: $src"
command -v spatch >/dev/null || die "spatch is missing (Debian: coccinelle)"

names=$(sed -n 's/^\([a-z][a-z0-9_]*\)[[:space:]].*/\1/p' "$here/list")
# Flags and descriptions may change without another kernel.
stamp=$({ cat "$here"/*.cocci "$here"/*.sed "$here"/hwbp_fault.[ch] && echo "$names"; } |
	sha256sum | cut -d' ' -f1)
if [ -f "$src/.hwbp_fault" ]; then
	[ "$(cat "$src/.hwbp_fault")" = "$stamp" ] && exit 0
	die "$src has other faults already: unpack it again"
fi
[ -e "$src/include/linux/hwbp_fault.h" ] &&
	die "$src was left half done: unpack it again"

cp "$here/hwbp_fault.h" "$src/include/linux/"
cp "$here/hwbp_fault.c" "$src/kernel/events/"
{
	echo "/* SPDX-License-Identifier: GPL-2.0 */"
	for name in $names; do
		echo "HWBP_FAULT($name),"
	done
} >"$src/include/linux/hwbp_fault_list.h"
echo "obj-y += hwbp_fault.o" >>"$src/kernel/events/Makefile"

log=$src/hwbp_fault.log
: >"$log"
sites=
for patch in "$here"/*.cocci "$here"/*.sed; do
	files=$(sed -n 's,^[/#]* Files: ,,p' "$patch")
	for file in $files; do
		[ -f "$src/$file" ] || continue
		case $patch in
		*.sed) sed -i -f "$patch" "$src/$file" ;;
		*) spatch --very-quiet --no-includes --in-place \
			--sp-file "$patch" "$src/$file" ;;
		esac >>"$log" 2>&1 ||
			die "${patch##*/} does not apply to $file, see $log"
		grep -q 'hwbp_fault' "$src/$file" || continue
		sed -i '0,/^#include/s//#include <linux\/hwbp_fault.h>\n&/' \
			"$src/$file"
		sites="$sites $src/$file"
	done
done

# What the list has and what the tree has must be the same.
# shellcheck disable=SC2086 # a list of files
placed=$(grep -Eho 'hwbp_fault(_nth)?\([a-z0-9_]+' $sites |
	sed 's/.*(//' | sort -u)
bad=
for name in $names; do
	case "
$placed
" in *"
$name
"*) ;;
	*) bad="$bad $name" ;;
	esac
done
[ -z "$bad" ] || die "no place for:$bad (see $log)"
for name in $placed; do
	grep -q "^HWBP_FAULT($name)" "$src/include/linux/hwbp_fault_list.h" ||
		die "not in the list: $name"
done
echo "$stamp" >"$src/.hwbp_fault"
