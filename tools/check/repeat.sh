#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Is it green every time, and is nothing left when it is killed? For REPEAT_MINUTES (2)
# whole runs beside random load (tools/repeat.sh), and as long again, runs and soaks, here
# and in an emulator, and the lab, that are killed at random moments. REPEAT_SEED=N
# repeats the loads of an earlier run. What failed is kept in .cache/repeat.
. "$(dirname "$0")/../tap.sh"

minutes=${REPEAT_MINUTES:-2}
seed=${REPEAT_SEED:-$(date +%s)}
kept=$top/.cache/repeat
dir=$tmp/suite
scratch=$tmp/scratch
echo "# seed $seed, $minutes minutes for each part"
mkdir -p "$kept" "$scratch"

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

all_green()
{
	sh "$top/tools/repeat.sh" "$dir" $((60 * minutes)) "$seed" >"$kept/runs"
	status=$?
	sed -n 's/^run: /# /p' "$kept/runs"
	[ $status -eq 0 ] || echo "see $kept/runs"
	return $status
}

# programs: living processes that execute one of this copy of the suite
programs()
{
	find /proc -maxdepth 2 -path '/proc/[0-9]*/exe' -lname "$dir/*" 2>/dev/null |
		sed 's/[^0-9]//g'
}

# ours: living processes of this copy of the suite, its drivers and its emulators
ours()
{
	programs
	pgrep -f "$dir/|$scratch/|^sh $top/tools/lab/lab\.sh"
}

offline()
{
	grep -l 0 /sys/devices/system/cpu/cpu*/online 2>/dev/null
}
offline_before=$(offline)

# left: what must not be there any more; what was killed gets some time to go
left()
{
	for _ in $(seq 40); do
		[ -n "$(ours)" ] || break
		sleep 0.5
	done
	for pid in $(ours); do
		echo "process $pid: $(tr '\0' ' ' <"/proc/$pid/cmdline")"
	done
	ls -d /sys/fs/cgroup/hw_breakpoint.* /sys/fs/cgroup/*/hw_breakpoint.* "$scratch"/* 2>/dev/null
	[ "$(offline)" = "$offline_before" ] || echo "offline: $(offline)"
	grep -F "$tmp" /proc/mounts
}

# any WORD...: one of them
any()
{
	shuf -n 1 -e "$@"
}

# one_of ROLE: a process of the suite. A guard undoes a change to the system, in a session
# of its own.
one_of()
{
	case $1 in
	process) ours ;;
	tracer)
		ours | grep -xF "$(sed -n 's/^TracerPid:[[:blank:]]*\([1-9]\)/\1/p' \
			/proc/[0-9]*/status 2>/dev/null)" ;;
	guard)
		for pid in $(programs); do
			sed "s/.*) //; s/^/$pid /" "/proc/$pid/stat"
		done 2>/dev/null | awk '$1 == $5 { print $1 }' ;;
	esac | shuf -n 1
}

# kill_one: start one, and kill it or a part of it; what it was to $how
kill_one()
{
	seconds=$(any 2 2 6 6 6 40)
	case $(any run run soak emulated lab) in
	run) set -- "$dir/run_tests.sh" ;;
	soak) set -- "$dir/run_tests.sh" --soak 60s ;;
	emulated)
		seconds=40
		set -- "$top/run_tests.sh" --emulated -t 'slot_test_64' ;;
	lab)
		seconds=40
		set -- "$top/tools/lab/lab.sh" -k "$lab_kernel" disable_ignored ;;
	esac
	TMPDIR=$scratch setsid sh "$@" >"$tmp/log" 2>&1 &
	pid=$!
	sleep "$(shuf -n 1 -i "0-$((seconds * 10))" | sed 's/.$/.&/')"
	signal=$(any INT TERM KILL)
	target=$(any driver tracer guard process group all)
	case $target in
	driver) victims=$pid ;;
	group) victims=-$pid ;;
	all) victims=$(echo "$pid"; ours) ;;
	*)
		victims=$(one_of "$target")
		[ -n "$victims" ] || {
			target=process
			victims=$(one_of process)
		} ;;
	esac
	how="$*: SIG$signal to $target"
	# shellcheck disable=SC2086 # words
	kill -s "$signal" -- $victims 2>/dev/null
	# A run without one of its processes ends like any other
	case $target in
	tracer | guard | process) kill -s TERM $pid 2>/dev/null ;;
	esac
	wait $pid 2>/dev/null
	# What a SIGKILL has to leave is removed by the next start; but a CPU stays offline
	# without its guard
	[ "$signal" != KILL ] || {
		left >/dev/null
		case $target in
		guard | process | all) TMPDIR=$scratch sh "$dir/run_tests.sh" --clean-up ;;
		*) next_is_green ;;
		esac
	} >/dev/null 2>&1
}

# next_is_green: a short run, whatever was killed before it
next_is_green()
{
	TMPDIR=$scratch sh "$dir/run_tests.sh" -t 'slot_test_*' -t 'cgroup_test_*' >"$kept/next" 2>&1
}

killed()
{
	end=$(($(date +%s) + 60 * minutes)) kills=0 bad=0
	: >"$kept/kills"
	# What a killed compiler leaves is not ours
	"$top/tools/lab/initramfs.sh" >/dev/null || return
	lab_kernel=$("$top/tools/lab/kernel.sh" -f) || return
	while [ "$(date +%s)" -lt $end ]; do
		kill_one
		kills=$((kills + 1))
		left >"$tmp/left"
		next_is_green || echo "the next run is not green: $(cat "$kept/next")" >>"$tmp/left"
		echo "$how" >>"$kept/kills"
		[ -s "$tmp/left" ] || continue
		bad=$((bad + 1))
		sed "s|^|# left by $how: |" "$tmp/left" | tee -a "$kept/kills"
		# shellcheck disable=SC2046 # words
		kill -KILL $(ours) 2>/dev/null
		rm -rf "${scratch:?}"/*
	done
	echo "# $kills kills, $bad left something"
	sed 's/.* to /# killed: /' "$kept/kills" | sort | uniq -c | sed 's/ *\([0-9]*\) \(.*\)/\2: \1/'
	[ $bad -eq 0 ] || return
	TMPDIR=$scratch sh "$dir/run_tests.sh" >"$kept/after" 2>&1 || {
		echo "the run after it is not green: see $kept/after"
		return 1
	}
}

# check_shown NAME COMMAND: with its comments, also if it is well
check_shown()
{
	"$2" >"$tmp/out" 2>&1
	status=$?
	grep '^#' "$tmp/out"
	if [ $status -eq 0 ]; then
		ok "$1"
	else
		not_ok "$1"
	fi
}

check_shown "runs beside load are green" all_green
check_shown "nothing is left after a kill" killed
done_testing
