#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# run_tests.sh on made-up programs: what it prints, counts, returns and leaves
# behind. Under each shell that is here, since it must run under busybox too.
. "$(dirname "$0")/../tap.sh"

# make_program NAME TEST...: a program whose tests behave as their names say. Takes the options of the harness (usage: -l | -r name).
make_program()
{
	prog=$tmp/dir/$1
	shift
	cat >"$prog" <<-END
	#!/bin/sh
	# [-l] [-r name]
	all="$*"
	nap=$$
	END
	cat >>"$prog" <<-'END'
	selected=
	while getopts lr: opt; do
		case $opt in
		l)
			printf '%-20s %-25s %s\n' '# FIXTURE' VARIANT TEST >&2
			printf '%-20s %-25s %s\n' global '' '' >&2
			for t in $all; do
				echo -------- >&2
				printf '%-20s %-25s %s\n' "${t%%.*}" '' "${t#*.}" >&2
			done
			exit 4 ;;
		r) selected="$selected $OPTARG" ;;
		esac
	done
	[ -z "$selected" ] || all=$selected
	set -- $all
	echo "# kernel: 6.12 #1 x86_64"
	echo "# hypervisor: ${HYPERVISOR:-none}"
	echo "# CPU: Model (family 6 model 167)"
	echo "# ptrace breakpoints: execute ${FIRES:-fires}, write fires, read/write ${FIRES:-fires}"
	echo "# perf breakpoints: execute fires, write fires, read/write fires"
	[ -z "$HW_BREAKPOINT_ENVIRONMENT" ] || exit 0
	case $1 in
	f.skip_all)
		echo "1..0 # SKIP no such hardware"
		exit 4 ;;
	f.no_plan)
		exit 0 ;;
	esac
	echo TAP version 13
	echo 1..$#
	rc=0
	n=0
	for t; do
		n=$((n + 1))
		echo "#  RUN           $t ..."
		case $t in
		*.pass*) echo "ok $n $t" ;;
		*.fail*)
			echo "# x.c:1:$t:expected this"
			echo "not ok $n $t"
			rc=1 ;;
		*.expires) echo "# wait expired after 60 s"; echo "not ok $n $t"; rc=1 ;;
		*.late) echo "not ok $n $t ${HW_BREAKPOINT_WAIT_EXPIRED:-full}"; rc=1 ;;
		*.dead*) echo "ok $n $t # SKIP this type of breakpoint never fires here, see first_trap_test" ;;
		*.skip*) echo "ok $n $t # SKIP not on this machine" ;;
		*.old_skip) echo "ok $n # SKIP an old harness" ;;
		*.xfail*) echo "ok $n $t # XFAIL it is broken" ;;
		*.killed)
			echo "# $t: Test terminated unexpectedly by signal 9"
			echo "ok $n $t" ;;
		*.crash) kill -SEGV $$ ;;
		*.twice) echo "ok $n $t"; echo "ok $n $t" ;;
		*.stranger) echo "ok $n f.unheard_of" ;;
		*.bad_exit) echo "ok $n $t"; rc=3 ;;
		# Children in groups of their own, as the harness makes them.
		*.hang)
			perl -e 'setpgrp; exit if fork; exec @ARGV' sleep 302.$nap
			sleep 300.$nap ;;
		*.left)
			perl -e 'setpgrp; exit if fork; exec @ARGV' sleep 301.$nap >/dev/null 2>&1
			echo "ok $n $t" ;;
		*.fills)
			dd if=/dev/zero of="$TMPDIR/fill" bs=4096 2>/dev/null
			echo "not ok $n $t"
			rc=1 ;;
		*.no_newline) printf "ok $n $t" ;;
		# At the same time as another
		*.meets)
			: >"$MEET/$$"
			tries=0
			while [ "$(ls "$MEET" | wc -l)" -lt 2 ] && [ $tries -lt 300 ]; do
				sleep 0.1
				tries=$((tries + 1))
			done
			[ $tries -lt 300 ] || printf 'not '
			echo "ok $n $t" ;;
		# At the same time as no other
		*.alone)
			if mkdir "$MEET/alone"; then
				sleep 0.3
				rmdir "$MEET/alone"
				echo "ok $n $t"
			else
				echo "not ok $n $t"
			fi ;;
		esac
	done
	echo "# traps: $((100 * $#)) verified, ${MISSED:-0} missed, 0 unexpected"
	exit $rc
	END
	chmod +x "$prog"
	echo "${prog##*/}" >>"$tmp/dir/kselftest-list.txt"
}

