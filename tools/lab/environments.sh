#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The suite in all the environments that it may meet: nobody, containers, small and odd
# kernels. In none may a test fail, nor may the kernel log a warning.
#
#	environments.sh [--list] [-t PATTERN]... [NAME]...
#
# Prints a table: what ran, what was skipped, and the seconds in the emulator. Builds
# kernels of 6.12 with the fragments of config/, four minutes each, and runs two machines
# at a time, about four minutes each. The last line counts environments. ktap and dmesg
# of each are in .cache/lab/environments/NAME.
me=environments
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

# NAME | KERNEL (kernel.sh -x) | CPUs | PARAMETERS | COMMAND, in which RUN is the suite
table()
{
	cat <<-'END'
	one_cpu            | options | 1 | | RUN
	four_cpus          | options | 4 | | RUN
	eight_cpus         | options | 8 | | RUN
	kaslr              | options | 2 | kaslr | RUN
	nokaslr            | options | 2 | nokaslr | RUN
	la57               | options | 2 | LA57 | RUN
	vsyscall_none      | options | 2 | vsyscall=none | RUN
	vsyscall_xonly     | options | 2 | vsyscall=xonly | RUN
	vsyscall_emulate   | options | 2 | vsyscall=emulate | RUN
	no_ia32            | options | 2 | ia32_emulation=off | RUN
	preempt_none       | options | 2 | preempt=none | RUN
	lockdown           | options | 2 | lockdown=confidentiality | RUN
	nobody             | options | 2 | | NOBODY RUN
	paranoid_2         | options | 2 | | echo 2 >/proc/sys/kernel/perf_event_paranoid; NOBODY RUN
	paranoid_3         | options | 2 | | echo 3 >/proc/sys/kernel/perf_event_paranoid; NOBODY RUN
	yama_1             | options | 2 | | echo 1 >/proc/sys/kernel/yama/ptrace_scope; NOBODY RUN
	yama_2             | options | 2 | | echo 2 >/proc/sys/kernel/yama/ptrace_scope; NOBODY RUN
	yama_3             | options | 2 | | echo 3 >/proc/sys/kernel/yama/ptrace_scope; RUN
	no_ptrace          | options | 2 | | /confine -s 101,26,1 RUN
	no_perf_eperm      | options | 2 | | /confine -s 298,336,1 RUN
	no_perf_enosys     | options | 2 | | /confine -s 298,336,38 RUN
	no_pidfd_open      | options | 2 | | /confine -s 434,434,38 RUN
	no_proc            | options | 2 | | umount -l /proc; RUN
	no_sys             | options | 2 | | umount -l /sys; RUN
	read_only          | options | 2 | | ROOT; mount -o remount,ro /new; chroot /new RUN
	full_tmp           | options | 2 | | mount -t tmpfs -o size=16k none /mnt; dd if=/dev/zero of=/mnt/f bs=4k 2>/dev/null; TMPDIR=/mnt RUN; [ $? -eq 4 ]
	few_processes      | options | 2 | | ulimit -u 30; NOBODY RUN
	few_files          | options | 2 | | ulimit -n 40; RUN
	user_namespace     | options | 2 | | NOBODY unshare -U -r RUN
	cgroup_of_one_cpu  | options | 2 | | CGROUP; echo 1 >/sys/fs/cgroup/c/cpuset.cpus; echo $$ >/sys/fs/cgroup/c/cgroup.procs; RUN
	jumping_clock      | options | 2 | | while date -s @3000000000 && date -s @1000000000; do :; done >/dev/null 2>&1 & RUN
	slots_taken        | options | 2 | | /confine -b RUN; [ $? -eq 4 ]
	no_system_changes  | options | 2 | | RUN --no-system-changes
	bare               | bare    | 2 | | RUN
	rt                 | rt      | 2 | | RUN
	debug              | debug   | 2 | | RUN
	END
}

