#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Build the suite, run it, and report what failed; see usage() for the options.
# Beside a kselftest-list.txt (where "make install" put it) nothing is built.
#
# kselftest's own run_tests exits with 0 whatever fails, cannot select single
# tests, and knows no known failures. This is what CI calls instead.

me=${0##*/}
unset CDPATH
cr='
'
tab='	'
# Marks the end of a program's output, followed by its exit status.
mark=$(printf '\036')

usage()
{
	cat <<-END
	Usage: $me [-h] [-l] [-t PATTERN]... [-n N] [-k FILE]... [-o SECONDS] [-j N] [--times]
	  or:  $me --emulated [-t PATTERN]... [-k FILE]...
	  or:  $me --bisect [-t PATTERN]...
	  or:  $me --junit FILE [OPTION]...
	  or:  $me --compare OLD NEW
	  or:  $me --verdict [LOG]
	  or:  $me --clean-up
	  or:  $me --decode REGISTER=VALUE...
	  or:  $me --soak TIME [--tracers N] [--tracees N] [--seed N] [--keep-going] [--choices]

	  -h, --help                 this text
	  -l, --list                 list the tests, run none
	  -t, --test PATTERN         run only tests whose name matches: a shell pattern
	                             against PROGRAM:FIXTURE.VARIANT.TEST or PROGRAM;
	                             may be given several times
	  -n, --repeat N             run N times, stop at the first failure
	  -k, --known-failures FILE  failures that FILE names do not fail the run; may
	                             be given several times. "auto", which is the
	                             default, stands for the lists that are for this
	                             machine, "none" for no list
	  --no-system-changes        take no CPU offline, create no cgroup, and use no
	                             uprobe, also as root
	  --clean-up                 undo what runs have left that were killed with all
	                             their processes: scratch directories, cgroups; and
	                             take every CPU online that is offline

	  -o, --override-timeout SECONDS
	                             limit for each program, 0 for none
	                             (default: 300)
	  -j, --jobs N               run up to N programs at a time, except those that
	                             need a CPU, or all of its slots (default: 4; 1 with
	                             --times, if HW_BREAKPOINT_KTAP is set, on a machine
	                             known to lose traps, or if less than 1000 processes
	                             are permitted). With 1, what they print is to be
	                             seen up to a crash of the kernel
	  --times                    say at the end where the time went: all programs, and
	                             the tests that took longest

	  --emulated                 run in an emulator instead, where breakpoints fire

	  --bisect                   for "git bisect run", in a kernel tree: build what is
	                             checked out, and run in an emulator

	  --junit FILE               write the results to FILE as JUnit XML, too
	  --compare OLD NEW          say what differs between the logs of two runs: of
	                             this script, of the kernel's runner, or of a LAVA job

	  --verdict [LOG]            summarize what a log, of this script or of the kernel's
	                             runner, says about its machine

	  --decode REGISTER=VALUE    say in words what debug registers mean: DR0 to DR3,
	                             DR6 and DR7, as a failure's record has them

	  --soak TIME                instead of the tests, run tracees under a random
	                             background load for TIME: in seconds, or a number
	                             and s, m, h or d
	  --tracers N                number of tracers (4)
	  --tracees N                maximum number of tracees of each tracer (4)
	  --seed N                   repeat the random choices of an earlier run
	  --keep-going               do not stop at the first wrong trap
	  --choices                  print the random choices of each iteration

	A line of a known-failures file is "PATTERN STATE REASON": STATE is "fail" (is
	run, may fail), "hang" (would hang the machine, is not run) or "seen:GLOB" (may
	fail if it prints a line that matches). The file is for machines that match all
	its lines "# For: KEY: GLOB", where "# KEY: VALUE" is one of the lines that each
	program prints first.

	Exit status: 0 all well, 1 something failed or breakpoints are dead, 2 bad
	usage, 4 nothing could run. --compare: 1 something is worse, 3 a log is cut off.
	--bisect: as git bisect wants it.
	END
}

bad_usage()
{
	echo "$me: $*" >&2
	usage | sed '1q' >&2
	exit 2
}

cannot_run()
{
	echo "$me: $*" >&2
	exit 4
}

# number VALUE MINIMUM OPTION
number()
{
	case $1 in
	'' | *[!0-9]* | ????????*)
		bad_usage "$3 needs a number, not '$1'" ;;
	esac
	[ "$1" -ge "$2" ] || bad_usage "$3 needs a number from $2 on, not '$1'"
}

# matches NAME PATTERNS: whether one of the newline-separated patterns matches
matches()
{
	globs=$2
	while [ -n "$globs" ]; do
		glob=${globs%%"$cr"*}
		# shellcheck disable=SC2254 # a pattern is what it is
		case $1 in $glob) return 0 ;; esac
		# shellcheck disable=SC2254
		case ${1%%:*} in $glob) return 0 ;; esac
		[ "$glob" != "$globs" ] || break
		globs=${globs#*"$cr"}
	done
	return 1
}

# may_match PROGRAM PATTERN: whether the pattern can match a test of the program
may_match()
{
	case $2 in
	*:*) ;;
	# A wildcard with no colon after it may match part of the test's name
	*[*?[]*) return 0 ;;
	esac
	# shellcheck disable=SC2254 # a pattern is what it is
	case $1 in ${2%%:*}) return 0 ;; esac
	return 1
}

