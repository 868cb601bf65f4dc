#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Put the suite into a kernel tree, or make a patch series for one.
#
#	export.sh KERNEL_TREE			copy it, and add it to TARGETS and MAINTAINERS
#	export.sh --series DIR KERNEL_TREE	write DIR/*.patch; the tree is only read
#
# tests/ goes to tools/testing/selftests/hw_breakpoint. GNUmakefile stays here, as it
# only provides what the tree has, and so does the soak program. A tree in which the
# files concerned have changes of somebody else is left alone. The series begins with
# tools/fixes; its author, and who signs it off, is the user that git knows.
me="export"
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
tests=$here/../tests

usage()
{
	[ $# -eq 0 ] || echo "$me: $*" >&2
	echo "Usage: export.sh [--series DIR] KERNEL_TREE" >&2
	exit 2
}

die()
{
	echo "$me: $*" >&2
	exit 1
}

series=
if [ "${1-}" = --series ]; then
	[ $# -eq 3 ] || usage
	series=$2
	shift 2
fi
[ $# -eq 1 ] || usage
selftests=tools/testing/selftests
[ -r "$1/$selftests/lib.mk" ] || usage "$1 is no kernel tree: no $selftests/lib.mk"
tree=$(cd "$1" && pwd) || exit 1
grep -q FIXTURE_VARIANT_ADD "$tree/$selftests/kselftest_harness.h" ||
	die "$1 is too old: its kselftest harness has no FIXTURE_VARIANT_ADD (Linux 5.8)"

name=$(git -C "$tree" config user.name || git config user.name)
email=$(git -C "$tree" config user.email || git config user.email)
[ -z "$series" ] || { [ -n "$name" ] && [ -n "$email" ]; } ||
	die "git knows no user who could sign off: git config --global user.name and user.email"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/hwbp-export.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
new=$tmp/tree/$selftests/hw_breakpoint
mkdir -p "$new" || exit 1

all=$(sed -n 's/^TESTS_BOTHBITS += //p' "$tests/Makefile")

# files [PROGRAM...]: the suite, in $new, with these programs only
files()
{
	rm -rf "$new" && mkdir "$new" || exit 1
	case "$*" in
	*kvm_*) kvm=$(sed -n 's/^KVM := //p' "$tests/Makefile") ;;
	*) kvm= ;;
	esac
	for f in Makefile config settings .gitignore launch_32.c $(cd "$tests" && ls -- *.h); do
		cp "$tests/$f" "$new" || exit 1
	done
	for f in $(sed -n 's/^COMMON := //p' "$tests/Makefile") "$@" $kvm; do
		cp "$tests/$f.c" "$new" || exit 1
	done
	# A header of none of these programs comes with the first that needs it
	for f in $(cd "$new" && ls -- *.h); do
		grep -q "^#include \"$f\"" "$new"/*.[ch] || rm "$new/$f"
	done
	sed -i 's/^EXTENDED := soak$/EXTENDED :=/' "$new/Makefile"
	sed -i '/^soak_/d' "$new/.gitignore"
	for f in $all; do
		[ -r "$new/$f.c" ] || sed -i "/^TESTS_BOTHBITS += $f\$/d" "$new/Makefile"
	done
}

# The line "TARGETS += hw_breakpoint", in its alphabetical place
targets()
{
	awk '
		!done && /^TARGETS \+= / && $3 >= "hw_breakpoint" {
			if ($3 != "hw_breakpoint")
				print "TARGETS += hw_breakpoint"
			done = 1
		}
		{ print }' "$tree/$selftests/Makefile"
}

# The entry in MAINTAINERS, in its alphabetical place
maintainers()
{
	title="HARDWARE BREAKPOINT SELFTESTS (X86)"
	if grep -qx "$title" "$tree/MAINTAINERS"; then
		cat "$tree/MAINTAINERS"
		return
	fi
	awk -v title="$title" -v who="$name <$email>" '
		function entry() {
			print title "\nM:\t" who "\nL:\tlinux-kselftest@vger.kernel.org"
			print "S:\tMaintained\nF:\ttools/testing/selftests/hw_breakpoint/\n"
			done = 1
		}
		/^Maintainers List/ { list = 1 }
		held != "" {
			if (/^[A-Z]:\t/ && !done && held > title)
				entry()
			print held
			held = ""
		}
		list && blank && /^[A-Z0-9]/ { held = $0; blank = 0; next }
		{ blank = $0 == ""; print }' "$tree/MAINTAINERS"
}

if [ -z "$series" ]; then
	# shellcheck disable=SC2086 # words
	files $all
	targets >"$tmp/tree/$selftests/Makefile"
	if [ ! -r "$tree/MAINTAINERS" ]; then
		:
	elif [ -n "$name" ] && [ -n "$email" ]; then
		maintainers >"$tmp/tree/MAINTAINERS"
	else
		echo "$me: git knows no user: no entry in MAINTAINERS" >&2
	fi
	changed=
	(cd "$tmp/tree" && find . -type f) >"$tmp/files"
	while read -r f; do
		cmp -s "$tmp/tree/$f" "$tree/$f" || changed="$changed $f"
	done <"$tmp/files"
	if [ -z "$changed" ]; then
		echo "$tree has it already, unchanged"
		exit 0
	fi
	# shellcheck disable=SC2086 # words
	[ "$(git -C "$tree" rev-parse --show-toplevel 2>/dev/null)" != "$tree" ] ||
		[ -z "$(git -C "$tree" status --porcelain -- $changed)" ] ||
		die "$1 has uncommitted changes in files concerned: $(git -C "$tree" status --porcelain -- $changed | head -n 3 | tr '\n' ' ')"
	(cd "$tmp/tree" && cp -r . "$tree") || exit 1
	cat <<-END
	Exported to $tree/$selftests/hw_breakpoint
	Run it: make -C $1/$selftests TARGETS=hw_breakpoint run_tests
	END
	exit 0
fi

#
# The series, in a repository of its own that has just the files concerned.
#
mkdir -p "$series" && series=$(cd "$series" && pwd) || exit 1
[ -z "$(ls -A "$series")" ] || die "$series is not empty"
version=$(sed -n 's/^VERSION = //p; s/^PATCHLEVEL = /./p' "$tree/Makefile" 2>/dev/null | tr -d '\n')
export GIT_AUTHOR_NAME="$name" GIT_AUTHOR_EMAIL="$email"
export GIT_COMMITTER_NAME="$name" GIT_COMMITTER_EMAIL="$email"

fixes()
{
	for p in "$here"/fixes/*.patch; do
		[ ! -r "$here/fixes/$version/${p##*/}" ] || p=$here/fixes/$version/${p##*/}
		echo "$p"
	done
}

