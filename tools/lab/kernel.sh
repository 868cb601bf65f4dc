#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Build a small kernel for the lab, and print the path of its bzImage.
#
#	kernel.sh [-v VERSION] [-f|-c|-p|-x NAME]
#	kernel.sh -i
#
#	-v VERSION   which Debian linux-source package: 6.12 (default), 6.1, 7.2, ...;
#	             KSRC=DIR instead of one
#	-f           with the faults of tools/lab/faults compiled in, all disabled
#	-c           with gcov counters in the files that coverage.sh looks at
#	-p           with the patches of tools/fixes
#	-x NAME      configured by config/NAME.config, too
#	-i           what is in KSRC now, without a copy of it
#
# The source is unpacked and built below .cache/lab, once; after a change of the
# faults, the patches or the configuration only what depends on it is built again.
me=kernel
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

usage()
{
	echo "Usage: kernel.sh [-v VERSION] [-f|-c|-p|-x NAME] | -i" >&2
	exit 2
}

version=6.12
kind=plain
extra=
while getopts v:fcpix: opt; do
	case $opt in
	v) version=$OPTARG ;;
	f) kind=faults ;;
	c) kind=gcov ;;
	p) kind=fixed ;;
	i) kind=in-place ;;
	x)
		kind=plain extra=$OPTARG
		[ -r "$here/config/$extra.config" ] || die "no $here/config/$extra.config" ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || usage

need make make gcc gcc flex flex bison bison bc bc
[ $kind != faults ] || need spatch coccinelle
if [ -n "${KSRC-}" ]; then
	[ -f "$KSRC/arch/x86/kernel/hw_breakpoint.c" ] || die "KSRC=$KSRC is no kernel source"
	name=$(basename "$(cd "$KSRC" && pwd)")
else
	name=linux-source-$version
fi
src=$lab/src/$name-$kind
build=$lab/build/$name-${extra:-$kind}
if [ $kind = in-place ]; then
	[ -n "${KSRC-}" ] || usage
	src=$(cd "$KSRC" && pwd) build=$lab/build/in-place
fi
mkdir -p "$lab/src" "$lab/build" || die "cannot write below $lab"

# One at a time: others wait until it is built
exec 9>"$lab/kernel.lock"
! command -v flock >/dev/null 2>&1 || flock 9

# The #DB entry is noinstr, hence not profiled. Counting in it is only adding to
# memory of the kernel, which does no harm in this one.
count_noinstr()
{
	sed -i '/^# *define __no_profile /s/__attribute__.*//' \
		"$src.new/include/linux/compiler_attributes.h"
}

# fixes: the patches for this version, which may have a variant of its own
fixes()
{
	for p in "$top"/tools/fixes/*.patch; do
		variant=$top/tools/fixes/$version/${p##*/}
		if [ -r "$variant" ]; then
			echo "$variant"
		else
			echo "$p"
		fi
	done
}

apply_fixes()
{
	fixes | while read -r p; do
		patch -s -p1 --no-backup-if-mismatch -d "$src.new" <"$p" || return
	done && fixes | xargs cksum >"$src.new/.fixes"
}

# Unpacked under another name first, so that what is there is complete
unpack()
{
	rm -rf "$src.new" && mkdir "$src.new" || exit
	if [ -n "${KSRC-}" ]; then
		cp -a "$KSRC/." "$src.new"
	else
		tarball=$lab/src/$name.tar.xz
		if [ ! -e "$tarball" ]; then
			cd "$lab/src" && download "$name" &&
				dpkg-deb --fsys-tarfile "$name"_*.deb |
				tar -xO -f - "./usr/src/$name.tar.xz" >"$tarball.new" &&
				mv "$tarball.new" "$tarball" && rm -f "$name"_*.deb || exit
		fi
		tar -xJ -f "$tarball" -C "$src.new" --strip-components=1 || exit
	fi
	[ $kind != faults ] || "$here/faults/apply.sh" "$src.new" || exit
	[ $kind != gcov ] || count_noinstr || exit
	[ $kind != fixed ] || apply_fixes || exit
	mv -T "$src.new" "$src"
}

# Faults that have changed need a fresh tree; what they do not touch keeps its
# time stamp, so that make builds only what differs.
fresh()
{
	[ -d "$src" ] || return
	case $kind in
	faults) "$here/faults/apply.sh" "$src" 2>/dev/null ;;
	fixed) fixes | xargs cksum | cmp -s - "$src/.fixes" ;;
	esac
}

replace()
{
	rm -rf "$src.old"
	[ ! -d "$src" ] || mv "$src" "$src.old"
	(unpack) || { rm -rf "$src.new"; return 1; }
	[ ! -d "$src.old" ] || rsync_times
	rm -rf "$src.old"
}

# Files that are the same as before get their old time stamps
rsync_times()
{
	(cd "$src" && find . -newer "$build/.config" -type f) | while read -r f; do
		cmp -s "$src/$f" "$src.old/$f" && touch -r "$src.old/$f" "$src/$f"
	done
}

fresh || quietly "$lab/$name-$kind.log" replace

profile=
[ $kind != gcov ] ||
	profile="GCOV_PROFILE_hw_breakpoint.o=y GCOV_PROFILE_ptrace.o=y GCOV_PROFILE_traps.o=y"

config()
{
	mkdir -p "$build" &&
		make -C "$src" O="$build" tinyconfig &&
		(cd "$src" && scripts/kconfig/merge_config.sh -m -O "$build" \
			"$build/.config" "$here/small.config" \
			${extra:+"$here/config/$extra.config"}) &&
		{ [ $kind != gcov ] || echo CONFIG_GCOV_KERNEL=y >>"$build/.config"; } &&
		make -C "$src" O="$build" olddefconfig
}

compiler=gcc
! command -v ccache >/dev/null 2>&1 || compiler="ccache gcc"
quietly "$build.config.log" config
# shellcheck disable=SC2086 # words
quietly "$build.log" nice -n 5 make -C "$src" O="$build" -j "$jobs" \
	CC="$compiler" $profile bzImage
echo "$build/arch/x86/boot/bzImage"
