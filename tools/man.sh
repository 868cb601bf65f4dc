#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Print the manual page, made of run_tests.sh --help and man.inc.
#
# Usage: man.sh >hw_breakpoint_tests.1
here=$(cd "$(dirname "$0")" && pwd) || exit 1
command -v help2man >/dev/null 2>&1 || {
	echo "man.sh: help2man is missing: apt-get install help2man" >&2
	exit 1
}
# The page does not change by itself
changed=$(cd "$here" && git log -1 --format=%ct -- ../run_tests.sh man.inc 2>/dev/null)
page=$(SOURCE_DATE_EPOCH=${changed:-0} help2man --no-info --no-discard-stderr \
	--version-string="Linux kselftest" --include="$here/man.inc" \
	"$here/../run_tests.sh") || exit 1
printf '%s\n' "$page" |
	sed "s/^\(\.TH [^ ]* \"1\" \)\"[^\"]*\"/\1\"$(date -u -d "@${changed:-0}" +%F)\"/"
