# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by tools/check/*.sh: TAP, and a scratch directory $tmp that goes away.
# $top is the project.

# shellcheck disable=SC2034
top=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hwbp-check.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
count=0

# env that has commands trap what is ignored here: a shell's background command ignores
# SIGINT, and everything does SIGHUP below nohup. Empty without a GNU env.
unignore="env --default-signal=INT,QUIT,HUP"
$unignore true 2>/dev/null || unignore=

# ok NAME, not_ok NAME, skip NAME REASON: results. What a failed test printed is
# taken from $tmp/out.
ok()
{
	count=$((count + 1))
	echo "ok $count $*"
}

not_ok()
{
	count=$((count + 1))
	[ ! -s "$tmp/out" ] || tail -n 40 "$tmp/out" | sed 's/^/#   /'
	echo "not ok $count $*"
}

skip()
{
	count=$((count + 1))
	echo "ok $count $1 # SKIP $2"
}

# check NAME COMMAND...: passes if the command does.
check()
{
	name=$1
	shift
	if "$@" >"$tmp/out" 2>&1; then
		ok "$name"
	else
		echo "#   ($* exited with $?)" >>"$tmp/out"
		not_ok "$name"
	fi
}

# have TOOL
have()
{
	command -v "$1" >/dev/null 2>&1
}

# suite_programs: names of those of tests/
suite_programs()
{
	make -s --no-print-directory -C "$top/tests" emit_tests | sed 's/.*://'
}

# done_testing: the plan, last because that is when it is known.
done_testing()
{
	echo "1..$count"
}
