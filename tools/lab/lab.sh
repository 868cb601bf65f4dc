#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The proof of the suite: real kernels, under an emulator, with real bugs put
# back one at a time, and a table of which test saw which.
#
#	lab.sh                all faults that the emulator can show
#	lab.sh --short        ten of them, for CI, and of the good run only the
#	                      programs that see these
#	lab.sh --list         the faults, with where they come from
#	lab.sh -v 6.1         that kernel; KSRC=DIR takes another source
#	lab.sh -k BZIMAGE     one that has the faults already
#	lab.sh FAULT...       just these, without the good run before them
#	lab.sh fixes          what the patches of tools/fixes change: see fixes.sh
#
# The faults are compiled into one kernel, off, and switched on in the running
# machine; only those whose effect outlasts them get a boot of their own. First
# the run with no fault must be green. The last line counts that run and the
# faults: "N passed, N failed, N skipped"; those are skipped that this emulator
# cannot show. Exit code 0 if each fault was caught, 1 if one was missed or the
# good kernel was not green, 2 for bad usage.
me=lab
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tools/lab/faults.sh
. "$here/faults.sh"

usage()
{
	[ $# -eq 0 ] || echo "lab.sh: $*" >&2
	echo "Usage: lab.sh [--short|--list] [-v 6.12|6.1] [-k BZIMAGE] [FAULT]..." >&2
	exit 2
}

if [ "${1-}" = fixes ]; then
	shift
	exec sh "$here/fixes.sh" "$@"
fi

version=6.12 kernel='' short='' faults=''
# One of each kind: slot, length, type, DR6, step, switch, move, exit, fork, errors
ten="disable_ignored len8_as_4 rw_as_write dr6_lowest_only switch_stale_address
	migration_not_armed one_in_1000 fork_inherits second_thread
	poke_reregisters"

while [ $# -gt 0 ]; do
	case $1 in
	--short) short=y ;;
	--list)
		sed '/^#/d' "$list"
		exit
		;;
	-v)
		[ $# -gt 1 ] || usage "-v needs a value"
		version=$2
		shift
		;;
	-k)
		[ $# -gt 1 ] || usage "-k needs a value"
		kernel=$2
		shift
		;;
	-*) usage "unknown option: $1" ;;
	*) faults="$faults $1" ;;
	esac
	shift
done
good_run=y
[ -z "$faults" ] || good_run=
[ -z "$short" ] || faults=$ten
for f in $faults; do
	is_fault "$f" || usage "unknown fault: $f (lab.sh --list names them)"
done

# shellcheck disable=SC2086 # words
sort_faults $faults

"$here/setup.sh" || exit 1
begin=$(date +%s)
if [ -z "$kernel" ]; then
	say "kernel $version with all faults, off"
	kernel=$("$here/kernel.sh" -v "$version" -f) || exit 1
fi
say "initramfs"
initrd=$("$here/initramfs.sh") || exit 1
say "built after $(($(date +%s) - begin)) s"

results=$lab/results
rm -rf "$results"
mkdir -p "$results" || die "cannot write $results"
# The quick ones that see most first; those with a bug of the emulator last
programs="first_trap_test_64 slot_test_64 execute_test_64"
rest=$(sed 's/^kvm_.*//' "$lab/suite/kselftest-list.txt")
for p in $rest; do
	case " $programs " in *" $p "*) ;; *) programs="$programs $p" ;; esac
done
# 64-bit first: a fault seen there need not be looked for again
programs="$(echo "$programs" | tr ' ' '\n' | grep _64) $(echo "$programs" | tr ' ' '\n' | grep _32)"

# Add the script for the machine to the archive
mkdir -p "$lab/add/suite"
cp "$here/in-machine.sh" "$here/suite.sh" "$here/faults/seen-by" "$lab/add/suite/"
(cd "$lab/add" && find . | cpio -o -H newc --quiet | gzip -1) >"$lab/add.gz"
cat "$initrd" "$lab/add.gz" >"$lab/lab.gz" || die "cannot write below $lab"

