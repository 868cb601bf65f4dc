#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# "run_tests.sh --emulated" in a copy of the project, whose machines are none: the
# stub of an emulator unpacks what it is given and runs that here, with programs
# that do what their names say. Nothing is built, installed or downloaded.
. "$(dirname "$0")/../tap.sh"

for tool in cpio pgrep setsid; do
	have $tool || {
		skip "emulated machines" "no $tool here"
		done_testing
		exit
	}
done

unset KERNEL EMULATED_LIMIT OUTPUT
copy=$tmp/copy
suite=$copy/.cache/lab/suite
mkdir -p "$tmp/bin" "$tmp/scratch" "$tmp/none" "$copy/tools/lab" "$copy/tests" "$suite"
cp "$top/run_tests.sh" "$copy"
cp -r "$top"/tools/*.sh "$top/tools/known-failures" "$copy/tools"
cp "$top/tools/lab/run.sh" "$top/tools/lab/common.sh" "$copy/tools/lab"
echo kernel >"$tmp/kernel"

# make_stub FILE: a program, from what comes in
make_stub()
{
	cat >"$1" && chmod +x "$1"
}

# The real one gets the harness, which clears away what is left in .cache
make_stub "$copy/tools/lab/initramfs.sh" <<'END'
#!/bin/sh
cache=$(dirname "$0")/../../.cache
. "$(dirname "$0")/../debian.sh"
one_at_a_time
: >"$cache/lab/initramfs.cpio"
echo "$cache/lab/initramfs.cpio"
END

# SIGUSR1: the kernel dies. The processes of a machine have its name in their
# environment.
make_stub "$tmp/bin/qemu-system-x86_64" <<'END'
#!/bin/sh
while [ $# -gt 0 ]; do
	case $1 in
	-initrd) initrd=$2 ;;
	file:*/dmesg) dmesg=${1#file:} ;;
	file:*/line) line=${1#file:} ;;
	esac
	shift
done
machine=${dmesg%/dmesg}
echo "${machine##*/}" >>"$STUBS/booted"
off()
{
	kill -KILL $(grep -lsz "^MACHINE=$machine\$" /proc/[0-9]*/environ | tr -dc '0-9\n')
}
trap 'off; exit 1' TERM
trap 'echo "BUG: unable to handle page fault" >>"$dmesg"; off; exit' USR1
if [ "$PLAY" = silent ]; then
	exec sleep 1000
elif [ "$PLAY" = panics ]; then
	echo "Kernel panic - not syncing: VFS" >>"$dmesg"
	exit
fi
rm -rf "$machine/root"
mkdir "$machine/root" && cd "$machine/root" || exit
zcat "$initrd" | cpio -i --quiet
cp -r "$SUITE/." suite
cd suite
echo "lab: up 1.00" >"$line"
# As tools/lab/init
STUB=$$ MACHINE=$machine TMPDIR=$PWD HW_BREAKPOINT_KTAP=1 sh ../cmd >"$line" 2>&1 </dev/null &
wait $!
echo "lab: exit $?" >"$line"
END

make_stub "$tmp/program" <<'END'
#!/bin/sh
# [-l] [-r name]
name=${0##*/}
[ "$1" != -l ] || {
	printf '%-20s %-25s %s\n' '# FIXTURE' VARIANT TEST -------- '' '' t '' one '' '' two >&2
	exit 4
}
echo "# hypervisor: TCGTCGTCGTCG"
[ "$name" != dead_test_64 ] || never="never fires in 64 tries"
echo "# ptrace breakpoints: execute ${never:-fires}, write fires, read/write fires"
[ -z "$HW_BREAKPOINT_ENVIRONMENT" ] || exit 0
echo "TAP version 13"
[ "$name" != skip_test_64 ] || {
	echo "1..0 # SKIP no such hardware"
	exit 4
}
printf '%s\n' 1..2 "#  RUN           t.one ..." "ok 1 t.one" "#  RUN           t.two ..."
case $name in
fail*)
	echo "# x.c:1:t.two:expected this"
	echo "not ok 2 t.two"
	exit 1 ;;
die*)
	# As with a real machine, what has been printed is out
	until tail -n 1 "$MACHINE/ktap" | grep -q "RUN .*t.two"; do
		sleep 0.1
	done
	kill -USR1 "$STUB"
	exec sleep 1000 ;;
hang*)
	echo hangs >"$STUBS/hangs"
	exec sleep 1000 ;;
esac
echo "ok 2 t.two"
END

