# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside a lab machine, in /suite: the kernel's own tests, first twice with
# no fault, then under each one, up to the first program that sees it.
#
#	sh kernel-tests-in-machine.sh PROGRAM... -- FAULT...
#
# A result counts only where it differs from both good runs: what fails there too
# says nothing. Prints lines as in-machine.sh does, with the programs' names for
# tests, and first
#	lab: good PROGRAM PASSED FAILED [no-end]
# Behind several faults the good kernel once more, as fault "none": seen there is
# what the tests see by chance.

limit=30

programs=
while [ "$1" != -- ]; do
	programs="$programs $1"
	shift
done
shift

now()
{
	cut -d. -f1 /proc/uptime
}

# run PROGRAM NAME: its results to /tmp/NAME.ok and /tmp/NAME.bad, sorted
run()
{
	timeout -s KILL $limit "./$1" >/tmp/out 2>&1 </dev/null
	rc=$?
	# Its children may hang on
	killall -q -9 "${1##*/}"
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

good=
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

# seen PROGRAM: what is new against the good kernel
seen()
{
	n=${1##*/}
	run "$1" now
	grep -vFxf "/tmp/good-$n.bad" /tmp/now.bad
	# Gone without a word; not if it was skipped
	grep -q SKIP /tmp/now.ok || grep -q '^no end' /tmp/now.bad ||
		grep -vFxf /tmp/now.ok "/tmp/good-$n.ok" | sed 's/^/not reached: /'
}

[ $# -eq 1 ] || set -- "$@" none
for fault; do
	echo "lab: fault $fault"
	if ! echo "$fault" >/proc/hwbp_fault; then
		echo "lab: unknown $fault"
		continue
	fi
	begin=$(now)
	caught='' late=''
	for p in $good; do
		seen "$p" >/tmp/seen
		if grep -qv '^no end' /tmp/seen; then
			caught=${p##*/}
			break
		fi
		[ ! -s /tmp/seen ] || late=${p##*/}
	done
	spent=$(($(now) - begin))
	if [ -n "$caught" ]; then
		echo "lab: caught $fault $spent $caught $caught"
		echo "lab: says $fault $(grep -v '^no end' /tmp/seen | head -n 1 | cut -c1-120)"
	elif [ -n "$late" ]; then
		echo "lab: late $fault $spent $late"
	else
		echo "lab: missed $fault $spent"
	fi
	[ "$fault" = none ] ||
		sed -n "s/^$fault \([0-9]*\) .*/lab: reached $fault \1/p" /proc/hwbp_fault
	echo none >/proc/hwbp_fault
done
