#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# A host with KVM inside QEMU's emulated SVM, to run the KVM programs where its
# bugs can be put back.  No KVM is needed on this machine.
#
# Usage: lab.sh test             the good KVM: must pass but for what
#                                tools/known-failures/tcg-kvm.txt names
#        lab.sh faults [NAME...] each bug of tools/lab/faults that needs a guest, and
#                                those of more-faults.sh: must be caught
#        lab.sh fixes            the good KVM with the patches of tools/fixes: the same,
#                                and no test of kvm_step_test may end as XFAIL
#        lab.sh report [SECONDS] the report's experiment: a guest Linux beside the
#                                same load in the host, on the good and the broken
#                                KVM, with the time to the first lost trap
#
# Everything is built once, into .cache/lab/kvm.  Needs what build-qemu.sh needs,
# and a compiler, coccinelle, bc, flex, bison, libelf-dev, cpio, busybox-static, 4 GB and
# about fifteen minutes for the first time; LINUX=DIR uses a kernel source that is
# there (it is copied, not touched).

set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
cache=$top/.cache
dir=$cache/lab/kvm
me=lab
version=6.12
jobs=${JOBS:-2}
# shellcheck source=tools/debian.sh
. "$top/tools/debian.sh"

die()
{
	say "$*"
	exit 4
}

source_tree()
{
	[ -e "$dir/linux/Makefile" ] && return
	rm -rf "$dir/linux" "$dir/linux.new"
	if [ -n "${LINUX:-}" ]; then
		cp -a "$LINUX" "$dir/linux.new"
	else
		(cd "$dir" && download linux-source-$version) ||
			die "no linux-source-$version: give LINUX=DIR"
		mkdir "$dir/linux.new"
		dpkg-deb --fsys-tarfile "$dir"/linux-source-${version}_*.deb |
			tar -xO -f - ./usr/src/linux-source-$version.tar.xz |
			tar -xJ -C "$dir/linux.new" --strip-components=1
	fi
	mv "$dir/linux.new" "$dir/linux"
}

# The fixes of KVM, out again when this script ends
patch_kvm()
{
	for p in "$top"/tools/fixes/*-KVM-*.patch; do
		variant=$top/tools/fixes/$version/${p##*/}
		[ ! -e "$variant" ] || p=$variant
		cat "$p"
	done >"$dir/fixes.patch"
	patch -s -p1 -d "$dir/linux" <"$dir/fixes.patch" || die "the fixes do not apply"
	trap 'patch -s -R -p1 -d "$dir/linux" <"$dir/fixes.patch"' EXIT
}

# After a change of the fragment or of the faults only what depends on it is
# built again.
kernel()
{
	source_tree
	"$top/tools/lab/faults/apply.sh" "$dir/linux"
	"$here/more-faults.sh" "$dir/linux"
	mkdir -p "$dir/build"
	make -s -C "$dir/linux" O="$dir/build" tinyconfig
	(cd "$dir/linux" && scripts/kconfig/merge_config.sh -m -O "$dir/build" \
		"$dir/build/.config" "$here/kvm.config") >/dev/null 2>&1
	make -s -C "$dir/linux" O="$dir/build" olddefconfig
	grep -q '^CONFIG_KVM_AMD=y' "$dir/build/.config" || die "no KVM in the kernel"
	[ "$what" != fixes ] || patch_kvm
	nice -n 10 make -s -C "$dir/linux" O="$dir/build" -j "$jobs" bzImage vmlinux
}

# root NAME: the start of an initramfs; archive NAME: the end of it.
root()
{
	rm -rf "${dir:?}/$1"
	mkdir -p "$dir/$1/bin" "$dir/$1/dev"
	cp "$(command -v busybox)" "$dir/$1/bin/busybox"
	cp "$here/init" "$dir/$1/init"
	chmod +x "$dir/$1/init"
}

archive()
{
	(cd "$dir/$1" && find . | cpio -o -H newc --quiet | gzip -1) >"$dir/$1.gz"
}

programs()
{
	make -s -C "$top" install INSTALL_PATH="$dir/suite" USERLDFLAGS=-static
	${CC:-cc} -O2 -static -o "$dir/suite/report_loop" "$here/report_loop.c"
}

images()
{
	qemu=$("$here/build-qemu.sh") || die "no QEMU"
	root guest
	mkdir "$dir/guest/suite"
	for p in report_loop context_switch_test_64 context_switch_test_64; do
		[ ! -e "$dir/suite/$p" ] || cp "$dir/suite/$p" "$dir/guest/suite/"
	done
	cp "$here/in-host.sh" "$dir/guest/"
	archive guest

	root host
	cp -r "$dir/suite" "$dir/host/suite"
	cp "$top/tools/known-failures/tcg-kvm.txt" "$dir/host/suite/"
	cp "$here/in-host.sh" "$dir/host/"
	# For the guest Linux: QEMU with all it needs
	mkdir -p "$dir/host/qemu" "$dir/host/lib64"
	strip -o "$dir/host/qemu/qemu" "$qemu"
	ldd "$qemu" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' |
		while read -r lib; do cp -L "$lib" "$dir/host/qemu/"; done
	cp -L /lib64/ld-linux-x86-64.so.2 "$dir/host/lib64/"
	for rom in qboot.rom linuxboot_dma.bin pvh.bin; do
		cp "$(find /usr/share/qemu /usr/share/seabios -name $rom | head -n 1)" \
			"$dir/host/qemu/"
	done
	strip -o "$dir/host/vmlinux" "$dir/build/vmlinux"
	cp "$dir/guest.gz" "$dir/host/"
	archive host
}

# boot SECONDS COMMAND: the host runs it; its console is our output.  With
# thread=multi one boot in some 35 dies of a wrong int3, hence thread=single.
boot()
{
	seconds=$1
	shift
	mkdir -p "$dir/cmd"
	echo "$*" >"$dir/cmd/cmd"
	archive cmd
	cat "$dir/host.gz" "$dir/cmd.gz" >"$dir/initrd.$$"
	# Gone when this script is
	setpriv --pdeathsig TERM timeout "$seconds" "$qemu" -L /usr/share/qemu -L /usr/share/seabios \
		-nodefaults -no-user-config -machine pc -accel tcg,thread=single \
		-cpu max,+svm,+nrip-save,la57=off -smp 2,sockets=2 -m 1024 \
		-kernel "$dir/build/arch/x86/boot/bzImage" -initrd "$dir/initrd.$$" \
		-append "console=ttyS0 panic=-1 quiet tsc_early_khz=2400000 tsc=reliable reboot=t" \
		-display none -serial stdio -monitor none -no-reboot </dev/null |
		sed -u 's/\r//' | tee "$dir/console"
	rm -f "$dir/initrd.$$"
	# The last words of init: without them nothing is known
	grep -q '^lab: exit 0' "$dir/console"
}

mkdir -p "$dir"
what=${1:-}
case $what in
test | fixes | faults | report) ;;
*)
	sed -n '/^# Usage/,/^#$/s/^# \{0,1\}//p' "$0" >&2
	exit 2
	;;
esac
{ kernel && programs && images; } >&2 || die "could not be built"

shift
case $what in
test)	boot 600 /bin/sh /in-host.sh test ;;
fixes)	boot 600 /bin/sh /in-host.sh test && ! grep 'ok .* kvm_step.*# XFAIL KVM' "$dir/console" ;;
faults)	boot 900 /bin/sh /in-host.sh faults "$@" ;;
report)	boot 1800 /bin/sh /in-host.sh report "$@" ;;
esac
