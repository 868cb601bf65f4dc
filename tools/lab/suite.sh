# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# For in-machine.sh: this suite. The file seen-by names the program that is known to
# see a fault.

prepare()
{
	:
}

order()
{
	first=$(sed -n "s/^$1 //p" seen-by)
	# shellcheck disable=SC2154 # set by in-machine.sh
	echo "$first $(echo " $programs " | sed "s/ $first / /")"
}

look()
{
	sh ./run_tests.sh -o 240 -k lab.txt -t "$1" >/tmp/out 2>&1
	[ $? -eq 1 ] || return 1
	# The section of run_tests.sh's summary that names what is unexpected
	sed -n '/^# FAILED/,$p' /tmp/out >/tmp/failed
	sed -n 's/^#     //p' /tmp/failed |
		grep -vE 'no event for|terminated by timeout|timed out|was killed$' \
		>/tmp/message || return 2
	sed -n 's/^#   \([a-z][^ ]*:[^ ]*\)$/\1/p; s/^#   \([a-z][a-z0-9_]*\)$/\1/p' \
		/tmp/failed | sort -u >/tmp/tests
	[ -s /tmp/tests ] || echo "$1" >/tmp/tests
}
