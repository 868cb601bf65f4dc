# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside a lab machine, in /suite: programs under each fault in turn, up to the
# first that sees it.
#
#	sh in-machine.sh TESTS PROGRAM... -- FAULT...
#
# TESTS is suite.sh, for this suite, or own-tests.sh, for the kernel's own tests. It
# defines
#	prepare            called once, with no fault on
#	order FAULT        prints the programs in the order in which to try them
#	look PROGRAM       runs one: 0 if it sees the fault, with the tests in
#	                   /tmp/tests and what they say in /tmp/message; 2 if only by an
#	                   expired wait; 1 otherwise
#
# Prints a line for each fault, with the seconds it took:
#	lab: caught FAULT SECONDS PROGRAM TEST...
#	lab: late FAULT SECONDS PROGRAM      by an expired wait only
#	lab: says FAULT MESSAGE              the first of those tests
#	lab: missed FAULT SECONDS
#	lab: reached FAULT COUNT
# and before each "lab: fault FAULT", to know at which fault a machine died.

tests=$1
shift
programs=
while [ "$1" != -- ]; do
	programs="$programs $1"
	shift
done
shift
# shellcheck source=/dev/null
. "./$tests"

now()
{
	cut -d. -f1 /proc/uptime
}

prepare
for fault; do
	echo "lab: fault $fault"
	if ! echo "$fault" >/proc/hwbp_fault; then
		echo "lab: unknown $fault"
		continue
	fi
	begin=$(now)
	caught='' late=''
	for p in $(order "$fault"); do
		look "$p"
		case $? in
		0) caught=$p && break ;;
		2) late=$p ;;
		esac
	done
	spent=$(($(now) - begin))
	if [ -n "$caught" ]; then
		echo "lab: caught $fault $spent ${caught##*/} $(tr '\n' ' ' </tmp/tests)"
		echo "lab: says $fault $(head -n 1 /tmp/message | cut -c1-120)"
	elif [ -n "$late" ]; then
		echo "lab: late $fault $spent ${late##*/}"
	else
		echo "lab: missed $fault $spent"
	fi
	[ "$fault" = none ] ||
		sed -n "s/^$fault \([0-9]*\) .*/lab: reached $fault \1/p" /proc/hwbp_fault
	echo none >/proc/hwbp_fault
done