# programs NAME=TEST,TEST...: start afresh with these
programs()
{
	rm -rf "$tmp/dir" "$MEET"
	mkdir "$tmp/dir" "$MEET"
	cp "$top/run_tests.sh" "$top/tools/screen.sh" "$top/tools/results.sh" "$tmp/dir"
	for spec; do
		# shellcheck disable=SC2046 # words
		make_program "${spec%%=*}" $(echo "${spec#*=}" | tr , ' ')
	done
}

# run STATUS ARGUMENTS...: the driver returns that
run()
{
	status=$1
	shift
	# shellcheck disable=SC2086 # may be two words
	TMPDIR=$tmp/scratch $sh "$tmp/dir/run_tests.sh" "$@" >"$tmp/stdout" 2>"$tmp/stderr"
	got=$?
	cat "$tmp/stdout" "$tmp/stderr"
	[ "$got" -eq "$status" ] || {
		echo "exit status $got, expected $status"
		return 1
	}
	no_scratch_files
}

# no_scratch_files: none is there; now, so that the next check does not fail for it
no_scratch_files()
{
	[ -n "$(ls "$tmp/scratch")" ] || return 0
	echo "scratch files left behind:"
	ls -R "$tmp/scratch"
	rm -rf "$tmp"/scratch/*
	return 1
}

prints() { grep -qxF -e "$1" "$tmp/stdout" || { echo "not printed: $1"; return 1; }; }
last_line() { [ "$(tail -n 1 "$tmp/stdout")" = "$1" ] || { echo "last line is not: $1"; return 1; }; }
complains() { grep -q -e "$1" "$tmp/stderr" || { echo "no complaint of: $1"; return 1; }; }
silent() { [ ! -s "$tmp/stdout" ] || { echo "something was run"; return 1; }; }

# no_sleepers: none of the processes that the made-up programs start is there
no_sleepers()
{
	for d in /proc/[0-9]*; do
		case $({ tr '\0' ' ' <"$d/cmdline"; } 2>/dev/null) in
		"sleep 300.$$ " | "sleep 301.$$ " | "sleep 302.$$ ")
			echo "left behind: ${d#/proc/}"
			kill -KILL "${d#/proc/}"
			return 1 ;;
		esac
	done
}

all_pass()
{
	programs a=f.pass_1,g.pass_2 b=f.pass && run 0 && prints "KTAP version 1" &&
		prints "1..2" && prints "  TAP version 13" && prints "  1..2" &&
		prints "  ok 1 f.pass_1" && prints "  ok 2 g.pass_2" && prints "ok 1 a" &&
		prints "ok 2 b" && last_line "3 passed, 0 failed, 0 skipped"
}

one_fails()
{
	programs a=f.pass,f.fail b=f.pass && run 1 && prints "  not ok 2 f.fail" &&
		prints "not ok 1 a" && prints "ok 2 b" && prints "#   a:f.fail" &&
		prints "#     x.c:1:f.fail:expected this" &&
		last_line "2 passed, 1 failed, 0 skipped"
}

# what_fails TEST COMPLAINT PASSED: the program a:f.pass,f.TEST fails for that
what_fails()
{
	programs "a=f.pass,f.$1" b=f.pass && run 1 -o 2 &&
		prints "#     $2" && prints "ok 2 b" &&
		last_line "$3 passed, 1 failed, 0 skipped"
}

names_the_last()
{
	what_fails "$1" "$2" 2 && prints "#   a:f.$1"
}

skips()
{
	programs a=f.pass,f.skip_1,f.old_skip b=f.skip_all && run 0 &&
		prints "# skipped, not on this machine:" && prints "#   a:f.skip_1" &&
		prints "# skipped, an old harness:" && prints "#   a:f.old_skip" &&
		prints "# skipped, no such hardware:" && prints "#   b" &&
		prints "ok 2 b # SKIP no such hardware" &&
		last_line "1 passed, 0 failed, 3 skipped"
}

nothing_ran()
{
	programs a=f.skip b=f.skip_all && run 4 && last_line "0 passed, 0 failed, 2 skipped"
}

not_executable()
{
	programs a_64=f.pass b_32=f.pass && sed -i '1s/.*/#!\/nowhere/' "$tmp/dir/b_32" &&
		run 0 && last_line "1 passed, 0 failed, 1 skipped" &&
		sed -i '1s/.*/#!\/nowhere/' "$tmp/dir/a_64" && run 1 &&
		last_line "0 passed, 1 failed, 1 skipped"
}

