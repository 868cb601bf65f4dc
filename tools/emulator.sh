# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced after tap.sh by checks that need breakpoints which fire. What those of
# this machine do is no matter of the project: on every machine alike such a check
# runs in emulated ones, the same script once more, with HWBP_PREBUILT set.
# shellcheck disable=SC2154

# in_machine: are we there?
in_machine()
{
	[ -n "${HWBP_PREBUILT-}" ]
}

# pass_on NAME: the results among what a machine prints, and one more where it
# ended before it had a plan
pass_on()
{
	text='' seen=0 planned='' last=
	while IFS= read -r line; do
		case $line in
		"ok "* | "not ok "*)
			printf '%s%s\n' "$text" "$line"
			text=
			seen=$((seen + 1)) ;;
		1..*) planned=${line#1..} ;;
		"#"*)
			text="$text$line
" ;;
		*) last=$line ;;
		esac
	done
	[ "$planned" = $seen ] || {
		printf '%s# %s\n' "$text" "$last"
		echo "not ok 0 $1: the machine ended early"
	}
	echo end
}

# in_machines SECONDS ARGUMENTS...: this script with these arguments (words) in a
# machine of its own for each of them, side by side; their results are ours. What
# is in $tmp/add is there too.
in_machines()
{
	seconds=$1
	shift
	check=${0##*/}
	if ! kernel=$("$top/tools/lab/kernel.sh" -f 2>"$tmp/out"); then
		sed 's/^/# /' "$tmp/out"
		skip "${check%.sh}" "no kernel for the emulator"
		return
	fi
	mkdir -p "$tmp/add"
	mkfifo "$tmp/results"
	exec 3<>"$tmp/results"
	lane=0
	for arguments; do
		lane=$((lane + 1))
		mkfifo "$tmp/lane.$lane"
		pass_on "${check%.sh}${arguments:+ $arguments}" <"$tmp/lane.$lane" >&3 &
		"$top/tools/lab/run.sh" --kernel "$kernel" --checkout \
			--add "$tmp/add" --output "$tmp/machine.$lane" --timeout "$seconds" \
			-- "sh tools/check/$check $arguments" \
			>"$tmp/lane.$lane" 2>&1 3>&- &
		machines="$machines $!"
	done
	while [ $lane -gt 0 ] && read -r line <&3; do
		case $line in
		"ok "*)
			count=$((count + 1))
			echo "ok $count ${line#ok * }" ;;
		"not ok "*)
			count=$((count + 1))
			echo "not ok $count ${line#not ok * }" ;;
		end) lane=$((lane - 1)) ;;
		*) echo "$line" ;;
		esac
	done
	machines=
}

machines=
# shellcheck disable=SC2086 # words
in_machine || trap '[ -z "$machines" ] || kill $machines 2>/dev/null; rm -rf "$tmp"' EXIT
