#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# What the lab says and leaves behind when things go wrong: bad arguments, missing
# tools, a full disk, kernels that do not build, boot or survive. The emulator is a
# stub here that writes what such a machine would; nothing is built.
. "$(dirname "$0")/../tap.sh"

run=$top/tools/lab/run.sh
lab=$top/tools/lab/lab.sh

# The stub: plays $PLAY, with its serial lines where run.sh wants them
mkdir "$tmp/bin" "$tmp/machine"
cat >"$tmp/bin/qemu-system-x86_64" <<'END'
#!/bin/sh
for arg; do
	case $arg in
	file:*/dmesg) dmesg=${arg#file:} ;;
	file:*/line) line=${arg#file:} ;;
	esac
done
exec 3>"$line"
[ $PLAY = panics ] || printf '%s\n' "lab: up 1.00" "  #  RUN           slots.each_alone ..." >&3
case $PLAY in
good) echo "lab: exit 0" >&3 ;;
warns) printf '%s\n' "lab: log [ 2.0] WARNING: CPU: 0 PID: 1" "lab: exit 0" >&3 ;;
fails) echo "lab: exit 1" >&3 ;;
skips) echo "lab: exit 4" >&3 ;;
dies) echo "BUG: unable to handle page fault" >"$dmesg" ;;
panics) echo "Kernel panic - not syncing: VFS" >"$dmesg" ;;
hangs) exec sleep 1000 ;;
esac
END
chmod +x "$tmp/bin/qemu-system-x86_64"
: >"$tmp/kernel"
: >"$tmp/initrd"

# play WHAT [OPTION]...: run.sh with the stub
play()
{
	PLAY=$1
	shift
	export PLAY
	# shellcheck disable=SC2086 # words
	PATH="$tmp/bin:$PATH" $unignore sh "$run" --kernel "$tmp/kernel" \
		--initrd "$tmp/initrd" --output "$tmp/machine" "$@"
}

# gives STATUS TEXT COMMAND...: that exit code, and a line that says so
gives()
{
	want=$1
	text=$2
	shift 2
	"$@" >"$tmp/said" 2>&1
	status=$?
	cat "$tmp/said"
	[ $status -eq "$want" ] && grep -q -- "$text" "$tmp/said"
}

# one_line STATUS TEXT COMMAND...: and no more than that line
one_line()
{
	gives "$@" && [ "$(wc -l <"$tmp/said")" -eq 1 ]
}

nothing_left()
{
	! pgrep -f "$tmp/machine" >/dev/null
}

# started: a machine that does not end; its output is passed on at once
started()
{
	: >"$tmp/stream"
	play hangs --timeout 500 >"$tmp/stream" 2>&1 &
	pid=$!
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		grep -q 'RUN  *slots.each_alone' "$tmp/stream" && return
		sleep 0.5
	done
	kill $pid
	return 1
}

# stopped SIGNAL: run.sh that is killed takes the machine along
stopped()
{
	started || return
	pkill -"$1" -f "run.sh --kernel $tmp/kernel"
	wait $pid
	status=$?
	[ $status -gt 128 ] || return
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		nothing_left && return
		sleep 0.5
	done
	return 1
}

full_disk()
{
	mkdir -p "$tmp/full" && mount -t tmpfs -o size=16k none "$tmp/full" || return
	dd if=/dev/zero of="$tmp/full/file" bs=1k count=16 2>/dev/null
	TMPDIR=$tmp/full gives 3 'cannot write\|No space' play good
	result=$?
	umount "$tmp/full"
	return $result
}

broken_source()
{
	mkdir -p "$tmp/hwbp-broken/arch/x86/kernel"
	: >"$tmp/hwbp-broken/arch/x86/kernel/hw_breakpoint.c"
	echo 'tinyconfig: ; false' >"$tmp/hwbp-broken/Makefile"
	KSRC=$tmp/hwbp-broken one_line 1 'failed: config.*see /.*log' \
		sh "$top/tools/lab/kernel.sh"
	result=$?
	rm -rf "$top"/.cache/lab/hwbp-broken-plain* "$top"/.cache/lab/*/hwbp-broken-plain*
	return $result
}

check "an unknown fault" gives 2 'unknown fault: no_such' sh "$lab" no_such
check "an unknown option of lab.sh" gives 2 'unknown option' sh "$lab" --no-such
check "an unknown option of run.sh" gives 2 'unknown option' sh "$run" --no-such
check "an unknown emulator" gives 2 'unknown emulator' play good --emulator none
check "no kernel given" gives 2 'kernel is needed' sh "$run"
check "a number that is none" gives 2 'not a number' play good --smp many
check "no such kernel" one_line 3 'cannot read the kernel /no/such' sh "$run" --kernel /no/such
check "no such kernel, bisecting" one_line 125 'cannot read' sh "$run" --kernel /no/such --bisect
mkdir "$tmp/none"
for tool in sh dirname pwd sed cat nproc mktemp rm; do
	ln -s "$(command -v $tool)" "$tmp/none/$tool" 2>/dev/null
done
check "no emulator" one_line 1 'qemu-system-x86_64 is missing: apt-get install' \
	env PATH="$tmp/none" sh "$run" --kernel "$tmp/kernel"
if ! have cpio; then
	skip "what a machine does" "no cpio here"
	done_testing
	exit
fi
check "a good kernel" one_line 0 'RUN  *slots' play good
check "a kernel that fails" one_line 1 'RUN  *slots' play fails
check "a kernel that warns" gives 1 'logged a warning: .*WARNING: CPU: 0' play warns
check "a kernel that fails, bisecting" one_line 1 'RUN  *slots' play fails --bisect
check "nothing could run, bisecting" one_line 125 'RUN  *slots' play skips --bisect
check "a kernel that panics at boot" gives 3 "see $tmp/machine/dmesg: Kernel panic" play panics
check "a kernel that panics at boot, bisecting" gives 125 'Kernel panic' play panics --bisect
check "a kernel that dies in the middle" gives 1 'last test: slots.each_alone; .*BUG: unable' play dies
check "a kernel that hangs" gives 1 'died or hung in the middle' play hangs --timeout 2
check "nothing is left of it" nothing_left
if have pgrep; then
	check "terminated" stopped TERM
	check "hung up" stopped HUP
else
	skip "terminated" "no pgrep here"
	skip "hung up" "no pgrep here"
fi
if [ "$(id -u)" -eq 0 ]; then
	check "a full disk" full_disk
else
	skip "a full disk" "only root can mount one"
fi
if have flex && have bison && have bc; then
	check "a kernel that does not build" broken_source
else
	skip "a kernel that does not build" "no flex, bison or bc here"
fi
done_testing
