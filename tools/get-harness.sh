#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Print the path of a kernel source tree that has the kselftest harness.
#
#   KSRC=DIR tools/get-harness.sh   the tree at DIR; nothing is fetched
#   tools/get-harness.sh            a Debian source package: 6.12, else 6.1
#   tools/get-harness.sh 6.1        that one
#
# The package is downloaded and unpacked without root, once, into .cache at the
# top of this project. Only what the suite and its checks use is unpacked. Exits
# with 4 and one line on stderr where no source can be had.

# What is taken from the package: the harness, the selftests' own Makefile with
# what it includes, a test of the kernel's to compare with, and checkpatch.
PARTS='tools/testing/selftests/*.* tools/testing/selftests/Makefile
	tools/testing/selftests/kselftest/* tools/testing/selftests/breakpoints/*
	scripts/subarch.include scripts/checkpatch.pl scripts/spelling.txt
	scripts/const_structs.checkpatch'

top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
cache=$top/.cache

say()
{
	echo "get-harness: $*" >&2
}

missing()
{
	say "$* (or give a kernel source: KSRC=/path/to/linux)"
	exit 4
}

if [ -n "$KSRC" ]; then
	tree=$(cd "$KSRC" 2>/dev/null && pwd)
	for f in lib.mk kselftest_harness.h kselftest/runner.sh; do
		[ -r "$tree/tools/testing/selftests/$f" ] && continue
		say "KSRC=$KSRC is not a kernel source: no tools/testing/selftests/$f"
		exit 4
	done
	echo "$tree"
	exit 0
fi

# Private apt state: the system's lists may be missing or too old, and need root
# to be renewed.
private_apt()
{
	mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial" || return
	apt-get -o Dir::State::Lists="$cache/apt/lists" \
		-o Dir::Cache="$cache/apt" -o Debug::NoLocking=1 \
		-o APT::Sandbox::User=root "$@"
}

# download PACKAGE: leaves one PACKAGE_*.deb in the current directory. First with
# the lists that are there, which cost nothing.
download()
{
	apt-get -qq -o APT::Sandbox::User=root download "$1" >&2 2>/dev/null &&
		return
	rm -f "$1"_*.deb
	if [ -z "$updated" ]; then
		say "no usable package lists, fetching them into .cache/apt"
		private_apt -qq update >&2 2>/dev/null
		updated=1
	fi
	private_apt -qq download "$1" >&2 2>/dev/null
}

# xz_from_package: make "xz" work where it is not installed.
need_xz()
{
	command -v xz >/dev/null 2>&1 && return
	download xz-utils && dpkg-deb -x xz-utils_*.deb xz && PATH=$PATH:$PWD/xz/usr/bin
}

# fetch VERSION: unpack that package's tree as $cache/linux-source-VERSION.
fetch()
{
	package=linux-source-$1

	# Nothing half-done is ever seen under the final name: the tree is made
	# in a directory of our own and renamed when it is whole.
	work=$(mktemp -d "$cache/tmp.XXXXXX") && cd "$work" || exit 1
	trap 'cd /; rm -rf "$work"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' HUP TERM

	say "downloading $package (about 150 MB, once)"
	download "$package" || { cd /; rm -rf "$work"; trap - EXIT; return 1; }
	need_xz || missing "unpacking $package needs xz: apt-get install xz-utils"

	say "unpacking"
	set -f
	parts=
	for p in $PARTS; do
		parts="$parts $package/$p"
	done
	# shellcheck disable=SC2086 # one word for each part
	set -- $parts
	set +f
	dpkg-deb --fsys-tarfile "$package"_*.deb |
		tar -xO -f - "./usr/src/$package.tar.xz" | xz -dc |
		tar -x --wildcards --no-wildcards-match-slash \
			--strip-components=1 -f - "$@"
	[ -r tools/testing/selftests/lib.mk ] &&
		[ -r tools/testing/selftests/kselftest/runner.sh ] &&
		[ -r scripts/checkpatch.pl ] ||
		missing "$package could not be unpacked"
	rm -rf ./*.deb xz
	chmod 755 .
	mv -T "$work" "$cache/$package" 2>/dev/null || [ -d "$cache/$package" ]
}

versions=${1:-6.12 6.1}
for v in $versions; do
	if [ -d "$cache/linux-source-$v" ]; then
		echo "$cache/linux-source-$v"
		exit 0
	fi
done

for tool in apt-get dpkg-deb tar; do
	command -v $tool >/dev/null 2>&1 ||
		missing "fetching linux-source-${versions%% *} needs $tool"
done
mkdir -p "$cache" || exit 1

# One download at a time; who waited finds the work done.
if command -v flock >/dev/null 2>&1; then
	exec 9>"$cache/lock"
	flock 9
fi
for v in $versions; do
	if [ -d "$cache/linux-source-$v" ] || (fetch "$v"); then
		echo "$cache/linux-source-$v"
		exit 0
	fi
done
missing "cannot download linux-source-${versions%% *}: no network, or no such package here"
