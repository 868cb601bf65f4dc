# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by lab.sh and kernel-tests.sh, which run something under each fault of
# faults/list. They set $results and $kernel, and $machine_limit if a machine may take more
# than 3000 s.
# shellcheck disable=SC2034,SC2154

list=$here/faults/list

# is_fault NAME
is_fault()
{
	grep -q "^${1}[[:space:]]" "$list"
}

flag()
{
	awk -v f="$1" -v want="$2" '$1 == f { n = split($3, a, ",")
		for (i = 1; i <= n; i++) if (a[i] == want) found = 1 }
		END { exit !found }' "$list"
}

# sort_faults [FAULT]...: to $shared those that may share a machine, to $alone those
# that need a boot of their own, to $apart those that this emulator cannot show
sort_faults()
{
	shared='' alone='' apart=''
	# shellcheck disable=SC2048 # words
	for f in ${*:-$(sed -n 's/^\([a-z][a-z0-9_]*\)[[:space:]].*/\1/p' "$list")}; do
		if flag "$f" kvm || flag "$f" hw || flag "$f" bochs || flag "$f" soak; then
			apart="$apart $f"
		elif flag "$f" boot; then
			alone="$alone $f"
		else
			shared="$shared $f"
		fi
	done
}

# machine NAME INITRD [COMMAND]...: boot one, with its output in $results/NAME. Whoever
# kills us kills it too.
child='' second=''
trap 'kill $child $second 2>/dev/null; wait; exit 130' INT
trap 'kill $child $second 2>/dev/null; wait; exit 143' HUP TERM
machine()
{
	output=$results/$1
	initrd=$2
	shift 2
	"$here/run.sh" --kernel "$kernel" --initrd "$initrd" --output "$output" \
		--timeout "${machine_limit:-3000}" ${1:+--} "$@" >"$output.out" 2>&1 &
	child=$!
	wait_for $child
}

# last_test NAME: what that machine ran when it died
last_test()
{
	sed -n 's/.*the machine died or hung in the middle, last test: \([^ ;]*\).*/\1/p' \
		"$results/$1.out" | tail -n 1
}

# run_faults NAME INITRD TESTS PROGRAMS FAULT...: all of them, see in-machine.sh, with a
# new boot after one that died. The lines go to $results/NAME.lines.
run_faults()
{
	name=$1 archive=$2 tests=$3 programs=$4
	shift 4
	n=0
	while [ $# -gt 0 ]; do
		n=$((n + 1))
		# shellcheck disable=SC2086 # words
		machine "$name.$n" "$archive" sh in-machine.sh "$tests" $programs -- "$@"
		grep '^lab: ' "$results/$name.$n/ktap" >>"$results/$name.lines"
		if grep -q '^lab: exit' "$results/$name.$n/ktap"; then
			return
		fi
		died=$(sed -n 's/^lab: fault //p' "$results/$name.$n/ktap" | tail -n 1)
		if [ -z "$died" ]; then
			echo "lab: inconclusive $1" >>"$results/$name.lines"
			shift
			continue
		fi
		grep -q "^lab: caught $died " "$results/$name.$n/ktap" ||
			echo "lab: died $died $(last_test "$name.$n")" >>"$results/$name.lines"
		while [ $# -gt 0 ] && [ "$1" != "$died" ]; do shift; done
		[ $# -eq 0 ] || shift
	done
}