# lines_for PROGRAM LINES: those of the lines, which begin with a pattern, that may be for
# tests of the program, in lines_for. All lines for each test would take longer than
# the tests.
lines_for()
{
	lines=$2
	lines_for=
	while [ -n "$lines" ]; do
		one=${lines%%"$cr"*}
		lines=${lines#*"$cr"}
		! may_match "$1" "${one%% *}" || lines_for=$lines_for$one$cr
	done
}

#
# Options; all errors in them are reported before anything is run.
#
list=
tests=
repeat=1
known_files=
limit=
lanes=
only_verdict=
only_clean_up=
times=
soak=
soak_options=
while [ $# -gt 0 ]; do
	opt=$1
	shift
	case $opt in
	--*=*)
		set -- "${opt#*=}" "$@"
		opt=${opt%%=*}
		case $opt in
		--test | --repeat | --known-failures | --override-timeout | \
			--jobs | --soak | --tracers | --tracees | --seed) ;;
		*) bad_usage "no such option, or none with a value: $opt" ;;
		esac ;;
	-[tnkoj]?*)
		value=${opt#-?}
		opt=${opt%"$value"}
		set -- "$value" "$@" ;;
	-[hl]?*)
		value=${opt#-?}
		opt=${opt%"$value"}
		set -- "-$value" "$@" ;;
	esac
	case $opt in
	-t | --test | -n | --repeat | -k | --known-failures | -o | \
		--override-timeout | -j | --jobs | --soak | --tracers | --tracees | --seed)
		[ $# -gt 0 ] || bad_usage "$opt needs a value"
		value=$1
		shift ;;
	esac
	case $opt in
	--junit | --compare | --emulated | --bisect | --decode)
		if [ -n "$list$tests$known_files$limit$lanes$soak$soak_options" ] || [ "$repeat" -ne 1 ]; then
			bad_usage "$opt has to come before the other options"
		fi
		case $opt in
		--junit) set -- results --run-junit "$@" ;;
		--compare) set -- results --compare "$@" ;;
		--bisect) set -- lab/bisect "$@" ;;
		*) set -- "${opt#--}" "$@" ;;
		esac
		other=$1.sh
		shift
		# Beside this script where "make install" has put it
		[ -r "$(dirname "$0")/$other" ] || other=tools/$other
		[ -r "$(dirname "$0")/$other" ] || cannot_run "$other is not beside $0"
		exec sh "$(dirname "$0")/$other" "$@" ;;
	--verdict)
		only_verdict=${1:--}
		[ $# -eq 0 ] || shift ;;
	-h | --help)
		usage
		exit 0 ;;
	-l | --list)
		list=1 ;;
	-t | --test)
		[ -n "$value" ] || bad_usage "$opt needs a pattern"
		tests=$tests$value$cr ;;
	-n | --repeat)
		number "$value" 1 "$opt"
		repeat=$value ;;
	-k | --known-failures)
		known_files=$known_files$value$cr ;;
	-o | --override-timeout)
		number "$value" 0 "$opt"
		limit=$value ;;
	-j | --jobs)
		number "$value" 1 "$opt"
		lanes=$value ;;
	--soak)
		case $value in
		*[!0-9.smhd]* | [!0-9]* | *[smhd]?* | '')
			bad_usage "$opt needs a time such as 90s or 2h, not '$value'" ;;
		esac
		soak=$value ;;
	--tracers | --tracees)
		number "$value" 1 "$opt"
		[ "$value" -le 64 ] || bad_usage "$opt needs a number up to 64, not '$value'"
		soak_options="$soak_options $opt $value" ;;
	--seed)
		case $value in
		'' | *[!0-9]*) bad_usage "$opt needs a number, not '$value'" ;;
		esac
		soak_options="$soak_options $opt $value" ;;
	--no-system-changes)
		export HW_BREAKPOINT_NO_SYSTEM_CHANGES=1 ;;
	--clean-up)
		only_clean_up=1 ;;
	--times)
		times=1 ;;
	--keep-going | --choices)
		soak_options="$soak_options $opt" ;;
	*)
		bad_usage "no such option: $opt" ;;
	esac
done

[ -n "$soak" ] || [ -z "$soak_options" ] ||
	bad_usage "without --soak:$soak_options"

#
# Summarize what a log says about its machine: the environment that each program
# has printed, what was skipped because of it, and how many traps were missed where a
# test failed. Exits with 1 if breakpoints are dead.
#
verdict()
{
	awk '
	{ sub(/^[# ]*/, "") }
	/^kernel: / { program++; here = failed }
	/^hypervisor: / { hypervisor = substr($0, 13) }
	/^(ptrace|perf) breakpoints: / {
		way = $1
		sub(/^[^:]*: /, "")
		n = split($0, type, ", ")
		for (i = 1; i <= n; i++) {
			name = type[i]
			sub(/ .*/, "", name)
			if (type[i] ~ / never fires / && !(way name in dead)) {
				dead[way name]
				list[way] = list[way] (list[way] ? ", " : "") name
				ndead++
			}
			if (type[i] ~ / fires at times / && !(way name in partial)) {
				partial[way name]
				times = times "\n#     " way " " type[i]
			}
		}
	}
	/# SKIP this type of breakpoint never fires here/ {
		tests++
		if (!(program in skipped)) {
			skipped[program]
			programs++
		}
	}
	/^not ok [0-9]/ { failed++ }
	# Those of known failures say nothing about others
	/^traps: [0-9]+ verified, / { verified += $2; missed += failed > here ? $4 : 0 }
	END {
		known["KVMKVMKVM"] = "KVM"
		known["bhyve bhyve "] = "bhyve, or a guest of it with para-virtual KVM"
		known["Microsoft Hv"] = "Hyper-V"
		known["VMwareVMware"] = "VMware"
		known["XenVMMXenVMM"] = "Xen"
		known["TCGTCGTCGTCG"] = "QEMU without KVM"
		known["none"] = "no hypervisor signature"
		where = "\"" hypervisor "\"" (hypervisor in known ? " (" known[hypervisor] ")" : "")
		if (ndead) {
			print "# VERDICT: " (ndead == 6 ? "all" : "some") \
				" hardware breakpoints are dead on this machine: accepted, but never fire"
			if (list["ptrace"])
				print "#   dead through ptrace: " list["ptrace"]
			if (list["perf"])
				print "#   dead through perf: " list["perf"]
			print "#   hypervisor: " where
			print "#   known to do this: SEV-SNP guests, gVisor, para-virtual KVM (PVM), some bhyve guests"
			printf "#   not tested because of it: %d tests in %d programs\n", tests, programs
			print "#   what to do: \"make emulated\" tests the kernel in an emulator, where they fire"
		} else if (failed && (missed || times)) {
			print "# VERDICT: armed breakpoints did not always trap on this machine"
			if (missed)
				printf "#   traps missed: %d of %d expected\n", missed, verified + missed
			if (times)
				print "#   when a program started:" times
			print "#   hypervisor: " where
			print "#   what to do: see the list of failures; tests that pass with \"make emulated\" fail"
			print "#   because of the hypervisor, not of the kernel"
		}
		exit ndead > 0
	}' "$@"
}

if [ -n "$only_verdict" ]; then
	[ "$only_verdict" = - ] || [ -r "$only_verdict" ] ||
		bad_usage "cannot read '$only_verdict'"
	verdict "$only_verdict"
	exit
fi

# known_fail and known_hang: lines "PATTERN<blank>REASON".
# known_seen: lines "PATTERN<blank>GLOB<blank>REASON".
known_fail=
known_hang=
known_seen=
read_known()
{
	if [ ! -f "$1" ] || [ ! -r "$1" ]; then
		bad_usage "cannot read known failures from '$1'"
	fi
	n=0
	from=${1##*/}
	while read -r pattern state reason || [ -n "$pattern" ]; do
		n=$((n + 1))
		case $pattern in
		'' | '#'*) continue ;;
		esac
		[ -n "$reason" ] || bad_usage "$1:$n: not PATTERN STATE REASON"
		case $state in
		fail) known_fail="$known_fail$pattern $reason ($from)$cr" ;;
		hang) known_hang="$known_hang$pattern $reason ($from)$cr" ;;
		seen:?*) known_seen="$known_seen$pattern ${state#seen:} $reason ($from)$cr" ;;
		*) bad_usage "$1:$n: no such state: '$state' (fail, hang or seen:GLOB)" ;;
		esac
	done <"$1"
}
auto=
[ -n "$known_files" ] || auto=1
while [ -n "$known_files" ]; do
	f=${known_files%%"$cr"*}
	known_files=${known_files#*"$cr"}
	case $f in
	auto) auto=1 ;;
	none) ;;
	*) read_known "$f" ;;
	esac
