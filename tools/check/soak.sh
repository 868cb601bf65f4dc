#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The soak: that a seed repeats its choices, that a lost trap stops it with all
# that one needs to know, that it ends well when asked to, and leaves nothing
# behind when killed. In the emulator.
. "$(dirname "$0")/../tap.sh"
# shellcheck source=tools/emulator.sh
. "$(dirname "$0")/../emulator.sh"

tests=$top/tests

# The machine's console is the only terminal there
one_live_line()
{
	tr '\r' '\n' <"$tmp/machine.1/dmesg" >"$tmp/console"
	tail -n 20 "$tmp/console"
	[ "$(grep -cE '^# [1-3] s, [0-9]+ traps verified, [0-9]+ traps/s, [0-9]+ switches between armed threads, [0-9]+ migrations, [0-9]+ missed, [0-9]+ spurious' "$tmp/console")" -ge 2 ]
}

if ! in_machine; then
	in_machines 600 ''
	[ ! -e "$tmp/machine.1" ] ||
		check "soak: one live line on a terminal" one_live_line
	done_testing
	exit
fi

# soak ARGUMENT...: with one trap in $lose lost, if set; to $tmp/err and $tmp/out
lose=
soak()
{
	: >"$tmp/counts"
	LD_PRELOAD=${lose:+$HWBP_PREBUILT/lose.so} LOSE_COUNTS=$tmp/counts LOSE_EVERY=$lose \
		timeout -k 5 120 "$tests/soak_64" "$@" >"$tmp/soak.out" 2>"$tmp/err"
	rc=$?
	cat "$tmp/soak.out" "$tmp/err" >"$tmp/out"
	return $rc
}

# choices SEED NAME: those of each of two tracers, in $tmp/NAME.0 and .1.
# How many iterations fit into the time is chance.
choices()
{
	soak 10 --tracers 2 --seed "$1" --keep-going --choices
	for tracer in 0 1; do
		grep "^# tracer $tracer, iteration [0-9]*:" "$tmp/soak.out" >"$tmp/$2.$tracer"
		[ "$(wc -l <"$tmp/$2.$tracer")" -ge 2 ] || return 1
	done
}

# same A B: as far as the shorter of the two goes
same()
{
	n=$(for f; do wc -l <"$f"; done | sort -n | head -n 1)
	head -n "$n" "$1" >"$tmp/a"
	head -n "$n" "$2" >"$tmp/b"
	cmp "$tmp/a" "$tmp/b"
}

same_choices()
{
	choices 7 first && choices 7 second &&
		same "$tmp/first.0" "$tmp/second.0" &&
		same "$tmp/first.1" "$tmp/second.1"
}

other_choices()
{
	choices 8 other && ! same "$tmp/first.0" "$tmp/other.0" &&
		! same "$tmp/first.1" "$tmp/other.1" &&
		! same "$tmp/first.0" "$tmp/first.1"
}

# A lost trap ends it, at once, as failed. What the hypervisor does wrong before is
# not meant, nor a loss in a takeover, which has no record.
lost_trap_stops_it()
{
	lose=2000
	for _ in 1 2 3 4 5 6; do
		begin=$(date +%s)
		soak 60
		rc=$?
		# An exit shows a missed trap too, but no registers
		grep -q '^# MISSED' "$tmp/err" && grep -q 'as read back' "$tmp/err" && break
	done
	lose=
	cp "$tmp/out" "$tmp/record"
	[ "$rc" -eq 1 ] && [ $(($(date +%s) - begin)) -lt 55 ] &&
		grep -q '^not ok 1 soak' "$tmp/out" &&
		grep -qE ' [1-9][0-9]* missed,' "$tmp/out"
}

# recorded PATTERN: a line of the record matches
recorded()
{
	cp "$tmp/record" "$tmp/out"
	grep -qE "$1" "$tmp/record"
}

# The last 64 events of a tracee; of its neighbours too, which go on meanwhile
recorded_events()
{
	cp "$tmp/record" "$tmp/out"
	awk '/^#   event / { events++ }
	     /last events of a tracee/ { if (!others++) own = events }
	     END { exit !(own >= 1 && own <= 64 && events >= own + 20) }' "$tmp/record"
}

