#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# gdb's tests of hardware breakpoints and watchpoints, for kernel-tests.sh --gdb.
#
#	gdb-tests.sh ROOT
#
# Puts gdb, its tests and what they need into ROOT, a lab machine's file system, and
# prints the programs in ROOT/suite: one for each test, which prints gdb.sum as TAP. There
# is no compiler in the machine: the tests are run here first, by a compiler that keeps
# what it has built. Needs an installed dejagnu; gdb and its sources are Debian's
# packages, not installed.
me="gdb-tests"
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

[ $# -eq 1 ] || die "usage: gdb-tests.sh ROOT"
root=$1

# Of 30, those that take some seconds in the emulator; watchpoint-reuse-slot and
# watchpoint take minutes there
tests="gdb.base/hbreak2 gdb.base/hbreak-unmapped gdb.base/hw-sw-break-same-address
	gdb.base/watch-bitfields gdb.base/watchpoints gdb.base/watchpoint-hw-hit-once
	gdb.base/watch-vfork gdb.threads/wp-replication gdb.threads/watchthreads
	gdb.threads/watchpoint-fork"

# The paths that the programs' debug information has are those in the machine, where
# /tmp is another one
dir=$lab/build/gdb
case $dir in /tmp/*) die "does not work below /tmp" ;; esac

fetch()
{
	rm -rf "$dir" && mkdir -p "$dir/built" && cd "$dir" || return
	for package in gdb-minimal gdb-source; do
		download $package && dpkg -x $package*.deb . && rm $package*.deb || return
	done
	tar xf usr/src/gdb.tar.xz gdb/gdb/testsuite && rm -r usr/src
}

compiler()
{
	cat <<-'END'
	#!/bin/sh
	# What it is asked for again, by the arguments and the sources, is not built again. The
	# numbers in the arguments are process numbers.
	built=${0%/*}/built
	out='' last=''
	for a; do
		[ "$last" != -o ] || out=$a
		last=$a
	done
	key=$({
		echo "$*" | sed 's/[0-9][0-9]*/N/g'
		for a; do
			case $a in *.[cSs]) cat "$a" ;; esac
		done
	} | md5sum)
	key=$built/${key%% *}
	if [ ! -e "$key.rc" ]; then
		gcc "$@" >"$key.out" 2>"$key.err"
		rc=$?
		[ ! -e "$out" ] || cp "$out" "$key.file"
		echo $rc >"$key.rc"
	fi
	cat "$key.out"
	cat "$key.err" >&2
	[ ! -e "$key.file" ] || cp "$key.file" "$out"
	exit "$(cat "$key.rc")"
	END
}

program()
{
	cat <<-END
	#!/bin/sh
	export PATH=/usr/bin:/bin USER=root LOGNAME=root HOME=/root TERM=dumb
	mkdir -p "$dir/run/$1" && cd "$dir/run/$1" || exit 1
	rm -f gdb.sum
	runtest --tool gdb --srcdir "$dir/gdb/gdb/testsuite" GDB="$dir/usr/bin/gdb" \\
		CC_FOR_TARGET="$dir/cc" GDBFLAGS= "$1.exp" >out 2>&1 </dev/null
	sed -n 's/^PASS: /ok 1 /p; s/^FAIL: /not ok 1 /p; s/^UNRESOLVED: /not ok 1 /p' gdb.sum
	END
}

[ -x "$dir/usr/bin/gdb" ] && [ -d "$dir/gdb/gdb/testsuite" ] || fetch ||
	die "cannot fetch gdb-minimal and gdb-source"
compiler >"$dir/cc" && chmod +x "$dir/cc" || exit 1
mkdir -p "$root/suite/gdb"
programs=
for t in $tests; do
	p=gdb/${t##*/}
	program "$t" >"$root/suite/$p" && chmod +x "$root/suite/$p" || exit 1
	sh "$root/suite/$p" >"$dir/result"
	grep -q '^ok ' "$dir/result" || die "$t passes nothing here, see $dir/run/$t"
	programs="$programs $p"
done

# Files of packages, and the libraries of the two programs
installed()
{
	dpkg -L expect tcl-expect libtcl8.6 tcl8.6 dejagnu |
		grep -vE '^$|/(man|doc|info|lintian)/' | while read -r f; do
		[ -d "$f" ] || echo "$f"
	done
	libraries "$dir/usr/bin/gdb" /usr/bin/expect
	echo /lib/x86_64-linux-gnu/libthread_db.so.1
}
installed | sort -u | while read -r f; do
	cp -L --parents "$f" "$root/" || exit
done || die "cannot copy what gdb and dejagnu need"
for f in "$dir"/cc "$dir"/built "$dir"/usr/bin/gdb "$dir"/gdb/gdb/testsuite/lib \
	"$dir"/gdb/gdb/testsuite/config "$dir"/gdb/gdb/testsuite/boards \
	"$dir"/gdb/gdb/testsuite/gdb.base/*.[ch] "$dir"/gdb/gdb/testsuite/gdb.threads/*.[ch]; do
	cp -r --parents "$f" "$root/" || die "cannot copy $f"
done
for t in $tests; do
	cp --parents "$dir/gdb/gdb/testsuite/$t.exp" "$root/" || exit 1
done
echo "$programs"