done

# is_for FILE ENVIRONMENT: whether all its lines "# For: KEY: GLOB" match. Leaves them
# in reason. A list without such a line is never chosen automatically.
is_for()
{
	reason=
	while IFS= read -r condition; do
		globs=$2
		while [ -n "$globs" ]; do
			# shellcheck disable=SC2254 # a pattern is what it is
			case ${globs%%"$cr"*} in $condition)
				reason=$reason${reason:+, }$condition
				continue 2 ;;
			esac
			globs=${globs#*"$cr"}
		done
		return 1
	done <<-END
	$(sed -n 's/^# For: //p' "$1")
	END
	[ -n "$reason" ]
}

# choose_known: read the lists that are for this machine, which is described by the
# lines that a program prints.
choose_known()
{
	[ -n "$auto" ] || return 0
	environment=
	for prog in $programs; do
		environment=$(HW_BREAKPOINT_ENVIRONMENT=1 "$dir/$prog" 2>/dev/null </dev/null |
			sed -n 's/^# \([A-Za-z ]*: \)/\1/p')$cr
		[ "$environment" = "$cr" ] || break
	done
	[ ! -d /sys/module/kvm_pvm ] || environment="${environment}KVM: para-virtual$cr"
	for f in "$lists"/*.txt; do
		if [ ! -r "$f" ] || ! is_for "$f" "$environment"; then
			continue
		fi
		chosen="$chosen# known failures: ${f##*/}, for $reason$cr"
		read_known "$f"
		! grep -q '^# Jobs: 1$' "$f" || one_lane=1
	done
}