# How many traps a slow machine sees in some seconds is chance
goes_on()
{
	lose=200
	for seconds in 4 16 64; do
		soak $seconds --keep-going
		rc=$?
		missed=$(sed -n 's/^# soak ended: .* \([0-9]*\) missed,.*/\1/p' "$tmp/out")
		[ $rc -eq 1 ] && [ "${missed:-0}" -ge 2 ] && break
	done
	lose=
	[ "$rc" -eq 1 ] && [ "${missed:-0}" -ge 2 ] &&
		grep -q "^#   missed: $missed of [0-9]*, .* with 95% confidence between" "$tmp/out" &&
		[ "$(sed -n 's/^# soak ended: \([0-9]*\) s,.*/\1/p' "$tmp/out")" -ge "$seconds" ]
}

# A session of its own, to see what it leaves behind. --keep-going, as what the
# hypervisor does wrong is not looked at here.
session=
start()
{
	setsid "$tests/soak_64" 60 --keep-going >"$tmp/out" 2>&1 </dev/null &
	session=$!
	while ! grep -q '^# soak:' "$tmp/out"; do
		kill -0 $session || return 1
	done
	# Tracers, tracees and stressors
	while [ "$(session_pids | wc -l)" -lt 8 ]; do
		kill -0 $session || return 1
	done
}

session_pids()
{
	cat /proc/[0-9]*/stat 2>/dev/null | awk -v sid="$session" '{
		pid = $1
		sub(/.*\) /, "")
		if ($1 != "Z" && $4 == sid)
			print pid
	}'
}

# Nothing of it runs, all CPUs are there, no cgroup. Guards of CPUs and cgroups
# have sessions of their own and are given time.
left_nothing()
{
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		left=$(session_pids
			ls -d /sys/fs/cgroup/hw_breakpoint.* /sys/fs/cgroup/*/hw_breakpoint.* 2>/dev/null
			grep -l 0 /sys/devices/system/cpu/cpu[0-9]*/online 2>/dev/null)
		[ -n "$left" ] || return 0
		sleep 1
	done
	echo "left behind: $left" >>"$tmp/out"
	return 1
}

asked_to_end()
{
	start || return 1
	kill -"$1" $session
	wait $session
	rc=$?
	grep -q 'soak ended: .* 0 missed, 0 spurious, 0 wrong' "$tmp/out" || [ $rc -eq 1 ] &&
		grep -q 'stressor hotplug' "$tmp/out" && grep -qE '^(not )?ok 1 soak' "$tmp/out" &&
		left_nothing
}

# As by Ctrl-C: all processes of the terminal are asked
asked_all_at_once()
{
	start || return 1
	kill -INT -$session
	wait $session
	grep -q 'soak ended: ' "$tmp/out" && left_nothing
}

killed()
{
	start || return 1
	kill -KILL $session
	wait $session 2>/dev/null
	left_nothing
}

trap '[ -z "$session" ] || kill -KILL $(session_pids) 2>/dev/null; rm -rf "$tmp"' EXIT
check "soak: the same seed makes the same choices" same_choices
check "soak: another seed makes others, as does another tracer" other_choices
check "soak: a lost trap stops it" lost_trap_stops_it
check "record: the tracee, and the expected trap" \
	recorded 'MISSED trap: expected SIGTRAP code 4, slots 0x[1248], DR6 0x'
check "record: the access" recorded 'seen: access [0-9]+: armed tracee'
check "record: all DRs as read back" recorded 'as read back: DR0 0[^ ]* DR1 0[^ ]* DR2 0[^ ]* DR3 0'
check "record: DR6 and DR7" recorded 'DR6 0x[0-9a-f]+ DR7 0x'
check "record: the last events, and the neighbours'" recorded_events
check "record: the CPUs" recorded 'event [0-9]+, [0-9]+ us ago on CPU [0-9]+'
check "record: the time since the last switch" \
	recorded '[0-9]+ switches, the last from thread [0-9]+, -?[0-9]+ us before'
check "record: steal time" recorded 'cpu0: steal [0-9]+ ticks'
check "record: kernel, CPU, microcode, hypervisor" \
	recorded 'kernel .*, CPU .*microcode 0x.*, hypervisor '
check "record: the choices of the iteration, and its seed" \
	recorded 'seed of the iteration 0x[0-9a-f]+, of the run [0-9]+'
check "soak: --keep-going goes on to the end" goes_on
check "soak: SIGINT ends it, with the report" asked_to_end INT
check "soak: SIGTERM ends it, with the report" asked_to_end TERM
check "soak: Ctrl-C ends it, with the report" asked_all_at_once
check "soak: killed, it leaves nothing behind" killed
# Looked at outside, as a terminal: the lab asks for whole lines
env -u HW_BREAKPOINT_KTAP "$tests/soak_64" 3 --keep-going >/dev/console 2>&1
done_testing
