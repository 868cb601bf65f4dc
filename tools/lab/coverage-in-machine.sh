# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Runs inside a lab machine, in /suite: what is to be measured, then the counters
# over the serial line.
#
#	sh coverage-in-machine.sh suite [LIST]
#	sh coverage-in-machine.sh PROGRAM...

gcov=/sys/kernel/debug/gcov

# Files of debugfs have no size, which tar wants to know
bring()
{
	rm -rf /tmp/gcov
	mkdir /tmp/gcov
	find $gcov/ -name '*.gcda' | while read -r f; do
		to=/tmp/gcov/${f#"$gcov"/}
		mkdir -p "${to%/*}"
		cat "$f" >"$to"
	done
	echo "lab: counters"
	(cd /tmp/gcov && tar -c .) | gzip | base64
	echo "lab: end of counters"
}

[ -d $gcov ] || exit 4
echo 1 >$gcov/reset
if [ "$1" = suite ]; then
	sh ./run_tests.sh -o 2400 -k "$2"
	bring
	# What only an unprivileged user is refused
	chmod 755 / /suite
	setpriv --reuid 65534 --regid 65534 --clear-groups \
		sh ./run_tests.sh -o 1200 -k "$2" -t 'perf*' -t 'kernel_access*' -t 'slots_acc*' -t 'first*'
else
	for p; do
		echo "# RUN $p"
		timeout -s KILL 30 "./$p" </dev/null
		killall -q -9 "${p##*/}"
	done
fi
bring