# What has to be there is, as one stub each; two CPUs
for tool in busybox gcc make xz; do
	echo '#!/bin/sh' | make_stub "$tmp/bin/$tool"
done
echo 'echo 2' | make_stub "$tmp/bin/getconf"

# programs NAME...: what the suite consists of
programs()
{
	rm -rf "$suite" "$tmp/booted" "$tmp/hangs"
	mkdir "$suite" && cp "$top/run_tests.sh" "$suite" || return
	for program; do
		cp "$tmp/program" "$suite/${program}_test_64"
		echo "${program}_test_64" >>"$suite/kselftest-list.txt"
	done
}

# emulated OPTION...: with $kernel, $path and what else is in the environment
kernel=$tmp/kernel
path=$tmp/bin:$PATH
wrapper="timeout 100"
emulated()
{
	# shellcheck disable=SC2086 # words
	STUBS=$tmp SUITE=$suite TMPDIR=$tmp/scratch KERNEL=$kernel PATH=$path \
		$wrapper sh "$copy/run_tests.sh" --emulated "$@" >"$tmp/stdout" 2>"$tmp/stderr"
}

nothing_left()
{
	! pgrep -a -f "$tmp/(copy|scratch)" && [ -z "$(ls "$tmp/scratch")" ] &&
		! find "$copy/.cache" -name '*.new' | grep .
}

# ends STATUS LAST [OPTION]...: with this status and this last line
ends()
{
	want=$1
	last=$2
	shift 2
	emulated "$@"
	got=$?
	cat "$tmp/stdout" "$tmp/stderr"
	[ $got -eq "$want" ] && [ "$(tail -n 1 "$tmp/stdout")" = "$last" ] && nothing_left
}

# prints LINE...: each of them, once
prints()
{
	for line; do
		[ "$(grep -cxF -e "$line" "$tmp/stdout")" -eq 1 ] || {
			echo "not printed once: $line"
			return 1
		}
	done
}

# heads HEADING...: these of the summary, in this order
heads()
{
	[ "$(grep '^# [^ ].*:$' "$tmp/stdout")" = "$(printf '%s\n' "$@")" ]
}

# results NUMBER: so many programs, numbered from 1 on
results()
{
	awk -v want="$1" '
		/^(not )?ok / { bad += ($1 == "ok" ? $2 : $3) != ++n }
		END { exit bad || n != want }' "$tmp/stdout"
}
failed="# FAILED (names as for -t):"

all_good()
{
	programs a b c skip d && ends 0 "8 passed, 0 failed, 1 skipped" && results 5 &&
		prints "KTAP version 1" 1..5 "# skipped, no such hardware:" "#   skip_test_64" &&
		heads "# skipped, no such hardware:" && [ "$(wc -l <"$tmp/booted")" -eq 2 ]
}

# Machine 1 has a, skip and c, machine 2 the others
one_fails()
{
	programs a fail skip b c fail_too && ends 1 "8 passed, 2 failed, 1 skipped" && results 6 &&
		prints 1..6 "#   fail_test_64:t.two" "#   fail_too_test_64:t.two" &&
		heads "# skipped, no such hardware:" "$failed"
}

# Its results until then count
one_dies()
{
	programs fail a die b c skip && ends 1 "5 passed, 2 failed, 1 skipped" && results 5 &&
		grep '^not ok .* emulated_machine_1 # ERROR .*last test: t.two.*BUG: unable' "$tmp/stdout" &&
		prints "#   fail_test_64:t.two" "#   emulated_machine_1" &&
		[ "$(grep -c '^  ok 1 t.one' "$tmp/stdout")" -eq 4 ] &&
		heads "# skipped, no such hardware:" "$failed"
}

# It is ended early, by "wrapper"
one_hangs()
{
	programs a hang b && EMULATED_LIMIT=5 ends 1 "4 passed, 1 failed, 0 skipped" &&
		results 3 && prints "#   emulated_machine_2" && heads "$failed"
}

# does_not_boot WHAT BOOTS: both machines, after so many tries each
does_not_boot()
{
	programs a b && PLAY=$1 EMULATED_LIMIT=3 ends 1 "0 passed, 2 failed, 0 skipped" &&
		grep "emulated_machine_1 # ERROR .*does not come to the tests" "$tmp/stdout" &&
		prints "#   emulated_machine_1" "#   emulated_machine_2" &&
		[ "$(wc -l <"$tmp/booted")" -eq $((2 * $2)) ]
}

nothing_runs()
{
	programs skip && ends 4 "0 passed, 0 failed, 1 skipped"
}