list()
{
	programs a=f.pass,f.fail b=g.pass && run 0 -l && printf 'a:f.pass\na:f.fail\nb:g.pass\n' |
		cmp - "$tmp/stdout" && run 0 --list -t 'a:*fail' && prints a:f.fail &&
		last_line a:f.fail
}

selects()
{
	programs a=f.pass,f.fail b=f.pass,f.fail c=f.fail && run 0 -t '*:f.pass' &&
		last_line "2 passed, 0 failed, 0 skipped" && prints "1..2" &&
		run 0 --test=a:f.pass && last_line "1 passed, 0 failed, 0 skipped" &&
		run 1 -tb && last_line "1 passed, 1 failed, 0 skipped" &&
		run 1 -t a:f.pass --test 'c' && last_line "1 passed, 1 failed, 0 skipped"
}

# With a harness that takes no options (6.1)
whole_programs()
{
	programs a=f.pass,f.fail b=f.pass && sed -i '/^# \[-l\]/d' "$tmp/dir/a" "$tmp/dir/b" &&
		run 0 -l && printf 'a\nb\n' | cmp - "$tmp/stdout" &&
		run 1 -t a:f.pass && last_line "1 passed, 1 failed, 0 skipped" &&
		grep -q '^# a cannot select single tests' "$tmp/stdout" &&
		echo "a:f.fail fail because" >"$tmp/known" && run 0 -k "$tmp/known" &&
		last_line "2 passed, 0 failed, 1 skipped" &&
		echo "a:f.fail hang because" >"$tmp/known" && run 0 -k "$tmp/known" &&
		last_line "1 passed, 0 failed, 1 skipped"
}

repeats()
{
	programs a=f.pass b=f.pass && run 0 -n 3 && prints "1..6" &&
		prints "ok 6 b run 3 of 3" && last_line "6 passed, 0 failed, 0 skipped" &&
		programs a=f.pass b=f.fail c=f.pass && run 1 -j 1 --repeat 3 &&
		prints "Bail out! failed in run 1 of 3" &&
		last_line "1 passed, 1 failed, 0 skipped" &&
		run 1 -j 2 --repeat 3 && prints "Bail out! failed in run 1 of 3"
}

known_failures()
{
	programs a=f.pass,f.fail_1,f.fail_2,f.xfail b=f.pass,f.hang &&
		cat >"$tmp/known" <<-END &&
		# an environment

		a:f.fail_* fail it is #1
		a:f.xfail fail it is not asked
		a:f.pass fail not any more
		*:*.hang hang takes the machine down
		END
		run 0 -k "$tmp/known" && prints "  ok 2 f.fail_1 # XFAIL known failure: it is #1 (known)" &&
		prints "# skipped, known failure: it is #1 (known):" && prints "#   a:f.fail_2" &&
		prints "# known failures that passed (is the list out of date?):" &&
		prints "#   a:f.pass" && prints "# skipped, known to hang: takes the machine down (known):" &&
		prints "  ok 2 f.hang # SKIP known to hang: takes the machine down (known)" &&
		prints "# skipped, known failure: it is broken (known bug of the kernel):" &&
		prints "#   a:f.xfail" && last_line "2 passed, 0 failed, 4 skipped" &&
		echo "a:f.fail_1 fail so" >"$tmp/known" &&
		echo "b:f.hang hang so" >"$tmp/known2" &&
		run 1 -k "$tmp/known" --known-failures="$tmp/known2" &&
		last_line "2 passed, 1 failed, 3 skipped"
}