cd "$tmp/tree" && rm -rf ./* && git init -q -b hw_breakpoint . || exit 1
for f in $(fixes | xargs sed -n 's,^--- a/,,p' | sort -u) MAINTAINERS $selftests/Makefile; do
	[ -r "$tree/$f" ] || die "$1 has no $f"
	mkdir -p "$(dirname "$f")" && cp "$tree/$f" "$f" || exit 1
done
git add -A && git commit -qm base || exit 1
base=$(git rev-parse HEAD)

for p in $(fixes); do
	patch -s -p1 --no-backup-if-mismatch <"$p" >"$tmp/log" 2>&1 || die "does not apply to $1: ${p##*/}: $(head -n 1 "$tmp/log")"
	git add -A
	sed -n '1s/^Subject: //; /^---$/q; p' "$p" | git commit -qs -F - || exit 1
done

# add MESSAGE PROGRAM...: a patch that adds these to those before
so_far=
add()
{
	message=$1
	shift
	so_far="$so_far $*"
	# shellcheck disable=SC2086 # words
	files $so_far
	git add -A && git commit -qs -m "$message" || exit 1
}

p="selftests/hw_breakpoint"
targets >"$tmp/targets" && cp "$tmp/targets" "$selftests/Makefile"
maintainers >"$tmp/maintainers" && cp "$tmp/maintainers" MAINTAINERS
add "$p: Add tests of x86 hardware breakpoints

Hardware breakpoints and watchpoints of user space, through ptrace:
whether they fire at all, every slot, type and length, what the
registers accept, and how long an armed slot lives. Each trap is
checked exactly: thread, si_code, si_addr, DR6, ip, progress and
memory.

A type of breakpoint that a hypervisor accepts but never delivers
fails once, in first_trap_test; tests that need it are skipped." \
	first_trap_test report_test slot_test execute_test execute_insn_test watchpoint_test \
	register_test dr6_test lifetime_test inherit_test slot_lifetime_test
add "$p: Test single-step, signals, bitness and instructions

Where a breakpoint meets a single-step, a signal, a tracer of the
other bitness, or an instruction with several operands or iterations." \
	step_test step_kernel_test step_insn_test step_privileged_test step_resume_test \
	block_step_test own_tf_test software_int_test signal_test \
	compat32_test access_test bus_lock_test insn_test page_test
add "$p: Test perf breakpoints

What an event counts, samples and signals, which attributes are
refused, inheritance, groups, and how slots are shared with ptrace and
with CPU events." \
	perf_test perf_attr_test perf_task_test perf_enable_test perf_sigtrap_test perf_privileged_test \
	slot_accounting_test perf_cpu_test
add "$p: Test threads, context switches and background load

Debug registers are replaced at each switch between armed threads.
Regression tests for lost registers need many switches, migrations and
CPU hotplug." \
	thread_test thread_group_test context_switch_test sched_fifo_test stressor_test cgroup_test \
	hotplug_test
add "$p: Test the kernel's own accesses

Watched memory that the kernel accesses, system calls, patched kernel
text, uprobes, NMIs, and what of the kernel may be watched." \
	kernel_access_test implicit_access_test syscall_test text_patching_test uprobe_test \
	uprobe_step_test nmi_test perf_kernel_test
add "$p: Test the debug registers of KVM guests

A small VM monitor checks that the guest's and the host's breakpoints
survive each kind of exit and switch. Regression test for 172b2386ed16
and 70e4da7a8ff6." \
	kvm_guest_test kvm_host_test kvm_step_test kvm_emulation_test
for f in $all; do
	case " $so_far " in
	*" $f "*) ;;
	*) die "no patch of the series has $f" ;;
	esac
done

cc=
if [ -r "$tree/scripts/get_maintainer.pl" ]; then
	git diff "$base" >"$tmp/diff"
	cc=$(cd "$tree" && perl scripts/get_maintainer.pl --no-tree --no-git --no-git-fallback \
		--no-rolestats "$tmp/diff" 2>/dev/null | sed 's/^/Cc: /')
fi
git config branch.hw_breakpoint.description "Fixes and selftests for x86 hardware breakpoints

A regression suite for hardware breakpoints and watchpoints as user space gets
them, through ptrace and perf, and for the debug registers of KVM guests. It
began with the report \"x86: Hardware breakpoints are not always triggered\" of
January 2016 (fixed by 172b2386ed16 and 70e4da7a8ff6).

The first patches fix the kernel bugs that it has found. Without them the tests
concerned end as XFAIL.

$cc"
git format-patch -q --cover-letter --cover-from-description=subject -o "$series" "$base" || exit 1
git log --oneline --reverse "$base.."
git diff --shortstat "$base"
