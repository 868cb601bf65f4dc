#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The kernel's own tests under the lab's faults, compared with the suite.
#
#	kernel-tests.sh                all faults that the emulator can show
#	kernel-tests.sh --build DIR    only build them, from that source; prints where
#	kernel-tests.sh --table        only print the table of the last run
#	kernel-tests.sh -v 6.1         that kernel's; KSRC=DIR takes another source
#	kernel-tests.sh -k BZIMAGE     one that has the faults already
#	kernel-tests.sh FAULT...       just these; the results of others are kept
#
# Which: all that has to do with ptrace, single-step, breakpoints and #DB, from
# the same source tree as the kernel: selftests breakpoints, ptrace, x86 and
# perf_events. Built as their Makefiles say, but static. The suite's column is
# from the last run of lab.sh.
me="kernel-tests"
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tools/lab/faults.sh
. "$here/faults.sh"

usage()
{
	[ $# -eq 0 ] || echo "kernel-tests.sh: $*" >&2
	echo "Usage: kernel-tests.sh [--build DIR|--table] [-v 6.12|6.1] [-k BZIMAGE] [FAULT]..." >&2
	exit 2
}

version=6.12 kernel='' mode='' faults=''
while [ $# -gt 0 ]; do
	case $1 in
	--table) mode=table ;;
	--build)
		[ $# -gt 1 ] || usage "--build needs a value"
		mode=build
		src=$2
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

# Two columns, from the lines of both runs
table()
{
	[ -s "$results/lines" ] || die "no results in $results"
	ours=$lab/results/lines
	if [ ! -s "$ours" ]; then
		say "no results of the suite: run lab.sh before this"
		ours=/dev/null
	fi
	awk '
		FILENAME == ARGV[1] { if ($0 ~ /^[a-z]/) names[++total] = $1; next }
		{ who = FILENAME == ARGV[2] ? "suite" : "kernel" }
		$2 == "caught" { result[who, $3] = $5; ran[$3] = 1 }
		$2 == "died" { result[who, $3] = "machine died"; ran[$3] = 1 }
		$2 == "late" { result[who, $3] = "(time limit)"; ran[$3] = 1 }
		$2 == "missed" { result[who, $3] = "-"; ran[$3] = 1 }
		END {
			printf "%-26s %-32s %s\n", "fault", "suite", "kernel'\''s own tests"
			for (i = 1; i <= total; i++) {
				f = names[i]
				if (!(f in ran))
					continue
				for (n = split("suite kernel", w, " "); n; n--) {
					r = result[w[n], f]
					out[w[n]] = r == "" ? "?" : r
					if (r != "")
						all[w[n]]++
					if (r != "" && r !~ /^[-(]/)
						caught[w[n]]++
				}
				printf "%-26s %-32s %s\n", f, out["suite"], out["kernel"]
			}
			printf "caught: suite %d of %d, kernel'\''s own tests %d of %d\n",
				caught["suite"], all["suite"], caught["kernel"], all["kernel"]
			if (("kernel", "none") in result && result["kernel", "none"] != "-")
				print "by chance, with no fault: " result["kernel", "none"]
		}' "$list" "$ours" "$results/lines"
}

if [ "$mode" = table ]; then
	table
	exit
fi

"$here/setup.sh" || exit 1
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

mkdir -p "$out" || die "cannot write below $lab"
quietly "$out.log" build_all
programs=$(cd "$out" && find breakpoints ptrace perf_events x86 -type f -perm -100 | sort)
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
(cd "$out" && cp -r breakpoints ptrace perf_events x86 "$root/suite/")
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