known_by_what_it_prints()
{
	programs a=f.pass,f.fail_1,f.fail_2 && echo 'a:*_1 seen:expected?this so' >"$tmp/known" &&
		run 1 -k "$tmp/known" && prints "  ok 2 f.fail_1 # XFAIL known failure: so (known)" &&
		prints "  not ok 3 f.fail_2" && last_line "1 passed, 1 failed, 1 skipped" &&
		echo 'a:* seen:something?else so' >"$tmp/known" && run 1 -k "$tmp/known" &&
		last_line "1 passed, 2 failed, 0 skipped"
}

# list_of NAME LINE...: a list of known failures that is installed with the programs
list_of()
{
	mkdir -p "$tmp/dir/known-failures"
	name=$1
	shift
	printf '%s\n' "$@" >"$tmp/dir/known-failures/$name"
}

# Each list names the machines that it is for; all its conditions must match
known_by_machine()
{
	programs a=f.pass,f.fail
	list_of model.txt "# For: hypervisor: Two Words*" "# For: CPU: *model 167*" \
		"a:f.fail fail so"
	export HYPERVISOR="Two Words "
	run 0 && prints "# known failures: model.txt, for hypervisor: Two Words*, CPU: *model 167*" &&
		prints "  ok 2 f.fail # XFAIL known failure: so (model.txt)" &&
		last_line "1 passed, 0 failed, 1 skipped" &&
		run 1 -k none && last_line "1 passed, 1 failed, 0 skipped" &&
		echo "a:nothing fail so" >"$tmp/known" && run 1 -k "$tmp/known" &&
		run 0 -k "$tmp/known" -k auto &&
		list_of model.txt "# For: hypervisor: Two Words*" "# For: CPU: *model 1*8" \
			"a:f.fail fail so" && run 1 &&
		list_of model.txt "a:f.fail fail so" && run 1 &&
		list_of model.txt "# For: hypervisor: One*" "a:f.fail fail so" && run 1 &&
		! grep -q '^# known failures: ' "$tmp/stdout"
	result=$?
	unset HYPERVISOR
	return $result
}

# What is wrong with this machine, above the count
says_what_is_dead()
{
	programs a=f.pass,f.dead_1,f.dead_2 b=f.dead_1 c=f.pass
	export FIRES="never fires (0 of 64)" HYPERVISOR="bhyve bhyve "
	run 1 && prints "# VERDICT: some hardware breakpoints are dead on this machine: accepted, but never fire" &&
		prints "#   dead through ptrace: execute, read/write" &&
		! grep -q 'dead through perf' "$tmp/stdout" &&
		grep -q '^#   hypervisor: "bhyve bhyve " (bhyve' "$tmp/stdout" &&
		prints "#   not tested because of it: 3 tests in 2 programs" &&
		grep -q 'make emulated' "$tmp/stdout" &&
		last_line "2 passed, 0 failed, 3 skipped" &&
		sed 's/^ */# /' "$tmp/stdout" >"$tmp/log" && run 1 --verdict "$tmp/log" &&
		prints "#   dead through ptrace: execute, read/write"
	result=$?
	unset FIRES HYPERVISOR
	return $result
}

