#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# How much of the kernel code that the suite guards is reached: lines and
# branches, by the suite and by the kernel's own tests.
#
#	coverage.sh            measure both, print the table
#	coverage.sh --table    print the table of the last run again
#	coverage.sh -v 6.1     that kernel; KSRC=DIR takes another source
#	coverage.sh suite|kernel measure that one again
#
# The table is by function: lines reached of those that can be, in percent, and
# branches. not-reached.txt says of each line that no program can reach why; what
# is left has no test yet, and listed below the table. HTML reports come to
# .cache/lab/coverage/{suite,kernel}/html. Exit code 0 if the suite reaches 95 %
# of the lines.
me=coverage
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

usage()
{
	[ $# -eq 0 ] || echo "coverage.sh: $*" >&2
	echo "Usage: coverage.sh [--table] [-v 6.12|6.1] [suite|kernel]" >&2
	exit 2
}

version=6.12 mode='' only=''
while [ $# -gt 0 ]; do
	case $1 in
	--table) mode=table ;;
	-v)
		[ $# -gt 1 ] || usage "-v needs a value"
		version=$2
		shift
		;;
	suite | kernel) only=$1 ;;
	*) usage "unknown argument: $1" ;;
	esac
	shift
done

if [ -n "${KSRC-}" ]; then
	name=$(basename "$(cd "$KSRC" && pwd)")
else
	name=linux-source-$version
fi
src=$lab/src/$name-gcov
build=$lab/build/$name-gcov
results=$lab/coverage
files="arch/x86/kernel/hw_breakpoint.c kernel/events/hw_breakpoint.c
	arch/x86/kernel/ptrace.c arch/x86/kernel/traps.c"
# Of these two only what has to do with debug registers; of the others all
ptrace="ptrace_triggered ptrace_get_dr7 ptrace_fill_bp_fields
	ptrace_register_breakpoint ptrace_modify_breakpoint ptrace_write_dr7
	ptrace_get_debugreg ptrace_set_breakpoint_addr ptrace_set_debugreg
	ptrace_disable send_sigtrap"
traps="is_sysenter_singlestep debug_read_reset_dr6 debug_read_clear_dr6
	notify_debug exc_debug_kernel exc_debug_user exc_debug"

child=
trap 'kill $child 2>/dev/null; wait; exit 130' INT
trap 'kill $child 2>/dev/null; wait; exit 143' HUP TERM

# measure NAME INITRD ARGUMENT...: one boot, to $results/NAME.info and NAME/html
measure()
{
	what=$1
	initrd=$2
	shift 2
	out=$results/$what
	rm -rf "$out"
	mkdir -p "$out/gcov" || die "cannot write $out"
	say "measuring: $what"
	"$here/run.sh" --kernel "$kernel" --initrd "$initrd" --output "$out" \
		--timeout 3600 -- sh coverage-in-machine.sh "$@" >"$out/out" 2>&1 &
	child=$!
	wait $child
	grep -q '^lab: exit' "$out/ktap" ||
		say "the machine died or hung, the counters are of before, see $out"
	# The last that came whole
	awk '/^lab: counters/ { block = ""; next }
		/^lab: end of counters/ { last = block; next }
		/^[A-Za-z0-9+\/=]+$/ { block = block $0 "\n" }
		END { printf "%s", last }' "$out/ktap" |
		base64 -d 2>/dev/null | tar -xz -C "$out/gcov" 2>/dev/null ||
		die "no counters came back, see $out/ktap and $out/dmesg"
	# The compiler's notes must be next to the counters
	flat=$out/flat
	mkdir "$flat"
	for f in $files; do
		dir=$flat/$(dirname "$f")
		mkdir -p "$dir"
		cp "$build/${f%.c}.gcno" "$out/gcov$build/${f%.c}.gcda" "$dir/" ||
			die "no counters for $f, see $out"
	done
	quietly "$out/lcov.log" lcov --quiet --capture --rc lcov_branch_coverage=1 \
		--directory "$flat" --output-file "$out/all.info"
	set --
	for f in $files; do
		set -- "$@" "*/$f"
	done
	quietly "$out/lcov.log" lcov --quiet --rc lcov_branch_coverage=1 \
		--extract "$out/all.info" "$@" --output-file "$results/$what.info"
	quietly "$out/genhtml.log" genhtml --quiet --branch-coverage \
		--prefix "$src" --output-directory "$out/html" "$results/$what.info"
}

table()
{
	for f in suite kernel; do
		[ -s "$results/$f.info" ] || die "no $results/$f.info"
	done
	rm -f "$results/untested"
	(cd "$src" && awk -v ptrace="$ptrace" -v traps="$traps" -v src="$src/" \
		-v untested="$results/untested" -f "$here/coverage.awk" \
		"$here/not-reached.txt" "$results/suite.info" "$results/kernel.info")
}

if [ "$mode" = table ]; then
	table
	exit
fi

"$here/setup.sh" || exit 1
need lcov lcov genhtml lcov gcov gcc
kernel=$("$here/kernel.sh" -v "$version" -c) || exit 1
mkdir -p "$results" || die "cannot write $results"
initrd=$("$here/initramfs.sh") || exit 1
tests=$("$here/kernel-tests.sh" --build "$src" -v "$version") || exit 1

root=$lab/root-coverage
if ! { rm -rf "$root" && mkdir -p "$root/suite"; }; then
	die "cannot write $root"
fi
cp "$here/coverage-in-machine.sh" "$root/suite/"
(cd "$tests" && cp -r breakpoints ptrace perf_events x86 "$root/suite/")
programs=$(cd "$tests" && find breakpoints ptrace perf_events x86 -type f -perm -100 | sort)
(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$root.gz"
cat "$initrd" "$root.gz" >"$lab/coverage.gz" || die "cannot write below $lab"

# shellcheck disable=SC2086
[ "$only" = suite ] || measure kernel "$lab/coverage.gz" $programs
[ "$only" = kernel ] || measure suite "$lab/coverage.gz" suite lab.txt
table
