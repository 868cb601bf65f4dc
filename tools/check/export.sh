#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# tools/export.sh: the series applies to 6.12 and mainline, builds after each patch and
# is checkpatch --strict clean; the tree itself is only changed when asked, once, and
# not if it is dirty, too old or none.
. "$(dirname "$0")/../tap.sh"

unset OUTPUT KSRC ARCH LLVM CC M32 USERCFLAGS USERLDFLAGS MAKEFLAGS MAKELEVEL
unset KBUILD_OUTPUT O INSTALL_PATH
export GIT_CONFIG_GLOBAL="$tmp/gitconfig" GIT_CONFIG_NOSYSTEM=1
git config --global user.name "A Submitter"
git config --global user.email submitter@example.org
git config --global gc.auto 0

# For checks of make only: a compiler that does not generate code
cat >"$tmp/reads" <<'END'
#!/bin/sh
gcc -fsyntax-only "$@" || exit
while [ "$1" != -o ]; do shift; done
[ "$2" = /dev/null ] || { : >"$2" && chmod +x "$2"; }
END
chmod +x "$tmp/reads"

is_clean() { [ -z "$(git -C "$tree" status --porcelain)" ]; }

makes_series()
{
	rm -rf "$tmp/series"
	"$top/tools/export.sh" --series "$tmp/series" "$tree" && is_clean &&
		grep -q '^Cc: ' "$tmp/series/0000-cover-letter.patch" &&
		[ "$(grep -l '^Signed-off-by: A Submitter' "$tmp/series"/*.patch | wc -l)" -eq \
			"$(find "$tmp/series" -name '0*.patch' ! -name '0000-*' | wc -l)" ]
}

# Each patch applies; the suite, from its first patch on, builds after each
builds()
{
	for p in "$tmp/series"/*.patch; do
		case $p in */0000-*) continue ;; esac
		git -C "$tree" am -q "$p" || return
		[ -d "$tree/tools/testing/selftests/hw_breakpoint" ] || continue
		make -C "$tree/tools/testing/selftests" TARGETS=hw_breakpoint O="$tmp/obj" \
			CC="$tmp/reads" USERCFLAGS=-Werror >"$tmp/log" 2>&1 || {
			cat "$tmp/log"
			return 1
		}
		rm -rf "$tmp/obj"
		is_clean || return
	done
}

# MAINTAINERS has the entry, but checkpatch asks for it with each new file
style()
{
	for p in "$tmp/series"/*.patch; do
		case $p in */0000-*) continue ;; esac
		perl "$tree/scripts/checkpatch.pl" --no-tree --strict --terse --no-summary \
			--ignore PREFER_KERNEL_TYPES,PREFER_DEFINED_ATTRIBUTE_MACRO,VOLATILE \
			--ignore ENOSYS,UNDOCUMENTED_SETUP,FILE_PATH_CHANGES,UNKNOWN_COMMIT_ID \
			--ignore GIT_COMMIT_ID "$p" || return
	done
}

same_files()
{
	"$top/tools/export.sh" "$tree" | grep 'has it already, unchanged' && is_clean
}

exports_once()
{
	git -C "$tree" reset -q --hard base && "$top/tools/export.sh" "$tree" &&
		git -C "$tree" status --porcelain | sort >"$tmp/changed" && cat "$tmp/changed" &&
		printf ' M %s\n?? %s\n' MAINTAINERS tools/testing/selftests/hw_breakpoint/ |
		sed '1a\ M tools/testing/selftests/Makefile' | sort | diff - "$tmp/changed" &&
		"$top/tools/export.sh" "$tree" | grep 'has it already, unchanged' &&
		git -C "$tree" status --porcelain | sort | diff - "$tmp/changed"
}

refuses_dirty()
{
	git -C "$tree" reset -q --hard base && git -C "$tree" clean -qfd &&
		echo "# mine" >>"$tree/tools/testing/selftests/Makefile" &&
		! "$top/tools/export.sh" "$tree" 2>"$tmp/said" && cat "$tmp/said" &&
		grep -q 'uncommitted changes' "$tmp/said" &&
		[ "$(git -C "$tree" status --porcelain)" = " M tools/testing/selftests/Makefile" ]
}

refuses_unsigned()
{
	! GIT_CONFIG_GLOBAL=/dev/null "$top/tools/export.sh" --series "$tmp/none" "$tree" \
		2>"$tmp/said" && cat "$tmp/said" && grep -q 'no user' "$tmp/said" && [ ! -e "$tmp/none" ]
}

refuses_others()
{
	mkdir -p "$tmp/old/tools/testing/selftests" && : >"$tmp/old/tools/testing/selftests/lib.mk" &&
		: >"$tmp/old/tools/testing/selftests/kselftest_harness.h" &&
		! "$top/tools/export.sh" "$tmp/old" 2>"$tmp/said" && grep -q 'too old' "$tmp/said" &&
		! "$top/tools/export.sh" /nowhere 2>"$tmp/said" &&
		grep -q 'is no kernel tree' "$tmp/said"
}

for version in 6.12 mainline; do
	source=$("$top/tools/get-harness.sh" $version 2>"$tmp/out") || {
		not_ok "$version: no source"
		continue
	}
	tree=$tmp/linux-$version
	cp -r "$source" "$tree"
	(cd "$tree" && git init -q . && git add -Af . && git commit -qm base && git tag base) || exit 1
	check "$version: a series, signed off, the tree untouched" makes_series
	check "$version: each patch applies, the suite builds after each" builds
	check "$version: checkpatch --strict of the series" style
	check "$version: the series leaves what a plain export does" same_files
	check "$version: exported once, nothing else changed" exports_once
	check "$version: a dirty tree is left alone" refuses_dirty
	check "$version: without a user no sign-off is invented" refuses_unsigned
	rm -rf "$tree"
done
check "no tree, or one that is too old: a clear error" refuses_others
done_testing
