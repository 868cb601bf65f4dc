#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Test the tests: run tools/check/*.sh, or those named on the command line. Each
# prints TAP, one that ends without its plan has failed. The last line counts
# single results, the exit status is 1 if any failed.

me=${0##*/}
cd "$(dirname "$0")/check" || exit 1
[ $# -gt 0 ] || set -- *.sh

tmp=$(mktemp -d "${TMPDIR:-/tmp}/hwbp-check.XXXXXX") || exit 1
log=$tmp/log
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

for script; do
	script=${script%.sh}.sh
	[ -r "$script" ] || {
		echo "$me: no such check: $script" >&2
		exit 2
	}
	echo "# $script"
	begin=$(date +%s)
	sh "./$script" | tee "$tmp/part"
	cat "$tmp/part" >>"$log"
	planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$tmp/part")
	[ "$planned" = "$(grep -cE '^(not )?ok ' "$tmp/part")" ] ||
		echo "not ok 0 $script ended early" | tee -a "$log"
	rm -f "$tmp/part"
	echo "# $script took $(($(date +%s) - begin)) s"
done

failed=$(grep -c '^not ok ' "$log")
skipped=$(grep -c '^ok .* # SKIP' "$log")
passed=$(($(grep -c '^ok ' "$log") - skipped))
[ "$skipped" -eq 0 ] || grep '^ok .* # SKIP' "$log" | sed 's/^ok [0-9]*/# skipped:/'
[ "$failed" -eq 0 ] || grep '^not ok ' "$log" | sed 's/^not ok [0-9]*/# FAILED:/'
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
