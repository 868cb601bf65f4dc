#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# With --no-system-changes a run takes no CPU offline, creates no cgroup, uses no uprobe
# and writes no sysctl: the files for that are watched meanwhile.
. "$(dirname "$0")/../tap.sh"

uprobes=/sys/bus/event_source/devices/uprobe/type
sysctl=/proc/sys/vm/swappiness
if [ ! -w $sysctl ] || ! have inotifywait; then
	skip "no system changes" "needs root and inotifywait: apt-get install inotify-tools"
	done_testing
	exit
fi

{
	ls -d /sys/fs/cgroup /sys/fs/cgroup/*/ /sys/devices/system/cpu/cpu*/online $uprobes
	find /proc/sys -type f -perm /200 -readable
} 2>/dev/null >"$tmp/files"
inotifywait -m --fromfile "$tmp/files" -e create,modify,open --format '%e %w%f' \
	>>"$tmp/events" 2>"$tmp/watcher" &
watcher=$!
trap 'kill $watcher 2>/dev/null; rm -rf "$tmp"' EXIT

# eventually COMMAND...: it succeeds within 30 seconds
eventually()
{
	for _ in $(seq 300); do
		"$@" && return
		sleep 0.1
	done
	cat "$tmp/watcher"
	return 1
}

# events: the changes. A test reads the type of uprobes only to make one.
events()
{
	grep -E -e '^(CREATE|MODIFY)' -e "^OPEN $uprobes" "$tmp/events" | sort -u
}

# same FILE: write what is there
same()
{
	value=$(cat "$1") && echo "$value" >"$1"
}

# each_is_seen: of the changes, made here without changing anything
each_is_seen()
{
	eventually grep -q '^Watches established' "$tmp/watcher" || return
	for d in /sys/fs/cgroup /sys/fs/cgroup/*/; do
		mkdir "$d/check.$$" 2>/dev/null || continue
		rmdir "$d/check.$$"
		eventually grep -q "^CREATE,ISDIR .*/check.$$\$" "$tmp/events" || return
		break
	done
	[ ! -r $uprobes ] || {
		cat $uprobes
		eventually grep -qx "OPEN $uprobes" "$tmp/events" || return
	}
	for f in /sys/devices/system/cpu/cpu*/online $sysctl; do
		[ -w "$f" ] || continue
		same "$f" || return
		eventually grep -qx "MODIFY $f" "$tmp/events" || return
	done
}

# nothing_is_seen: of a run, whatever its results, before the event that follows it
nothing_is_seen()
{
	: >"$tmp/events"
	"$top/run_tests.sh" --no-system-changes >"$tmp/run" 2>&1
	grep -E '^[0-9]+ passed' "$tmp/run" || return
	same $sysctl || return
	eventually grep -qx "MODIFY $sysctl" "$tmp/events" || return
	events | grep -vxF "MODIFY $sysctl" >"$tmp/seen"
	cat "$tmp/seen"
	[ ! -s "$tmp/seen" ]
}

check "each change is seen" each_is_seen
check "--no-system-changes: nothing is changed" nothing_is_seen
done_testing