dead()
{
	programs dead a && ends 1 "4 passed, 0 failed, 0 skipped" && prints "#   dead through ptrace: execute"
}

only_those()
{
	programs a b c && ends 0 "4 passed, 0 failed, 0 skipped" -t 'a*' -t 'c*' &&
		ends 0 "4 passed, 0 failed, 0 skipped" '-ta*' '--test=c*'
}

known()
{
	echo "fail_test_64:t.two fail the reason" >"$tmp/list"
	programs a fail && ends 0 "3 passed, 0 failed, 1 skipped" --known-failures "$tmp/list" &&
		heads "# skipped, known failure: the reason (1-list):"
}

# interrupted SIGNAL: ends everything that was started
interrupted()
{
	wrapper="env --default-signal=INT"
	programs a hang || return
	emulated &
	wait_for -e "$tmp/hangs" || return
	# The script is the wrapper's process by now, run by a shell of ours
	pid=$(pgrep -o -f "sh $copy/tools/emulated.sh")
	kill -"$1" "$pid"
	wait $!
	[ $? -gt 128 ] && nothing_left
}

# wait_for CONDITION...: of test
wait_for()
{
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		test "$@" && return
		sleep 0.5
	done
	return 1
}

# gives_two TEXT OPTION...: an error of run_tests.sh itself
gives_two()
{
	text=$1
	shift
	sh "$copy/run_tests.sh" "$@" 2>"$tmp/stderr"
	[ $? -eq 2 ] && grep -q -e "$text" "$tmp/stderr"
}

# refused STATUS TEXT [OPTION]...: with that, and before a machine is booted
refused()
{
	programs a
	want=$1
	text=$2
	shift 2
	emulated "$@"
	got=$?
	cat "$tmp/stdout" "$tmp/stderr"
	[ $got -eq "$want" ] && [ ! -s "$tmp/stdout" ] && grep -q -e "$text" "$tmp/stderr" &&
		[ ! -e "$tmp/booted" ] && nothing_left
}

bad_usage()
{
	refused 2 "not for emulated machines: -n" -n 3 &&
		refused 2 "needs a value" -t && refused 2 "needs a value" -t a -k &&
		refused 2 "cannot read known failures from '/nowhere'" -k /nowhere &&
		refused 2 "no quotes" -t "it's" &&
		EMULATED_LIMIT=long refused 2 "EMULATED_LIMIT is not a number" &&
		refused 2 "not for emulated machines: --emulated" --emulated &&
		gives_two "has to come before" -t a --emulated
}

# bad_there TEXT OPTION...: what only the driver in the machine can tell
bad_there()
{
	text=$1
	shift
	programs a
	emulated "$@"
	[ $? -eq 2 ] && grep -q -e "$text" "$tmp/stderr" && nothing_left
}

bad_in_the_machine()
{
	echo "a_test_64 no_such_state" >"$tmp/list"
	bad_there "no test matches 'nonsense'" -t nonsense &&
		bad_there "not PATTERN STATE REASON" -k "$tmp/list"
}

no_kernel()
{
	for kernel in /nowhere "$tmp"; do
		refused 4 "cannot read the kernel $kernel" && [ "$(wc -l <"$tmp/stderr")" -eq 1 ] ||
			return
	done
}

# A system with nothing else. $user is who asks.
for tool in awk basename cat cmp cp cpio dirname dpkg-deb env find flock grep gzip head ldd mkdir \
	mkfifo mktemp mv nproc pgrep rm sed seq setsid sh sleep sort tail tar timeout tr wc zcat; do
	ln -s "$(command -v $tool)" "$tmp/none/$tool" 2>/dev/null
done
echo "echo \$ME" | make_stub "$tmp/none/id"

needed="qemu-system-x86_64 cpio gcc make xz busybox"
packages="qemu-system-x86 cpio gcc libc6-dev make xz-utils busybox-static"

