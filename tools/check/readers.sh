#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Do all readers of our output count the same? Logs of made-up programs, in the form
# of run_tests.sh and of the kernel's runner, are read by results.sh, python3-tap,
# prove and kunit.py, and, as tables of their rules, as LAVA and NIPA do.
. "$(dirname "$0")/../tap.sh"

tree=$("$top/tools/get-harness.sh" 2>/dev/null) || tree=
selftests=$tree/tools/testing/selftests
kunit=
for dir in "$tree" "$top"/.cache/lab/src/linux-source-*; do
	[ ! -r "$dir/tools/testing/kunit/kunit.py" ] || kunit=$dir
done
python=/usr/bin/python3
[ -x $python ] || python=python3

# program NAME RESULT...: one whose tests end so: ok, fail, skip, dead, xfail or killed
program()
{
	name=$1
	shift
	{
		echo '#!/bin/sh'
		echo "[ \"\$1\" != -l ] || exit 4	# [-l] [-r name]"
		echo "echo TAP version 13; echo '# kernel: 6.12'; echo 1..$#; status=0"
		n=0
		for r; do
			n=$((n + 1))
			t=made_up.variant.test_$n
			echo "echo '#  RUN           $t ...'"
			case $r in
			ok) echo "echo 'ok $n $t'" ;;
			skip) echo "echo 'ok $n $t # SKIP one CPU only'" ;;
			dead)
				echo "echo 'ok $n $t # SKIP this type of breakpoint never fires here, see first_trap_test'" ;;
			xfail) echo "echo 'ok $n $t # XFAIL a known bug'" ;;
			fail)
				echo "echo '# $t: MISSED trap: expected SIGTRAP' >&2"
				echo "echo 'not ok $n $t'; status=1" ;;
			killed) echo "printf '#  RUN'; kill -KILL \$\$" ;;
			esac
		done
		echo exit \$status
	} >"$tmp/dir/$name"
	chmod +x "$tmp/dir/$name"
	echo "hw_breakpoint:$name" >>"$tmp/dir/kselftest-list.txt"
}

# The logs; for each the counts of tests as "ok fail skip xfail", and of programs
# as "ok fail skip" for those that read the top level only
logs='passing failing skipping killed known dead'
make_log()
{
	rm -rf "$tmp/dir"
	mkdir "$tmp/dir"
	case $1 in
	passing)
		program a_test_64 ok ok ok
		program b_test_64 ok
		tests='4 0 0 0' programs='2 0 0' ;;
	failing)
		program a_test_64 ok fail ok fail
		program b_test_64 ok
		tests='3 2 0 0' programs='1 1 0' ;;
	skipping)
		program a_test_64 ok skip ok
		program b_test_64 skip skip
		tests='2 0 3 0' programs='2 0 0' ;;
	killed)
		program a_test_64 ok killed
		program b_test_64 ok ok
		tests='3 1 0 0' programs='1 1 0' ;;
	known)
		program a_test_64 ok xfail xfail
		program b_test_64 ok
		tests='2 0 0 2' programs='2 0 0' ;;
	dead)
		program first_trap_test_64 fail fail
		program b_test_64 ok dead dead
		tests='1 2 2 0' programs='1 1 0' ;;
	esac
	cp "$top/run_tests.sh" "$tmp/dir/"
	sh "$tmp/dir/run_tests.sh" >"$tmp/$1.ours" 2>/dev/null
	(
		cd "$tmp/dir" || exit
		export BASE_DIR="$selftests" DIR=hw_breakpoint
		# shellcheck source=/dev/null
		. "$selftests/kselftest/runner.sh"
		# shellcheck disable=SC2046 # words
		run_many $(sed 's/.*://' kselftest-list.txt)
	) 2>/dev/null </dev/null | cat >"$tmp/$1.kernel" # it truncates a file
}

counts()
{
	awk -v FS='\t' '{ n[$2]++ } END { print n["ok"] + 0, n["fail"] + 0, n["skip"] + 0, n["xfail"] + 0 }'
}

by_results()
{
	seen=$("$top/tools/results.sh" "$1" | counts)
	# In a log of ours the program that was killed is one more failure
	[ "$seen" = "$tests" ] || { echo "$seen, not $tests"; false; }
}