# known NAME LINES: set reason if one of the lines is for this test.
known()
{
	lines=$2
	reason=
	while [ -n "$lines" ]; do
		if matches "$1" "${lines%% *}"; then
			reason=${lines#* }
			reason=${reason%%"$cr"*}
			return 0
		fi
		[ "$lines" != "${lines#*"$cr"}" ] || break
		lines=${lines#*"$cr"}
	done
	return 1
}

# recognise NAME LINE LINES: set recognised if a failure of this test that prints LINE
# is known by one of the lines.
recognise()
{
	lines=$3
	while [ -n "$lines" ]; do
		reason=${lines%%"$cr"*}
		lines=${lines#*"$cr"}
		matches "$1" "${reason%% *}" || continue
		reason=${reason#* }
		# shellcheck disable=SC2254 # a pattern is what it is
		case $2 in
		*${reason%% *}*)
			recognised=${reason#* }
			return ;;
		esac
	done
}

#
# Neither the scratch directory nor a process may be left behind.
#

# dead PID: whether there is no such process. A number that is in use again only
# means that it is left to the next time.
dead()
{
	case $1 in
	'' | *[!0-9]*) return 1 ;;
	esac
	! kill -0 "$1" 2>/dev/null && [ ! -d "/proc/$1" ]
}

# Process numbers of a container mean nothing to others that share its directories
namespace=$(readlink /proc/self/ns/pid 2>/dev/null)

# remove_scratch DIRECTORY OWNER: that of a run whose driver was killed. If only the driver
# was, its programs end within a second, and its lanes write there what became of them.
remove_scratch()
{
	for _ in $(seq 50); do
		living=
		# shellcheck disable=SC2013 # words
		for pid in $(cat "$1"/lane.*/sid "$1"/lane.*/pid 2>/dev/null); do
			dead "$pid" || living=$pid
		done
		[ -n "$living" ] || break
		sleep 0.1
	done
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		rm -rf "$1" 2>/dev/null && echo "# removed $1" && return
		# Written to at the same time. Without this no other start would remove it.
		echo "$2" 2>/dev/null >"$1/owner"
		sleep 0.1
	done
}

# remove_left: what is left of runs that were killed
remove_left()
{
	find "${TMPDIR:-/tmp}" -maxdepth 1 -type d -user "$(id -u)" \
		-name 'hw_breakpoint.??????' 2>/dev/null | while IFS= read -r d; do
		owner='' space=
		{ read -r owner space <"$d/owner"; } 2>/dev/null
		if [ -z "$owner" ]; then
			# Killed before it wrote its number there, or about to write it
			find "$d" -prune -mmin +10 -exec rm -f "$d/owner" \; -exec rmdir {} \; 2>/dev/null
		elif [ "${space:-$namespace}" = "$namespace" ] && dead "$owner"; then
			remove_scratch "$d" "$owner $space"
		fi
	done
	[ -z "$HW_BREAKPOINT_NO_SYSTEM_CHANGES" ] || return 0
	for d in /sys/fs/cgroup/hw_breakpoint.* /sys/fs/cgroup/*/hw_breakpoint.*; do
		if [ ! -d "$d" ] || ! dead "${d##*.}"; then
			continue
		fi
		[ ! -e "$d/cgroup.freeze" ] || echo 0 >"$d/cgroup.freeze"
		[ ! -e "$d/freezer.state" ] || echo THAWED >"$d/freezer.state"
		rmdir "$d" && echo "# removed $d"
	done 2>/dev/null
	return 0
}

if [ -n "$only_clean_up" ]; then
	remove_left
	[ -z "$HW_BREAKPOINT_NO_SYSTEM_CHANGES" ] || exit 0
	for f in /sys/devices/system/cpu/cpu*/online; do
		{ read -r state <"$f"; } 2>/dev/null || continue
		[ "$state" = 0 ] || continue
		echo 1 2>/dev/null >"$f" && echo "# $f was 0"
	done
	exit 0
fi
tmp=
sid=
maker=
reader=
lane=
lane_pids=
noted=$!
screen=
setsid=
! command -v setsid >/dev/null 2>&1 || setsid=setsid

# Each program runs in its own session: the harness gives each test a
# process group, tests start tracees, and only the session holds them together.
# victims: the living processes of that session.
victims()
{
	[ -n "$sid" ] || return
	# A name may contain blanks and parentheses: state, parent, group and session
	# follow the last one.
	cat /proc/[0-9]*/stat 2>/dev/null | awk -v sid="$sid" '{
		pid = $1
		sub(/.*\) /, "")
		if ($4 == sid && $1 !~ /[ZX]/)
			print pid
	}'
}

kill_session()
{
	[ -n "$sid" ] || return
	# Two looks, since one may fork and end while /proc is read. Repeatedly: hundreds
	# with breakpoints take seconds to exit.
	for _ in $(seq 50); do
		# shellcheck disable=SC2046 # one word for each process
		set -- $(victims) $(victims)
		[ $# -gt 0 ] || break
		kill -KILL "$@" 2>/dev/null
		sleep 0.1
	done
	# Without setsid or /proc only the program itself is known; its tests die with
	# it.
	if [ -r "$lane/pid" ]; then
		read -r pid <"$lane/pid"
		[ -n "$pid" ] && kill -KILL "$pid" 2>/dev/null
	fi
	kill -KILL "$sid" 2>/dev/null
	sid=
}

# stop_program: and first the reader, which would report that it was killed
stop_program()
{
	# Started, but the signal came before its number was noted
	[ "$!" = "$noted" ] || sid=$!
	[ -z "$reader" ] || kill -KILL "$reader" 2>/dev/null
	kill_session
}

# stop_lanes: each stops its program, or has been killed and has left it
stop_lanes()
{
	# shellcheck disable=SC2086 # words
	[ -z "$lane_pids" ] || { kill $lane_pids; wait $lane_pids; } 2>/dev/null
	lane_pids=
	for lane in "$tmp"/lane.*; do
		{ read -r sid <"$lane/sid"; } 2>/dev/null && kill_session
	done
	lane=$tmp/lane.0
	sid=
}

clean_up()
{
	trap '' INT QUIT TERM HUP PIPE
	[ -n "$tmp" ] || return 0
	if [ -n "$maker" ]; then
		# make removes what it has not finished.
		# shellcheck disable=SC2046
		kill "$maker" $(victims) 2>/dev/null
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			[ -n "$(victims)" ] || break
			sleep 0.2
		done
	fi
	stop_program
	stop_lanes
	# What prints their lines waits for the end of the pipe
	exec 4>&-
	# It shows its summary when nobody can write to it any more
	[ -z "$screen" ] || exec >&-
	wait 2>/dev/null
	rm -rf "$tmp"
}
trap clean_up EXIT
trap 'echo "# interrupted"; exit 130' INT
trap 'exit 131' QUIT
trap 'exit 143' TERM
trap 'exit 129' HUP
trap 'exit 141' PIPE

remove_left >&2
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hw_breakpoint.XXXXXX" 2>/dev/null) ||
	cannot_run "no scratch directory below ${TMPDIR:-/tmp}: see TMPDIR"
tmp=$(cd "$tmp" && pwd) || exit 1
lane=$tmp/lane.0
# What a run needs there
if ! head -c 2000000 /dev/zero >"$tmp/owner" 2>/dev/null ||
	! echo "$$ $namespace" >"$tmp/owner"; then
	cannot_run "no space in ${TMPDIR:-/tmp}: see TMPDIR"
fi

#
# The programs: installed in this directory, or built now.
#
top=$(cd "$(dirname "$0")" && pwd) || exit 1
jobs=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || jobs=1
if [ -r "$top/kselftest-list.txt" ]; then
	dir=$top
	lists=$top/known-failures
	# In run_kselftest.sh's form, COLLECTION:PROGRAM, too.
	programs=$(sed -e 's/.*://' "$top/kselftest-list.txt")
else
	[ -r "$top/tests/Makefile" ] ||
		cannot_run "neither kselftest-list.txt nor tests/ beside $0"
	command -v make >/dev/null 2>&1 || cannot_run "make is missing"
	dir=$top/tests
	lists=$top/tools/known-failures
	if [ -n "$OUTPUT" ]; then
		mkdir -p "$OUTPUT" && dir=$(cd "$OUTPUT" && pwd) || exit 1
	fi
	# make does this as well, but then the exit status is that of a failure.
	$setsid "$top/tools/get-harness.sh" >/dev/null &
	maker=$!
	sid=$maker
	noted=$maker
	wait "$maker" || exit 4

	# The list comes first: there is one also if the build fails.
	$setsid make -s --no-print-directory -j "$jobs" -C "$top/tests" OUTPUT="$dir" \
		emit_tests all >"$tmp/programs" &
	maker=$!
	sid=$maker
	noted=$maker
	wait "$maker"
	built=$?
	maker=
	sid=
	programs=$(sed -e 's/.*://' "$tmp/programs")
	[ -n "$programs" ] || cannot_run "there is no program to run"
	[ $built -eq 0 ] || {
		echo "$me: the build failed" >&2
		exit 1
	}
fi

# The soak program cleans up and reports by itself.
if [ -n "$soak" ]; then
	for m in 64 32; do
		[ -x "$dir/soak_$m" ] || continue
		rm -rf "$tmp"
		trap - EXIT
		# shellcheck disable=SC2086 # words
		exec "$dir/soak_$m" "$soak" $soak_options
	done
	cannot_run "there is no soak program in $dir"
fi

# More than in tests/settings: a slow or loaded machine is no failure.
[ -n "$limit" ] || limit=300

#
# The tests. Newer harnesses list their tests (-l) and run single ones (-r); that of
# 6.1 takes no options, so that only whole programs can be selected.
#
# select: those of the programs on stdin that can
can_select()
{
	while read -r prog; do
		for f in "$dir/$prog" "$dir/$prog.elf"; do
			[ ! -f "$f" ] || printf '%s\0' "$f"
		done
	done | xargs -0 grep -F -l -s -e '-r name' | sed 's,.*/,,; s/\.elf$//'
}

# list_tests PROGRAM...: the names of the tests of each, from the table that -l prints,
# to all.PROGRAM. Each fixture has a block of rows: its name in the first, variants in
# the second column and tests in the third; every combination is a test.
list_tests()
{
	for prog; do
		echo "# PROGRAM $prog"
		"$dir/$prog" -l 2>&1 >/dev/null </dev/null
	done | awk -v dir="$tmp" '
		function flush(v, t) {
			for (v = 1; v <= nv || v == 1; v++)
				for (t = 1; t <= nt; t++)
					print fixture (nv ? "." variant[v] : "") "." test[t] >out
			nv = nt = 0
		}
		/^# PROGRAM / {
			flush()
			if (out)
				close(out)
			out = dir "/all." $3
			next
		}
		/^# FIXTURE/ || /^-----/ { flush(); first = 1; next }
		{
			column = 22
			if (first) {
				fixture = $1
				if (length($1) > 20)
					column = length($1) + 2
				first = 0
			}
			row = substr($0, column)
			n = split(row, word)
			if (row ~ /^ / && n)
				test[++nt] = word[1]
			else if (n) {
				variant[++nv] = word[1]
				if (n > 1)
					test[++nt] = word[2]
			}
		}
		END { flush() }'
}

chosen=
one_lane=$HW_BREAKPOINT_KTAP$times
choose_known
[ -n "$lanes" ] || lanes=${one_lane:+1}
# Where few processes are permitted, here or in this container, a program alone has the
# best chance to get its own
[ -n "$lanes" ] || lanes=$({
	cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max
	[ "$(id -u)" -eq 0 ] || sed -n 's/^Max processes *//p' /proc/self/limits
} 2>/dev/null | awk '
	$1 ~ /^[0-9]+$/ && $1 < 1000 { few = 1 }
	END { print few ? 1 : 4 }')

# all.PROGRAM: its tests, if it can list them. run.PROGRAM: those to run, "*" for
# all of them. hang.PROGRAM: "TEST REASON", not to be run.
candidates=
for prog in $programs; do
	# Listing the tests of a program takes long on a slow machine
	lines_for "$prog" "$tests"
	[ -z "$tests" ] || [ -n "$lines_for" ] || continue
	candidates="$candidates$prog$cr"
	: >"$tmp/all.$prog"
done
printf '%s' "$candidates" | can_select >"$tmp/can_select"
n=0
while [ $n -lt "$jobs" ]; do
	# shellcheck disable=SC2046 # words
	list_tests $(awk -v n=$n -v jobs="$jobs" 'NR % jobs == n' "$tmp/can_select") &
	noted=$!
	n=$((n + 1))
done
wait
plan=
selected=0
whole=
for prog in $candidates; do
	: >"$tmp/run.$prog"
	: >"$tmp/hang.$prog"
	lines_for "$prog" "$known_hang"
	hang_here=$lines_for
	lines_for "$prog" "$tests"
	tests_here=$lines_for
	# Are all its tests wanted?
	if [ -z "$tests" ] || matches "$prog" "$tests_here"; then
		tests_here=
	fi
	if [ -z "$tests_here$hang_here" ]; then
		echo '*' >"$tmp/run.$prog"
	elif [ -s "$tmp/all.$prog" ]; then
		while read -r t; do
			[ -z "$tests_here" ] || matches "$prog:$t" "$tests_here" || continue
			if known "$prog:$t" "$hang_here"; then
				echo "$t $reason" >>"$tmp/hang.$prog"
			else
				echo "$t" >>"$tmp/run.$prog"
			fi
		done <"$tmp/all.$prog"
		[ -s "$tmp/hang.$prog" ] || ! cmp -s "$tmp/all.$prog" "$tmp/run.$prog" ||
			echo '*' >"$tmp/run.$prog"
	else
		# The part of a pattern that is for the program's name decides.
		if [ -n "$tests_here" ]; then
			case $tests_here in *:*) ;; *) continue ;; esac
			whole="$whole $prog"
		fi
		if known "$prog" "$(echo "$hang_here" | sed 's/:[^ ]*//')"; then
			echo "* $reason" >"$tmp/hang.$prog"
		else
			echo '*' >"$tmp/run.$prog"
		fi
	fi
	if [ -s "$tmp/run.$prog" ] || [ -s "$tmp/hang.$prog" ]; then
		plan="$plan $prog"
		selected=$((selected + 1))
	fi
done

# Each pattern must match something: a test that no longer exists must not count as
# passed.
rest=$tests
while [ -n "$rest" ]; do
	t=${rest%%"$cr"*}
	rest=${rest#*"$cr"}
	for prog in $plan; do
		may_match "$prog" "$t" || continue
		! matches "$prog" "$t" || continue 2
		if [ -s "$tmp/all.$prog" ]; then
			while read -r name; do
				matches "$prog:$name" "$t" && continue 3
			done <"$tmp/all.$prog"
		elif matches "$prog" "${t%%:*}"; then
			continue 2
		fi
	done
	bad_usage "no test matches '$t'"
done

if [ -n "$list" ]; then
	for prog in $plan; do
		lines_for "$prog" "$tests"
		if [ -s "$tmp/all.$prog" ]; then
			while read -r t; do
				[ -z "$tests" ] || matches "$prog:$t" "$lines_for" || continue
				echo "$prog:$t"
			done <"$tmp/all.$prog"
		else
			echo "$prog"
		fi
	done
	exit 0
fi

#
# Running.
#

# result STATE NAME [DETAIL]: for the summary. States: pass fail skip xfail xpass
result()
{
	echo "$1$tab$2$tab$3" >>"$tmp/results.$number"
}

# report PROGRAM: read a program's output, print it as a nested test, judge it.
# Leaves the result of the program as a whole in verdict.
report()
{
	prog=$1
	want=$cr
	while read -r line; do
		want=$want$line$cr
	done <"$tmp/all.$prog"
	lines_for "$prog" "$known_fail"
	fail_here=$lines_for
	lines_for "$prog" "$known_seen"
	seen_here=$lines_for
	seen=$cr
	planned=
	count=0
	not_ok=0
	failed=0
	passed=0
	running=
	status=
	first=
	recognised=
	broken=
	fault=
	skip=

	while [ -z "$status" ]; do
		if ! IFS= read -r line; then
			[ -n "$line" ] || break
		fi
		case $line in
		*"$mark"*)
			status=${line##*"$mark"}
			line=${line%"$mark"*}
			[ -n "$line" ] || break ;;
		esac
		case $line in
		"#  RUN "*)
			running=${line#"#  RUN "}
			# shellcheck disable=SC2086 # to strip it of blanks
			set -- $running
			running=$1
			[ -z "$times" ] || now
			started=$now
			first=
			recognised=
			broken= ;;
		"#"*": Test terminated unexpectedly by signal "* | \
		"#"*": Test ended in some other way"*)
			# Such a test is "ok" to the harness of 6.1.
			broken=${line#"# "}
			[ -n "$first" ] || first=$broken ;;
		"#            OK "* | "#          FAIL "*)
			;;
		"# wait expired after "*)
			: >"$tmp/wait_expired" ;;
		"# kernel: "* | "# hypervisor: "* | "# ptrace breakpoints: "* | \
			"# perf breakpoints: "* | "# traps: "*)
			printf '%s\n' "$line" >>"$tmp/environment.$number" ;;
		"# "*)
			[ -z "$seen_here" ] || recognise "$prog:$running" "$line" "$seen_here"
			line_text=${line#"# "}
			[ -n "$first" ] || first=${line_text#"$running: "} ;;
		1..[0-9]*)
			if [ -z "$planned" ]; then
				planned=${line#1..}
				skip=${planned#*SKIP }
				[ "$skip" != "$planned" ] || skip=
				planned=${planned%%[!0-9]*}
				[ ! -s "$tmp/hang.$prog" ] ||
					line=1..$((planned + $(wc -l <"$tmp/hang.$prog")))
			fi ;;
		"ok "[0-9]* | "not ok "[0-9]*)
			one_result
			case $line in
			"not ok "* | *"# SKIP"*) printf '%s\n' "$line" >>"$tmp/environment.$number" ;;
			esac ;;
		esac
		printf '  %s\n' "$line"
	done

	# Errors of the program as a whole
	if [ -e "$lane/timeout" ]; then
		fault="timed out after $limit seconds"
	elif [ -z "$status" ]; then
		fault="was killed"
	elif [ "$count" -eq 0 ] && [ "$status" -eq 4 ]; then
		[ -n "$skip" ] || skip="the program skipped itself"
	elif [ -z "$planned" ]; then
		case $prog:$status in
		*_32:126 | *_32:127)
			skip="cannot be executed: no 32-bit support in this kernel or C library" ;;
		*:126 | *:127)
			fault="cannot be executed" ;;
		esac
	fi
	if [ -z "$fault$skip" ]; then
		if [ "$status" -gt 128 ]; then
			fault="was killed by signal $((status - 128))"
		elif [ -z "$planned" ]; then
			fault="ended without a plan, exit status $status"
		elif [ "$count" -ne "$planned" ]; then
			fault="planned $planned tests and reported $count, exit status $status"
		elif [ "$status" -ne 0 ] && [ "$not_ok" -eq 0 ]; then
			fault="ended with exit status $status though no test failed"
		fi
	fi

	if [ -n "$fault" ]; then
		[ -z "$running" ] || fault="$fault, last test: $running"
		echo "  # $prog $fault"
		result fail "$prog${running:+:$running}" "the program $fault"
		failed=$((failed + 1))
	elif [ -n "$skip" ]; then
		result skip "$prog" "$skip"
	fi

	while read -r t reason; do
		count=$((count + 1))
		echo "  ok $count $t # SKIP known to hang: $reason"
		result skip "$prog:$t" "known to hang: $reason"
	done <"$tmp/hang.$prog"

	{
		if [ $failed -gt 0 ]; then
			echo "not ok"
		else
			echo "ok"
		fi
		if [ -n "$fault" ]; then
			echo " # ERROR $fault"
		elif [ -n "$skip" ]; then
			echo " # SKIP $skip"
		elif [ "$passed$failed" = 00 ]; then
			echo " # SKIP no test of it was run"
		fi
	} >"$lane/verdict"
}

