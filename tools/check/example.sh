#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The worked example of tools/example/README: it builds as it says there, is green, is
# red under a fault; and what the documentation names is there.
. "$(dirname "$0")/../tap.sh"

copy=$tmp/tree/tests

build()
{
	mkdir "$tmp/tree" && ln -s "$top/tools" "$tmp/tree/tools" &&
		cp -r "$top/tests" "$copy" && cp "$top/tools/example/negate_test.c" "$copy" &&
		rm -f "$copy"/*_64 "$copy"/*_32 "$copy"/*.o &&
		(cd "$tmp/tree" && eval "$(grep "TESTS_BOTHBITS" "$top/tools/example/README")") &&
		KSRC=$tree make -s -C "$copy" "$copy/negate_test_64" >"$tmp/out" 2>&1 &&
		"${CC:-gcc}" -O2 -shared -fPIC -I"$top/tests" -o "$tmp/shim.so" \
			"$top"/tools/faults/*.c -ldl
}

# gives RESULT FAULT
gives()
{
	LD_PRELOAD=$tmp/shim.so HWBP_FAULT=$2 "$copy/negate_test_64" >"$tmp/out" 2>&1
	grep -qx "$1 1 global.read_and_write_is_one_hit" "$tmp/out"
}

# Each reason of tests/skip.h, up to what the README leaves out, is in its table
reasons()
{
	sed -n 's/^#define SKIP_[A-Z0-9_]*\t*"\(%s \)\{0,1\}\([^",(]*\)[^"]*"$/\2/p' \
		"$top/tests/skip.h" | sed 's/:.*//; s/ on a 64-bit kernel$//; s/ $//' |
		while read -r reason; do
			grep -q -F -- "$reason" "$top/README" || echo "README lacks: $reason"
		done >"$tmp/out"
	[ ! -s "$tmp/out" ] && grep -q SKIP_ONE_CPU "$top/tests/skip.h"
}

# No test has a reason of its own
from_table()
{
	! grep -n 'SKIP(' "$top"/tests/*.[ch] | grep -v 'SKIP_[A-Z0-9_]*[,)]\|\* \|define '
}

# Each program is in the README
programs()
{
	sed -n 's/^TESTS_BOTHBITS += //p' "$top/tests/Makefile" | while read -r p; do
		grep -qw "$p" "$top/README" || echo "README lacks: $p"
	done >"$tmp/out"
	[ ! -s "$tmp/out" ]
}

# Each file that the documentation names is there
files()
{
	cat "$top/README" "$top"/tools/*/README "$top"/tools/[A-Z]* 2>/dev/null |
		grep -o '\<t\(ools\|ests\)/[A-Za-z0-9_./-]*[A-Za-z0-9_]' | sort -u |
		grep -v '^tools/testing/selftests' | while read -r f; do
			ls "$top/$f"* >/dev/null 2>&1 || echo "not there: $f"
		done >"$tmp/out"
	[ ! -s "$tmp/out" ]
}

short()
{
	[ "$(wc -l <"$top/README")" -le 200 ]
}

check "the README explains each reason for a SKIP" reasons
check "no test has a reason of its own" from_table
check "the README names each program" programs
check "the files that the documentation names are there" files
check "the README has 200 lines at most" short
tree=$("$top/tools/get-harness.sh" 2>"$tmp/out") || tree=
if [ -z "$tree" ]; then
	not_ok "no harness"
elif ! build; then
	not_ok "the example builds"
else
	ok "the example builds"
	if HW_BREAKPOINT_ENVIRONMENT=1 "$copy/negate_test_64" | grep -q '^# ptrace .*read/write fires$'; then
		check "the example is green" gives ok none
		check "the example is red under a fault" gives "not ok" stops_firing
	else
		skip "the example is green" "breakpoints do not fire here"
	fi
fi
done_testing