by_tap()
{
	seen=$($python - "$1" <<-END
	import sys
	from tap.parser import Parser
	n = [0, 0, 0]
	for line in Parser().parse_file(sys.argv[1]):
	    if line.category == "test":
	        n[2 if line.skip else 0 if line.ok else 1] += 1
	print(*n)
	END
	)
	# It may first say that it lacks modules for TAP 13's blocks
	seen=$(echo "$seen" | tail -n 1)
	[ "$seen" = "$programs" ] || { echo "$seen, not $programs"; false; }
}

by_prove()
{
	prove --verbose --exec cat "$1" >"$tmp/prove" 2>&1
	status=$?
	want=0
	case $programs in *' 0 '*) ;; *) want=1 ;; esac
	[ $status -eq $want ] || { cat "$tmp/prove"; false; }
}

# XFAIL counts as passed there
by_kunit()
{
	# shellcheck disable=SC2086 # words
	set -- "$1" $tests
	$python "$kunit/tools/testing/kunit/kunit.py" parse "$1" >"$tmp/kunit" 2>&1
	sed 's/\x1b\[[0-9;]*m//g' "$tmp/kunit" | awk -v ok=$(($2 + $5)) -v fail="$3" -v skip="$4" '
		/Ran [0-9]+ tests/ {
			gsub(/[,:]/, "")
			for (i = 1; i < NF; i++)
				n[$i] = $(i + 1)
			seen = n["passed"] + 0 == ok && n["failed"] + n["crashed"] + 0 == fail && n["skipped"] + 0 == skip
		}
		END { exit !seen }' || { tail -n 3 "$tmp/kunit"; false; }
}

# What test-definitions' parse-output.py makes of the names: [A-Za-z0-9_-] and a dot
by_lava()
{
	! sed -n 's/^# \(not \)\{0,1\}ok [0-9]* //p; s/^  \(not \)\{0,1\}ok [0-9]* //p' "$1" |
		sed 's/ # .*//' | grep -v '^[A-Za-z0-9_.-]*$'
}

# NIPA takes these for results, wherever they stand; ours must not print them otherwise
by_nipa()
{
	! grep -nE '\[FAIL\]| FAIL:|SKIP:|\[OK\]' "$1"
}

# LKP takes diagnostics of these forms for results
by_lkp()
{
	! grep -nE '^(# )*(Running|Testing) |: OK$|[^0-9] ok$|\[OK\]' "$1"
}

# A diagnostic that stands between the tests of others still says whose it is
by_name()
{
	! sed 's/^ *//' "$1" | awk '
		/^# (time|running|known failures|skipped|FAILED|VERDICT)/ || /^#   / ||
			/^#  RUN  / || /^# [a-z0-9_]+(\.[A-Za-z0-9_]+)+: / || !/^#/ { next }
		/^# (kernel|CPU|hypervisor|CPUs|program|ptrace breakpoints|perf breakpoints|traps): / { next }
		/^# (Starting|PASSED|FAILED|Totals)/ || /^# [a-z0-9_]+: Test (terminated|ended)/ { next }
		{ print }' | grep .
}

for log in $logs; do
	if [ -z "$tree" ]; then
		skip "$log" "no harness: no kernel's runner"
		continue
	fi
	make_log "$log"
	check "$log, results.sh" by_results "$tmp/$log.ours"
	check "$log, kernel's runner, results.sh" by_results "$tmp/$log.kernel"
	if $python -c 'import tap.parser' 2>/dev/null; then
		check "$log, kernel's runner, python3-tap" by_tap "$tmp/$log.kernel"
	else
		skip "$log, kernel's runner, python3-tap" "python3-tap is missing"
	fi
	if have prove; then
		check "$log, kernel's runner, prove" by_prove "$tmp/$log.kernel"
	else
		skip "$log, kernel's runner, prove" "prove is missing"
	fi
	if [ -n "$kunit" ]; then
		check "$log, kunit.py" by_kunit "$tmp/$log.ours"
	else
		skip "$log, kunit.py" "no kernel source with kunit.py: see tools/lab/kernel.sh"
	fi
	for form in ours kernel; do
		check "$log, $form: names as LAVA has them" by_lava "$tmp/$log.$form"
		check "$log, $form: no result that NIPA imagines" by_nipa "$tmp/$log.$form"
		check "$log, $form: no result that LKP imagines" by_lkp "$tmp/$log.$form"
	done
