# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# For in-machine.sh: the kernel's own tests, LTP's or gdb's, built by kernel-tests.sh. They
# run twice with no fault; a result counts only where it differs from both runs, since
# what fails there too says nothing. Prints
#	lab: good PROGRAM PASSED FAILED [no-end]
# Give the fault "none" as the last one to see what the tests catch by chance.

limit=$(cat limit)	# seconds

# run PROGRAM NAME: its results to /tmp/NAME.ok and /tmp/NAME.bad, sorted
run()
{
	timeout -s KILL "$limit" "./$1" >/tmp/out 2>&1 </dev/null
	rc=$?
	# Its children may hang on
	killall -q -9 "${1##*/}" expect gdb
	# TAP, with numbers that are the test's name; and the "[OK] text" of the x86
	# tests, with addresses in it
	sed -n 's/^ok [0-9]* *//p; s/^[[:space:]]*\[OK\][[:space:]]*//p' /tmp/out |
		sed 's/0x[0-9a-f]*/N/g' | sort -u >"/tmp/$2.ok"
	sed -n 's/^not ok [0-9]* *//p; s/^[[:space:]]*\[FAIL\][[:space:]]*//p
		s/^Bail out! *//p' /tmp/out |
		sed 's/0x[0-9a-f]*/N/g' | sort -u >"/tmp/$2.bad"
	if [ $rc -eq 137 ]; then
		echo "no end in $limit s" >>"/tmp/$2.bad"
	elif [ $rc -ne 0 ] && [ $rc -ne 4 ]; then
		echo "exit code $rc" >>"/tmp/$2.bad"
	fi
	sort -u -o "/tmp/$2.bad" "/tmp/$2.bad"
}

prepare()
{
	good=
	# shellcheck disable=SC2154 # set by in-machine.sh
	for p in $programs; do
		n=${p##*/}
		run "$p" first
		# A program that hangs would only cost time
		if grep -q '^no end' /tmp/first.bad; then
			echo "lab: good $n $(wc -l </tmp/first.ok) $(($(wc -l </tmp/first.bad) - 1)) no-end"
			continue
		fi
		run "$p" second
		grep -Fxf /tmp/first.ok /tmp/second.ok >"/tmp/good-$n.ok"
		sort -u /tmp/first.bad /tmp/second.bad >"/tmp/good-$n.bad"
		echo "lab: good $n $(wc -l <"/tmp/good-$n.ok") $(wc -l <"/tmp/good-$n.bad")"
		good="$good $p"
	done
}

# without FILE1 FILE2: the lines of FILE2 that are not in FILE1. busybox's grep -v prints
# nothing if there is no pattern.
without()
{
	{
		cat "$1"
		echo
	} | grep -vFxf - "$2"
}

order()
{
	echo "$good"
}

look()
{
	n=${1##*/}
	echo "$n" >/tmp/tests
	run "$1" now
	{
		without "/tmp/good-$n.bad" /tmp/now.bad
		# Gone without a word; not if it was skipped
		grep -q SKIP /tmp/now.ok || grep -q '^no end' /tmp/now.bad ||
			without /tmp/now.ok "/tmp/good-$n.ok" | sed 's/^/not reached: /'
	} >/tmp/seen
	if grep -v '^no end' /tmp/seen >/tmp/message; then
		return 0
	fi
	[ ! -s /tmp/seen ] || return 2
	return 1
}
