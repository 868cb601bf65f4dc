#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Build the lab's initramfs, and print its path: busybox, the suite in both
# bitnesses, static, and its driver.
#
#	initramfs.sh --checkout   this directory instead, built as "make -C tests"
#	                          does, with the libraries that its programs need, and
#	                          the libraries to preload, in /prebuilt
me=initramfs
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

kind=suite
case $#$1 in
0) ;;
1--checkout) kind=checkout ;;
*)
	echo "Usage: initramfs.sh [--checkout]" >&2
	exit 2
	;;
esac

need cpio cpio busybox busybox-static
busybox=$(command -v busybox)
! ldd "$busybox" >/dev/null 2>&1 || die "$busybox is not static: apt-get install busybox-static"

# One at a time: all runs share what is built here
mkdir -p "$lab" || die "cannot write below $lab"
exec 9>"$lab/lock"
! command -v flock >/dev/null 2>&1 || flock 9

root=$lab/root
if ! { rm -rf "$root" && mkdir -p "$root/bin" "$root/$kind"; }; then
	die "cannot write below $lab"
fi

suite()
{
	# -s: less for the emulated machine to unpack
	stoppable make -s -j "$jobs" -C "$top" install INSTALL_PATH="$lab/suite" \
		USERLDFLAGS="-static -s" &&
		cp -r "$lab/suite/." "$root/suite" &&
		cp "$top"/tools/known-failures/*.txt "$root/suite"
}

# preloaded NAME SOURCE...
preloaded()
{
	name=$1
	shift
	"${CC:-gcc}" -O2 -Wall -Wextra -Werror -shared -fPIC -I"$top/tests" \
		"$@" -o "$root/prebuilt/$name.so" -ldl
}

# The 32-bit program that one of 64 bits runs needs no libraries
compat32()
{
	[ -e "$top/tests/compat32_test_32" ] || return 0
	make -s -j "$jobs" -C "$top/tests" OUTPUT="$1" USERLDFLAGS=-static \
		"$1/compat32_test_32"
}

checkout()
{
	stoppable make -s -j "$jobs" -C "$top/tests" && mkdir "$root/prebuilt" &&
		preloaded shim "$top"/tools/faults/*.c &&
		preloaded lose -D_GNU_SOURCE "$top/tools/bench/lose.c" &&
		cp -r "$top/Makefile" "$top/run_tests.sh" "$top/tests" "$top/tools" \
			"$root/checkout" &&
		rm -f "$root"/checkout/tests/*.o "$root"/checkout/tests/*_32 &&
		compat32 "$root/checkout/tests" && rm -f "$root"/checkout/tests/*.o &&
		libraries "$root"/checkout/tests/*_64 "$root"/prebuilt/*.so |
			cpio -p -d -L --quiet "$root"
}

cp "$busybox" "$root/bin/busybox"
cp "$here/init" "$root/init"
quietly "$lab/$kind.log" $kind

# Not compressed: an emulated machine takes 5 s to undo it
initramfs=$lab/initramfs.cpio
[ $kind = suite ] || initramfs=$lab/$kind.cpio
if ! { (cd "$root" && find . | cpio -o -H newc --quiet) >"$initramfs.new" &&
	mv "$initramfs.new" "$initramfs"; }; then
	die "cannot write $initramfs"
fi
echo "$initramfs"
