#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Run the suite in QEMU without KVM, where breakpoints fire whatever this machine
# does to them.
#
#	emulated.sh [OPTION]...		options as for run_tests.sh: -t, -k
#	KERNEL=BZIMAGE emulated.sh	that kernel, not Debian's
#
# The programs are distributed to one emulated machine for each CPU, at most four.
# What they print is one KTAP document, program by program, with the summary and the
# exit status of run_tests.sh. Without KERNEL the kernel is the newest of Debian's
# 6.12 cloud kernels, else of its cloud kernels; it is downloaded and unpacked without root,
# once. What else is missing is installed by root, and named for anybody else.
me=emulated
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
top=$(dirname "$here")
cache=$top/.cache
# shellcheck source=tools/debian.sh
. "$here/debian.sh"

# Limit of one machine in seconds, far above what it needs
limit=${EMULATED_LIMIT:-1200}

usage()
{
	[ $# -eq 0 ] || say "$*"
	echo "Usage: [KERNEL=BZIMAGE] run_tests.sh --emulated [-t PATTERN]... [-k FILE]..." >&2
	exit 2
}

cannot_run()
{
	say "$*"
	exit 4
}

patterns='' lists=''
# Not in .cache, where get-harness.sh removes what looks forgotten
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hw_breakpoint.XXXXXX") && echo $$ >"$tmp/owner" &&
	mkdir "$tmp/add" || exit 1
lanes=
# shellcheck disable=SC2317
clean_up()
{
	trap '' INT HUP TERM PIPE
	# Each takes its machine along
	# shellcheck disable=SC2086 # words
	[ -z "$lanes" ] || kill $lanes 2>/dev/null
	wait 2>/dev/null
	rm -rf "$tmp"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
trap 'exit 141' PIPE

while [ $# -gt 0 ]; do
	case $1 in
	--test=* | --known-failures=*)
		option=${1%%=*} value=${1#*=}
		shift
		set -- "$option" "$value" "$@" ;;
	-[tk]?*)
		value=${1#-?}
		option=${1%"$value"}
		shift
		set -- "$option" "$value" "$@" ;;
	esac
	case $1 in
	-t | --test | -k | --known-failures)
		[ $# -gt 1 ] || usage "$1 needs a value" ;;
	-h | --help)
		(usage 2>&1)
		exit 0 ;;
	*) usage "not for emulated machines: $1" ;;
	esac
	case $1 in
	-t | --test)
		case $2 in
		*\'*) usage "no quotes in a pattern: $2" ;;
		esac
		patterns="$patterns -t '$2'" ;;
	*)
		case $2 in
		auto | none) lists="$lists -k $2" ;;
		*)
			{ [ -f "$2" ] && [ -r "$2" ]; } ||
				usage "cannot read known failures from '$2'"
			n=$((${n:-0} + 1))
			mkdir -p "$tmp/add/suite/lists" &&
				cp "$2" "$tmp/add/suite/lists/$n-$(basename "$2" | tr -c 'A-Za-z0-9.\n' _)" || exit 1
			lists="$lists -k lists/$n-*" ;;
		esac ;;
	esac
	shift 2
done
case $limit in
'' | 0 | *[!0-9]*) usage "EMULATED_LIMIT is not a number: $limit" ;;
esac
[ -z "${KERNEL-}" ] || { [ -f "$KERNEL" ] && [ -r "$KERNEL" ]; } ||
	cannot_run "cannot read the kernel $KERNEL"

# PROGRAM PACKAGE...: installed, or named
missing=
while read -r program package; do
	command -v "$program" >/dev/null 2>&1 || missing="$missing $package"
done <<-END
	qemu-system-x86_64 qemu-system-x86
	cpio cpio
	gcc gcc libc6-dev
	make make
	xz xz-utils
END
busybox=$(command -v busybox) && ! ldd "$busybox" >/dev/null 2>&1 ||
	missing="$missing busybox-static"
if [ -n "$missing" ]; then
	if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
		cannot_run "missing:$missing; as root on Debian: apt-get install$missing"
	fi
	say "installing$missing"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # words
	install() { apt-get -qq install -y --no-install-recommends $missing </dev/null >/dev/null 2>&1; }
	install || { apt-get -qq update >/dev/null 2>&1 && install; } ||
		cannot_run "cannot install$missing"
fi

