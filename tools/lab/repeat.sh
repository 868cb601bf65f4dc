#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Is it green every time? Run the suite again and again in emulated machines, half of the
# runs beside random load (tools/repeat.sh).
#
#	repeat.sh [-j N] [-l N] [-q] [-m MINUTES] [-s SEED] [VERSION:CPUS]...
#
# -j: machines at a time (2); more than there are CPUs are a load for one another. -l: one
# run in N is beside load in the machine (2). -q: the load is light (REPEAT_LIGHT).
# MINUTES (60) is for each machine; a last run may take longer. VERSION is that of the
# kernel (kernel.sh -v). Without machines: 6.12 and 7.2 with 1, 2 and 4 CPUs. Prints a
# line for each machine, with its kernel, CPUs, number of runs and of those that were not
# green; all that these have printed is in .cache/lab/repeat.
me=repeat
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

usage()
{
	echo "Usage: repeat.sh [-j N] [-l N] [-q] [-m MINUTES] [-s SEED] [VERSION:CPUS]..." >&2
	exit 2
}

lanes=2 loaded=2 light='' minutes=60 seed=$(date +%s)
while getopts j:l:m:qs: option; do
	case $option in
	j) lanes=$OPTARG ;;
	l) loaded=$OPTARG ;;
	m) minutes=$OPTARG ;;
	q) light=1 ;;
	s) seed=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || set -- 6.12:1 7.2:2 6.12:4 7.2:1 6.12:2 7.2:4
for machine; do
	case $machine in [67].*:[1-9]) ;; *) usage ;; esac
done
for n in "$lanes" "$loaded" "$minutes" "$seed"; do
	case $n in '' | *[!0-9]*) usage ;; esac
done
if [ "$lanes" -eq 0 ] || [ "$loaded" -eq 0 ]; then
	usage
fi

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
		"REPEAT_LIGHT=$light REPEAT_LOADED=$loaded sh /repeat.sh /suite $((minutes * 60)) $3 -o 3600 -k lab.txt" \
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

# lane N MACHINE...: every machine whose turn it is, one after another
lane()
{
	turn=$1 failed=0
	shift
	for machine; do
		if [ $((turn % lanes)) -eq 0 ]; then
			boot "${machine%:*}" "${machine#*:}" "$seed" || failed=1
		fi
		turn=$((turn + 1)) seed=$((seed + 1))
	done
	return $failed
}

echo "# seed $seed"
status=0
for n in $(seq "$lanes"); do
	lane "$n" "$@" &
	children="$children $!"
done
for child in $children; do
	wait "$child" || status=1
done
exit $status
