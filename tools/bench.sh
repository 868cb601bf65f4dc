#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What verified traps cost on this machine, and how that scales: build
# tools/bench, run it, print a table with the command of each row, and draw it.
# Best on a machine that does nothing else. Where breakpoints never fire there is
# nothing to measure: exit code 4.
#
# Usage: tools/bench.sh [DIR]
#   DIR  for the program, bench.dat and bench.png (default: .cache/bench)

top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
dir=${1:-$top/.cache/bench}
mkdir -p "$dir" && dir=$(cd "$dir" && pwd) || exit 1

cd "$top/tests" || exit 1
"${CC:-gcc}" -O2 -Wall -Wextra -D_GNU_SOURCE -pthread -I. ../tools/bench/bench.c \
	watchdog.c tracee.c report.c probes.c tracee_group.c environment.c firing.c -o "$dir/bench" || exit 1

echo "# name|what|figure|limit|command" >"$dir/bench.dat"
status=0
for name in ratio cpus flat memory switches; do
	# A wrong trap, or CPU-wide breakpoints of another process, end a run
	for _ in 1 2 3 4 5 6; do
		"$dir/bench" $name >"$dir/bench.out" 2>"$dir/bench.err" && break
		[ $? -ne 4 ] || {
			cat "$dir/bench.err"
			rm -f "$dir/bench.out" "$dir/bench.err" "$dir/bench.dat"
			exit 4
		}
		sed 2q "$dir/bench.err"
		sleep 1
	done
	[ $name != ratio ] || grep '^#' "$dir/bench.out" | tee -a "$dir/bench.dat"
	if ! row=$(grep -v '^#' "$dir/bench.out"); then
		row="failed six times|0|-"
		status=1
	fi
	echo "$name|$row|$dir/bench $name" >>"$dir/bench.dat"
	IFS='|' read -r what figure limit <<-END
		$row
	END
	printf '%-9s %6s  (%s)  %s/bench %s\n          %s\n' $name "$figure" "$limit" \
		"$dir" $name "$what"
done
rm -f "$dir/bench.out" "$dir/bench.err"

if ! command -v gnuplot >/dev/null 2>&1; then
	echo "# no plot: no gnuplot here (Debian: apt-get install gnuplot-nox)"
	exit $status
fi
# Each figure over its limit: memory is the one that must be below
gnuplot <<-END || status=1
	set datafile separator "|"
	set terminal png size 800,480
	set output "$dir/bench.png"
	set title "Figure over its limit (memory: limit over figure); 1 is what is wanted"
	set style data histograms
	set style fill solid
	set boxwidth 0.7
	set logscale y
	set yrange [0.1:*]
	set nokey
	set grid y
	number(s) = real(system("echo '" . s . "' | tr -dc '0-9.\\n' | sed 's/^\$/0/'"))
	over(n, f, l) = number(l) * number(f) == 0 ? NaN : \
		n eq "memory" ? number(l) / number(f) : number(f) / number(l)
	plot "$dir/bench.dat" using (over(strcol(1), strcol(3), strcol(4))):xtic(1), \
		1 with lines
END
echo "# $dir/bench.dat $dir/bench.png"
exit $status