# without TOOL...: they are in $tmp/away
without()
{
	rm -rf "$tmp/few" "$tmp/away"
	cp -r "$tmp/none" "$tmp/few" && cp "$tmp"/bin/* "$tmp/few" && mkdir "$tmp/away" || return
	for tool; do
		mv "$tmp/few/$tool" "$tmp/away" || return
	done
	path=$tmp/few
	export ME=1000
}

# apt_get: a stub that installs what is in $tmp/away
apt_get()
{
	make_stub "$tmp/few/apt-get" <<-END
		#!/bin/sh
		echo "\$*" >>"$tmp/asked"
		case \$* in
		*" install "*) cp -P "$tmp"/away/* "$tmp/few" ;;
		*" download "*) cp "$tmp"/*.deb . ;;
		esac
	END
	rm -f "$tmp/asked"
}

# names PACKAGES: what is missing, and no more
names()
{
	refused 4 "missing: $1; as root on Debian: apt-get install $1\$" &&
		[ "$(wc -l <"$tmp/stderr")" -eq 1 ] && [ ! -e "$tmp/asked" ]
}

names_what_is_missing()
{
	while read -r tool package; do
		without "$tool" && apt_get && names "$package" || return
	done <<-END
		qemu-system-x86_64 qemu-system-x86
		cpio cpio
		gcc gcc libc6-dev
		make make
		xz xz-utils
		busybox busybox-static
	END
	# shellcheck disable=SC2086 # words
	without $needed && apt_get && names "$packages" && rm "$tmp/few/apt-get" &&
		ME=0 names "$packages"
}

# Another than the static one, too
installs_it()
{
	# shellcheck disable=SC2086 # words
	without $needed && apt_get && cp "$(command -v sleep)" "$tmp/few/busybox" || return
	programs a
	ME=0 ends 0 "2 passed, 0 failed, 0 skipped" && [ "$(wc -l <"$tmp/asked")" -eq 1 ] &&
		grep -q "install .* $packages\$" "$tmp/asked"
}

cannot_install()
{
	without xz && apt_get && rm "$tmp/away/xz" && echo 'exit 100' | make_stub "$tmp/few/apt-get" &&
		ME=0 refused 4 "cannot install xz-utils"
}

# As another user than root
fetches_a_kernel()
{
	kernel=
	package=linux-image-6.12.0-cloud-amd64
	without && apt_get && mkdir -p "$tmp/deb/DEBIAN" "$tmp/deb/boot" &&
		echo "  Depends: $package" >"$tmp/depends" && echo "cat $tmp/depends" |
		make_stub "$tmp/few/apt-cache" &&
		echo "the kernel" >"$tmp/deb/boot/vmlinuz-6.12.0-cloud-amd64" &&
		printf '%s\n' "Package: $package" "Version: 1" "Architecture: all" \
			"Maintainer: x <x@y>" "Description: x" >"$tmp/deb/DEBIAN/control" &&
		dpkg-deb -b "$tmp/deb" "$tmp/${package}_1_all.deb" || return
	programs a
	for _ in 1 2; do
		ends 0 "2 passed, 0 failed, 0 skipped" &&
			cmp "$copy/.cache/emulated/vmlinuz" "$tmp/deb/boot/"vmlinuz* &&
			[ "$(wc -l <"$tmp/asked")" -eq 1 ] || return
	done
}

cannot_fetch()
{
	kernel=
	rm -rf "$copy/.cache/emulated"
	without && refused 4 "no apt-get here" && apt_get && : >"$tmp/depends" &&
		echo "cat $tmp/depends" | make_stub "$tmp/few/apt-cache" &&
		refused 4 "no kernel package is known here" && echo "  Depends: linux-image-1-cloud-amd64" >"$tmp/depends" &&
		rm -f "$tmp"/*.deb && refused 4 "cannot get linux-image-1-cloud-amd64"
}

# try NAME FUNCTION [ARGUMENT]...: with the settings as they were
try()
{
	check "$@"
	kernel=$tmp/kernel
	path=$tmp/bin:$PATH
	wrapper="timeout 100"
	unset ME
}

try "all is well" all_good
try "one program fails" one_fails
try "a machine dies" one_dies
try "a machine hangs" one_hangs
try "a kernel that panics at boot" does_not_boot panics 3
try "a kernel that hangs at boot" does_not_boot silent 1
try "nothing can run" nothing_runs
try "dead breakpoints" dead
try "selected programs" only_those
try "known failures" known
try "terminated" interrupted TERM
if env --default-signal=INT true 2>/dev/null; then
	try "interrupted" interrupted INT
else
	skip "interrupted" "env cannot undo that SIGINT is ignored"
fi
try "bad usage" bad_usage
try "bad usage, as the machine finds" bad_in_the_machine
try "a kernel that cannot be read" no_kernel
try "what is missing is named" names_what_is_missing
try "what is missing is installed" installs_it
try "what is missing cannot be installed" cannot_install
if have dpkg-deb; then
	try "a kernel is downloaded, once" fetches_a_kernel
	try "a kernel cannot be downloaded" cannot_fetch
else
	skip "a kernel is downloaded" "no dpkg-deb here"
fi
done_testing
