#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Is it green every time, and is nothing left when it is killed? For REPEAT_MINUTES (2)
# whole runs beside random load, at random priority, on one CPU or all; and as long
# again, runs and soaks that are killed at random moments. REPEAT_SEED=N repeats the
# choices of an earlier run. Logs of what failed go to .cache/repeat.
. "$(dirname "$0")/../tap.sh"

minutes=${REPEAT_MINUTES:-2}
seed=${REPEAT_SEED:-$(date +%s)}
kept=$top/.cache/repeat
dir=$tmp/suite
echo "# seed $seed, $minutes minutes for each part"

# random N: to $random, less than N; a linear congruential generator's upper bits
random()
{
	seed=$(((seed * 1103515245 + 12345) % 2147483648))
	random=$((seed / 65536 % $1))
}

now()
{
	now=$(date +%s)
}

if ! make -s -C "$top" install INSTALL_PATH="$dir" >"$tmp/out" 2>&1; then
	not_ok "the suite is built"
	done_testing
	exit
fi
if ! "$dir/run_tests.sh" -t 'first_trap_test_64' >"$tmp/out" 2>&1; then
	skip "repeated runs" "breakpoints do not fire here"
	done_testing
	exit
fi
first_cpu=$(taskset -pc $$ | sed 's/.*: //; s/[-,].*//')

# ours: processes of this copy of the suite that live
ours()
{
	for exe in /proc/[0-9]*/exe; do
		case $(readlink "$exe" 2>/dev/null) in
		"$dir"/*) echo "${exe#/proc/}" | sed 's/\/exe//' ;;
		esac
	done
}

# load N: of so many busy processes
busy=
load()
{
	for _ in $(seq "$1"); do
		(exec nice -n 5 sh -c 'while :; do :; done') &
		busy="$busy $!"
	done
}

no_load()
{
	# shellcheck disable=SC2086 # words
	[ -z "$busy" ] || kill $busy 2>/dev/null
	wait 2>/dev/null
	busy=
}
trap 'no_load; rm -rf "$tmp"' EXIT

# keep NAME: what a run printed, and how it was started
keep()
{
	mkdir -p "$kept"
	{
		echo "# $1: $how"
		cat "$tmp/log"
	} >"$kept/$1.$now"
	echo "# kept: $kept/$1.$now"
}

# all_green: whole runs until the time is over
all_green()
{
	now
	end=$((now + 60 * minutes)) runs=0 bad=0
	while [ "$now" -lt $end ]; do
		random 4
		load "$random"
		how="$random busy processes"
		set -- sh "$dir/run_tests.sh"
		random 3
		case $random in
		0) set -- nice -n 19 "$@" && how="$how, nice 19" ;;
		1) set -- taskset -c "$first_cpu" "$@" && how="$how, one CPU" ;;
		esac
		"$@" >"$tmp/log" 2>&1
		status=$?
		no_load
		runs=$((runs + 1))
		now
		[ $status -eq 0 ] || { bad=$((bad + 1)) && keep run; }
	done
	echo "# $runs runs, $bad not green"
	[ $bad -eq 0 ]
}

# left: what must not be there any more; waits until the killed have gone
left()
{
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		[ -n "$(ours)" ] || break
		sleep 0.5
	done
	for pid in $(ours); do
		echo "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
	done
	ls -d /sys/fs/cgroup/hw_breakpoint.* /sys/fs/cgroup/*/hw_breakpoint.* 2>/dev/null
	grep -l 0 /sys/devices/system/cpu/cpu*/online 2>/dev/null | sort >"$tmp/offline"
	cmp -s "$tmp/offline" "$tmp/offline.before" || cat "$tmp/offline"
	ls -d "$tmp"/scratch/* 2>/dev/null
}

# killed: runs that are killed at a random moment, then one that is green
killed()
{
	now
	end=$((now + 60 * minutes)) kills=0 bad=0
	grep -l 0 /sys/devices/system/cpu/cpu*/online 2>/dev/null | sort >"$tmp/offline.before"
	mkdir -p "$tmp/scratch"
	while [ "$now" -lt $end ]; do
		random 3
		if [ "$random" -eq 0 ]; then
			set -- --soak 60s
		else
			set --
		fi
		TMPDIR=$tmp/scratch setsid sh "$dir/run_tests.sh" "$@" >"$tmp/log" 2>&1 &
		pid=$!
		random 60
		sleep "$((random / 10)).$((random % 10))"
		random 3
		signal=$(echo INT TERM KILL | cut -d' ' -f$((random + 1)))
		random 3
		case $random in
		0) target=$pid ;;
		1) target=$(ours | shuf -n 1) ;;
		2) target=all ;;
		esac
		how="$* killed by $signal, process ${target:-none}"
		if [ "$target" = all ]; then
			# The whole session, guards too
			# shellcheck disable=SC2046 # words
			kill -s "$signal" $pid $(ours) 2>/dev/null
		else
			[ -z "$target" ] || kill -s "$signal" "$target" 2>/dev/null
			# What is left of it ends like any other
			[ "$target" = $pid ] || kill -s TERM $pid 2>/dev/null
		fi
		wait $pid 2>/dev/null
		kills=$((kills + 1))
		# What a SIGKILL has to leave is removed by the next start
		[ "$signal" != KILL ] || {
			left >/dev/null
			TMPDIR=$tmp/scratch sh "$dir/run_tests.sh" --clean-up >/dev/null 2>&1
		}
		left >"$tmp/left"
		now
		if [ -s "$tmp/left" ]; then
			bad=$((bad + 1))
			sed "s/^/# left, $how: /" "$tmp/left"
			keep killed
			# shellcheck disable=SC2046 # words
			kill -KILL $(ours) 2>/dev/null
		fi
	done
	echo "# $kills kills, $bad left something"
	[ $bad -eq 0 ] || return
	TMPDIR=$tmp/scratch sh "$dir/run_tests.sh" >"$tmp/log" 2>&1 || { keep after; return 1; }
}

check_shown()
{
	"$2" >"$tmp/shown" 2>&1
	status=$?
	grep '^#' "$tmp/shown"
	if [ $status -eq 0 ]; then
		ok "$1"
	else
		cp "$tmp/shown" "$tmp/out"
		not_ok "$1"
	fi
}

check_shown "runs beside load are green" all_green
check_shown "nothing is left after a kill" killed
done_testing
