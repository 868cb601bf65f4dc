#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Print the path of a kernel source tree that has the kselftest harness.
#
#   KSRC=DIR tools/get-harness.sh   the tree at DIR; nothing is fetched
#   tools/get-harness.sh            from a Debian source package: 6.12, else 6.1
#   tools/get-harness.sh 6.1        from that one
#   tools/get-harness.sh mainline   from the newest of Debian unstable
#
# The package is downloaded and unpacked without root, once, into .cache at the
# top of this project, and of it only what the suite and its checks use. Exits
# with 4 and one line on stderr where no source can be had.

# The harness, the selftests' own Makefile with what that includes, a test of the
# kernel's to compare with, checkpatch, and what tools/export.sh changes or reads.
parts='tools/testing/selftests/*.* tools/testing/selftests/Makefile
	tools/testing/selftests/kselftest/* tools/testing/selftests/breakpoints/*
	scripts/subarch.include scripts/checkpatch.pl scripts/spelling.txt
	scripts/const_structs.checkpatch scripts/get_maintainer.pl MAINTAINERS Makefile
	arch/x86/kernel/hw_breakpoint.c arch/x86/kernel/process.c arch/x86/kernel/ptrace.c
	arch/x86/kernel/traps.c arch/x86/kernel/umip.c arch/x86/kernel/uprobes.c
	arch/x86/entry/vsyscall/vsyscall_64.c arch/x86/include/asm/ptrace.h
	arch/x86/kvm/x86.c kernel/events/core.c kernel/events/hw_breakpoint.c
	kernel/events/uprobes.c'

me=get-harness
here=$(cd "$(dirname "$0")" && pwd) || exit 1
cache=$(dirname "$here")/.cache
# shellcheck source=tools/debian.sh
. "$here/debian.sh"

missing()
{
	say "$*; or give a kernel source: KSRC=/path/to/linux"
	exit 4
}

if [ -n "$KSRC" ]; then
	tree=$(cd "$KSRC" 2>/dev/null && pwd) || tree=$KSRC
	for f in lib.mk kselftest_harness.h kselftest/runner.sh; do
		[ -r "$tree/tools/testing/selftests/$f" ] && continue
		say "KSRC=$KSRC is no kernel source: $tree/tools/testing/selftests/$f is missing"
		exit 4
	done
	echo "$tree"
	exit 0
fi

# have VERSION: print its tree if it is there. One with other parts, from another
# version of this script, goes.
have()
{
	tree=$cache/linux-source-$1
	[ -d "$tree" ] || return
	[ "$(cat "$tree/.parts" 2>/dev/null)" = "$parts" ] || {
		rm -rf "$tree"
		return 1
	}
	echo "$tree"
}

# unpack PACKAGE: from PACKAGE_*.deb, the parts we use, into PACKAGE/.
unpack()
{
	package=$1
	set -f
	# shellcheck disable=SC2046 # one word for each part
	set -- $(for p in $parts; do echo "$package/$p"; done)
	set +f
	dpkg-deb --fsys-tarfile "$package"_*.deb |
		tar -xO -f - "./usr/src/$package.tar.xz" | xz -dc |
		tar -x --wildcards --no-wildcards-match-slash -f - "$@" &&
		[ -r "$package/tools/testing/selftests/kselftest/runner.sh" ] &&
		echo "$parts" >"$package/.parts"
}

versions=${1:-6.12 6.1}
if [ "$versions" = mainline ]; then
	for tree in "$cache"/linux-source-[789].*; do
		! have "${tree##*/linux-source-}" || exit 0
	done
	command -v apt-get >/dev/null 2>&1 || missing "fetching a mainline source needs apt-get, which is not here"
	later_suites && versions=$(newest_source) && versions=${versions#linux-source-}
	[ -n "$versions" ] || missing "cannot find a mainline source: no network, or no such package"
fi
! have "${versions%% *}" || exit 0
for tool in apt-get dpkg-deb tar; do
	command -v $tool >/dev/null 2>&1 ||
		missing "fetching linux-source-${versions%% *} needs $tool, which is not here"
done
one_at_a_time
begin_work
for v in $versions; do
	! have "$v" || exit 0
	package=linux-source-$v
	say "downloading $package (about 150 MB, once)"
	download "$package" || continue
	if ! command -v xz >/dev/null 2>&1; then
		{ download xz-utils && dpkg-deb -x xz-utils_*.deb xz; } ||
			missing "unpacking $package needs xz: apt-get install xz-utils"
		PATH=$PATH:$PWD/xz/usr/bin
	fi
	say "unpacking"
	unpack "$package" || missing "$package could not be unpacked"
	# Without flock another one may have been quicker: one of the two stays.
	mv -T "$package" "$cache/$package" 2>/dev/null
	have "$v"
	exit
done
missing "cannot download linux-source-${versions%% *}: no network, or no such package here"
