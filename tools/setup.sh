#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Install what "make check" can use on Debian, as root; all of it is optional
# there, what is missing is skipped by name. The suite itself needs gcc and make.

packages='gcc make libc6-dev gcc-multilib clang shellcheck perl rsync
	python3-tap python3-more-itertools python3-yaml python3-jinja2 help2man mandoc
	inotify-tools'
# Either busybox will do, and installing one removes the other.
command -v busybox >/dev/null 2>&1 || packages="$packages busybox-static"

missing=
for package in $packages; do
	dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' ||
		missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "${0##*/}: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # words
install() { apt-get -qq install -y --no-install-recommends $missing >/dev/null; }
install 2>/dev/null || { apt-get -qq update && install; }