# one_result: judge the result in $line, and rewrite that of a known failure.
one_result()
{
	verdict=${line%%"ok "*}ok
	[ "$verdict" = ok ] || not_ok=$((not_ok + 1))
	name=${line#"$verdict "}
	place=${name%%[!0-9]*}
	name=${name#"$place"}
	directive=
	case $name in
	*"#"*)
		directive=${name#*"#"}
		name=${name%%"#"*} ;;
	esac
	# shellcheck disable=SC2086 # to strip it of blanks
	set -- $name
	# With the harness of 6.1 the reason stands in place of a skipped name.
	name=${1:-$running}
	# shellcheck disable=SC2086
	set -- $directive
	state=fail
	detail=$first
	if [ "$1" = SKIP ]; then
		state=skip
		shift
		detail=${*:-no reason given}
	elif [ "$1" = XFAIL ] && [ "$verdict" = ok ]; then
		state=xfail
		shift
		detail="$* (known bug of the kernel)"
	elif [ -n "$broken" ]; then
		detail=$broken
		line="not ok $place $name # $broken"
	elif [ "$verdict" = ok ]; then
		state=pass
	fi
	case $seen in
	*"$cr$name$cr"*)
		state=fail
		detail="this test reported twice"
		line="not ok $place $name # $detail" ;;
	*)
		count=$((count + 1))
		seen=$seen$name$cr ;;
	esac
	case $want in
	"$cr" | *"$cr$name$cr"*) ;;
	*)
		state=fail
		detail="the program does not list this test"
		line="not ok $place $name # $detail" ;;
	esac
	if [ $state = fail ] && [ -n "$recognised" ]; then
		state=xfail
		detail="$recognised: $detail"
		line="ok $place $name # XFAIL known failure: $recognised"
	elif [ $state != skip ] && [ $state != xfail ] && known "$prog:$name" "$fail_here"; then
		if [ $state = fail ]; then
			state=xfail
			line="ok $place $name # XFAIL known failure: $reason"
		else
			state=xpass
		fi
		detail=$reason
	fi
	case $state in
	fail) failed=$((failed + 1)) ;;
	skip) ;;
	*) passed=$((passed + 1)) ;;
	esac
	running=
	first=
	recognised=
	broken=
	result $state "$prog:$name" "$detail"
	# Which are known only if the output is read while it runs
	if [ -z "$times" ] || [ ! -p "$lane/output" ]; then
		return 0
	fi
	now
	echo "test $((now - started)) $prog:$name" >>"$tmp/times"
	started=$now
}

