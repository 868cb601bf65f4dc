#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# tests/Makefile: no warning from either compiler, the same programs whatever
# ARCH is called, the same verdicts at each level of optimisation, and a clear
# word where something cannot be built.
#
# The kernel's own breakpoints/breakpoint_test (6.12) falls down on each of these.
# ARCH=x86_64 and i386: its Makefile knows x86 only and leaves it out. gcc -O2:
# "trapped" is not volatile, so the compiler knows that it is still 0 at the next
# check_trapped(); 97 of 110 fail. clang -O2: the empty dummy functions are never
# called, 109 fail. clang -O0: POKEDATA writes 8 bytes to the 4 of "trapped", and
# nr_tests lies behind it; 108 fail. -m32: the plan counts 2 lengths where the
# loops have 3, 62 planned and 86 run. And it exits with 0 each time. -Wextra
# gives 17 warnings.
. "$(dirname "$0")/../tap.sh"

jobs=$(getconf _NPROCESSORS_ONLN)
unset OUTPUT KSRC ARCH LLVM CC M32 USERCFLAGS USERLDFLAGS MAKEFLAGS MAKELEVEL

# build NAME ARGUMENTS...: into $tmp/NAME, warnings are errors
build()
{
	out=$tmp/$1
	shift
	make -s -j "$jobs" -C "$top/tests" OUTPUT="$out" "$@"
}

# programs ARGUMENTS...: what would be built
programs()
{
	make -s --no-print-directory -C "$top/tests" OUTPUT="$tmp" "$@" emit_tests
}

# verdicts NAME: of the programs there
verdicts()
{
	for prog in "$tmp/$1"/*_64 "$tmp/$1"/*_32; do
		[ ! -x "$prog" ] || timeout -k 5 60 "$prog" 2>/dev/null |
			sed -n "s/^\(ok\|not ok\) [0-9]* \([^# ]*\).*/${prog##*/} \1 \2/p"
	done
}

# differing A B: tests that A and B do not agree on
differing()
{
	sort "$1" "$2" | uniq -u | awk '{ print $1 " " $NF }' | sort -u
}

# like_o2 NAME: the same verdicts as at -O2. What the optimiser does to a test it
# does every time; what comes from the machine (other users of breakpoints, a
# hypervisor that loses DR6) is gone when both are run again.
like_o2()
{
	[ -s "$tmp/gcc-O2.verdicts" ] && verdicts "$1" >"$tmp/$1.verdicts" || return
	differing "$tmp/gcc-O2.verdicts" "$tmp/$1.verdicts" >"$tmp/differ"
	for _ in 1 2; do
		[ -s "$tmp/differ" ] || return 0
		verdicts gcc-O2 >"$tmp/again.o2"
		verdicts "$1" >"$tmp/again"
		differing "$tmp/again.o2" "$tmp/again" | comm -12 - "$tmp/differ" >"$tmp/still"
		mv "$tmp/still" "$tmp/differ"
	done
	cat "$tmp/differ"
	[ ! -s "$tmp/differ" ]
}

for level in -O2 -O0 -O3; do
	check "gcc $level" build gcc$level USERCFLAGS="$level -Werror"
	[ $level != -O2 ] || verdicts gcc-O2 >"$tmp/gcc-O2.verdicts"
	check "gcc $level: same verdicts" like_o2 gcc$level
	if have clang; then
		check "clang $level" build clang$level LLVM=1 USERCFLAGS="$level -Werror"
	else
		skip "clang $level" "no clang here: apt-get install clang"
	fi
done
if have clang; then
	check "clang -O2: same verdicts" like_o2 clang-O2
fi

# The oldest harness, and -static as for the lab
old=$("$top/tools/get-harness.sh" 6.1 2>/dev/null)
check "harness of 6.1" build old KSRC="$old" USERCFLAGS=-Werror
check "-static" build static USERCFLAGS=-Werror USERLDFLAGS=-static

same_programs()
{
	programs >"$tmp/programs" && [ -s "$tmp/programs" ] &&
		programs ARCH="$1" | diff "$tmp/programs" -
}

for arch in x86 x86_64 i386; do
	check "ARCH=$arch: same programs" same_programs $arch
done
if have clang; then
	check "ARCH=i386 LLVM=1" build llvm-i386 ARCH=i386 LLVM=1 USERCFLAGS=-Werror
fi

nothing_for()
{
	build other ARCH="$1" >"$tmp/say" 2>&1 || return
	cat "$tmp/say"
	[ -z "$(ls "$tmp/other")" ] && [ "$(grep -c "ARCH=$1" "$tmp/say")" -eq 1 ] &&
		[ "$(wc -l <"$tmp/say")" -eq 1 ] && [ -z "$(programs ARCH="$1")" ]
}

check "ARCH=arm64: nothing is built, and it says so once" nothing_for arm64

# fake_cc NAME PATTERN: gcc, but failing with such an argument
fake_cc()
{
	cat >"$tmp/$1" <<-END
	#!/bin/sh
	for a; do
		case \$a in $2) echo "unrecognized \$a" >&2; exit 1 ;; esac
	done
	exec gcc "\$@"
	END
	chmod +x "$tmp/$1"
}

without_m32()
{
	fake_cc no32 -m32
	build no32-out CC="$tmp/no32" USERCFLAGS=-Werror >"$tmp/say" 2>&1 || return
	cat "$tmp/say"
	[ "$(grep -c 'cannot do -m32' "$tmp/say")" -eq 1 ] && [ "$(wc -l <"$tmp/say")" -eq 1 ] &&
		! find "$tmp/no32-out" -name '*_32*' | grep . &&
		[ "$(programs | grep -c _64)" -eq \
			"$(find "$tmp/no32-out" -name '*_test_64' | wc -l)" ]
}

check "no -m32: says so once and goes on" without_m32

without_libc()
{
	fake_cc nolibc '*.h'
	! build nolibc-out CC="$tmp/nolibc" >"$tmp/say" 2>&1 &&
		cat "$tmp/say" && [ "$(grep -c 'hw_breakpoint:' "$tmp/say")" -eq 1 ]
}

check "no C library: one clear line, and make fails" without_libc

cleans()
{
	build clean && build clean clean && [ -z "$(ls "$tmp/clean")" ]
}

check "clean" cleans
done_testing
