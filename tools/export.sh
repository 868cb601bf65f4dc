#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Put the suite into a kernel tree: tools/export.sh /path/to/linux
#
# tests/ goes to tools/testing/selftests/hw_breakpoint as it is. GNUmakefile stays
# here: it only stands in for what the tree has.

me=${0##*/}
[ $# -eq 1 ] || {
	echo "Usage: $me KERNEL_TREE" >&2
	exit 2
}
[ -r "$1/tools/testing/selftests/lib.mk" ] || {
	echo "$me: $1 is no kernel tree: no tools/testing/selftests/lib.mk" >&2
	exit 2
}

to=$1/tools/testing/selftests/hw_breakpoint
cd "$(dirname "$0")/../tests" || exit 1
case $to in
/*) ;;
*) to=$OLDPWD/$to ;;
esac
mkdir -p "$to" || exit 1
for f in Makefile config settings .gitignore *.[chS] *.sh; do
	[ ! -f "$f" ] || cp "$f" "$to" || exit 1
done

cat <<END
Exported to $to
Run it:   make -C $1/tools/testing/selftests TARGETS=hw_breakpoint run_tests
For good: add "TARGETS += hw_breakpoint" to tools/testing/selftests/Makefile
END
