#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The suite on this machine, whatever that is: it is green, or what failed is that
# breakpoints are dead here, and the run says so soon.
. "$(dirname "$0")/../tap.sh"

begin=$(date +%s)
"$top/run_tests.sh" >"$tmp/run" 2>"$tmp/err"
status=$?
seconds=$(($(date +%s) - begin))

# The tests of first_trap_test that must fail, as "PROGRAM:TEST": for each type that
# a program's header calls dead
awk '
	/^ *# (ptrace|perf) breakpoints: / {
		way = $2
		n = split(substr($0, index($0, ":") + 2), type, ", ")
		for (i = 1; i <= n; i++)
			if (type[i] ~ / never fires /) {
				sub(/ .*/, "", type[i])
				sub("/", "_", type[i])
				print "first_trap." way "." type[i]
			}
	}' "$tmp/run" | sort -u >"$tmp/dead"
sed -n 's/^  not ok [0-9]* \([^ ]*\).*/\1/p
	s/^not ok [0-9]* \([^ ]*\).*/\1/p' "$tmp/run" |
	grep -v '^first_trap_test_..$' | sort -u >"$tmp/failed"
sed 's/^/dead: /' "$tmp/dead" >"$tmp/summary"
sed -n '/^# FAILED/,$p' "$tmp/run" >>"$tmp/summary"

says()
{
	cat "$tmp/summary" "$tmp/err"
	cmp "$tmp/dead" "$tmp/failed" && if [ -s "$tmp/dead" ]; then
		[ $status -eq 1 ] && [ "$(grep -c 'DEAD: ' "$tmp/run")" -ge "$(wc -l <"$tmp/dead")" ]
	else
		[ $status -eq 0 ]
	fi
}

# With the build, on a machine that may have other load
soon()
{
	echo "$seconds s"
	[ ! -s "$tmp/dead" ] || [ $seconds -le 180 ]
}

# For who reads the log: what is wrong with this machine, or that nothing is
sed -n '/^# known failures that/,$p' "$tmp/run" | sed 's/^/#   /'
echo "# that took $seconds s"
if [ $status -eq 4 ]; then
	skip "native run" "nothing can run here"
else
	check "native run: green, or all that failed is what is dead here" says
	check "native run: ends soon" soon
fi
done_testing
