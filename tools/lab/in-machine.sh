# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside a lab machine, in /suite: the suite under each fault in turn, program
# by program, up to the first that sees it, beginning with the one in the file seen-by.
#
#	sh in-machine.sh LIST [PROGRAM]... -- FAULT...
#
# Prints a line for each fault, with the seconds it took:
#	lab: caught FAULT SECONDS PROGRAM TEST...
#	lab: late FAULT SECONDS PROGRAM      by an expired wait only
#	lab: says FAULT MESSAGE              the first of those tests
#	lab: missed FAULT SECONDS
#	lab: reached FAULT COUNT
# and before each "lab: fault FAULT", to know at which fault a machine died.

list=$1
shift
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

# Whether one of the failures is more than an expired wait
named()
{
	sed -n 's/^#     //p' /tmp/failed |
		grep -qvE 'no event for|terminated by timeout|timed out|was killed$'
}

for fault; do
	echo "lab: fault $fault"
	if ! echo "$fault" >/proc/hwbp_fault; then
		echo "lab: unknown $fault"
		continue
	fi
	begin=$(now)
	caught=
	late=
	first=$(sed -n "s/^$fault //p" seen-by)
	for p in $first $(echo " $programs " | sed "s/ $first / /"); do
		sh ./run_tests.sh -o 240 -k "$list" -t "$p" >/tmp/out 2>&1
		rc=$?
		[ $rc -eq 1 ] || continue
		# The section of run_tests.sh's summary that names what is unexpected
		sed -n '/^# FAILED/,$p' /tmp/out >/tmp/failed
		if ! named; then
			late=$p
			continue
		fi
		caught=$(sed -n 's/^#   \([a-z][^ ]*:[^ ]*\)$/\1/p; s/^#   \([a-z][a-z0-9_]*\)$/\1/p' \
			/tmp/failed | sort -u | tr '\n' ' ')
		[ -n "$caught" ] || caught=$p
		break
	done
	spent=$(($(now) - begin))
	if [ -n "$caught" ]; then
		echo "lab: caught $fault $spent $p $caught"
		echo "lab: says $fault $(sed -n 's/^#     //p' /tmp/failed |
			grep -vE 'no event for|terminated by timeout|timed out' |
			head -n 1 | cut -c1-120)"
	elif [ -n "$late" ]; then
		echo "lab: late $fault $spent $late"
	else
		echo "lab: missed $fault $spent"
	fi
	sed -n "s/^$fault \([0-9]*\) .*/lab: reached $fault \1/p" /proc/hwbp_fault
	echo none >/proc/hwbp_fault
done