# The kernel package that the meta package depends on
debian_kernel()
{
	for meta in linux-image-6.12-cloud-amd64 linux-image-cloud-amd64; do
		apt-cache depends $meta 2>/dev/null |
			sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*-amd64\)$/\1/p' | head -n 1
	done | head -n 1
}

if [ -n "${KERNEL-}" ]; then
	kernel=$KERNEL
else
	kernel=$cache/emulated/vmlinuz
	if [ ! -r "$kernel" ]; then
		command -v apt-get >/dev/null 2>&1 ||
			cannot_run "no apt-get here to fetch a kernel with: give one by KERNEL=bzImage"
		package=$(debian_kernel)
		if [ -z "$package" ] && [ "$(id -u)" -eq 0 ]; then
			apt-get -qq update >/dev/null 2>&1
			package=$(debian_kernel)
		fi
		[ -n "$package" ] ||
			cannot_run "no kernel package is known here (apt-get update?): give one by KERNEL=bzImage"
		say "downloading $package (about 35 MB, once)"
		if ! { (cd "$tmp" && download "$package") && dpkg-deb -x "$tmp/$package"_*.deb "$tmp/kernel" &&
			mkdir -p "$cache/emulated" && cp "$tmp"/kernel/boot/vmlinuz-* "$kernel.new" &&
			mv "$kernel.new" "$kernel"; }; then
			cannot_run "cannot get $package"
		fi
		rm -rf "$tmp/kernel" "$tmp"/*.deb
	fi
fi

dies_with_us=
! command -v setpriv >/dev/null 2>&1 || dies_with_us="setpriv --pdeathsig TERM"

say "building the suite"
# In the background: a signal is not to wait for it
$dies_with_us "$here/lab/initramfs.sh" >"$tmp/initrd" &
lanes=$!
wait $lanes || exit 1
lanes=
initrd=$(cat "$tmp/initrd")
suite=$cache/lab/suite

# Distributed to the machines: what takes long first, each to the one that has least
# to do. Seconds as a run has measured them; those not named take about 1.
distribute()
{
	sed 's/.*://' "$suite/kselftest-list.txt" | awk -v lanes="$1" '
		BEGIN {
			split("context_switch 12 stressor 5 thread 5 watchpoint 3 insn 3 " \
				"perf_sigtrap 3 perf_kernel 2 uprobe_step 2 report 2 register 2 " \
				"step_insn 2 perf_cpu 2", word, " ")
			for (i = 1; i in word; i += 2)
				cost[word[i]] = word[i + 1]
		}
		{
			name = $0
			sub(/_test_.*/, "", name)
			seconds[$0] = name in cost ? cost[name] : 1
			program[NR] = $0
		}
		END {
			for (want = 12; want > 0; want--)
				for (i = 1; i <= NR; i++) {
					if (seconds[program[i]] != want)
						continue
					least = 1
					for (l = 2; l <= lanes; l++)
						if (load[l] < load[least])
							least = l
					load[least] += want
					list[least] = list[least] " -t " program[i]
				}
			for (l = 1; l <= lanes; l++)
				if (list[l])
					print list[l]
		}'
}

if [ -n "$patterns" ]; then
	count=1
	echo "$patterns" >"$tmp/lanes" || exit 1
else
	count=$(getconf _NPROCESSORS_ONLN 2>/dev/null) || count=1
	[ "$count" -le 4 ] || count=4
	distribute "$count" >"$tmp/lanes" || exit 1
	count=$(wc -l <"$tmp/lanes")
fi

say "booting $count of QEMU with $kernel"
mkfifo "$tmp/lines" || exit 1
exec 3<>"$tmp/lines"
lane=0
while read -r tests; do
	lane=$((lane + 1))
	mkfifo "$tmp/out.$lane" || exit 1
	{
		sed -u "s/^/$lane /"
		echo "$lane end"
	} <"$tmp/out.$lane" >&3 &
	$dies_with_us "$here/lab/run.sh" --kernel "$kernel" --initrd "$initrd" --add "$tmp/add" \
		--append mitigations=off --output "$cache/emulated/machine.$lane" \
		--timeout "$limit" -- "sh ./run_tests.sh -o 600$lists $tests" \
		>"$tmp/out.$lane" 2>"$tmp/err.$lane" 3>&- &
	lanes="$lanes $!"
done <"$tmp/lanes"

