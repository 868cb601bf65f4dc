#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What a log of the tests says, for other programs.
#
#	results.sh LOG			a line for each test: NAME RESULT TEXT, with tabs
#	results.sh --plain LOG		its lines, without what LAVA puts before them
#	results.sh --times LOG		the programs, slowest first, in seconds
#	results.sh --junit LOG		JUnit XML
#	results.sh --compare OLD NEW	what differs between two runs
#	results.sh --run-junit FILE [OPTION]...
#					run_tests.sh, and JUnit XML of its log to FILE
#
# A LOG is the output of run_tests.sh, of the kernel's runner (run_kselftest.sh, make
# run_tests), or one of them in the log of a LAVA job; "-" is standard input. RESULT
# is ok, fail, skip or xfail.
#
# Exit status: 0, with --compare if nothing is worse; 1 if something is: newly failing,
# newly skipped, gone, or slower; 2 bad usage; 3 if a log is cut off or has no results:
# what there is has been printed.
me=${0##*/}
tab='	'
run_tests=$(dirname "$0")/run_tests.sh
[ -r "$run_tests" ] || run_tests=$(dirname "$0")/../run_tests.sh

usage()
{
	echo "$me: $*" >&2
	echo "Usage: $me [--plain|--times|--junit] LOG | --compare OLD NEW | --run-junit FILE [OPTION]..." >&2
	exit 2
}

# plain LOG: LAVA's lines are YAML with ours in "msg", or have a time stamp
plain()
{
	# No line of ours is so long
	cut -b 1-8192 -- "$1" | awk '{
		sub(/\r$/, "")
		if (/^- *\{.*"msg": "/) {
			sub(/^- *\{.*"msg": "/, "")
			sub(/"\}$/, "")
		}
		sub(/^[0-9][0-9-]*T[0-9:.]+Z? /, "")
		sub(/^\[ *[0-9]+\.[0-9]+\] /, "")
		print
	}'
}

# results LOG: as described above, with times as "time PROGRAM SECONDS"
results()
{
	plain "$1" | awk '
	function emit(name, result, text) {
		print name "\t" result "\t" text
		total++
	}
	# The tests of a program, which are named in its output, above its own result
	function flush(program, i) {
		bad = 0
		for (i = 1; i <= n; i++) {
			emit(program ":" test[i], result[i], text[i])
			bad += result[i] == "fail"
		}
		n = 0
		split("", said)
	}
	{
		# The output of a program is indented, or, by the kernel'\''s runner, a comment
		nested = sub(/^  /, "") || sub(/^# (#|ok |not ok |1\.\.|TAP )/, "&")
		line = $0
		if (line ~ /^# (#|ok |not ok |1\.\.|TAP )/)
			line = substr(line, 3)
	}
	line ~ /^# selftests: / {
		current = line
		sub(/^# selftests: .*: /, "", current)
		cut = n > 0 || cut
		flush(current)
		next
	}
	line ~ /^1\.\.[0-9]+$/ && !nested {
		planned += substr(line, 4)
		next
	}
	line ~ /^# time: / {
		split(line, word, " ")
		print "time\t" word[3] "\t" word[4]
		next
	}
	line ~ /^(not )?ok [0-9]+ / {
		failed = line ~ /^not/
		sub(/^(not )?ok [0-9]+ (- )?/, "", line)
		name = line
		sub(/ *#.*/, "", name)
		reason = ""
		if (match(line, /# [A-Z]+/)) {
			reason = substr(line, RSTART + 2)
			directive = substr(line, RSTART + 2, RLENGTH - 2)
			sub(/^[A-Z]+ */, "", reason)
		} else {
			directive = ""
		}
		r = failed ? "fail" : directive == "SKIP" ? "skip" : \
			directive == "XFAIL" ? "xfail" : "ok"
		if (nested && name ~ /\./) {
			test[++n] = name
			result[n] = r
			text[n] = r == "fail" && name in said ? said[name] : reason
			next
		}
		if (nested)
			next
		sub(/^selftests: .*: /, "", name)
		sub(/ run [0-9]+ of [0-9]+$/, "", name)
		programs++
		tests = n
		flush(name)
		# A program that was killed, or has no tests
		if (!tests || directive == "ERROR" || (failed && !bad))
			emit(name, r, reason)
		next
	}
	# "# NAME: MESSAGE": the first one is the text of a failed test
	line ~ /^# [a-z0-9_]+(\.[A-Za-z0-9_]+)+: / {
		name = line
		sub(/^# /, "", name)
		message = name
		sub(/: .*/, "", name)
		if (!(name in said))
			said[name] = substr(message, length(name) + 3)
	}
	/^Bail out!/ { bailed = 1 }
	END {
		if (n) {
			flush("unknown")
			cut = 1
		}
		if (!total)
			print "cut\tno results in this log\t"
		else if (cut || (planned > programs && !bailed))
			print "cut\t" programs + 0 " of " planned + 0 " programs\t"
	}'
}

# check FILE LOG: exit code 3 for a log that is cut off, and say so
check()
{
	awk -F '\t' -v me="$me" -v log_name="$2" '
		$1 == "cut" {
			print me ": " log_name " is not complete: " $2
			cut = 1
		}
		END { exit cut }' "$1" >&2 || status=3
}

junit()
{
	awk -F '\t' '
	function xml(s) {
		gsub(/&/, "\\&amp;", s)
		gsub(/</, "\\&lt;", s)
		gsub(/>/, "\\&gt;", s)
		gsub(/"/, "\\&quot;", s)
		gsub(/[\001-\010\013\014\016-\037]/, "?", s)
		return s
	}
	$1 == "cut" { next }
	$1 == "time" { time[$2] = $3; next }
	{
		program = name = $1
		sub(/:.*/, "", program)
		sub(/^[^:]*:/, "", name)
		if (!(program in tests))
			order[++n] = program
		tests[program]++
		body = ""
		if ($2 == "fail") {
			failures[program]++
			body = "<failure message=\"" xml($3) "\"/>"
		} else if ($2 == "skip" || $2 == "xfail") {
			skipped[program]++
			body = "<skipped message=\"" xml(($2 == "xfail" ? "known failure: " : "") $3) "\"/>"
		}
		cases[program] = cases[program] "    <testcase classname=\"" xml(program) \
			"\" name=\"" xml(name) "\"" (body ? ">" body "</testcase>" : "/>") "\n"
	}
	END {
		print "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"hw_breakpoint\">"
		for (i = 1; i <= n; i++) {
			p = order[i]
			printf "  <testsuite name=\"%s\" tests=\"%d\" failures=\"%d\" skipped=\"%d\" time=\"%s\">\n%s  </testsuite>\n", \
				xml(p), tests[p], failures[p], skipped[p], time[p] + 0, cases[p]
		}
		print "</testsuites>"
	}' "$1"
}

compare()
{
	awk -F '\t' -v old="$1" '
	function list(title, what, bad, i) {
		if (!(what in text))
			return
		print title ":" text[what]
		worse = worse || bad
	}
	function add(what, s) { text[what] = text[what] "\n  " s }
	FILENAME == old {
		if ($1 == "time")
			time[$2] = $3
		else if ($1 != "cut") {
			was[$1] = $2
			names[++n] = $1
		}
		next
	}
	$1 == "cut" { next }
	$1 == "time" {
		if ($2 in time && $3 > 2 * time[$2] && $3 > time[$2] + 1)
			add("slower", $2 " " time[$2] " s -> " $3 " s")
		next
	}
	{
		is[$1] = $2
		detail = $1 ($3 == "" ? "" : ": " $3)
		if (!($1 in was))
			add("new", $1 " " $2)
		else if ($2 == was[$1])
			same++
		else if ($2 == "fail")
			add("failing", detail)
		else if (was[$1] == "fail")
			add("passing", $1 " " $2)
		else if ($2 == "skip")
			add("skipped", detail)
		else
			add("other", $1 " " was[$1] " -> " $2)
	}
	END {
		for (i = 1; i <= n; i++)
			if (!(names[i] in is))
				add("gone", names[i] " was " was[names[i]])
		list("newly failing", "failing", 1)
		list("gone", "gone", 1)
		list("newly skipped", "skipped", 1)
		list("slower", "slower", 1)
		list("no longer failing", "passing", 0)
		list("changed", "other", 0)
		list("new", "new", 0)
		print same + 0 " unchanged"
		exit worse
	}' "$1" "$2"
}

tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 143' HUP INT TERM

# readable LOG
readable()
{
	[ "$1" = - ] || [ -r "$1" ] || usage "cannot read $1"
}

# read_log LOG FILE
read_log()
{
	readable "$1"
	results "$1" >"$2" || exit 2
	check "$2" "$1"
}

status=0
case ${1-} in
--plain)
	[ $# -eq 2 ] || usage "$1 needs a log"
	readable "$2"
	plain "$2" ;;
--times | --junit)
	[ $# -eq 2 ] || usage "$1 needs a log"
	read_log "$2" "$tmp/results"
	if [ "$1" = --junit ]; then
		junit "$tmp/results"
	else
		sed -n "s/^time$tab\([^$tab]*\)$tab\(.*\)/\2 \1/p" "$tmp/results" | sort -rn
	fi ;;
--compare)
	[ $# -eq 3 ] || usage "--compare needs two logs"
	read_log "$2" "$tmp/old"
	read_log "$3" "$tmp/new"
	compare "$tmp/old" "$tmp/new" || [ $status -ne 0 ] || status=1 ;;
--run-junit)
	[ $# -ge 2 ] || usage "--run-junit needs a file"
	file=$2
	: >"$file" || usage "cannot write $file"
	shift 2
	mkfifo "$tmp/output" || exit 1
	tee "$tmp/log" <"$tmp/output" &
	# Not in the foreground, where a signal would wait until it ends
	sh "$run_tests" "$@" >"$tmp/output" &
	run=$!
	trap 'kill "$run" 2>/dev/null' INT TERM HUP
	wait "$run"
	status=$?
	while kill -0 "$run" 2>/dev/null; do
		wait "$run"
		status=$?
	done
	wait
	results "$tmp/log" >"$tmp/results"
	junit "$tmp/results" >"$file" ;;
-?*)
	usage "no such option: $1" ;;
*)
	[ $# -eq 1 ] || usage "needs a log"
	read_log "$1" "$tmp/results"
	grep -v "^cut$tab\|^time$tab" "$tmp/results" ;;
esac
exit "$status"
