#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The suite as part of a kernel: exported to a 6.1, a 6.12 and a mainline tree it must
# build without warnings, run, install and clean through that tree's own selftests
# Makefile. Which of the tests pass depends on this machine, and is not checked here.
. "$(dirname "$0")/../tap.sh"

jobs=$(getconf _NPROCESSORS_ONLN)
unset OUTPUT KSRC ARCH LLVM CC M32 USERCFLAGS USERLDFLAGS MAKEFLAGS MAKELEVEL
unset KBUILD_OUTPUT O INSTALL_PATH

# in_tree ARGUMENTS...: make for the suite in that tree
in_tree()
{
	make -j "$jobs" -C "$tree/tools/testing/selftests" TARGETS=hw_breakpoint "$@" >"$tmp/log" 2>&1
	status=$?
	cat "$tmp/log"
	return $status
}

# all_ran: one result for each program, each with all the tests that it planned,
# passed or not.
all_ran()
{
	for prog in $(suite_programs); do
		grep -qE "^(not )?ok [0-9]+ selftests: hw_breakpoint: $prog( |\$)" "$tmp/log" || {
			echo "$prog did not run"
			return 1
		}
	done
	! grep -E 'Planned tests !=|TIMEOUT|warning:|file .* is missing' "$tmp/log"
}

runs() { in_tree run_tests && all_ran; }
clean() { in_tree clean && [ "$(ls -A "$suite")" = "$(cat "$tmp/exported")" ]; }

# One program only, as NIPA does it; the programs have been built before
runs_one()
{
	in_tree run_tests TEST_PROGS=first_trap_test_64 TEST_GEN_PROGS="" &&
		grep -qE '^(not )?ok 1 selftests: hw_breakpoint: first_trap_test_64' "$tmp/log" &&
		[ "$(grep -cE '^(not )?ok [0-9]+ selftests: hw_breakpoint:' "$tmp/log")" -eq 1 ]
}

# no_pidfd ERRNO: the harness fails each test if it needs one and gets none
no_pidfd()
{
	for program in slot_test_64 slot_test_32; do
		"$tmp/confine" -s "434,434,$1" "$suite/$program" >"$tmp/log"
		cat "$tmp/log"
		case $version in
		mainline) grep -qx '1..0 # SKIP pidfd_open not permitted' "$tmp/log" || return ;;
		*) grep -qE '^1\.\.[1-9]' "$tmp/log" || return ;;
		esac
	done
}

# builds ARGUMENTS...: without a warning
builds() { in_tree clean && in_tree USERCFLAGS=-Werror "$@" && ! grep -i 'warning' "$tmp/log"; }

# For checks of make only: a compiler that does not generate code
cat >"$tmp/reads" <<'END'
#!/bin/sh
gcc -fsyntax-only "$@" || exit
while [ "$1" != -o ]; do shift; done
[ "$2" = /dev/null ] || { : >"$2" && chmod +x "$2"; }
END
chmod +x "$tmp/reads"

elsewhere()
{
	in_tree O="$tmp/obj" CC="$tmp/reads" && [ "$(suite_programs | wc -l)" -eq \
		"$(find "$tmp/obj/kselftest/hw_breakpoint" -name '*_test_*[24]' | wc -l)" ] &&
		[ "$(ls -A "$suite")" = "$(cat "$tmp/exported")" ]
}

installs()
{
	in_tree install INSTALL_HDR_PATH="$tmp" KSFT_INSTALL_PATH="$tmp/inst" &&
		for prog in $(suite_programs); do
			[ -x "$tmp/inst/hw_breakpoint/$prog" ] &&
				grep -qx "hw_breakpoint:$prog" "$tmp/inst/kselftest-list.txt" ||
				return
		done && [ -r "$tmp/inst/hw_breakpoint/settings" ]
}

runs_installed()
{
	(cd "$tmp/inst" && ./run_kselftest.sh -t hw_breakpoint:first_trap_test_64) >"$tmp/log" 2>&1
	cat "$tmp/log"
	grep -qE '^(not )?ok 1 selftests: hw_breakpoint: first_trap_test_64' "$tmp/log"
}

# The tarball that CI systems take
packs()
{
	in_tree gen_tar INSTALL_HDR_PATH="$tmp" KSFT_INSTALL_PATH="$tmp/tar" FORMAT=.tar &&
		find "$tmp/tar" -name '*.tar' -exec tar -tf {} \; |
		grep -q 'hw_breakpoint/first_trap_test_64$'
}

says_once()
{
	in_tree ARCH=arm64 run_tests && [ "$(grep -c 'ARCH=arm64' "$tmp/log")" -eq 1 ]
}

# The whole directory copied by hand, including what export leaves out
plain_copy()
{
	rm -r "$suite" && cp -r "$top/tests" "$suite" && in_tree clean &&
		in_tree CC="$tmp/reads"
}

check "what confines a program is built" gcc -O2 -o "$tmp/confine" "$top/tools/lab/confine.c"
for version in 6.1 6.12 mainline; do
	source=$("$top/tools/get-harness.sh" $version 2>"$tmp/out") || {
		not_ok "$version: no source"
		continue
	}
	tree=$tmp/linux-$version
	suite=$tree/tools/testing/selftests/hw_breakpoint
	cp -r "$source" "$tree"
	check "$version: export" "$top/tools/export.sh" "$tree"
	ls -A "$suite" >"$tmp/exported"
	if have clang; then
		check "$version: clang -Werror" builds LLVM=1 CC=clang
	else
		skip "$version: clang -Werror" "no clang here: apt-get install clang"
	fi
	check "$version: gcc -Werror" builds
	check "$version: run_tests" runs
	check "$version: run_tests of one program" runs_one
	check "$version: pidfd_open not permitted" no_pidfd 1
	check "$version: no pidfd_open" no_pidfd 38
	check "$version: another ARCH: says so once" says_once
	if have rsync; then
		check "$version: install" installs
		check "$version: run_kselftest.sh -t" runs_installed
		check "$version: gen_tar" packs
	else
		skip "$version: install" "no rsync here: apt-get install rsync"
	fi
	check "$version: clean" clean
	check "$version: O=" elsewhere
	check "$version: copied with GNUmakefile" plain_copy
	rm -rf "$tree" "$tmp/obj" "$tmp/inst" "$tmp/tar"
done
done_testing