# Runs the program in a new session, not longer than the driver lives; arguments: its
# number, time limit, the lane's directory, end mark, program and its arguments.
# shellcheck disable=SC2016 # for another shell to expand
runner='
	driver=$1 limit=$2 lane=$3 mark=$4
	shift 4
	echo $$ >"$lane/sid" || exit
	"$@" &
	prog=$!
	echo $prog >"$lane/pid"
	while [ $limit -gt 0 ]; do
		sleep 1
		limit=$((limit - 1))
		if [ -d "$lane" ] && kill -0 "$driver" 2>/dev/null; then
			[ $limit -gt 0 ] && continue
			: >"$lane/timeout"
		fi
		kill -KILL $prog
		exit
	done &
	watchdog=$!
	wait $prog
	status=$?
	: >"$lane/pid"
	kill $watchdog
	echo "$mark$status"
'

# now: hundredths of a second, to $now; 0 without /proc
now()
{
	now=0
	{ read -r now _ </proc/uptime; } 2>/dev/null
	now=${now%.*}${now#*.}
}

# use_lane NUMBER: a directory for what a running program needs. In lane 0 its output
# is read while it runs.
use_lane()
{
	lane=$tmp/lane.$1
	[ ! -d "$lane" ] || return 0
	mkdir "$lane" && : >"$lane/left" && : >"$lane/sid" || return
	[ "$1" -ne 0 ] || mkfifo "$lane/output"
}

# run_program NUMBER PROGRAM
run_program()
{
	number=$1
	prog=$2

	[ ! -e "$lane/timeout" ] || rm "$lane/timeout"
	: >"$lane/pid"
	: >"$tmp/results.$number"
	: >"$tmp/environment.$number"
	now
	begin=$now
	# Tracees hang on this machine: wait less for them from now on.
	[ ! -e "$tmp/wait_expired" ] || export HW_BREAKPOINT_WAIT_EXPIRED=1
	if [ -s "$tmp/run.$prog" ]; then
		set --
		while read -r t; do
			[ "$t" = '*' ] || set -- "$@" -r "$t"
		done <"$tmp/run.$prog"
		if [ -p "$lane/output" ]; then
			report "$prog" <"$lane/output" &
			reader=$!
			noted=$reader
		fi
		$setsid sh -c "$runner" sh $$ "$limit" "$lane" "$mark" "./$prog" "$@" \
			>"$lane/output" 2>&1 </dev/null 4>&- &
		sid=$!
		noted=$sid
		wait "$sid" 2>/dev/null
		left_behind >"$lane/left"
		# Only if needed: scanning /proc takes as long as a short program
		if [ -s "$lane/left" ] || [ -e "$lane/timeout" ] || [ -z "$setsid" ] ||
			[ ! -r /proc/self/stat ]; then
			kill_session
		fi
		sid=
		: >"$lane/sid"
		if [ -n "$reader" ]; then
			wait "$reader"
			reader=
		else
			report "$prog" <"$lane/output"
		fi
	else
		# All its tests are known to hang.
		printf '1..0\n%s0\n' "$mark" | report "$prog"
	fi

	{
		read -r verdict
		IFS= read -r directive
	} <"$lane/verdict"
	if [ -s "$lane/left" ]; then
		verdict="not ok"
		directive=" # ERROR left behind: $(cat "$lane/left")"
		result fail "$prog" "left processes behind: $(cat "$lane/left")"
	fi
	echo "$verdict $number $prog$note$directive"
	now
	now=$((now - begin))
	printf '# time: %s %d.%02d s\n' "$prog" $((now / 100)) $((now % 100))
	[ -z "$times" ] || echo "program $now $prog" >>"$tmp/times"
	[ "$verdict" = ok ] || : >"$tmp/failed"
}

# left_behind: names of processes that outlive their program. Those that were killed
# together with it get some time to exit.
left_behind()
{
	[ -n "$setsid" ] || return
	# The group of the runner and the program
	kill -s KILL -- "-$sid" 2>/dev/null
	[ ! -e "$lane/timeout" ] || return
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		left=$(victims)
		[ -n "$left" ] || return
		sleep 0.2
	done
	for pid in $left; do
		{ read -r comm <"/proc/$pid/comm"; } 2>/dev/null || continue
		printf '%s ' "$comm"
	done
}

cd "$dir" || exit 1
use_lane 0 || exit 1

#
# Several programs at a time: each of the lanes runs those that no other has begun.
#

# is_alone PROGRAM: it needs all slots of a CPU free, takes a CPU offline or does not
# let others run. What lint.sh checks.
is_alone()
{
	case ${1%_*} in
	cgroup_test | hotplug_test | lifetime_test | perf_cpu_test | perf_privileged_test | \
		sched_fifo_test | slot_accounting_test | slot_lifetime_test | \
		step_resume_test | stressor_test | thread_group_test) return 0 ;;
	esac
	return 1
}

