#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The suite's own memory and arithmetic: built with AddressSanitizer and
# UndefinedBehaviorSanitizer, no program gets a report. Its verdicts do not count here:
# where breakpoints are dead it runs less.
. "$(dirname "$0")/../tap.sh"

jobs=$(getconf _NPROCESSORS_ONLN)
unset OUTPUT KSRC ARCH LLVM CC M32 USERCFLAGS USERLDFLAGS MAKEFLAGS MAKELEVEL
programs=$(suite_programs | grep '_64$')
out=$tmp/programs

# built ARGUMENTS...: by make
built()
{
	# shellcheck disable=SC2046 # words
	make -s -j "$jobs" -C "$top/tests" OUTPUT="$out" "$@" \
		$(for p in $programs; do echo "$out/$p"; done)
}

# no_report PROGRAM
no_report()
{
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		timeout -k 5 300 "$out/$1" >"$tmp/log" 2>&1
	if ! grep -q '^1\.\.' "$tmp/log"; then
		tail -n 20 "$tmp/log"
		return 1
	fi
	! grep -A 20 'Sanitizer:\|runtime error:' "$tmp/log"
}

sanitizers=-fsanitize=address,undefined
if echo 'int main(void) { return 0; }' | gcc $sanitizers -x c - -o "$tmp/a.out" 2>/dev/null; then
	check "gcc $sanitizers" built USERCFLAGS="-O1 -g $sanitizers" USERLDFLAGS=$sanitizers
	for program in $programs; do
		check "$program: no report" no_report "$program"
	done
else
	skip "gcc $sanitizers" "no sanitizers here"
fi
done_testing
