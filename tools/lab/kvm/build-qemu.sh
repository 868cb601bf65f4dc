#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Build a QEMU whose emulated SVM keeps breakpoints right, from Debian's own
# source package, into an ignored cache directory.
#
# VMRUN and #VMEXIT of QEMU's emulator (7.2, target/i386/tcg/sysemu/
# svm_helper.c) load DR7 by plain assignment.  The emulator keeps a list of its
# own of what DR7 arms, and only cpu_x86_update_dr7() keeps the two together:
# after the assignment a guest's breakpoints are not armed, the host's are still
# there, and the next change of DR7 frees what is not there.  Two lines mend it:
# both places go through that function, and #VMEXIT with the value that disables
# everything, as AMD's manual has it (APM vol. 2, "#VMEXIT": DR7 is loaded with
# its all-breakpoints-disabled value).
#
# Usage: build-qemu.sh [DIRECTORY]
#   DIRECTORY  where to build (default: .cache/lab/qemu of the project)
# Prints the path of the emulator; does nothing where it is there already.
# Needs: dpkg-dev meson ninja-build pkg-config libglib2.0-dev libpixman-1-dev
# libfdt-dev zlib1g-dev, a network for the source, 700 MB and about ten minutes.

set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../../.cache/lab/qemu}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
qemu=$dir/build/qemu-system-x86_64
jobs=${JOBS:-2}

die()
{
	echo "build-qemu.sh: $*" >&2
	exit 1
}

if [ -x "$qemu" ] && [ -e "$dir/build/.done" ]; then
	echo "$qemu"
	exit 0
fi

for tool in dpkg-source meson ninja pkg-config; do
	command -v $tool >/dev/null || die "$tool is missing"
done
pkg-config --exists glib-2.0 pixman-1 zlib ||
	die "libglib2.0-dev, libpixman-1-dev, libfdt-dev or zlib1g-dev is missing"

# The machine's own package lists are left alone: sources and lists of our own.
fetch()
{
	set -- -q -o Dir::Etc::sourcelist="$dir/apt/sources.list" \
		-o Dir::Etc::sourceparts=/dev/null \
		-o Dir::State::lists="$dir/apt/lists" \
		-o APT::Sandbox::User=root
	keys=/usr/share/keyrings/debian-archive-keyring.gpg

	# shellcheck disable=SC1091
	release=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mkdir -p "$dir/apt/lists/partial"
	cat >"$dir/apt/sources.list" <<-END
	deb-src [signed-by=$keys] http://deb.debian.org/debian $release main
	deb-src [signed-by=$keys] http://deb.debian.org/debian-security $release-security main
	END
	apt-get "$@" update
	(cd "$dir" && apt-get "$@" --download-only source qemu)
}

# Each edit must apply exactly once.
mend()
{
	file=$dir/src/target/i386/tcg/sysemu/svm_helper.c

	awk '
	# dr[7] = <load>(cs,            The statement spans two lines; the load
	#         <area> + save.dr7));  from the area names which place it is.
	/^[ \t]*env->dr\[7\] = x86_ldq_phys\(cs,$/ {
		first = $0
		if ((getline second) <= 0)
			exit 1
		if (second ~ /vm_vmcb .*save\.dr7\)\);$/) {
			vmrun++
			sub(/env->dr\[7\] = /, "cpu_x86_update_dr7(env, ", first)
			sub(/\);$/, "));", second)
			print first
			print second
		} else if (second ~ /vm_hsave .*save\.dr7\)\);$/) {
			vmexit++
			print "    cpu_x86_update_dr7(env, DR7_FIXED_1);"
		} else {
			print first
			print second
		}
		next
	}
	{ print }
	END { exit !(vmrun == 1 && vmexit == 1) }
	' "$file" >"$file.new" || die "the mend does not fit this QEMU: $file"
	mv "$file.new" "$file"
	[ "$(grep -c 'cpu_x86_update_dr7(env, ' "$file")" = 2 ] ||
		die "the mend was not applied: $file"
}

# VMCB offset 0xc8 is nRIP (APM vol. 2, appendix B).  RDMSR and WRMSR are two
# bytes long, HLT one; no compiler puts a prefix before them.
nrips()
{
	file=$dir/src/target/i386/tcg/sysemu/svm_helper.c

	awk '
	{ print }
	/^void cpu_vmexit\(/ { inside = 1 }
	inside && /cpu_restore_state\(cs, retaddr\);/ {
		print "    x86_stq_phys(cs, env->vm_vmcb + 0xc8,"
		print "                 exit_code == SVM_EXIT_MSR ? env->eip + 2 :"
		print "                 exit_code == SVM_EXIT_HLT ? env->eip + 1 : 0);"
		inside = 0
		done++
	}
	END { exit done != 1 }
	' "$file" >"$file.new" || die "NRIPS does not fit this QEMU: $file"
	mv "$file.new" "$file"

	file=$dir/src/target/i386/cpu.c
	sed -i 's/^#define TCG_SVM_FEATURES (CPUID_SVM_NPT | /&CPUID_SVM_NRIPSAVE | /' "$file"
	grep -q '^#define TCG_SVM_FEATURES .*NRIPSAVE' "$file" ||
		die "NRIPS was not applied: $file"
}

{
	set -- "$dir"/qemu_*.dsc
	[ -e "$1" ] || fetch
	set -- "$dir"/qemu_*.dsc
	[ -e "$1" ] || die "no qemu_*.dsc in $dir"
	[ $# = 1 ] || die "more than one qemu_*.dsc in $dir: $*"

	if [ ! -e "$dir/src/.patched" ]; then
		rm -rf "$dir/src"
		dpkg-source --no-check -x "$1" "$dir/src"
		mend
		nrips
		: >"$dir/src/.patched"
	fi

	mkdir -p "$dir/build"
	cd "$dir/build"
	# Debian's source has no firmware: -L of the run scripts names the
	# installed one (qemu-system-data, seabios).
	# /usr/bin first: the meson there needs the distribution's own python.
	PATH=/usr/bin:$PATH
	[ -e build.ninja ] || ../src/configure --target-list=x86_64-softmmu \
		--meson=/usr/bin/meson \
		--without-default-features --disable-user --disable-tools \
		--disable-docs --disable-install-blobs --enable-tcg --enable-kvm
	nice -n 10 ninja -j "$jobs" qemu-system-x86_64
	: >.done
} >&2

echo "$qemu"
