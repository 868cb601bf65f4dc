#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Is it green every time? Run an installed suite again and again, half of the runs (with
# REPEAT_LOADED=N, one in N) beside random load on the same CPUs, one or all, some at the
# lowest priority.  With REPEAT_LIGHT=1 it is the load that has the lowest one, on one CPU:
# in an emulator that runs all CPUs in one thread, a load costs hardly more then.
#
#	repeat.sh DIR SECONDS SEED [OPTION]...
#
# DIR is what "make install" made, the options are those of its run_tests.sh. Starts no
# run after SECONDS, but at least one. Prints a line for each run:
#	run: green|RED SECONDS s, N passed, N failed, N skipped: CPUs LIST, nice N, N busy
# after the whole output of one that was not green. Exit status: 1 if there was one.
# Needs no more than busybox: tools/lab/repeat.sh runs it in machines that have no more.

dir=$1 seconds=$2 seed=$3
shift 3
# The form that run_tests.sh knows and removes if this is killed
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hw_breakpoint.XXXXXX") && echo $$ >"$tmp/owner" || exit 1
log=$tmp/log

# random N: to $random, less than N; a linear congruential generator's upper bits
random()
{
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	random=$((seed / 65536 % $1))
}

# load COMMAND: again and again in the background, until no_load
loads=
load()
{
	: >"$tmp/load"
	while [ -e "$tmp/load" ] && kill -0 $$ 2>/dev/null; do
		eval "$1"
	done &
	loads="$loads $!"
	taskset -p -c "$allowed" $! >/dev/null 2>&1
	renice -n "$load_priority" -p $! >/dev/null 2>&1
}

no_load()
{
	rm -f "$tmp/load"
	# shellcheck disable=SC2086 # words
	[ -z "$loads" ] || wait $loads
	loads=
}
run=
trap '[ -z "$run" ] || kill $run 2>/dev/null; no_load; rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

uptime()
{
	cut -d. -f1 /proc/uptime
}

cpus=$(sed -n 's/^Cpus_allowed_list:[[:blank:]]*//p' /proc/self/status)
status=0
begin=$(uptime)
while :; do
	busy=0 memory='' priority=0 load_priority=0 allowed=$cpus
	random "${REPEAT_LOADED:-2}"
	if [ "$random" -eq 0 ]; then
		random 6
		case $random in
		0) priority=19 load_priority=10 ;;
		1 | 2) allowed=${cpus%%[-,]*} ;;
		esac
		random 3
		busy=$random
		random 3
		[ "$random" -gt 0 ] || memory=', memory pressure'
		[ "$busy" -gt 0 ] || [ -n "$memory" ] || busy=2
		[ -z "$REPEAT_LIGHT" ] || priority=0 load_priority=19 allowed=${cpus%%[-,]*}
	fi
	for _ in $(seq "$busy"); do
		load :
	done
	[ -z "$memory" ] || load "dd if=/dev/zero of=\"\$tmp/fill\" bs=1048576 count=100 2>/dev/null"
	started=$(uptime)
	# busybox may have no nice. In the background: a trap does not wait for it.
	(renice -n "$priority" -p "$(sh -c 'echo $PPID')" >/dev/null 2>&1
		exec taskset -c "$allowed" sh "$dir/run_tests.sh" "$@") >"$log" 2>&1 &
	run=$!
	if wait $run; then
		verdict=green
	else
		verdict=RED
		status=1
		cat "$log"
	fi
	run=
	no_load
	now=$(uptime)
	echo "run: $verdict $((now - started)) s, $(tail -n 1 "$log"): CPUs $allowed, nice $priority, $busy busy$memory"
	[ $((now - begin)) -lt "$seconds" ] || exit $status
done