# The lines of a program are printed together once it has ended
echo "KTAP version 1"
[ -n "$patterns" ] || echo "1..$(wc -l <"$suite/kselftest-list.txt")"
number=0
left=$count
while [ "$left" -gt 0 ] && IFS= read -r line <&3; do
	lane=${line%% *}
	line=${line#* }
	case $line in
	end)
		left=$((left - 1)) ;;
	"ok "[0-9]* | "not ok "[0-9]*)
		number=$((number + 1))
		verdict=${line%%"ok "*}ok
		rest=${line#"$verdict "}
		echo "$verdict $number ${rest#* }" >>"$tmp/part.$lane"
		cat "$tmp/part.$lane"
		cat "$tmp/part.$lane" >>"$tmp/log.$lane"
		rm -f "$tmp/part.$lane" ;;
	[0-9]*" passed, "[0-9]*" failed, "[0-9]*" skipped")
		echo "$line" >"$tmp/counts.$lane" ;;
	"KTAP version 1" | 1..[0-9]*) ;;
	"# known failures: "*)
		grep -qxF -e "$line" "$tmp/lists" 2>/dev/null || {
			echo "$line" >>"$tmp/lists"
			echo "$line"
		} ;;
	"# VERDICT: "*)
		# Of all machines together, below
		: >"$tmp/verdict.$lane" ;;
	"#"*)
		[ -e "$tmp/verdict.$lane" ] || printf '%s\n' "$line" >>"$tmp/summary" ;;
	*) printf '%s\n' "$line" >>"$tmp/part.$lane" ;;
	esac
done

# of_dead: the summary of a machine that died, from its results
of_dead()
{
	awk '
		/^  not ok / { name[++n] = $4; failed++ }
		/^  ok / {
			if (/ # (SKIP|XFAIL)/)
				skipped++
			else
				passed++
		}
		/^not ok / && !n { print "#   " $4; failed++ }
		/^(not )?ok / {
			for (i = 1; i <= n; i++)
				print "#   " ($1 == "ok" ? $3 : $4) ":" name[i]
			n = 0
		}
		END {
			printf "%d passed, %d failed, %d skipped\n", passed, failed + 1, skipped
		}'
}

# How each machine ended. One that has died had a program that it did not end.
status=4
refused=
n=0
for pid in $lanes; do
	n=$((n + 1))
	wait "$pid"
	code=$?
	sed 's/^/# /' "$tmp/err.$n"
	case $code in
	0) [ $status -eq 1 ] || status=0 ;;
	2) refused=$n ;;
	4) ;;
	*) status=1 ;;
	esac
	if [ -e "$tmp/counts.$n" ] || [ $code -eq 2 ]; then
		continue
	fi
	[ ! -e "$tmp/part.$n" ] || cat "$tmp/part.$n"
	number=$((number + 1))
	why=$(tail -n 1 "$tmp/err.$n")
	echo "not ok $number emulated_machine_$n # ERROR $why"
	[ -e "$tmp/log.$n" ] || : >"$tmp/log.$n"
	of_dead <"$tmp/log.$n" >"$tmp/dead"
	{
		echo "# FAILED (names as for -t):"
		grep '^#' "$tmp/dead"
		printf '#   emulated_machine_%s\n#     %s\n' "$n" "$why"
	} >>"$tmp/summary"
	tail -n 1 "$tmp/dead" >"$tmp/counts.$n"
	status=1
done
lanes=
# Errors of run_tests.sh in its options
[ -z "$refused" ] || {
	cat "$tmp/part.$refused" >&2 2>/dev/null
	exit 2
}

# One summary: under each heading what all of them had to say
[ ! -e "$tmp/summary" ] || awk '
	/^# [^ ]/ {
		if (!($0 in text))
			order[++n] = $0
		heading = $0
		next
	}
	{ text[heading] = text[heading] "\n" $0 }
	END {
		# Failures last
		for (i = 1; i <= n; i++)
			if (order[i] !~ /^# FAILED/)
				print order[i] text[order[i]]
		for (i = 1; i <= n; i++)
			if (order[i] ~ /^# FAILED/)
				print order[i] text[order[i]]
	}' "$tmp/summary"
cat "$tmp"/log.* >"$tmp/log" 2>/dev/null
"$top/run_tests.sh" --verdict "$tmp/log" || status=1
cat "$tmp"/counts.* | awk '{ p += $1; f += $3; s += $5 }
	END { print p + 0 " passed, " f + 0 " failed, " s + 0 " skipped" }'
exit $status