says_what_is_lost()
{
	programs a=f.pass,f.fail b=f.pass
	export MISSED=3 FIRES="fires at times (32 of 64)"
	run 1 && grep -q '^# VERDICT: armed breakpoints did not always trap' "$tmp/stdout" &&
		prints "#   traps missed: 3 of 303 expected" &&
		prints "#     ptrace execute fires at times (32 of 64)"
	result=$?
	unset MISSED FIRES
	[ $result -eq 0 ] && run 1 && ! grep VERDICT "$tmp/stdout"
}

# After a wait has expired the programs that follow wait less
shorter_waits()
{
	programs a=f.late b=f.pass,f.expires c=f.late
	run 1 -j 1 && prints "  not ok 1 f.late full" && prints "  not ok 1 f.late 1"
}

bad_usage()
{
	programs a=f.pass
	for arguments in -x --nope -t --test -n "-n 0" "-n x" "-n -1" -j "-j 0" "-j x" -k "-k /nowhere" \
		"-k $tmp" "-t nope" "-t a:f.pass -t a:nope" "-o x" stray --list=x; do
		# shellcheck disable=SC2086 # words
		if ! run 2 $arguments || ! silent || ! complains "^Usage: run_tests.sh"; then
			echo "with: $arguments"
			return 1
		fi
	done
	for line in "a:f.pass" "a:f.pass fail" "a:f.pass sometimes reason"; do
		echo "$line" >"$tmp/known"
		if ! run 2 -k "$tmp/known" || ! silent || ! complains "known:1:"; then
			echo "with known failures: $line"
			return 1
		fi
	done
	run 0 --help && prints "Usage: run_tests.sh [-h] [-l] [-t PATTERN]... [-n N] [-k FILE]... [-o SECONDS] [-j N] [--times]"
}

says_where_time_goes()
{
	programs a=f.pass,f.fail b=f.pass && run 1 --times &&
		prints "# seconds by program:" && prints "# seconds by test:" &&
		[ "$(grep -cE '^#   +[0-9]\.[0-9][0-9]  (a|b|a:f.pass|a:f.fail|b:f.pass)$' "$tmp/stdout")" -eq 5 ]
}

times_out()
{
	programs a=f.pass,f.hang b=f.pass && run 1 -o 1 && no_sleepers &&
		prints "#     the program timed out after 1 seconds, last test: f.hang" &&
		prints "#   a:f.hang" && last_line "2 passed, 1 failed, 0 skipped"
}

left_behind()
{
	programs a=f.pass,f.left b=f.pass && run 1 && no_sleepers &&
		prints "ok 2 b" && last_line "3 passed, 1 failed, 0 skipped"
}

# interrupted SIGNAL STATUS: by a signal to the driver alone, while a test hangs
interrupted()
{
	programs a=f.pass,f.hang
	mkfifo "$tmp/pipe"
	# shellcheck disable=SC2086
	TMPDIR=$tmp/scratch $unignore $sh "$tmp/dir/run_tests.sh" >"$tmp/pipe" 2>&1 &
	driver=$!
	# Wait for the test to be on its way, then for the end of all output.
	while read -r line; do
		echo "$line"
		case $line in
		*"RUN "*f.hang*) kill "-$1" $driver ;;
		esac
	done <"$tmp/pipe"
	rm "$tmp/pipe"
	wait $driver
	got=$?
	[ $got -eq "$2" ] || {
		echo "exit status $got"
		return 1
	}
	no_sleepers && no_scratch_files
}

# Several at a time, what they print in order; and those that have to be alone
side_by_side()
{
	programs a=f.pass b=f.meets c=f.crash d=f.skip e=f.meets g=f.pass && run 1 -j 2 &&
		[ "$(sed -n 's/^\(not \)*ok [0-9]* //p' "$tmp/stdout" | sed 's/ .*//' | tr -d '\n')" = abcdeg ] &&
		prints "# running e" && last_line "4 passed, 1 failed, 1 skipped" || return 1
	programs a=f.pass hotplug_test_64=f.alone b=f.pass cgroup_test_32=f.alone \
		lifetime_test_64=f.alone && run 0 -j 3 && prints "ok 3 hotplug_test_64" &&
		last_line "5 passed, 0 failed, 0 skipped"
}

