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
# nr_tests is after it; 108 fail. -m32: the plan counts 2 lengths where the
# loops have 3, 62 planned and 86 run. And it exits with 0 each time. -Wextra
# gives 17 warnings.
. "$(dirname "$0")/../tap.sh"
# shellcheck source=tools/emulator.sh
. "$(dirname "$0")/../emulator.sh"

# verdicts NAME PROGRAM...: of that build, and how many there are. The harness of
# 6.1 prints no name where it skips.
verdicts()
{
	build=$1
	shift
	for program; do
		timeout -k 5 120 "/builds/$build/${program}_64" 2>/dev/null |
			sed -n "s/^\(ok\|not ok\) [0-9]* \([^ ]*\)\(.*\)/$program \2 \1\3/p" |
			awk '{ sub(/#.*/, ""); n++ }
				NF > 2 { print }
				END { print program, "tests:", n + 0 }' program="$program"
	done
}

# differing A B: programs and tests that A and B do not agree on; what one of them
# does not name is seen in the number of tests
differing()
{
	awk '{ test = $1 " " $2 }
		NR == FNR { verdict[test] = $0; next }
		test in verdict && verdict[test] != $0 { print test }' "$1" "$2" | sort -u
}

# like_o2 NAME PROGRAM...: the same verdicts as at -O2. What the optimiser does to a
# test it does every time; what comes from the machine is gone when both are run
# again.
like_o2()
{
	build=$1
	shift
	[ -s "$tmp/gcc-O2" ] && verdicts "$build" "$@" >"$tmp/verdicts"
	differing "$tmp/gcc-O2" "$tmp/verdicts" >"$tmp/differ"
	for _ in 1 2; do
		[ -s "$tmp/differ" ] || return 0
		# shellcheck disable=SC2046 # words
		set -- $(cut -d ' ' -f 1 "$tmp/differ" | sort -u)
		verdicts gcc-O2 "$@" >"$tmp/again.o2"
		verdicts "$build" "$@" >"$tmp/again"
		differing "$tmp/again.o2" "$tmp/again" | grep -xF -f "$tmp/differ" >"$tmp/still"
		mv "$tmp/still" "$tmp/differ"
	done
	cat "$tmp/differ"
	[ ! -s "$tmp/differ" ]
}

if in_machine; then
	verdicts gcc-O2 "$@" >"$tmp/gcc-O2"
	for build in gcc-O0 gcc-O3 clang-O2 harness-6.1; do
		[ ! -d "/builds/$build" ] ||
			check "$build: verdicts as with gcc -O2, $# programs" like_o2 $build "$@"
	done
	done_testing
	exit
fi

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

# Of -Wextra, what the harness does not trigger itself
extra="-Wextra -Wno-sign-compare -Wno-unused-parameter"

# As for the emulator: static
for level in -O2 -O0 -O3; do
	check "gcc $level" build gcc$level USERCFLAGS="$level -Werror $extra -Wno-clobbered" USERLDFLAGS=-static
	if have clang; then
		check "clang $level" build clang$level LLVM=1 \
			USERCFLAGS="$level -Werror $extra" USERLDFLAGS=-static
	else
		skip "clang $level" "no clang here: apt-get install clang"
	fi
done

# Not run: the emulated machine has no memory for another set of programs
# shellcheck disable=SC2046 # words
check "gcc -flto" build gcc-lto USERCFLAGS="-O2 -flto=$jobs -Werror $extra -Wno-clobbered" \
	USERLDFLAGS=-static $(suite_programs | sed -n "s,.*_64$,$tmp/gcc-lto/&,p")

check "tools/lost_traps.c" gcc -O2 -Wall -Wextra -Werror -o "$tmp/lost_traps" "$top/tools/lost_traps.c"

old=$("$top/tools/get-harness.sh" 6.1 2>/dev/null)
check "harness of 6.1" build harness-6.1 KSRC="$old" USERCFLAGS=-Werror USERLDFLAGS=-static

for build in gcc-O2 gcc-O0 gcc-O3 clang-O2 harness-6.1; do
	mkdir -p "$tmp/add/builds/$build"
	mv "$tmp/$build"/*_test_64 "$tmp/add/builds/$build"
	strip "$tmp/add/builds/$build"/*
done 2>/dev/null
one='' two='' n=0
for program in $(suite_programs | sed -n 's/_64$//p'); do
	n=$((n + 1))
	case $program$n in
	kvm_*) ;;
	*[02468]) one="$one $program" ;;
	*) two="$two $program" ;;
	esac
done
in_machines 900 "$one" "$two"

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
