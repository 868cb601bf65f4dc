#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Print how to make 32-bit programs with the compiler given: "-m32".
#
# Where that compiler is Debian's gcc and merely lacks 32-bit libraries, these are
# taken from their packages without installing anything (.cache/m32) and the
# answer is longer; the programs are static then, as there is no 32-bit loader
# to run others. In any other case of failure the answer is "-m32" too, and it is
# the build that says what it leaves out.

me=get-m32
here=$(cd "$(dirname "$0")" && pwd) || exit 1
cache=$(dirname "$here")/.cache
# shellcheck source=tools/debian.sh
. "$here/debian.sh"

cc=${1:-gcc}

# works FLAGS: can it link a program?
works()
{
	# shellcheck disable=SC2086 # words
	echo 'int main(void) { return 0; }' |
		$cc "$@" -include stdio.h -x c -o /dev/null - >/dev/null 2>&1
}

finish()
{
	echo "$*"
	exit 0
}

! works -m32 || finish -m32
# Without libraries and headers, can it do 32-bit code at all?
# shellcheck disable=SC2086
echo 'int x;' | $cc -m32 -x c -c -o /dev/null - >/dev/null 2>&1 || finish -m32
works || finish -m32
for tool in apt-get dpkg-deb; do
	command -v $tool >/dev/null 2>&1 || finish -m32
done

# shellcheck disable=SC2086
version=$($cc -dumpversion) && version=${version%%.*}
# shellcheck disable=SC2086
triplet=$($cc -dumpmachine)
lib=$cache/m32/usr
set -- -m32 -static "-B$lib/lib/gcc/$triplet/$version/32/" "-B$lib/lib32/" \
	"-L$lib/lib/gcc/$triplet/$version/32" "-L$lib/lib32" \
	-isystem "$lib/include/$triplet" -isystem "/usr/include/$triplet"
! works "$@" || finish "$@"

one_at_a_time
! works "$@" || finish "$@"
# One try only: what cannot be had now is not asked for again at each build.
[ ! -d "$cache/m32" ] || finish -m32
begin_work
say "downloading 32-bit libraries for $cc (6 MB, once)"
mkdir m32
for package in libc6-dev-i386 "lib32gcc-$version-dev"; do
	if ! download "$package" || ! dpkg-deb -x "$package"_*.deb m32; then
		say "cannot get $package"
		finish -m32
	fi
done
mv -T m32 "$cache/m32" 2>/dev/null
if works "$@"; then
	finish "$@"
fi
finish -m32
