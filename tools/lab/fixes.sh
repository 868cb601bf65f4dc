#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What the patches of tools/fixes change: the suite in a kernel without and in one with
# them, side by side in two emulated machines.
#
#	fixes.sh [VERSION]...	6.12 and mainline by default
#
# Each test that ends as XFAIL without the patches must pass with them, and nothing else
# may change. Prints the tests that differ; the last line counts them. Exit code 0, or
# 1 where something else has changed. Finding 10 needs a step with a data hit, which
# this emulator cannot do, and findings 12 and 15 are of KVM
# (tools/lab/kvm/lab.sh fixes).
me=fixes
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

"$here/setup.sh" || exit 1
if [ $# -eq 0 ]; then
	mainline=$("$top/tools/get-harness.sh" mainline) || exit 1
	set -- 6.12 "${mainline##*linux-source-}"
fi
initrd=$("$here/initramfs.sh") || exit 1
results=$lab/results-fixes
rm -rf "$results"
mkdir -p "$results" || die "cannot write $results"

plain='' fixed=''
trap 'kill $plain $fixed 2>/dev/null; wait; exit 130' INT
trap 'kill $plain $fixed 2>/dev/null; wait; exit 143' HUP TERM

# machine VERSION KIND KERNEL
machine()
{
	exec "$here/run.sh" --kernel "$3" --initrd "$initrd" --output "$results/$1-$2" \
		--timeout 2400 >"$results/$1-$2.out" 2>&1
}

# tests VERSION KIND: "PROGRAM:TEST RESULT" of that run
tests()
{
	awk '
		/^  (not )?ok [0-9]/ {
			sub(/^  /, "")
			result = "ok"
			if (/^not/ || /# XFAIL known failure/)
				result = "fail"
			else if (/# SKIP/)
				result = "skip"
			else if (/# XFAIL/)
				result = "XFAIL"
			sub(/^(not )?ok [0-9]+ /, "")
			name[++n] = $1 " " result
		}
		/^(not )?ok [0-9]/ {
			sub(/^(not )?ok [0-9]+ /, "")
			for (i = 1; i <= n; i++)
				print $1 ":" name[i]
			n = 0
		}' "$results/$1-$2/ktap" | sort
}

passed=0 failed=0
for version; do
	say "kernels of $version"
	good=$("$here/kernel.sh" -v "$version") || exit 1
	patched=$("$here/kernel.sh" -v "$version" -p) || exit 1
	machine "$version" plain "$good" &
	plain=$!
	machine "$version" fixed "$patched" &
	fixed=$!
	wait $plain
	wait $fixed
	for kind in plain fixed; do
		grep -q '^lab: exit' "$results/$version-$kind/ktap" ||
			die "$version, $kind: no end of the run, see $results/$version-$kind.out"
		tests "$version" $kind >"$results/$version.$kind"
		[ -s "$results/$version.$kind" ] || die "$version, $kind: no tests, see $results"
	done
	join -a 1 -a 2 -e missing -o 0,1.2,2.2 "$results/$version.plain" "$results/$version.fixed" |
		awk -v version="$version" '
			$2 == "XFAIL" || $2 != $3 {
				bad = !($2 == "XFAIL" && $3 == "ok")
				printf "%-5s %-70s %s -> %s%s\n", version, $1, $2, $3, bad ? "  WRONG" : ""
			}' >"$results/$version.table"
	cat "$results/$version.table"
	passed=$((passed + $(grep -vc 'WRONG$' "$results/$version.table")))
	failed=$((failed + $(grep -c 'WRONG$' "$results/$version.table")))
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
