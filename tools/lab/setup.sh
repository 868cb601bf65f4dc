#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Install what the lab needs (Debian), or say what is missing.

packages="qemu-system-x86 busybox-static coccinelle flex bison bc libelf-dev
	cpio xz-utils lcov gcc-multilib libc6-dev"

missing=
for p in $packages; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' ||
		missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ]; then
	echo "lab: missing:$missing; as root: apt-get install$missing" >&2
	exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # words
apt-get -qq install -y --no-install-recommends $missing >/dev/null 2>&1 ||
	{ apt-get -qq update && apt-get -qq install -y --no-install-recommends $missing; } >/dev/null 2>&1 || {
	echo "lab: cannot install:$missing" >&2
	exit 1
}
