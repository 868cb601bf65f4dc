#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Can the tests fail? Each fault of tools/faults must turn its program red, and
# the same program with the same shim and no fault must be green. Prints which
# test saw each fault first.
. "$(dirname "$0")/../tap.sh"

faults=$top/tools/faults
tests=$top/tests

build()
{
	make -C "$tests" &&
		"${CC:-gcc}" -O2 -Wall -Wextra -Werror -shared -fPIC -I"$tests" \
			"$faults/shim.c" -o "$tmp/shim.so" -ldl
}

# run FAULT PROGRAM
run()
{
	LD_PRELOAD=$tmp/shim.so HWBP_FAULT=$1 timeout -k 5 120 \
		"$tests/$2_64" >"$tmp/out" 2>&1
}

# Not by a hang and not by a crash of the shim: by a test that says what is wrong
caught()
{
	! run "$1" "$2" &&
		seen=$(sed -n 's/^not ok [0-9]* \([^ ]*\).*/\1/p' "$tmp/out") &&
		[ -n "$seen" ] &&
		! grep -qE 'no event for|Test terminated by timeout' "$tmp/out"
}

# What the shim spoils by itself it spoils every time; what the machine does to a
# run (other users of breakpoints, a hypervisor that loses DR6) is gone the next.
green()
{
	run none "$1" || run none "$1" || run none "$1"
}

check "build" build
sed '/^#/d' "$faults/list" | awk '{ print $2 }' | sort -u >"$tmp/programs"
while read -r program; do
	check "$program is green under the shim" green "$program"
done <"$tmp/programs"
while read -r fault program what; do
	case $fault in
	'' | '#'*) continue ;;
	esac
	if caught "$fault" "$program"; then
		ok "$fault: $what: $program:$(echo "$seen" | head -n 1), $(echo "$seen" | wc -l) tests"
	else
		not_ok "$fault: $what: NOT seen by $program"
	fi
done <"$faults/list"
done_testing
