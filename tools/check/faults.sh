#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Can the tests fail? Each fault of tools/faults/list must turn its programs red
# by an assertion, and the faults of a program together each of its tests; with
# the same shim and no fault the program must be green. Given programs, only
# theirs. In the emulator: a test that is never green there is skipped by name.
. "$(dirname "$0")/../tap.sh"
# shellcheck source=tools/emulator.sh
. "$(dirname "$0")/../emulator.sh"

faults=$top/tools/faults
tests=$top/tests
known=$top/tools/known-failures
programs=$(sed -n 's/^TESTS_BOTHBITS += //p' "$tests/Makefile")

names_exist()
{
	sed '/^#/d' "$faults/list" | awk '{ print $2 }' | tr , '\n' |
		sed 's/:.*//' | sort -u |
		while read -r name; do
			echo "$programs" | grep -qx "$name" || exit 1
		done
}

if ! in_machine; then
	check "the list names programs that are there" names_exist
	if [ $# -gt 0 ]; then
		in_machines 900 "$*"
	else
		# Two lanes that take as long; the faults of the kvm_ programs are those of a
		# guest: tools/lab/kvm
		one='' two=
		for program in $programs; do
			case $program in
			kvm_*) ;;
			perf_*) one="$one $program" ;;
			*) two="$two $program" ;;
			esac
		done
		in_machines 900 "$one" "$two"
	fi
	done_testing
	exit
fi

# selected PATTERN: the tests that match, of those expected
selected()
{
	while read -r name; do
		# shellcheck disable=SC2254 # a pattern is what it is
		case $name in $1) echo "$name" ;; esac
	done <"$tmp/expected"
}

# select_them PROGRAM PATTERN: options that do. A harness that cannot runs all.
select_them()
{
	[ "$2" != '*' ] && grep -q -e '-r name' "$tests/$1_64" || return
	selected "$2" | sed 's/^/-r /'
}

# A failed test may leave a tracee, which keeps its slots
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
# as "RESULT TEST", RESULT being ok, skip, xfail (a known bug of the kernel), red (an
# assertion failed) or dead.
run()
{
	# shellcheck disable=SC2046 # words
	LD_PRELOAD=$HWBP_PREBUILT/shim.so HWBP_FAULT=$1 setsid timeout -k 5 120 \
		"$tests/$2_64" $(select_them "$2" "$3") >"$tmp/out" 2>&1 </dev/null &
	session=$!
	wait $session
	end_session
	awk '
		/^#  RUN / { said = dead = 0 }
		/^# [^ ]+: [a-z0-9_]+\.[ch]:[0-9]+:/ { said = 1 }
		/no event for|Test terminated (by timeout|unexpectedly)|ended in some/ {
			dead = 1
		}
		/^ok / { print (/# SKIP/ ? "skip" : /# XFAIL/ ? "xfail" : dead ? "dead" : "ok"), $3 }
		/^not ok / { print (dead || !said ? "dead" : "red"), $4 }' \
		"$tmp/out" >"$tmp/results"
}

# known_failure NAME: sets reason
known_failure()
{
	while read -r glob state reason; do
		[ "$state" = fail ] || continue
		# shellcheck disable=SC2254 # a pattern is what it is
		case $1 in $glob) return 0 ;; esac
	done <<-END
		$(cat "$known/tcg.txt")
	END
	return 1
}

all_known()
{
	while read -r name; do
		known_failure "$1_64:$name" || return
	done <"$tmp/never_green"
}

# What the shim breaks by itself it breaks every time. Leaves the tests that a fault
# must turn red in $tmp/expected, and those that are red anyway in $tmp/never_green.
green()
{
	for _ in 1 2 3; do
		run none "$1" '*'
		sed -n 's/^ok //p' "$tmp/results" | sort >"$tmp/expected"
		sed -n 's/^red //p; s/^dead //p' "$tmp/results" | sort >"$tmp/never_green"
		grep -q '^# Totals' "$tmp/out" || continue
		all_known "$1" && return
	done
	return 1
}

# without FILE: the lines that are not there, too
without()
{
	awk -v file="$1" '
		BEGIN { while ((getline line <file) > 0) there[line] }
		!($0 in there)'
}

# by_fault FAULT PROGRAM PATTERN: not by a hang and not by a crash of the shim, but by a
# test that says what is wrong; and one that is not red without.
by_fault()
{
	run "$1" "$2" "$3"
	! grep -q '^dead ' "$tmp/results" || return
	sed -n 's/^red //p' "$tmp/results" | sort |
		without "$tmp/never_green" >"$tmp/red"
	cat "$tmp/red" >>"$tmp/seen"
	[ -s "$tmp/red" ]
}

all_seen()
{
	! without "$tmp/seen" <"$tmp/expected" | sed 's/^/no fault for /' | grep .
}

# of_program PROGRAM
of_program()
{
	if ! green "$1"; then
		not_ok "$1 is green under the shim"
		return
	fi
	if [ ! -s "$tmp/expected" ]; then
		skip "$1" "all its tests are skipped there"
		return
	fi
	ok "$1 is green under the shim"
	while read -r name; do
		known_failure "$1_64:$name"
		skip "$1:$name" "never green there: $reason"
	done <"$tmp/never_green"
	sed -n 's/^xfail //p' "$tmp/results" >"$tmp/xfail"
	while read -r name; do
		skip "$1:$name" "a known bug of the kernel"
	done <"$tmp/xfail"
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
			skip "$fault: $what: $1" "these tests are skipped there"
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

for program; do
	of_program "$program"
done
done_testing
