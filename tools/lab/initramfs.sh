#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Build the lab's initramfs, and print its path: busybox, the suite in both
# bitnesses, static, and its driver.
me=initramfs
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

[ $# -eq 0 ] || {
	echo "Usage: initramfs.sh" >&2
	exit 2
}

need cpio cpio gzip gzip busybox busybox-static
busybox=$(command -v busybox)
! ldd "$busybox" >/dev/null 2>&1 || die "$busybox is not static: apt-get install busybox-static"

# One at a time: all runs share what is built here
mkdir -p "$lab" || die "cannot write below $lab"
exec 9>"$lab/lock"
! command -v flock >/dev/null 2>&1 || flock 9

root=$lab/root
if ! { mkdir -p "$lab" && rm -rf "$root" && mkdir -p "$root/bin" "$root/suite"; }; then
	die "cannot write below $lab"
fi
cp "$busybox" "$root/bin/busybox"
cp "$here/init" "$root/init"
quietly "$lab/suite.log" make -s -C "$top" install INSTALL_PATH="$lab/suite" USERLDFLAGS=-static
cp -r "$lab/suite/." "$root/suite"
cp "$top"/tools/known-failures/*.txt "$root/suite"

if ! { (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$lab/initramfs.new" &&
	mv "$lab/initramfs.new" "$lab/initramfs.gz"; }; then
	die "cannot write $lab/initramfs.gz"
fi
echo "$lab/initramfs.gz"