# expand COMMAND: its words in capitals. ROOT is one that can be read only, but for /tmp.
expand()
{
	root="mkdir /new; mount -t tmpfs none /new; cp -a /bin /suite /new"
	root="$root; for d in proc sys dev tmp; do mkdir /new/\$d; mount -o bind /\$d /new/\$d; done"
	cgroup="echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control; mkdir /sys/fs/cgroup/c"
	run="sh ./run_tests.sh -o 900 -k lab.txt${tests:+ $tests}"
	printf '%s\n' "$1" | awk -v root="$root" -v cgroup="$cgroup" -v run="$run" '{
		sub(/ROOT/, root)
		sub(/CGROUP/, cgroup)
		sub(/NOBODY/, "/confine -u 65534")
		sub(/chroot \/new RUN/, "chroot /new sh -c \"cd /suite; RUN\"")
		sub(/RUN/, run)
		print
	}'
}

usage()
{
	[ $# -eq 0 ] || echo "environments.sh: $*" >&2
	echo "Usage: environments.sh [--list] [-t PATTERN]... [NAME]..." >&2
	exit 2
}

names='' tests=''
while [ $# -gt 0 ]; do
	case $1 in
	--list)
		table | sed 's/ *|.*//'
		exit ;;
	-t)
		[ $# -gt 1 ] || usage "-t needs a pattern"
		tests="$tests -t '$2'"
		shift ;;
	-*) usage "no such option: $1" ;;
	*)
		table | grep -q "^$1 " || usage "no such environment: $1"
		names="$names $1" ;;
	esac
	shift
done
[ -n "$names" ] || names=$(table | sed 's/ *|.*//')

"$here/setup.sh" || exit 1
initrd=$("$here/initramfs.sh") || exit 1
results=$lab/environments
mkdir -p "$results/add" || die "cannot write $results"
"${CC:-gcc}" -O2 -Wall -static -o "$results/add/confine" "$here/confine.c" ||
	die "confine.c does not build"

children=
trap 'kill $children 2>/dev/null; wait; exit 130' INT
trap 'kill $children 2>/dev/null; wait; exit 143' HUP TERM

# boot NAME: to $results/NAME.out
boot()
{
	IFS='|' read -r name kernel smp parameters command <<-END
		$(table | grep "^$1 ")
	END
	kernel=${kernel# }
	kernel=${kernel%% *}
	smp=${smp# }
	cpu=max,la57=off
	read -r image <"$results/$kernel.image"
	mkdir -p "$results/$1"
	begin=$(date +%s)
	case $parameters in *LA57*) parameters='' cpu=max,la57=on ;; esac
	stoppable "$here/run.sh" --cpu "$cpu" --kernel "$image" --initrd "$initrd" --add "$results/add" \
		--smp "${smp% }" --append "$parameters" --output "$results/$1" --timeout 1800 -- \
		"$(expand "$command")" >"$results/$1.out" 2>&1
	echo $? >"$results/$1.status"
	echo $(($(date +%s) - begin)) >"$results/$1.seconds"
}

# row NAME: the table's line; 1 if it was not green
row()
{
	status=$(cat "$results/$1.status" 2>/dev/null)
	counts=$(grep -a -E '^[0-9]+ passed, ' "$results/$1.out" | tail -n 1)
	verdict=ok
	[ "$status" = 0 ] || verdict=NOT-OK
	printf '%-18s %-16s %-40s %4s s\n' "$1" "$verdict" "$counts" \
		"$(cat "$results/$1.seconds" 2>/dev/null)"
	grep -a '^# skipped, ' "$results/$1.out" | sed 's/^# /    /; s/:$//'
	grep -a -A30 '^# FAILED' "$results/$1.out" | grep -a '^#   ' | sed 's/^#/   /'
	grep -a '^run: ' "$results/$1.out" | sed 's/^/    /'
	[ "$verdict" != NOT-OK ]
}

# All kernels first
for kernel in $(table | sed 's/^[^|]*| *//; s/ *|.*//' | sort -u); do
	for name in $names; do
		table | grep -q "^$name *| *$kernel " || continue
		"$here/kernel.sh" -x "$kernel" >"$results/$kernel.image" ||
			die "no kernel $kernel"
		break
	done
done

passed=0 failed=0
# shellcheck disable=SC2086 # words
set -- $names
while [ $# -gt 0 ]; do
	pair='' children=
	for _ in 1 2; do
		[ $# -gt 0 ] || break
		boot "$1" &
		pair="$pair $1" children="$children $!"
		shift
	done
	wait
	for name in $pair; do
		if row "$name"; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
		fi
	done
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