# killed_in_lane PROCESS: what stops one that runs beside others
killed_in_lane()
{
	rm -rf "$tmp/scratch"
	mkdir "$tmp/scratch"
	programs a=f.pass,f.hang b=f.pass,f.hang c=f.pass
	TMPDIR=$tmp/scratch $sh "$tmp/dir/run_tests.sh" -j 2 >"$tmp/stdout" 2>&1 &
	driver=$!
	# Both have printed the start of their test
	tries=0
	while [ "$(grep -l f.hang "$tmp"/scratch/*/lane.[12]/output 2>/dev/null | wc -l)" -lt 2 ] &&
		[ $tries -lt 300 ]; do
		tries=$((tries + 1))
		sleep 0.1
	done
	$1 $driver
	{
		sleep 60
		kill -KILL $driver
	} &
	watchdog=$!
	wait $driver
	got=$?
	kill $watchdog
	cat "$tmp/stdout"
}

kill_driver_hard()
{
	pids=$(cat "$tmp"/scratch/*/lane.[12]/pid)
	kill -KILL "$1"
}

# The programs end, and the next start removes the rest
driver_is_killed()
{
	killed_in_lane kill_driver_hard
	for _ in $(seq 50); do
		# shellcheck disable=SC2086 # words
		kill -0 $pids 2>/dev/null || break
		sleep 0.1
	done
	# Their children would have died with them if they were tests
	while ! no_sleepers; do
		:
	done
	# shellcheck disable=SC2086
	! kill -0 $pids && programs a=f.pass && run 0
}

# A start removes what a run has left, though that still writes there while it does: an rm
# that at first leaves all but the owner's number
written_while_removed()
{
	programs a=f.pass
	left=$tmp/scratch/hw_breakpoint.abcdef
	mkdir -p "$left/lane.1" "$tmp/slow"
	# This one has ended
	$sh -c 'echo $$' >"$left/owner"
	cat >"$tmp/slow/rm" <<-END
	#!/bin/sh
	case \$2 in
	"$left")
		[ -e "$tmp/slow/done" ] || {
			/bin/rm "$left/owner"
			: >"$tmp/slow/done"
			exit 1
		} ;;
	esac
	exec /bin/rm "\$@"
	END
	chmod +x "$tmp/slow/rm"
	PATH=$tmp/slow:$PATH run 0 && complains "^# removed $left" && [ -e "$tmp/slow/done" ]
	got=$?
	rm -rf "$tmp/slow"
	return $got
}

kill_first_lane()
{
	# The parent of its program's session
	read -r sid <"$(echo "$tmp"/scratch/*/lane.1/sid)"
	sed 's/.*) //' "/proc/$sid/stat" >"$tmp/stat"
	read -r _ parent _ <"$tmp/stat"
	kill -KILL "$parent"
	# The other one's program hangs
	read -r sid <"$(echo "$tmp"/scratch/*/lane.2/pid)"
	kill -KILL "$sid"
}

lane_is_killed()
{
	killed_in_lane kill_first_lane && [ $got -eq 1 ] && no_sleepers &&
		no_scratch_files &&
		grep -qE '^not ok [12] [ab] # ERROR was not run to its end' "$tmp/stdout" &&
		prints "ok 3 c"
}

kill_driver()
{
	kill -TERM "$1"
}

lanes_are_terminated()
{
	killed_in_lane kill_driver && [ $got -eq 143 ] && no_sleepers && no_scratch_files
}

# mounted SCRIPT STATUS: the driver returns that where the script has mounted something
mounted()
{
	cat >"$tmp/mounts" <<-END
	exec unshare -m sh -c '$1 && exec "\$@"' sh "\$@"
	END
	unmounted=$sh
	sh="sh $tmp/mounts $sh"
	run "$2"
	result=$?
	sh=$unmounted
	return $result
}

# As in some containers: then only the program itself can be killed.
without_proc()
{
	programs a=f.pass,f.fail b=f.pass && mounted 'mount -t tmpfs none /proc' 1 &&
		last_line "2 passed, 1 failed, 0 skipped"
}

