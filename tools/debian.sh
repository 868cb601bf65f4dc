# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced: Debian packages without root and without installing them. The caller
# sets $me (for messages) and $cache (a directory to keep things in).
# shellcheck disable=SC2154

say()
{
	echo "$me: $*" >&2
}

# private_apt ARGUMENTS: apt-get with lists of our own. The system's may be
# missing or out of date, and it needs root to renew them.
private_apt()
{
	mkdir -p "$cache/apt/lists/partial" "$cache/apt/archives/partial" || return
	apt-get -qq -o Dir::State::Lists="$cache/apt/lists" -o Dir::Cache="$cache/apt" \
		-o APT::Sandbox::User=root "$@" >/dev/null 2>&1
}

# download PACKAGE: leave one PACKAGE_*.deb in the current directory. The lists
# that are there are tried first.
download()
{
	apt-get -qq -o APT::Sandbox::User=root download "$1" >/dev/null 2>&1 && return
	rm -f "$1"_*.deb
	private_apt download "$1" && return
	rm -f "$1"_*.deb
	say "no usable package lists, fetching them (kept in .cache/apt)"
	private_apt update && private_apt download "$1"
}

# begin_work: a directory of our own to work in, gone whatever happens. What was
# made in it is renamed to its final place when it is whole, so that nothing
# half-done is ever seen there.
begin_work()
{
	mkdir -p "$cache" && work=$(mktemp -d "$cache/tmp.XXXXXX") || exit 1
	trap 'cd / && rm -rf "$work"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' HUP TERM
	cd "$work" || exit 1
}

# one_at_a_time: who had to wait finds the work done.
one_at_a_time()
{
	command -v flock >/dev/null 2>&1 || return 0
	mkdir -p "$cache" && exec 9>"$cache/lock" && flock 9 &&
		# Those of someone who was killed.
		rm -rf "$cache"/tmp.*
}
