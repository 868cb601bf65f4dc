#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Getting the harness: from KSRC without fetching anything, once and whole from a
# package, and a clear word where there is neither. In a copy of the project, so
# that the cache is another, with a made-up apt-get instead of the network.
. "$(dirname "$0")/../tap.sh"

unset OUTPUT KSRC ARCH LLVM CC M32 MAKEFLAGS MAKELEVEL
real=$("$top/tools/get-harness.sh") || exit 1
mkdir "$tmp/bin" "$tmp/copy" && cp -r "$top/tests" "$top/tools" "$top/run_tests.sh" "$tmp/copy"
rm -rf "$tmp/copy/tools/lab"
get=$tmp/copy/tools/get-harness.sh
cache=$tmp/copy/.cache

# apt_get LINES: what apt-get does when it is asked for a package
apt_get()
{
	printf '#!/bin/sh\necho "$*" >>%s/asked\n%s\n' "$tmp" "$1" >"$tmp/bin/apt-get"
	chmod +x "$tmp/bin/apt-get"
	: >"$tmp/asked"
	rm -rf "$cache"
}

# A package like Debian's, of the files that we have
mkdir -p "$tmp/deb/DEBIAN" "$tmp/deb/usr/src" "$tmp/src"
printf 'Package: linux-source-6.12\nVersion: 1\nArchitecture: all\nMaintainer: x <x@y>\nDescription: x\n' \
	>"$tmp/deb/DEBIAN/control"
cp -r "$real" "$tmp/src/linux-source-6.12"
echo "not for us" >"$tmp/src/linux-source-6.12/README"
package()
{
	tar -cf - -C "$tmp/src" linux-source-6.12 | xz -0 >"$tmp/deb/usr/src/linux-source-6.12.tar.xz" &&
		dpkg-deb -b "$tmp/deb" "$tmp/linux-source-6.12_1_all.deb"
}

gets()
{
	PATH=$tmp/bin:$PATH "$get"
}

# fails PATTERN COMMAND...: with one line that says so, status 4
fails()
{
	pattern=$1
	shift
	"$@" >"$tmp/said" 2>&1
	got=$?
	cat "$tmp/said"
	[ $got -eq 4 ] && tail -n 1 "$tmp/said" | grep -q -e "$pattern" &&
		tail -n 1 "$tmp/said" | grep -q 'KSRC='
}

nothing_half_done()
{
	! find "$cache" -mindepth 1 -maxdepth 1 \( -name 'tmp.*' -o -name 'linux-*' \) | grep .
}

from_ksrc()
{
	apt_get "exit 1"
	[ "$(KSRC=$real gets)" = "$real" ] && [ ! -s "$tmp/asked" ] && [ ! -e "$cache" ] &&
		PATH=$tmp/bin:$PATH make -s -C "$tmp/copy/tests" KSRC="$real" emit_tests &&
		[ ! -s "$tmp/asked" ] && [ ! -e "$cache" ]
}

bad_ksrc()
{
	apt_get "exit 1"
	KSRC=/nowhere fails "is no kernel source" gets && [ ! -s "$tmp/asked" ] &&
		! make -C "$tmp/copy/tests" KSRC=/nowhere &&
		KSRC=/nowhere fails "is no kernel source" "$tmp/copy/run_tests.sh"
}

once_and_whole()
{
	apt_get "[ \"\$*\" = \"\${*%download linux-source-6.12}\" ] || cp $tmp/*.deb ."
	tree=$(gets) && [ "$tree" = "$cache/linux-source-6.12" ] && diff -r "$real" "$tree" &&
		nothing_left_but linux-source-6.12 && [ "$(wc -l <"$tmp/asked")" -eq 1 ] &&
		[ "$(gets)" = "$tree" ] && [ "$(wc -l <"$tmp/asked")" -eq 1 ]
}

nothing_left_but()
{
	! find "$cache" -mindepth 1 -maxdepth 1 ! -name lock ! -name "$1" | grep .
}

two_at_once()
{
	apt_get "sleep 1; cp $tmp/*.deb ."
	gets >"$tmp/first" 2>/dev/null &
	gets >"$tmp/second" 2>/dev/null
	wait $! && cmp "$tmp/first" "$tmp/second" && nothing_left_but linux-source-6.12 &&
		[ "$(wc -l <"$tmp/asked")" -eq 1 ]
}

no_network()
{
	apt_get "exit 100"
	fails "cannot download linux-source-6.12" gets && nothing_half_done
}

broken_package()
{
	apt_get "echo rubbish >linux-source-6.12_1_all.deb"
	fails "could not be unpacked" gets && nothing_half_done
}

interrupted()
{
	# Tell when the download has begun.
	mkfifo "$tmp/begun"
	apt_get "echo half >linux-source-6.12_1_all.deb; echo begun >$tmp/begun; exec sleep 5"
	PATH=$tmp/bin:$PATH "$get" 2>/dev/null &
	read -r begun <"$tmp/begun"
	echo "$begun"
	kill -TERM $!
	wait $!
	[ $? -eq 143 ] && nothing_half_done
}

# A system without apt
mkdir "$tmp/few"
for tool in sh dirname sed mkdir mktemp rm; do
	ln -s "$(command -v $tool)" "$tmp/few/$tool"
done
no_apt()
{
	rm -rf "$cache"
	fails "needs apt-get" env PATH="$tmp/few" sh "$get"
}

check "KSRC: nothing is fetched" from_ksrc
check "KSRC is wrong: one clear line" bad_ksrc
if have dpkg-deb && have xz; then
	check "make a package" package
	check "package: unpacked whole, downloaded once" once_and_whole
	if have flock; then
		check "package: two at once" two_at_once
	fi
	check "no network: one clear line" no_network
	check "broken package: one clear line" broken_package
	check "interrupted: nothing is left half done" interrupted
else
	skip "package" "no dpkg-deb or no xz here"
fi
check "no apt: one clear line" no_apt
done_testing
