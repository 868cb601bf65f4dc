#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# tools/report: a page of good, cut, empty, broken and hostile logs, which is well formed and
# needs nothing from elsewhere.
. "$(dirname "$0")/../tap.sh"

python=/usr/bin/python3
if ! $python -c 'import jinja2' 2>/dev/null; then
	skip "the report" "no python3-jinja2 here"
	done_testing
	exit
fi

cat >"$tmp/good" <<'END'
KTAP version 1
1..2
  TAP version 13
  # kernel: 6.12.1 #1 x86_64
  # hypervisor: KVMKVMKVM
  # ptrace breakpoints: execute fires, write never fires (0 of 64), read/write fires
  1..4
  #  RUN           watchpoint.dr2_rw_4.aligned ...
  # watchpoint.dr2_rw_4.aligned: MISSED trap: expected SIGTRAP code 4, slots 0x4
  #   seen: access 34: store of 2 bytes
  #   as read back: DR0 0 DR1 0 DR2 0x7f31c000 DR3 0
  #                 DR6 0xffff0ff0 DR7 0xf000010
  not ok 1 watchpoint.dr2_rw_4.aligned
  ok 2 watchpoint.dr0_write_1.aligned
  ok 3 inherit.fork.traced_child_reads_nothing_armed # XFAIL a child shows its parent's DR7
  ok 4 global.skipped # SKIP one CPU only
not ok 1 watchpoint_test_64
# time: watchpoint_test_64 1.50 s
  ok 1 a.b
ok 2 slot_test_64
END
sed '/^ok 2/,$d' "$tmp/good" >"$tmp/cut"
sed 's/not ok/ok/' "$tmp/good" >"$tmp/better"
sed 's/^/2026-11-29T01:02:03.456 /' "$tmp/good" >"$tmp/lava"
sed 's/MISSED/<script>alert(1)<\/script><img src=x onerror=y>&"/; s/KVMKVMKVM/<b>/' \
	"$tmp/good" >"$tmp/<i>hostile"
cat >"$tmp/soak" <<'END'
# soak: 4 tracers, up to 4 tracees each, seed 7
# 10 s, 1000 traps verified, 100 traps/s, 9 switches between armed threads, 3 migrations, 0 missed, 0 spurious, 0 wrong, 500 KB, 20 files
# MISSED trap: expected SIGTRAP code 4, slots 0x1
#   seen: access 7
# 20 s, 3000 traps verified, 150 traps/s, 9 switches between armed threads, 3 migrations, 2 missed, 0 spurious, 0 wrong, 500 KB, 21 files
# soak ended: 30 s, 6000 traps verified, 200 traps/s, 9 switches between armed threads, 3 migrations, 2 missed, 0 spurious, 0 wrong, 400 KB, 20 files, 12 iterations, seed 7
not ok 1 soak
END
: >"$tmp/empty"
head -c 100000 /dev/urandom >"$tmp/noise"

# page STATUS LOG...: to $tmp/page.html
page()
{
	want=$1
	shift
	(cd "$tmp" && "$top/tools/report" -o "$tmp/page.html" "$@") >"$tmp/out" 2>&1
	[ $? -eq "$want" ]
}

# Every element is closed, and nothing is fetched or executed
well_formed()
{
	$python - "$tmp/page.html" <<-'END'
	import html.parser
	import sys
	VOID = {"meta", "br"}
	class Parser(html.parser.HTMLParser):
	    stack = []
	    def handle_starttag(self, tag, attrs):
	        assert tag not in ("script", "img", "link", "iframe", "object"), tag
	        for name, value in attrs:
	            assert not name.startswith("on") and name != "src", name
	            assert name != "href" or value.startswith("#"), value
	        if tag not in VOID:
	            self.stack.append(tag)
	    def handle_endtag(self, tag):
	        assert self.stack.pop() == tag, tag
	    ids = set()
	p = Parser()
	p.feed(open(sys.argv[1], encoding="utf-8").read())
	assert not p.stack, p.stack
	END
}

# says WORDS...: the page, each of them
says()
{
	for words; do
		grep -q -e "$words" "$tmp/page.html" || {
			echo "not in the page: $words"
			return 1
		}
	done
}

of_good()
{
	page 0 good && well_formed && says 'FAIL</span> <span class="name">watchpoint_test_64:watch' \
		'slot 2: read/write, length 4, at 0x7f31c000 (local)' 'class="on">read/write' \
		'finding 1: A new thread shows' 'one CPU only' 'class="bad">execute fires, write never'
}

of_several()
{
	page 3 good cut lava better && well_formed &&
		says 'not complete' 'NO: cut off' '1 tests whose results differ'
}

hostile()
{
	page 0 "<i>hostile" && well_formed && says '&lt;script&gt;' '&lt;i&gt;hostile'
}

of_soak()
{
	page 0 soak && well_formed && says 'verified per second in 30 s: from 200 to 300' \
		'memory of the tracers in KB over time: from 400 to 500, at the end 400' '<td>6000' \
		'Memory of the tracers in KB' 'MISSED trap: expected'
}

of_nothing()
{
	page 3 "$1" && well_formed && says 'not complete'
}

cat >"$tmp/beside" <<'END'
fault                      suite                            kernel's own tests
dr6_raw                    register_test_64:debugreg.x      -
<b>hostile                 slot_test_64:slot.x              (time limit)
one_in_2                   first_trap_test_64:first_trap.x  breakpoints/breakpoint_test
caught: suite 3 of 3, kernel's own tests 1 of 3
END

of_both()
{
	page 0 --kernel-tests beside good && well_formed &&
		says 'Suite: 3 of 3 faults caught' 'own tests: 1 of 3 faults caught' \
			'not caught (time limit)' &&
		[ "$(grep -o '<rect ' "$tmp/page.html" | wc -l)" -eq 4 ] &&
		page 2 --kernel-tests nothing good
}

check "a run with a failure" of_good
check "three logs, one of them cut off" of_several
check "markup in a log, and in its name" hostile
check "a soak over time" of_soak
check "compared with other tests" of_both
check "an empty log" of_nothing empty
check "noise" of_nothing noise
check "no such log" page 2 no_such_log
check "no log" page 2
done_testing
