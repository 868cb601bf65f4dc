# SPDX-License-Identifier: GPL-2.0
#
# The table of coverage.sh: not-reached.txt, suite.info, kernel.info

BEGIN {
	FS = "\t"
	n = split(ptrace, w, /[ \t\n]+/)
	for (i = 1; i <= n; i++)
		wanted["arch/x86/kernel/ptrace.c", w[i]] = 1
	n = split(traps, w, /[ \t\n]+/)
	for (i = 1; i <= n; i++)
		wanted["arch/x86/kernel/traps.c", w[i]] = 1
	some["arch/x86/kernel/ptrace.c"] = some["arch/x86/kernel/traps.c"] = 1
}

# The function that each line of a file is in, by the braces in column 1
function load(file,   line, nr, name, last, start) {
	if (file in loaded)
		return
	loaded[file] = 1
	order[++files] = file
	nr = 0
	last = name = ""
	while ((getline line < file) > 0) {
		text[file, ++nr] = line
		if (line ~ /^[A-Za-z_].*\(/ && line !~ /;$/) {
			last = line
			start = nr
		} else if (line ~ /^[a-z_]+\(/) {
			last = line
		} else if (line ~ /^{/) {
			name = last
			# DEFINE_IDTENTRY_DEBUG(exc_debug) defines exc_debug
			if (name ~ /^DEFINE_/)
				sub(/^[^(]*\(/, "", name)
			sub(/[(),].*/, "", name)
			sub(/.*[ \t*]/, "", name)
		}
		if (name != "")
			where[file, nr] = name
		if (line ~ /^}/)
			name = ""
	}
	close(file)
}

FILENAME == ARGV[1] {
	if ($0 !~ /^#/ && NF >= 4)
		why[++reasons] = $0
	next
}
/^SF:/ {
	file = substr($0, 4)
	sub(/.*\/src\/[^\/]*\//, "", file)
	load(file)
	who = FILENAME == ARGV[2] ? "suite" : "kernel"
}
/^DA:/ {
	split(substr($0, 4), d, ",")
	if (where[file, d[1]] != "") {
		if (!((file, d[1]) in code)) {
			code[file, d[1]] = 1
			if (d[1] > top[file])
				top[file] = d[1]
		}
		hits[who, file, d[1]] += d[2]
	}
}
/^BRDA:/ {
	split(substr($0, 6), d, ",")
	key = file SUBSEP d[1]
	if (!((key, d[2], d[3]) in branch)) {
		branch[key, d[2], d[3]] = 1
		branches[key]++
	}
	if (d[4] != "-" && d[4] > 0)
		taken[who, key]++
}

function trim(s) {
	gsub(/^[ \t]+|[ \t]+$/, "", s)
	return s
}

function reason(file, nr,   i, f, two) {
	two = trim(text[file, nr - 1]) " " trim(text[file, nr])
	for (i = 1; i <= reasons; i++) {
		split(why[i], f, "\t")
		if (f[1] == file && f[2] == where[file, nr] &&
		    (f[3] == "*" || index(two, f[3]))) {
			used[i] = 1
			return f[4]
		}
	}
	return ""
}

function percent(a, b) {
	return b ? sprintf("%5.1f", 100 * a / b) : "    -"
}

function row(name, s) {
	printf "%-36s %4d %4d %s  %4d %s   %4d %s %s   %4d %s\n", name,
		s["lines"], s["suite"], percent(s["suite"], s["lines"]),
		s["kernel"], percent(s["kernel"], s["lines"]),
		s["branches"], sprintf("%4d", s["bs"]), percent(s["bs"], s["branches"]),
		s["bk"], percent(s["bk"], s["branches"])
}

END {
	print "                                      lines that can be reached      branches there"
	print "                                      all     suite     kernel's       all      suite    kernel's tests"
	for (i = 1; i <= files; i++) {
		file = order[i]
		print file
		names = 0
		delete seen
		delete f
		for (nr = 1; nr <= top[file]; nr++) {
			if (!((file, nr) in code))
				continue
			name = where[file, nr]
			if ((file in some) && !((file, name) in wanted))
				continue
			key = file SUBSEP nr
			s = hits["suite", file, nr] > 0
			k = hits["kernel", file, nr] > 0
			r = reason(file, nr)
			if (r != "" && (s || k)) {
				print "reached, but listed as out of reach: " file ":" nr ": " text[file, nr] >untested
				r = ""
			}
			if (r != "") {
				out++
				continue
			}
			if (!(name in seen)) {
				seen[name] = 1
				list[++names] = name
			}
			f[name, "lines"]++
			f[name, "suite"] += s
			f[name, "kernel"] += k
			f[name, "branches"] += branches[key]
			f[name, "bs"] += taken["suite", key]
			f[name, "bk"] += taken["kernel", key]
			if (!s)
				printf "no test%s: %s:%d %s: %s\n",
					k ? " (the kernel'\''s own reach it)" : "",
					file, nr, name, text[file, nr] >untested
		}
		split("lines suite kernel branches bs bk", column, " ")
		for (n = 1; n <= names; n++) {
			for (c = 1; c <= 6; c++) {
				v = f[list[n], column[c]]
				one[column[c]] = v
				sum[column[c]] += v
			}
			row("  " list[n], one)
		}
	}
	row("all", sum)
	printf "%d lines are out of reach, see not-reached.txt\n", out
	for (i = 1; i <= reasons; i++)
		if (!used[i])
			print "fits no line: " why[i] >untested
	close(untested)
	while ((getline line < untested) > 0)
		print line
	exit sum["suite"] < 0.95 * sum["lines"]
}
