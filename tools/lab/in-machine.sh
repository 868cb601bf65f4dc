# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside a lab machine, in /suite: the suite under each fault in turn, program
# by program, up to the first that sees it.
#
#	sh in-machine.sh LIST [PROGRAM]... -- FAULT...
#
# Prints a line for each fault, with the seconds it took:
#	lab: caught FAULT SECONDS PROGRAM TEST...
#	lab: says FAULT MESSAGE              the first of those tests
#	lab: missed FAULT SECONDS
#	lab: reached FAULT COUNT
# and before each "lab: fault FAULT", so that a machine that dies says where.

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

for fault; do
	echo "lab: fault $fault"
	if ! echo "$fault" >/proc/hwbp_fault; then
		echo "lab: unknown $fault"
		continue
	fi
	begin=$(now)
	caught=
	for p in $programs; do
		sh ./run_tests.sh -o 240 -k "$list" -t "$p" >/tmp/out 2>&1
		rc=$?
		[ $rc -eq 1 ] || continue
		# The section of run_tests.sh's summary that names what is unexpected
		sed -n '/^# FAILED/,$p' /tmp/out >/tmp/failed
		caught=$(sed -n 's/^#   \([a-z][^ ]*:[^ ]*\)$/\1/p; s/^#   \([a-z][a-z0-9_]*\)$/\1/p' \
			/tmp/failed | sort -u | tr '\n' ' ')
		[ -n "$caught" ] || caught=$p
		break
	done
	spent=$(($(now) - begin))
	if [ -n "$caught" ]; then
		echo "lab: caught $fault $spent $p $caught"
		echo "lab: says $fault $(sed -n 's/^#     //p' /tmp/failed | head -n 1 | cut -c1-120)"
	else
		echo "lab: missed $fault $spent"
	fi
	sed -n "s/^$fault \([0-9]*\) .*/lab: reached $fault \1/p" /proc/hwbp_fault
	echo none >/proc/hwbp_fault
done