# says WORDS ARGUMENT...: --decode prints that line
says()
{
	words=$1
	shift
	# shellcheck disable=SC2086 # may be two words
	$sh "$top/run_tests.sh" --decode "$@" >"$tmp/out" 2>&1
	grep -qx -e "  $words" "$tmp/out"
}

# Bits as in the Intel SDM, vol. 3, "Debug Registers"
decodes()
{
	says "slot 0: write, length 4 (local)" DR7=0xd0001 &&
		says "slot 1: execute, at 0x400000 (local)" DR1=0x400000 DR7=4 &&
		says "slot 2: read/write, length 8, at 0x10 (local and global)" \
			DR2=16 DR7=0xb000030 &&
		says "slot 3: read/write, length 2, at 0x11: not aligned.* (global)" \
			DR3=0x11 DR7=0x70000080 &&
		says "slot 3: disabled" DR7=0x55555515 &&
		says "slot 0: hit" DR6=0xffff0ff1 &&
		says "slot 3: .*disabled in DR7" DR6=0xffff0ff8 DR7=1 &&
		says "bit 14, BS.*" DR6=0xffff4ff0 &&
		says "bit 11, BLD, is 0.*" dr6 0xffff07f0 &&
		says "no reason for a #DB at all" DR6=0xffff0ff0 &&
		says "bits that are reserved: 0x100000000" DR7=0x100000000 || return
	for arguments in DR4=1 DR6 DR6= DR6=0x DR6=08 DR6=-1 DR6=x DR6=0x11111111111111111; do
		$sh "$top/run_tests.sh" --decode $arguments >"$tmp/out" 2>&1
		[ $? -eq 2 ] && grep -q '^Usage' "$tmp/out" || return
	done
}

# terminal STATUS ARGUMENT...: on one, as a file
terminal()
{
	want=$1
	shift
	script -qec "stty cols 80; $sh $tmp/dir/run_tests.sh $*" "$tmp/typescript" >/dev/null 2>&1 </dev/null
	[ $? -eq "$want" ] && tr -d '\r' <"$tmp/typescript" >"$tmp/out"
}

on_terminal()
{
	programs a_test_64="f.pass f.fail" b_test_64="f.pass f.skip"
	terminal 1 -k none && ! grep -q 'KTAP' "$tmp/out" &&
		grep -q '1/2 .* 1 tests, 0 failed' "$tmp/out" &&
		grep -q 'a_test  *1 passed, 1 failed' "$tmp/out" &&
		grep -q 'b_test  *1 passed, 1 skipped' "$tmp/out" &&
		grep -q 'a_test_64:f.fail' "$tmp/out" && grep -q '2 passed, 1 failed, 1 skipped' "$tmp/out" &&
		grep -q "$(printf '\033')\[32m" "$tmp/out" || return
	NO_COLOR=1 terminal 1 -k none && ! grep -q "$(printf '\033')\[[0-9;]*m" "$tmp/out" || return
	TERM=dumb terminal 1 -k none && grep -q '^KTAP' "$tmp/out" || return
	# shellcheck disable=SC2031
	HW_BREAKPOINT_KTAP=1 terminal 1 -k none && grep -q '^KTAP' "$tmp/out"
}

# A directory with blanks, quotes and UTF-8, of which the driver gets a relative name
odd_names()
{
	odd="$tmp/o d'd \"\303\274"
	odd=$(printf "%b" "$odd")
	rm -rf "$odd"
	mkdir -p "$odd/scratch"
	programs a=f.pass,f.fail b=f.pass c=f.skip
	cp -r "$tmp/dir" "$odd/dir"
	# shellcheck disable=SC2086 # may be two words
	(cd "$odd" && CDPATH=.:dir TMPDIR=scratch $sh dir/run_tests.sh -j 2 -t 'a:*' -t b) \
		>"$tmp/stdout" 2>&1
	got=$?
	cat "$tmp/stdout"
	[ $got -eq 1 ] && last_line "2 passed, 1 failed, 0 skipped" && [ -z "$(ls "$odd/scratch")" ]
}

