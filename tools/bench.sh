#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What verified traps cost on this machine: build tools/bench and run it. Best on
# a machine that does nothing else.

top=$(cd "$(dirname "$0")/.." && pwd) || exit 1
tmp=$(mktemp -d "${TMPDIR:-/tmp}/hwbp-bench.XXXXXX") || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM

cd "$top/tests" || exit 1
"${CC:-gcc}" -O2 -Wall -Wextra -D_GNU_SOURCE -pthread -I. ../tools/bench/trap_cost.c \
	tracee.c probes.c crew.c environment.c -o "$tmp/trap_cost" &&
	"$tmp/trap_cost"
