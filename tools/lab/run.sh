#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Boot a kernel under an emulator and run the suite there.
#
#	run.sh --kernel BZIMAGE [OPTION]... [-- COMMAND]
#
#	--emulator bochs    instead of QEMU's TCG: slower, and right about most of what
#	                    that gets wrong
#	--kernel BZIMAGE    any kernel that has an 8250 console and an initramfs
#	--initrd FILE       instead of building the suite's (initramfs.sh)
#	--checkout          with this directory instead, its 64-bit programs linked
#	                    dynamically: COMMAND runs at its top, with HWBP_PREBUILT=
#	                    where shim.so and lose.so are, for LD_PRELOAD
#	--smp N             virtual CPUs, 2
#	--cpu MODEL         as the emulator calls it: max, or Bochs' ryzen, which has no
#	                    UMIP (corei7_icelake_u has)
#	--append TEXT       more kernel parameters
#	--add DIR           with the files of DIR in the machine
#	--test PATTERN      only these tests, as for run_tests.sh -t; repeatable
#	--known-failures F  a list instead of tcg.txt, or bochs.txt
#	--output DIR        where ktap, dmesg and exit-code go; .cache/lab/out
#	--timeout SECONDS   for the whole machine, 900
#	--bisect            exit code for "git bisect run": 0, 1, 125
#	COMMAND             instead of run_tests.sh, in a shell of the machine
#
# Prints the output of the suite, or of COMMAND, at once.
#
# Exit code: that of the suite (0, 1, 4); 1 if the kernel died in the middle of
# it, with the name of the last test, or has logged a warning of itself; 3 if it
# never came so far, which says nothing about the tests (--bisect: 125); 2 for bad
# usage. No root, no network, no disk image.
me=run
# shellcheck source=tools/lab/common.sh
. "$(dirname "$0")/common.sh"

usage()
{
	[ $# -eq 0 ] || echo "run.sh: $*" >&2
	echo "Usage: run.sh --kernel BZIMAGE [--emulator qemu|bochs] [--checkout] [--smp N] [--cpu MODEL] [--append TEXT] [--add DIR] [--test PATTERN]... [--known-failures FILE] [--output DIR] [--timeout SECONDS] [--bisect] [-- COMMAND]" >&2
	exit 2
}

kernel='' initrd='' checkout='' smp=2 cpu='' append='' add='' patterns='' known='' bisect=''
output=$lab/out timeout=900 command='' emulator=qemu
while [ $# -gt 0 ]; do
	case $1 in
	--kernel | --emulator | --initrd | --smp | --cpu | --append | --add | --test | \
		--known-failures | --output | --timeout)
		[ $# -gt 1 ] || usage "$1 needs a value"
		;;
	esac
	case $1 in
	--kernel) kernel=$2 ;;
	--emulator) emulator=$2 ;;
	--initrd) initrd=$2 ;;
	--smp) smp=$2 ;;
	--cpu) cpu=$2 ;;
	--append) append=$2 ;;
	--add) add=$2 ;;
	--test) patterns="$patterns -t '$2'" ;;
	--known-failures) known=$2 ;;
	--output) output=$2 ;;
	--timeout) timeout=$2 ;;
	--bisect | --checkout)
		[ "$1" = --bisect ] && bisect=y || checkout=$1
		shift
		continue
		;;
	--)
		shift
		command=$*
		break
		;;
	-h | --help) usage ;;
	*) usage "unknown option: $1" ;;
	esac
	shift 2
done
[ -n "$kernel" ] || usage "--kernel is needed"
[ -z "$checkout" ] || [ -n "$command" ] || usage "--checkout needs a command"

# The kernel could not be tested
inconclusive()
{
	say "$*"
	[ -z "$bisect" ] || exit 125
	exit 3
}

[ -r "$kernel" ] || inconclusive "cannot read the kernel $kernel"
case $emulator in
qemu)
	need qemu-system-x86_64 qemu-system-x86
	list=tcg.txt
	;;
