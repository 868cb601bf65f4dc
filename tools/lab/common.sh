# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by the scripts of the lab, after they have set $me. Everything that is
# built or fetched stands below $lab, and is built once.
# shellcheck disable=SC2034,SC2154

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
top=$(CDPATH='' cd -- "$here/../.." && pwd) || exit 1
cache=$top/.cache
lab=$cache/lab
jobs=${JOBS:-$(nproc)}
# shellcheck source=tools/debian.sh
. "$top/tools/debian.sh"

die()
{
	say "$*"
	exit 1
}

# wait_for PID: until this child ends. Killed when this script is gone, which the subshell
# of a lane survives.
wait_for()
{
	while kill -0 "$1" 2>/dev/null; do
		kill -0 $$ 2>/dev/null || kill "$1"
		sleep 1 &
		wait $!
	done
	wait "$1"
}

# stoppable COMMAND...: run it; a signal to this shell ends it and all that it has started
stoppable()
{
	setsid "$@" &
	child=$!
	trap 'kill -- -$child; exit 143' INT TERM
	wait_for $child
}

# need TOOL PACKAGE [TOOL PACKAGE]...
need()
{
	while [ $# -gt 1 ]; do
		command -v "$1" >/dev/null 2>&1 ||
			die "$1 is missing: apt-get install $2 (tools/lab/setup.sh installs what lab.sh needs)"
		shift 2
	done
}

# libraries PROGRAM...: the shared ones that they are loaded with
libraries()
{
	ldd "$@" | sed -n 's/.* => //; s/^[[:blank:]]*\(\/[^ ]*\) (.*/\1/p' | sort -u
}

# quietly LOG COMMAND...: or one line that says where the log is
quietly()
{
	log=$1
	shift
	"$@" >"$log" 2>&1 || die "failed: $1 ${2-}, see $log: $(grep -E 'rror|No space' "$log" | head -n 1)"
}