# good_kernel: with no fault the suite must be green
good_kernel()
{
	patterns=
	if [ -n "$short" ]; then
		for f in $ten; do
			patterns="$patterns -t $(sed -n "s/^$f //p" "$here/faults/seen-by")"
		done
	fi
	say "no fault:${patterns:- all programs}"
	# shellcheck disable=SC2086 # words
	machine good "$initrd" sh ./run_tests.sh -o 2400 -k lab.txt $patterns
	rc=$?
	if [ $rc -eq 0 ]; then
		say "green: $(tail -n 2 "$results/good/ktap" | head -n 1)"
	else
		sed -n '/^# FAILED/,$p' "$results/good/ktap"
		say "the good kernel is not green, see $results/good"
	fi
	return $rc
}

# lane NAME SHARED ALONE: those that share a machine, then each in one of its own
lane()
{
	# shellcheck disable=SC2086 # words
	[ -z "$2" ] || run_faults "$1" "$lab/lab.gz" suite.sh "$programs" $2
	for f in $3; do
		run_faults "alone-$f" "$lab/lab.gz" suite.sh "$programs" "$f"
	done
}

# Two lanes side by side, each on one CPU of ours. The one that looks at the good
# kernel first gets fewer faults: of ten, so many.
share=${good_run:+3}
one='' two='' one_alone='' two_alone='' n=0
for f in $shared $alone; do
	n=$((n + 3))
	where=two
	[ $((n % 10)) -ge "${share:-5}" ] || where=one
	case " $alone " in
	*" $f "*) where=${where}_alone ;;
	esac
	eval "$where=\"\$$where $f\""
done

(
	trap 'kill $child 2>/dev/null; exit 143' HUP TERM
	lane two "$two" "$two_alone"
) &
second=$!
good=0
if [ -n "$good_run" ]; then
	good_kernel
	good=$?
fi
lane one "$one" "$one_alone"
wait $second

cat "$results"/*.lines 2>/dev/null >"$results/lines"
# shellcheck disable=SC2086
awk -v all="$shared $alone" -v apart="$apart" '
	FILENAME ~ /list$/ {
		if ($0 ~ /^[a-z]/) {
			origin[$1] = $2
			flags[$1] = $3
			text = $0
			for (i = 0; i < 3; i++)
				sub(/^[^ \t]+[ \t]+/, "", text)
			what[$1] = text
		}
		next
	}
	$2 == "caught" { by[$3] = $6; n[$3] = NF - 5; t[$3] = $4 }
	$2 == "says" {
		says[$3] = ""
		for (i = 4; i <= NF; i++)
			says[$3] = says[$3] " " $i
	}
	$2 == "late" { late[$3] = $5; t[$3] = $4 }
	$2 == "died" { died[$3] = $4 }
	$2 == "reached" { reached[$3] = $4 }
	END {
		total = split(all, names, " ")
		for (i = 1; i <= total; i++) {
			f = names[i]
			if (f in by) {
				caught++
				verdict = "caught in " t[f] " s by " by[f] (n[f] > 1 ? " and " n[f] - 1 " more" : "")
			} else if (f in died) {
				caught++
				verdict = "caught: the machine died of it, in " died[f]
			} else if (f in late) {
				verdict = "MISSED, seen by a time limit only: " late[f]
			} else {
				verdict = reached[f] + 0 ? "MISSED" : "MISSED, its site was never reached"
			}
			printf "%-26s %-28s %s\n", f, origin[f],
				verdict (f in says ? ":" says[f] : "")
		}
		left = split(apart, names, " ")
		for (i = 1; i <= left; i++)
			printf "%-26s %-28s apart (%s): %s\n", names[i], origin[names[i]], flags[names[i]], what[names[i]]
		printf "score: %d of %d faults caught", caught, total
		printf "; %d counted apart\n", left
		exit caught != total
	}' "$list" "$results/lines" | tee "$results/table"
grep -q '^score' "$results/table" || die "no table, see $results"
say "all that took $(($(date +%s) - begin)) s, the details are in $results"
awk -v good="$good" -v run="$good_run" '
	/^score/ { passed = $2; failed = $4 - $2; skipped = $7 }
	END {
		if (run)
			good ? failed++ : passed++
		print passed + 0 " passed, " failed + 0 " failed, " skipped + 0 " skipped"
		exit failed > 0
	}' "$results/table"