# stopping: whether a failure ends the run
stopping()
{
	[ "$repeat" -gt 1 ] && [ -e "$tmp/failed" ]
}

# run_lane LANE NUMBER:PROGRAM...
run_lane()
{
	trap stop_program EXIT
	trap 'exit 143' TERM HUP
	trap 'exit 141' PIPE
	use_lane "$1" || exit 1
	shift
	for word; do
		# $$ is the whole run, which may have been killed
		if stopping || ! kill -0 $$ 2>/dev/null; then
			break
		fi
		number=${word%%:*}
		prog=${word#*:}
		set -C
		{ echo "$prog" >"$tmp/begun.$number"; } 2>/dev/null || prog=
		set +C
		[ -n "$prog" ] || continue
		echo "begun $number $prog" >&4
		run_program "$number" "$prog" >"$tmp/output.$number"
		echo "ended $number" >&4
	done
}

# print_in_order NUMBER:PROGRAM...: what the lanes have written of these; and at once what
# they begin, for whoever sees the machine die
print_in_order()
{
	exec 4>&-
	while read -r what number prog; do
		if [ "$what" = begun ]; then
			echo "# running $prog"
			continue
		fi
		: >"$tmp/ended.$number"
		while [ $# -gt 0 ] && [ -e "$tmp/ended.${1%%:*}" ]; do
			cat "$tmp/output.${1%%:*}" || exit 141
			shift
		done
	done
	# No lane is left, and what is left here waited for one that was killed
	for word; do
		number=${word%%:*}
		prog=${word#*:}
		if [ -e "$tmp/ended.$number" ]; then
			cat "$tmp/output.$number" || exit 141
		elif ! stopping || [ -e "$tmp/begun.$number" ]; then
			result fail "$prog" "was not run to its end"
			echo "not ok $number $prog # ERROR was not run to its end"
			: >"$tmp/failed"
		fi
	done
}

# run_lanes NUMBER:PROGRAM...
run_lanes()
{
	rm -f "$tmp/lines"
	# Open for both, so that nothing waits for the other side
	mkfifo "$tmp/lines" && exec 4<>"$tmp/lines" || exit 1
	print_in_order "$@" <"$tmp/lines" &
	printer=$!
	noted=$printer
	exec 4>"$tmp/lines"
	# Uprobes wait for RCU most of the time, one after the other: all in one lane, from
	# the beginning
	uprobes=
	others=
	for word; do
		case $word in
		*:uprobe_*) uprobes="$uprobes $word" ;;
		*) others="$others $word" ;;
		esac
	done
	n=0
	while [ $n -lt "$lanes" ]; do
		n=$((n + 1))
		order="$others $uprobes"
		[ $n -gt 1 ] || order="$uprobes $others"
		# shellcheck disable=SC2086 # words
		run_lane $n $order &
		lane_pids="$lane_pids $!"
		noted=$!
	done
	exec 4>&-
	for pid in $lane_pids; do
		wait "$pid"
		[ $? -ne 141 ] || exit 141
	done
	lane_pids=
	stop_lanes
	wait "$printer" || exit 141
}

# First those that may run beside others
beside=
alone=
for prog in $plan; do
	if [ "$lanes" -eq 1 ] || [ "$selected" -eq 1 ] || is_alone "$prog"; then
		alone="$alone $prog"
	else
		beside="$beside $prog"
	fi
done
plan="$beside $alone"

# On a terminal people read it, and KTAP is for others. The log is kept for the summary
# only.
show=$top/screen.sh
[ -r "$show" ] || show=$top/tools/screen.sh
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "$HW_BREAKPOINT_KTAP" ] && [ -r "$show" ]; then
	mkfifo "$tmp/screen" || exit 1
	repeated=
	for _ in $(seq "$repeat"); do
		repeated="$repeated $plan"
	done
	# shellcheck disable=SC2086 # words
	sh "$show" "$tmp/log" $repeated <"$tmp/screen" &
	screen=$!
	noted=$screen
	exec >"$tmp/screen"
