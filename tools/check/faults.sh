#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Can the tests fail? Each fault of tools/faults/list must turn its programs red
# by an assertion, and the faults of a program together each of its tests; with
# the same shim and no fault the program must be green. Given programs, only
# theirs.
. "$(dirname "$0")/../tap.sh"

faults=$top/tools/faults
tests=$top/tests
known=$top/tools/known-failures/linux.txt

build()
{
	make -C "$tests" &&
		"${CC:-gcc}" -O2 -Wall -Wextra -Werror -shared -fPIC -I"$tests" \
			"$faults"/*.c -o "$tmp/shim.so" -ldl
}

# selected PATTERN: the tests that match, of those owed
selected()
{
	while read -r name; do
		# shellcheck disable=SC2254 # a pattern is what it is
		case $name in $1) echo "$name" ;; esac
	done <"$tmp/owed"
}

# select_them PROGRAM PATTERN: options that do. A harness that cannot runs all.
select_them()
{
	[ "$2" != '*' ] && grep -q -e '-r name' "$tests/$1_64" || return
	selected "$2" | sed 's/^/-r /'
}

# A test that fails may leave a tracee behind, and that keeps its slots
session=
end_session()
{
	[ -n "$session" ] || return
	left=$(cat /proc/[0-9]*/stat 2>/dev/null | awk -v sid="$session" '{
		pid = $1
		sub(/.*\) /, "")
		if ($4 == sid)
			print pid
	}')
	# shellcheck disable=SC2086 # one word for each process
	[ -z "$left" ] || kill -KILL $left 2>/dev/null
	session=
}
trap 'end_session; rm -rf "$tmp"' EXIT

# run FAULT PROGRAM PATTERN: to $tmp/out; what came of each test to $tmp/results,
# as "RESULT TEST", RESULT being ok, skip, red (an assertion failed) or dead.
run()
{
	# shellcheck disable=SC2046 # words
	LD_PRELOAD=$tmp/shim.so HWBP_FAULT=$1 setsid timeout -k 5 120 \
		"$tests/$2_64" $(select_them "$2" "$3") >"$tmp/out" 2>&1 </dev/null &
	session=$!
	wait $session
	end_session
	awk '
		/^#  RUN / { said = dead = 0 }
		/^# [a-z0-9_]+\.[ch]:[0-9]+:/ { said = 1 }
		/no event for|Test terminated (by timeout|unexpectedly)|ended in some/ {
			dead = 1
		}
		/^ok / { print (/# SKIP/ ? "skip" : dead ? "dead" : "ok"), $3 }
		/^not ok / { print (dead || !said ? "dead" : "red"), $4 }' \
		"$tmp/out" >"$tmp/results"
}

# matches NAME FILE: does the first word of a line of FILE, a pattern, match?
matches()
{
	while read -r glob rest; do
		[ -n "$rest" ] || continue
		# shellcheck disable=SC2254 # a pattern is what it is
		case $1 in $glob) return 0 ;; esac
	done <"$2"
	return 1
}

# What the shim spoils by itself it spoils every time; what the machine does to a
# run (other users of breakpoints, a hypervisor that loses DR6) is gone the next.
# Leaves the tests that a fault must turn red in $tmp/owed, and those that are
# red anyway in $tmp/never_green.
green()
{
	for _ in 1 2 3; do
		run none "$1" '*'
		sed -n 's/^ok //p' "$tmp/results" | sort >"$tmp/owed"
		sed -n 's/^red //p' "$tmp/results" | sort >"$tmp/never_green"
		grep -q '^# Totals' "$tmp/out" || continue
		grep -E '^(red|dead) ' "$tmp/results" | while read -r _ name; do
			matches "$1_64:$name" "$known" || exit 1
		done && return
	done
	return 1
}

# by_fault FAULT PROGRAM PATTERN: not by a hang and not by a crash of the shim, but by a
# test that says what is wrong; and one that is not red without.
by_fault()
{
	run "$1" "$2" "$3"
	! grep -q '^dead ' "$tmp/results" || return
	sed -n 's/^red //p' "$tmp/results" | sort |
		comm -23 - "$tmp/never_green" >"$tmp/red"
	cat "$tmp/red" >>"$tmp/seen"
	[ -s "$tmp/red" ]
}

all_seen()
{
	sort -u "$tmp/seen" | comm -13 - "$tmp/owed" | sed 's/^/no fault for /' |
		grep . && return 1
	return 0
}

# of_program PROGRAM
of_program()
{
	if ! green "$1"; then
		not_ok "$1 is green under the shim"
		return
	fi
	if [ ! -s "$tmp/owed" ]; then
		skip "$1" "all its tests are skipped here"
		return
	fi
	ok "$1 is green under the shim"
	awk -F '\t+' -v program="$1" '!/^#/ {
		for (n = split($2, entry, ","); n; n--) {
			split(entry[n] ":*", part, ":")
			if (part[1] == program)
				print $1, part[2], $3
		}
	}' "$faults/list" >"$tmp/mine"
	: >"$tmp/seen"
	while read -r fault glob what; do
		if [ -z "$(selected "$glob")" ]; then
			skip "$fault: $what: $1" "these tests are skipped here"
		elif by_fault "$fault" "$1" "$glob" || by_fault "$fault" "$1" "$glob"; then
			ok "$fault: $what: $1:$(head -n 1 "$tmp/red"), $(wc -l <"$tmp/red") tests"
		else
			not_ok "$fault: $what: NOT seen by $1"
		fi
	done <"$tmp/mine"
	# Where others had breakpoints, tests may have been skipped
	all_seen >"$tmp/out" || while read -r fault glob _; do
		by_fault "$fault" "$1" "$glob"
	done <"$tmp/mine"
	check "$1: for each test a fault that turns it red" all_seen
}

programs=$(sed -n 's/^TESTS_BOTHBITS += //p' "$tests/Makefile")

names_exist()
{
	sed '/^#/d' "$faults/list" | awk '{ print $2 }' | tr , '\n' |
		sed 's/:.*//' | sort -u |
		while read -r name; do
			echo "$programs" | grep -qx "$name" || exit 1
		done
}

check "build" build
[ -e "$tmp/shim.so" ] || {
	done_testing
	exit 1
}
check "the list names programs that are there" names_exist
# Its faults are those of a guest: tools/lab/kvm
# shellcheck disable=SC2086 # one word for each
[ $# -gt 0 ] || set -- $programs
for program; do
	[ "$program" = kvm_guest_test ] || of_program "$program"
done
done_testing
