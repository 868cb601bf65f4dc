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

# apt_in DIR TOOL ARGUMENTS...: apt-get or apt-cache with its lists in DIR. Those of
# the system may be missing or out of date, and need root.
apt_in()
{
	dir=$1 tool=$2
	shift 2
	mkdir -p "$dir/lists/partial" "$dir/archives/partial" || return
	[ ! -s "$dir/sources.list" ] || set -- -o Dir::Etc::SourceList="$dir/sources.list" \
		-o Dir::Etc::SourceParts=- "$@"
	$tool -qq -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir" \
		-o APT::Sandbox::User=root "$@" 2>/dev/null
}

# later_suites: write the sources of Debian's later suites, and fetch their lists,
# below .cache: for kernels that are newer than this Debian. The system's sources
# stay as they are.
later_suites()
{
	mkdir -p "$cache/apt-later" || return
	# shellcheck disable=SC2016 # for apt-get to expand
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		2>/dev/null | grep -m 1 '/debian/$')
	for suite in sid experimental; do
		echo "deb ${mirror:-http://deb.debian.org/debian/} $suite main"
	done >"$cache/apt-later/sources.list"
	apt_in "$cache/apt-later" apt-get update >/dev/null
}

# newest_source: the newest linux-source package of those suites' unstable one
newest_source()
{
	apt_in "$cache/apt-later" apt-cache depends -t sid linux-source |
		sed -n 's/^ *Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -n 1
}

# download PACKAGE: leave one PACKAGE_*.deb in the current directory. The lists
# that are there are tried first.
download()
{
	apt-get -qq -o APT::Sandbox::User=root download "$1" >/dev/null 2>&1 && return
	rm -f "$1"_*.deb
	apt_in "$cache/apt" apt-get download "$1" >/dev/null && return
	rm -f "$1"_*.deb
	say "no usable package lists, fetching them (kept in .cache/apt)"
	apt_in "$cache/apt" apt-get update >/dev/null &&
		apt_in "$cache/apt" apt-get download "$1" >/dev/null && return
	rm -f "$1"_*.deb
	case $1 in
	linux-source-*) [ -s "$cache/apt-later/sources.list" ] || later_suites || return ;;
	*) return 1 ;;
	esac
	apt_in "$cache/apt-later" apt-get download "$1" >/dev/null
}

# begin_work: change to a new directory, which is removed at exit. Results are renamed
# to their final place once they are complete.
begin_work()
{
	mkdir -p "$cache" && work=$(mktemp -d "$cache/tmp.XXXXXX") || exit 1
	trap 'cd / && rm -rf "$work"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' HUP TERM
	cd "$work" || exit 1
}

# one_at_a_time: wait for others that do the same
one_at_a_time()
{
	command -v flock >/dev/null 2>&1 || return 0
	mkdir -p "$cache" && exec 9>"$cache/lock" && flock 9 &&
		# Left behind by others that were killed
		rm -rf "$cache"/tmp.*
}
