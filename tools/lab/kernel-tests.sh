#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kernel's own tests, LTP's and gdb's, under the lab's faults, compared with the suite.
#
#	kernel-tests.sh                all faults that the emulator can show
#	kernel-tests.sh --ltp DIR      LTP's tests of debug registers instead, from a
#	                               configured tree
#	kernel-tests.sh --gdb          ten of gdb's of hardware breakpoints instead
#	kernel-tests.sh --build DIR    only build them, from that source; prints where
#	kernel-tests.sh --table        only print the table of the last runs
#	kernel-tests.sh -v 6.1         that kernel's; KSRC=DIR takes another source
#	kernel-tests.sh -k BZIMAGE     one that has the faults already
#	kernel-tests.sh FAULT...       just these; the results of others are kept
#
# Which: all that has to do with ptrace, single-step, breakpoints and #DB, from
# the same source tree as the kernel: selftests breakpoints, ptrace, x86 and
# perf_events. Built as their Makefiles say, but static. The table has a column for
# each of the suite, the kernel's own, LTP's and gdb's that was run; the suite's is from
# the last run of lab.sh.
me="kernel-tests"
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tools/lab/faults.sh
. "$here/faults.sh"

usage()
{
	[ $# -eq 0 ] || echo "kernel-tests.sh: $*" >&2
	echo "Usage: kernel-tests.sh [--build DIR|--ltp DIR|--gdb|--table] [-v 6.12|6.1] [-k BZIMAGE] [FAULT]..." >&2
	exit 2
}

version=6.12 kernel='' mode='' ltp='' faults=''
while [ $# -gt 0 ]; do
	case $1 in
	--table) mode=table ;;
	--gdb) mode=gdb ;;
	--build)
		[ $# -gt 1 ] || usage "--build needs a value"
		mode=build
		src=$2
		shift
		;;
	--ltp)
		[ $# -gt 1 ] || usage "--ltp needs a value"
		[ -f "$2/include/config.h" ] || usage "$2 is no configured LTP"
		ltp=$(cd "$2" && pwd)
		shift
		;;
	-v)
		[ $# -gt 1 ] || usage "-v needs a value"
		version=$2
		shift
		;;
	-k)
		[ $# -gt 1 ] || usage "-k needs a value"
		kernel=$2
		shift
		;;
	-*) usage "unknown option: $1" ;;
	*)
		is_fault "$1" || usage "unknown fault: $1 (lab.sh --list names them)"
		faults="$faults $1"
		;;
	esac
	shift
done

results=$lab/results-kernel-tests
[ -z "$ltp" ] || results=$lab/results-ltp
[ "$mode" != gdb ] || results=$lab/results-gdb