fi

echo "KTAP version 1"
echo "1..$((selected * repeat))"
printf '%s' "$chosen"
for prog in $whole; do
	echo "# $prog cannot select single tests (built with a harness that takes no options): all of it is run"
done
number=0
round=0
while [ $round -lt "$repeat" ]; do
	round=$((round + 1))
	note=
	[ "$repeat" -eq 1 ] || note=" run $round of $repeat"
	set --
	for prog in $beside; do
		number=$((number + 1))
		set -- "$@" "$number:$prog"
	done
	[ $# -eq 0 ] || run_lanes "$@"
	for prog in $alone; do
		stopping && break
		number=$((number + 1))
		run_program $number "$prog"
	done
	stopping || continue
	echo "Bail out! failed in run $round of $repeat"
	break
done

#
# Summary.
#
set --
for n in $(seq "$number"); do
	[ ! -e "$tmp/results.$n" ] || set -- "$@" "$tmp/results.$n"
done
awk -F '\t' '
	$1 == "pass" || seen[$0]++ { next }
	$1 == "skip" || $1 == "xfail" {
		why = ($1 == "xfail" ? "known failure: " : "") $3
		if (!(why in skipped))
			reasons[++nr] = why
		# The verdict counts these
		if (why !~ /^this type of breakpoint never fires here/)
			skipped[why] = skipped[why] "\n#   " $2
		next
	}
	{ text[$1] = text[$1] "\n#   " $2 ($3 == "" ? "" : "\n#     " $3) }
	END {
		for (i = 1; i <= nr; i++)
			if (skipped[reasons[i]])
				print "# skipped, " reasons[i] ":" skipped[reasons[i]]
		if ("xpass" in text)
			print "# known failures that passed (is the list out of date?):" text["xpass"]
		if ("fail" in text)
			print "# FAILED (names as for -t):" text["fail"]
	}' "$@"
[ -z "$times" ] || sort -k 1,1 -k 2,2nr "$tmp/times" | awk '
	$1 != kind { print "# seconds by " (kind = $1) ":" }
	$1 == "program" || ++tests <= 40 { printf "#   %6.2f  %s\n", $2 / 100, $3 }'
verdict "$tmp"/environment.*
dead=$?
awk -F '\t' -v dead=$dead -v failed="$(ls "$tmp/failed" 2>/dev/null)" -v tmp="$tmp" '
	{ n[$1]++ }
	END {
		if (failed && !n["fail"]) {
			print "# results were lost: no space in " tmp "?"
			n["fail"] = 1
		}
		printf "%d passed, %d failed, %d skipped\n", n["pass"] + n["xpass"],
			n["fail"], n["skip"] + n["xfail"]
		exit n["fail"] || dead ? 1 : n["pass"] + n["xpass"] ? 0 : 4
	}' "$@"