bochs)
	need bochs-bin "bochs bochs-term bochsbios vgabios" genisoimage genisoimage script bsdutils
	isolinux=/usr/lib/ISOLINUX/isolinux.bin
	ldlinux=/usr/lib/syslinux/modules/bios/ldlinux.c32
	[ -r $isolinux ] || die "isolinux is missing: apt-get install isolinux"
	[ -r $ldlinux ] ||
		die "ldlinux.c32 is missing: apt-get install syslinux-common"
	list=bochs.txt
	;;
*) usage "unknown emulator: $emulator" ;;
esac
need cpio cpio
for n in "$smp" "$timeout"; do
	case $n in
	'' | 0 | *[!0-9]*) usage "not a number: $n" ;;
	esac
done
if [ -z "$initrd" ]; then
	initrd=$("$here/initramfs.sh" ${checkout:+"$checkout"}) || inconclusive "no initramfs"
fi
[ -r "$initrd" ] || inconclusive "cannot read the initramfs $initrd"
[ -n "$known" ] || known=$top/tools/known-failures/$list
[ -r "$known" ] || inconclusive "cannot read $known"
mkdir -p "$output" || inconclusive "cannot write to $output"

tmp=$(mktemp -d "${TMPDIR:-/tmp}/hw_breakpoint.XXXXXX") || exit 1
pid=
# shellcheck disable=SC2317
cleanup()
{
	# Not before it has ended, within the 5 s of "timeout -k"
	[ -z "$pid" ] || { kill "$pid" && wait "$pid"; } 2>/dev/null
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
trap 'exit 141' PIPE

# The machine's command and the list are in a second archive after the first. The next
# start of run_tests.sh removes all of it if we cannot.
if ! { echo $$ >"$tmp/owner" && mkdir -p "$tmp/root/suite" &&
	{ [ -z "$add" ] || cp -r "$add/." "$tmp/root"; } &&
	cp "$known" "$tmp/root/suite/lab.txt"; }; then
	inconclusive "cannot write below $tmp"
fi
[ -n "$command" ] || command="sh ./run_tests.sh -o $timeout -k lab.txt $patterns"
[ -z "$checkout" ] || command="cd /checkout; export HWBP_PREBUILT=/prebuilt
$command"
if ! { printf '%s\n' "$command" >"$tmp/root/cmd" && mkfifo "$tmp/line" &&
	(cd "$tmp/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$tmp/cmd.gz"; }; then
	inconclusive "cannot write below $tmp"
fi
cat "$initrd" "$tmp/cmd.gz" >"$tmp/initrd" || inconclusive "cannot write below $tmp"

# Without ACPI the TSC cannot be calibrated under load; la57=off: the top of user
# space is where it is on most hardware
parameters="console=ttyS0 panic=-1 quiet reboot=t la57=off tsc_early_khz=2400000 tsc=reliable $append"

dies_with_us=
! command -v setpriv >/dev/null 2>&1 || dies_with_us="setpriv --pdeathsig KILL"

# The machine, under a watchdog, and killed with this script; what comes from its second line
# while it is there goes to the file ktap, and all but what init says to our caller
watched()
{
	# shellcheck disable=SC2086 # words
	(exec $dies_with_us timeout -k 5 "$timeout" $dies_with_us "$@" \
		</dev/null >"$log" 2>&1) 9>"$tmp/line" &
	pid=$!
	while IFS= read -r line || [ -n "$line" ]; do
		printf '%s\n' "$line" >&3
		case $line in
		"lab: up "* | "lab: log "* | "lab: exit "*) ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <"$tmp/line" 3>"$output/ktap"
	wait "$pid"
	ended=$?
	pid=
}

# A CD to boot from, and what the machine is. Bochs' sound plugin dies of a buffer
# overflow where there is no sound.
bochs_files()
{
	mkdir -p "$tmp/iso/isolinux" &&
		cp "$isolinux" "$ldlinux" "$tmp/iso/isolinux" &&
		cp "$kernel" "$tmp/iso/bzimage" && cp "$tmp/initrd" "$tmp/iso/initrd" &&
		cat >"$tmp/iso/isolinux/isolinux.cfg" <<-END &&
			default l
			prompt 0
			label l
			kernel /bzimage
			append initrd=/initrd $parameters
		END
		genisoimage -quiet -o "$tmp/cd" -b isolinux/isolinux.bin \
			-c isolinux/boot.cat -no-emul-boot -boot-load-size 4 \
			-boot-info-table -J -R "$tmp/iso" &&
		cat >"$tmp/rc" <<-END && echo c >"$tmp/go"
			display_library: term
			romimage: file=/usr/share/bochs/BIOS-bochs-latest
			vgaromimage: file=/usr/share/vgabios/vgabios.bin
			megs: 512
			cpu: model=${cpu:-ryzen}, count=$smp, ips=50000000, mwait_is_nop=1, reset_on_triple_fault=0
			ata0-master: type=cdrom, path=$tmp/cd, status=inserted
			boot: cdrom
			com1: enabled=1, mode=file, dev=$output/dmesg
			com2: enabled=1, mode=file, dev=$tmp/line
			log: $output/emulator.log
			panic: action=fatal
			clock: sync=none
			sound: driver=dummy, waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
			speaker: enabled=0
		END
}

# On a pseudo terminal
boot_bochs()
{
	bochs_files || inconclusive "cannot write below $tmp"
	log=/dev/null
	watched script -qfc "stty rows 50 cols 132; TERM=vt100 exec bochs-bin -q -f '$tmp/rc' -rc '$tmp/go'" \
		/dev/null
}

boot_qemu()
{
	log=$output/emulator.log
	watched qemu-system-x86_64 -nodefaults -no-user-config -machine pc \
		-accel tcg,thread="${LAB_THREAD:-single}" -cpu "${cpu:-max,la57=off}" \
		-smp "$smp,sockets=$smp" -m 768 -kernel "$kernel" \
		-initrd "$tmp/initrd" -append "$parameters" -display none \
		-serial "file:$output/dmesg" -serial "file:$tmp/line" \
		-monitor none -no-reboot
}

# The last test that was started, for a machine that died
last_test()
{
	sed -n 's/^ *# *RUN *\([^ ]*\).*/\1/p' "$output/ktap" | tail -n 1
}

# Both virtual CPUs in one thread, as with a thread for each the emulator misses
# hits of xchg and cmpxchg, and dies of a wrong int3 while kernel text is patched
# (one boot in some 35). LAB_THREAD=multi is the other way.
# A boot that dies before the suite says nothing, and is tried again; not one that
# has used up its time.
try=1
while :; do
	: >"$output/dmesg"
	case $emulator in
	qemu) boot_qemu ;;
	bochs) boot_bochs ;;
	esac
	grep -q '^lab: up' "$output/ktap" &&
		! grep -q 'Oops: int3' "$output/dmesg" && break
	try=$((try + 1))
	if [ "$ended" -eq 124 ] || [ $try -gt 3 ]; then
		inconclusive "the kernel does not come to the tests, see $output/dmesg: $(tail -n 1 "$output/dmesg")"
	fi
done

code=$(sed -n 's/^lab: exit \([0-9]*\).*/\1/p' "$output/ktap" | tail -n 1)
if [ -z "$code" ]; then
	say "the machine died or hung in the middle, last test: $(last_test); see $output/dmesg: $(grep -E 'BUG|Oops|panic|WARN' "$output/dmesg" | head -n 1)"
	code=1
elif grep -q '^lab: log ' "$output/ktap"; then
	say "the kernel has logged a warning: $(sed -n 's/^lab: log //p' "$output/ktap" | head -n 1)"
	code=1
fi
echo "$code" >"$output/exit-code"
if [ -n "$bisect" ] && [ "$code" -ne 0 ] && [ "$code" -ne 1 ]; then
	exit 125
fi
exit "$code"
