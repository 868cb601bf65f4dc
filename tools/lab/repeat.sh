#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Is it green every time? Run the suite again and again in emulated machines, two at a
# time, half of the runs beside random load (tools/repeat.sh).
#
#	repeat.sh [-m MINUTES] [-s SEED] [VERSION:CPUS]...
#
# MINUTES (60) is for each machine; a last run may take longer. VERSION is that of the
# kernel (kernel.sh -v). Without machines: 6.12 and 7.2 with 1, 2 and 4 CPUs. Prints a
# line for each machine, with its kernel, CPUs, number of runs and of those that were not
# green; all that these have printed is in .cache/lab/repeat.
me=repeat
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

usage()
{
	echo "Usage: repeat.sh [-m MINUTES] [-s SEED] [VERSION:CPUS]..." >&2
	exit 2
}

minutes=60 seed=$(date +%s)
while getopts m:s: option; do
	case $option in
	m) minutes=$OPTARG ;;
	s) seed=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- 6.12:1 7.2:2 6.12:4 7.2:1 6.12:2 7.2:4
for machine; do
	case $machine in [67].*:[1-9]) ;; *) usage ;; esac
done
case $minutes$seed in *[!0-9]*) usage ;; esac

"$here/setup.sh" || exit 1
initrd=$("$here/initramfs.sh") || exit 1
results=$lab/repeat
# The archive is the lab's to replace while machines boot from it
if ! { mkdir -p "$results/add" && cp "$top/tools/repeat.sh" "$results/add" &&
	cp "$initrd" "$results/initramfs"; }; then
	die "cannot write $results"
fi

children=
trap 'kill $children 2>/dev/null; wait; exit 130' INT
trap 'kill $children 2>/dev/null; wait; exit 143' HUP TERM

# boot VERSION CPUS SEED: to NAME.out
boot()
{
	name=$1-$2-$3
	image=$("$here/kernel.sh" -v "$1") || exit 1
	stoppable "$here/run.sh" --kernel "$image" --initrd "$results/initramfs" \
		--add "$results/add" --smp "$2" --output "$results/$name" \
		--append mitigations=off --timeout $((minutes * 60 + 7200)) -- \
		"sh /repeat.sh /suite $((minutes * 60)) $3 -o 3600 -k lab.txt" \
		>"$results/$name.out" 2>&1
	status=$?
	awk -v kernel="$1" -v cpus="$2" -v status=$status '
		/^run: / {
			runs++
			red += $2 == "RED"
			seconds += $3
			loaded += !/nice 0, 0 busy$/
		}
		END {
			# One that died in the middle of a run
			if (status && !red)
				red++
			printf "Linux %s, %d CPUs: %d runs (%d beside load), %d not green, %d s each\n",
				kernel, cpus, runs, loaded, red, runs ? seconds / runs : 0
			exit red || !runs
		}' "$results/$name.out"
}

# lane MACHINE...: one after another
lane()
{
	failed=0
	for machine; do
		boot "${machine%:*}" "${machine#*:}" "$seed" || failed=1
		seed=$((seed + 1))
	done
	return $failed
}

# Every other one
first='' second=''
while [ $# -gt 0 ]; do
	first="$first $1" second="$second $2"
	shift $(($# > 1 ? 2 : 1))
done
echo "# seed $seed"
status=0
for lane in "$first" "$second"; do
	# shellcheck disable=SC2086 # words
	lane $lane &
	children="$children $!"
done
for child in $children; do
	wait "$child" || status=1
done
exit $status