done

# A real log: what tests print when a fault of tools/faults turns them red, or when the
# breakpoints of this machine are dead
if [ -n "$tree" ] && make -s -C "$top/tests" >"$tmp/out" 2>&1 &&
	"${CC:-gcc}" -O2 -shared -fPIC -I"$top/tests" -o "$tmp/shim.so" "$top"/tools/faults/*.c -ldl; then
	for fault in extra_trap dr6_empty never_fires; do
		LD_PRELOAD=$tmp/shim.so HWBP_FAULT=$fault sh "$top/run_tests.sh" -k none \
			-t 'first_trap_test_64' -t 'slot_test_64' -t 'perf_sigtrap_test_64' \
			-t 'thread_test_64' >"$tmp/real" 2>&1
		check "$fault: names as LAVA has them" by_lava "$tmp/real"
		check "$fault: no result that NIPA imagines" by_nipa "$tmp/real"
		check "$fault: no result that LKP imagines" by_lkp "$tmp/real"
		check "$fault: each diagnostic has its test's name" by_name "$tmp/real"
	done
else
	not_ok "the tests are built"
fi

# compare STATUS OLD NEW PATTERN
compare()
{
	"$top/tools/results.sh" --compare "$2" "$3" >"$tmp/compared" 2>&1
	status=$?
	cat "$tmp/compared"
	[ $status -eq "$1" ] && grep -q "$4" "$tmp/compared"
}

well_formed()
{
	"$top/tools/results.sh" --junit "$1" >"$tmp/xml" &&
		$python -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' "$tmp/xml" &&
		grep -q '<failure message="MISSED trap' "$tmp/xml"
}

if [ -n "$tree" ]; then
	check "compare: the same" compare 0 "$tmp/passing.ours" "$tmp/passing.kernel" '^4 unchanged'
	check "compare: failing" compare 1 "$tmp/passing.ours" "$tmp/failing.ours" '^newly failing:'
	check "compare: no longer failing" compare 1 "$tmp/failing.ours" "$tmp/passing.ours" '^no longer failing:'
	check "compare: skipped" compare 1 "$tmp/passing.ours" "$tmp/skipping.ours" '^newly skipped:'
	sed 's/^/2026-11-29T01:02:03.456 /' "$tmp/failing.kernel" >"$tmp/lava"
	check "compare: a LAVA log" compare 0 "$tmp/failing.kernel" "$tmp/lava" '^5 unchanged'
	sed 's/.*/- {"dt": "2026-11-29T01:02:03", "lvl": "target", "msg": "&"}/' \
		"$tmp/failing.kernel" >"$tmp/yaml"
	check "compare: a LAVA log in YAML" compare 0 "$tmp/failing.kernel" "$tmp/yaml" '^5 unchanged'
	sed '/^ok 1 a_test/,$d' "$tmp/passing.ours" >"$tmp/cut"
	check "compare: a log that is cut off" compare 3 "$tmp/passing.ours" "$tmp/cut" 'is not complete'
	: >"$tmp/empty"
	check "compare: an empty log" compare 3 "$tmp/passing.ours" "$tmp/empty" 'no results in this log'
	head -c 100000 /dev/urandom >"$tmp/noise"
	check "compare: noise" compare 3 "$tmp/passing.ours" "$tmp/noise" 'no results in this log'
	{
		sed 2q "$tmp/failing.ours"
		yes '  # made_up.variant.test_2: MISSED trap: expected SIGTRAP code 4, slots 0x1' | head -c 100000000
		echo
		sed 1,2d "$tmp/failing.ours"
	} >"$tmp/big"
	check "compare: 100 MB" compare 0 "$tmp/failing.ours" "$tmp/big" '^5 unchanged'
	rm "$tmp/big"
	check "JUnit XML" well_formed "$tmp/failing.ours"
fi
done_testing