# One at a time in a container of few processes, and only there
few_processes()
{
	set -- 'mount -t tmpfs none /sys/fs/cgroup' '>/sys/fs/cgroup/pids.max'
	programs a=f.alone b=f.alone c=f.alone && mounted "$1 && echo 100 $2" 0 &&
		programs a=f.meets b=f.meets && mounted "$1 && echo max $2" 0
}

# A failure that cannot be noted is one
full_disk()
{
	# The other result may have been too late
	# shellcheck disable=SC2016 # for another shell
	programs a=f.pass,f.fills && mounted 'mount -t tmpfs -o size=3m none "$TMPDIR"' 1 &&
		tail -n 1 "$tmp/stdout" | grep -q '^[01] passed, 1 failed, 0 skipped$'
}

# Lines are passed on at once, not when the program ends.
as_it_comes()
{
	interrupted TERM 143
}

as_it_comes_int()
{
	interrupted INT 130
}

hung_up()
{
	interrupted HUP 129
}

quit()
{
	interrupted QUIT 131
}

mkdir "$tmp/scratch"
MEET=$tmp/meet
export MEET
tried=
for sh in sh bash "busybox ash"; do
	have "${sh%% *}" || {
		skip "under $sh" "not here"
		continue
	}
	tried="$tried $sh"
	check "$sh: all pass" all_pass
	check "$sh: a failure is named" one_fails
	check "$sh: skips are named" skips
	check "$sh: nothing could run" nothing_ran
	check "$sh: 32-bit programs that cannot run are skipped" not_executable
	check "$sh: crash" names_the_last crash \
		"the program was killed by signal 11, last test: f.crash"
	check "$sh: test reported twice" what_fails twice "this test reported twice" 3
	check "$sh: unknown test" what_fails stranger "the program does not list this test" 2
	check "$sh: killed test that an old harness calls ok" what_fails killed \
		"f.killed: Test terminated unexpectedly by signal 9" 2
	check "$sh: exit status without a failure" what_fails bad_exit \
		"the program ended with exit status 3 though no test failed" 3
	check "$sh: list" list
	check "$sh: select" selects
	check "$sh: harness without options" whole_programs
	check "$sh: repeat" repeats
	check "$sh: known failures" known_failures
	check "$sh: known by what it prints" known_by_what_it_prints
	check "$sh: lists are chosen by machine" known_by_machine
	check "$sh: dead breakpoints" says_what_is_dead
	check "$sh: lost traps" says_what_is_lost
	check "$sh: shorter waits after one has expired" shorter_waits
	check "$sh: bad usage" bad_usage
	check "$sh: registers in words" decodes
	if have script; then
		check "$sh: on a terminal" on_terminal
	else
		skip "$sh: on a terminal" "no script here"
	fi
	check "$sh: times" says_where_time_goes
	check "$sh: time limit" times_out
	check "$sh: processes left behind" left_behind
	check "$sh: several at a time" side_by_side
	check "$sh: one of several is killed" lane_is_killed
	check "$sh: several are terminated" lanes_are_terminated
	check "$sh: killed" driver_is_killed
	# busybox has an rm of its own
	[ "${sh%% *}" = busybox ] ||
		check "$sh: what it left is written to while it is removed" written_while_removed
	check "$sh: blanks, quotes and UTF-8 in names" odd_names
	check "$sh: terminated" as_it_comes
	check "$sh: hung up" hung_up
	if unshare -m mount -t tmpfs none /proc 2>/dev/null; then
		check "$sh: without /proc" without_proc
		check "$sh: no space left" full_disk
		[ ! -d /sys/fs/cgroup ] || check "$sh: few processes" few_processes
	fi
	if [ -n "$unignore" ]; then
		check "$sh: interrupted" as_it_comes_int
		check "$sh: quit" quit
	fi
done
done_testing