# A column from the lines of each run
table()
{
	set --
	while read -r run column; do
		[ ! -s "$lab/$run/lines" ] || set -- "$@" "column=$column" "$lab/$run/lines"
	done <<-END
		results suite
		results-kernel-tests kernel's own tests
		results-ltp LTP
		results-gdb gdb
	END
	awk '
		FILENAME == ARGV[1] { if ($0 ~ /^[a-z]/) names[++total] = $1; next }
		FNR == 1 { who[++n] = column }
		$2 == "caught" { result[n, $3] = $5; ran[$3] = 1 }
		$2 == "died" { result[n, $3] = "machine died"; ran[$3] = 1 }
		$2 == "late" { result[n, $3] = "(time limit)"; ran[$3] = 1 }
		$2 == "missed" { result[n, $3] = "-"; ran[$3] = 1 }
		END {
			if (!n) {
				print "no results: run this, and lab.sh" >"/dev/stderr"
				exit 1
			}
			printf "%-26s", "fault"
			for (w = 1; w <= n; w++)
				printf "  %-32s", who[w]
			for (i = 1; i <= total; i++) {
				f = names[i]
				if (!(f in ran))
					continue
				printf "\n%-26s", f
				for (w = 1; w <= n; w++) {
					r = result[w, f]
					printf "  %-32s", r == "" ? "?" : r
					if (r != "")
						all[w]++
					if (r != "" && r !~ /^[-(]/)
						caught[w]++
				}
			}
			print ""
			for (w = 1; w <= n; w++) {
				print "caught: " who[w] " " caught[w] + 0 " of " all[w]
				if ((w, "none") in result && result[w, "none"] != "-")
					print "by chance, with no fault: " result[w, "none"]
			}
		}' "$list" "$@"
}

if [ "$mode" = table ]; then
	table
	exit
fi

"$here/setup.sh" || exit 1
[ "$mode" != gdb ] || need runtest dejagnu expect expect
if [ "$mode" != build ] && [ -z "$kernel" ]; then
	kernel=$("$here/kernel.sh" -v "$version" -f) || exit 1
fi
if [ -n "${KSRC-}" ]; then
	name=$(basename "$(cd "$KSRC" && pwd)")
else
	name=linux-source-$version
fi
[ "$mode" = build ] || src=$lab/src/$name-faults
out=$lab/build/$name-tests

# build DIRECTORY PROGRAM...: those that this tree has
build()
{
	dir=$1
	shift
	mkdir -p "$out/$dir"
	for p; do
		[ -f "$src/tools/testing/selftests/$dir/${p%_[36][24]}.c" ] || continue
		make -C "$src/tools/testing/selftests/$dir" ARCH=x86 OUTPUT="$out/$dir" \
			CC="gcc -static" KHDR_INCLUDES="-isystem $out/usr/include" \
			"$out/$dir/$p" || return
	done
}

build_all()
{
	make -C "$src" O="$out/headers" INSTALL_HDR_PATH="$out/usr" headers_install &&
		build breakpoints breakpoint_test &&
		build ptrace get_syscall_info peeksiginfo vmaccess get_set_sud &&
		build perf_events sigtrap_threads remove_on_exec || return
	for bits in 64 32; do
		build x86 single_step_syscall_$bits mov_ss_trap_$bits sigtrap_loop_$bits \
			syscall_nt_$bits ptrace_syscall_$bits syscall_arg_fault_$bits \
			sigreturn_$bits test_vsyscall_$bits check_initial_reg_state_$bits || return
	done
}

# shellcheck disable=SC2086 # words
build_ltp()
{
	ltp_programs="ptrace08 ptrace09 ptrace10"
	make -C "$ltp/lib" libltp.a &&
		make -C "$ltp/testcases/kernel/syscalls/ptrace" LDFLAGS="-static -L$ltp/lib" \
			$ltp_programs &&
		mkdir -p "$out/ptrace" &&
		(cd "$ltp/testcases/kernel/syscalls/ptrace" &&
			cp $ltp_programs "$out/ptrace")
}

[ -z "$ltp" ] || out=$lab/build/ltp
mkdir -p "$out" || die "cannot write below $lab"
if [ -n "$ltp" ]; then
	quietly "$out.log" build_ltp
elif [ "$mode" != gdb ]; then
	quietly "$out.log" build_all
fi
if [ "$mode" = build ]; then
	echo "$out"
	exit
fi

# The machine: busybox, init and the tests
root=$lab/root-kernel-tests
if ! { rm -rf "$root" && mkdir -p "$root/bin" "$root/suite"; }; then
	die "cannot write below $lab"
fi
cp "$(command -v busybox)" "$root/bin/busybox"
cp "$here/init" "$root/init"
cp "$here/in-machine.sh" "$here/own-tests.sh" "$root/suite/"
if [ "$mode" = gdb ]; then
	echo 100 >"$root/suite/limit"
	machine_limit=9000
	programs=$("$here/gdb-tests.sh" "$root") || exit 1
else
	echo 30 >"$root/suite/limit"
	programs=$(cd "$out" && find breakpoints ptrace perf_events x86 -type f -perm -100 \
		2>/dev/null | sort)
	# shellcheck disable=SC2086 # words
	(cd "$out" && cp --parents $programs "$root/suite/")
fi
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$lab/kernel-tests.gz" ||
	die "cannot write $lab/kernel-tests.gz"

# shellcheck disable=SC2086 # words
sort_faults $faults
[ -n "$faults" ] || rm -rf "$results"
if ! { mkdir -p "$results" && touch "$results/lines"; }; then
	die "cannot write $results"
fi
for f in $faults; do
	grep -v "^lab: [a-z]* ${f}\( \|$\)" "$results/lines" >"$results/lines.new"
	mv "$results/lines.new" "$results/lines"
done

# run_all NAME FAULT...: and what is caught by chance, with no fault
run_all()
{
	name=$1
	shift
	[ $# -eq 1 ] || set -- "$@" none
	run_faults "$name" "$lab/kernel-tests.gz" own-tests.sh "$programs" "$@"
	cat "$results/$name.lines" >>"$results/lines"
	rm "$results/$name.lines"
}

# shellcheck disable=SC2086 # words
[ -z "$shared" ] || run_all shared $shared
for f in $alone; do
	run_all "alone-$f" "$f"
done
table
