#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What run_tests.sh shows on a terminal: one line while it runs, and a summary at the end.
#
# Usage: run_tests.sh ... | screen.sh LOG PROGRAM...
#
# PROGRAM: those that will run, in that order. What is read is copied to LOG. Colours
# unless NO_COLOR is set; as wide as the terminal, 80 columns at least.

log=$1
shift
total=$#
width=$( (stty size </dev/tty) 2>/dev/null | sed 's/.* //')
case $width in
'' | *[!0-9]* | [0-9] | [0-7][0-9]) width=80 ;;
esac

# uptime: in seconds, to $now; 0 without /proc
uptime()
{
	now=0
	{ read -r now _ </proc/uptime; } 2>/dev/null
	now=${now%.*}
}

# live: the line; what is too long is cut
live()
{
	left=
	[ $programs -eq 0 ] || [ "$now" -le "$begin" ] ||
		left=", $(((now - begin) * (total - programs) / programs)) s left"
	printf '\r\033[K%.*s' $((width - 1)) \
		"$((programs + 1))/$total ${1:-}  $tests tests, $failed failed$left  ${test:-}"
}

programs=0 tests=0 failed=0 test=''
uptime
begin=$now
exec 3>"$log"
trap '' INT
while IFS= read -r line; do
	printf '%s\n' "$line" >&3
	case $line in
	"  #  RUN "*)
		test=${line#"  #  RUN "}
		test=${test%" ..."}
		test=${test##* }
		live "$@" ;;
	"  ok "* | "  not ok "*)
		tests=$((tests + 1))
		case $line in "  not ok "*) failed=$((failed + 1)) ;; esac ;;
	"ok "* | "not ok "*)
		programs=$((programs + 1))
		shift
		test=
		uptime ;;
	"# interrupted"*) break ;;
	esac
done
exec 3>&-
printf '\r\033[K'
[ "$programs" -gt 0 ] || exec cat "$log"

# Failures; the matrix, of watchpoint_test and execute_test in both bitnesses; a line for each
# program; and what else the log sums up. The results are those of results.sh, the rest of a
# failure's record is in the log.
colour=y
[ -z "${NO_COLOR-}" ] || colour=
sh "$(dirname "$0")/results.sh" "$log" >"$log.results" 2>/dev/null
awk -F '\t' -v colour="$colour" -v width="$width" -v results="$log.results" '
	function paint(code, text) {
		return colour ? "\033[" code "m" text "\033[0m" : text
	}
	function cut(text) {
		return length(text) < width ? text : substr(text, 1, width - 4) "..."
	}
	# The worse of two results
	function add(cell, r) {
		if (rank[r] > rank[matrix[cell]])
			matrix[cell] = r
	}
	function show(cell) {
		cell = matrix[cell]
		return cell == "ok" ? paint(32, "+") : cell == "fail" ? paint("1;31", "X") : \
			cell == "skip" ? paint(33, "s") : cell == "xfail" ? paint(33, "k") : " "
	}
	function row(title, type, how, slot, i, cell, s, any) {
		s = sprintf("  %-24s", title)
		for (slot = 0; slot < 4; slot++) {
			for (i = 1; i <= 4; i++) {
				cell = slot " " type " " len[i] " " how
				any = any matrix[cell]
				s = s show(cell) " "
			}
			s = s "     "
		}
		if (any)
			rows = rows s "\n"
	}
	BEGIN {
		rank[""] = 0; rank["ok"] = 1; rank["xfail"] = 2; rank["skip"] = 3; rank["fail"] = 4
		split("1 2 4 8", len, " ")
	}
	# Of a program that was interrupted nothing is known
	FILENAME == results && /^(unknown:|time\t|cut\t)/ { next }
	FILENAME == results {
		p = name = $1
		sub(/:.*/, "", p)
		sub(/^[^:]*:/, "", name)
		r = $2
		if (r == "fail")
			bad[++nbad] = $1
		# The verdict counts those of dead breakpoints
		if (r == "skip" && $3 !~ /^this type of breakpoint never fires/ && !skips[$3]++)
			reasons[++nr] = $3
		said[$1] = $3
		if (split(name, part, ".") == 3) {
			split(part[2], v, "_")
			slot = substr(v[1], 3)
			if (part[1] == "watchpoint" && v[1] ~ /^dr[0-3]$/)
				add(slot " " v[2] " " v[3] " " part[3], r)
			if (part[1] == "execute" && v[1] ~ /^dr[0-3]$/)
				add(slot " execute 1 aligned", r)
		}
		sub(/_(32|64)$/, "", p)
		if (!(p in seen))
			order[++np] = p
		seen[p]
		n[p, r]++
		next
	}
	# The lines of a failure that one needs: what was seen, once, and the registers
	/^  # [a-z0-9_]+(\.[A-Za-z0-9_]+)+: / {
		last = substr($0, 5)
		sub(/: .*/, "", last)
		next
	}
	/^  #   (seen: |as read back: |              DR6)/ {
		if (/^  #   seen: / && shown[last]++ || pending[last] ~ / DR7 /)
			next
		pending[last] = pending[last] "\n      " substr($0, 7)
		next
	}
	/^(not )?ok [0-9]/ {
		sub(/^(not )?ok [0-9]+ /, "")
		sub(/ .*/, "")
		for (name in pending)
			more[$0 ":" name] = pending[name]
		split("", pending); split("", shown)
		next
	}
	/^# known failures: / || /^# interrupted/ { rest = rest cut($0) "\n" }
	/^# (VERDICT|  (dead|hypervisor|known to|not tested|what to do|traps missed|when a))/ {
		rest = rest $0 "\n"
	}
	/^[0-9]+ passed, / { total = $0 }
	END {
		for (i = 1; i <= nbad; i++)
			failures = failures "\n  " paint("1;31", bad[i]) \
				(said[bad[i]] == "" ? "" : "\n    " said[bad[i]]) more[bad[i]]
		if (failures)
			print "failures (names as for -t):" failures "\n"
		row("execute", "execute", "aligned")
		row("write", "write", "aligned")
		row("write, unaligned", "write", "unaligned")
		row("read/write", "rw", "aligned")
		row("read/write, unaligned", "rw", "unaligned")
		if (rows) {
			print "  hits by slot and length  DR0          DR1          DR2          DR3"
			print "                          1 2 4 8      1 2 4 8      1 2 4 8      1 2 4 8"
			printf "%s", rows
			print "  + hit  X missed or wrong  s skipped  k known bug\n"
		}
		for (i = 1; i <= np; i++) {
			p = order[i]
			text = sprintf("%-22s %4d passed", p, n[p, "ok"])
			if (n[p, "fail"])
				text = text ", " n[p, "fail"] " failed"
			if (n[p, "skip"])
				text = text ", " n[p, "skip"] " skipped"
			if (n[p, "xfail"])
				text = text ", " n[p, "xfail"] " known"
			print "  " (n[p, "fail"] ? paint("1;31", text) : \
				n[p, "ok"] ? paint(32, text) : paint(33, text))
		}
		for (i = 1; i <= nr; i++)
			print (i == 1 ? "\n" : "") cut("  skipped: " skips[reasons[i]] ", " reasons[i])
		printf "%s%s", rest ? "\n" : "", rest
		if (total)
			print paint(nbad ? "1;31" : 32, total)
	}' "$log.results" "$log"
