#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Style: checkpatch --strict, shellcheck, the manual page, and a licence in every file but
# the patches for the kernel.
. "$(dirname "$0")/../tap.sh"
cd "$top" || exit 1

# files PATTERN...: ours, with blanks in no name
files()
{
	if git rev-parse --git-dir >/dev/null 2>&1; then
		git ls-files --cached --others --exclude-standard -- "$@"
	else
		for glob; do
			find . -name .cache -prune -o -type f -name "$glob" -print
		done
	fi | sort -u | while read -r f; do
		if [ -f "$f" ] && [ ! -L "$f" ]; then
			echo "$f"
		fi
	done
}

spdx()
{
	bad=0
	for f in $(files '*' | grep -v '\.patch$'); do
		head -n 2 "$f" | grep -q 'SPDX-License-Identifier: GPL-2\.0' && continue
		echo "no SPDX line: $f"
		bad=1
	done
	return $bad
}

# What cannot hold in user space: the kernel's types and attribute macros are
# not there, memory shared with a traced process is what volatile is for, and
# ENOSYS is what a kernel or a sandbox may well answer.
# The lab's kernel parameter is in no Documentation/ of ours.
ignore=PREFER_KERNEL_TYPES,PREFER_DEFINED_ATTRIBUTE_MACRO,VOLATILE,ENOSYS,UNDOCUMENTED_SETUP

style()
{
	bad=0
	for f in $(files '*.c' '*.h' '*.S'); do
		perl "$tree/scripts/checkpatch.pl" --no-tree --strict --terse \
			--ignore $ignore --no-summary --show-types --file "$f" || bad=1
	done
	return $bad
}

# An assertion of the harness is two statements, of which the second ends the
# test or runs the handler block: as the body of a loop it needs braces, or the
# loop goes on after a failure.
assertions()
{
	bad=0
	for f in $(files '*.c'); do
		awk -v f="$f" '
			loop && /^\t+(ASSERT_|EXPECT_.*\{$)/ {
				print f ":" NR ": assertion without braces in a loop"
				bad = 1
			}
			{ loop = /^\t+(for|while) \(.*\)$/ }
			END { exit bad }' "$f" || bad=1
	done
	return $bad
}

# run_tests.sh does not run them beside others, which hold slots and CPUs
alone()
{
	sed -n '/^is_alone()/,/^}/p' "$top/run_tests.sh" >"$tmp/is_alone"
	# shellcheck source=/dev/null
	. "$tmp/is_alone"
	bad=0
	for f in $(cd "$top/tests" && grep -lE \
		'expect_no_slot_leaked\(|SCHED_FIFO|stressor_start\(|undo_on_exit\(' -- *_test.c); do
		is_alone "${f%.c}_64" || {
			echo "$f"
			bad=1
		}
	done
	return $bad
}

shell()
{
	# shellcheck disable=SC2046 # one word for each file
	shellcheck -x -P SCRIPTDIR -s sh $(files '*.sh') .ci/run
}

manual()
{
	"$top/tools/man.sh" >"$tmp/page.1" && mandoc -T lint -W warning "$tmp/page.1"
}

check "every file has an SPDX line" spdx
if ! tree=$("$top/tools/get-harness.sh" 2>"$tmp/out"); then
	not_ok "no kernel source for checkpatch"
elif ! have perl; then
	skip "checkpatch --strict" "no perl here"
else
	check "checkpatch --strict" style
fi
check "assertions in loops have braces" assertions
check "programs that need all slots or CPUs run alone" alone
if have shellcheck; then
	check "shellcheck" shell
else
	skip "shellcheck" "no shellcheck here: apt-get install shellcheck"
fi
if have help2man && have mandoc; then
	check "the manual page" manual
else
	skip "the manual page" "no help2man or mandoc here"
fi
done_testing
