#!/bin/sh
# `make demo` and `make install` configure with the packages of the group `build` alone (P23): this
# test hides cmocka and clang, and no test, fuzz replay or benchmark is created. Every Make rule
# installs packages before it configures, and a preset switches a build folder from any earlier
# state. `tools/fresh` tests all of it on a bare Debian. Usage: tests/bare.sh SOURCE
set -eu
source=$1 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; failed=1; }

# A pkg-config that does not find cmocka.
mkdir "$work/bin"
cat > "$work/bin/pkg-config" << SCRIPT
#!/bin/sh
case "\$*" in *cmocka*) exit 1 ;; esac
exec $(command -v pkg-config) "\$@"
SCRIPT
chmod +x "$work/bin/pkg-config"
configure() { # PRESET: into the one build folder
    (cd "$source" && cmake --preset "$1" -G "Unix Makefiles" -B "$work/build" -DPKG_CONFIG_EXECUTABLE="$work/bin/pkg-config") > "$work/said" 2>&1
}
# the number of tests, replays and benchmarks in the folder
extras() { cmake --build "$work/build" --target help | grep -cE '^\.\.\. (test_|replay_|bench|conformance|words)' || true; }

configure release || { cat "$work/said"; fail "the release preset needs more than the build packages"; }
[ "$(extras)" = 0 ] || fail "the release preset configures tests, replays or benchmarks"
if configure dev; then fail "the dev preset has no tests"; fi # and leaves a folder that wants them
: > "$work/build/conformance"
configure release || { cat "$work/said"; fail "the release preset does not turn off the tests of an earlier one"; }
[ ! -e "$work/build/conformance" ] || fail "the release preset leaves programs of an earlier one"
ctest --test-dir "$work/build" -N | grep -q '^Total Tests: 0' || fail "the release preset leaves tests of an earlier one"
configure bench || { cat "$work/said"; fail "the bench preset needs more than the build packages"; }
[ "$(extras)" = 1 ] || fail "the bench preset configures something other than build/bench"

# rule: the groups that it installs first
while read -r rule groups; do
    (cd "$source" && MAKEFLAGS='' make -n "$rule" JOBS=1) > "$work/said"
    first=$(grep -m 1 -E 'tools/packages|cmake|ctest' "$work/said")
    [ "$first" = "tools/packages $groups" ] || fail "make $rule begins with '$first', not with tools/packages $groups"
done << 'RULES'
all build
build build
demo build demo
install build
dev build check
check build check
check-slow build check
check-style build check style
docs build check
asan build check
tsan build check
min build check
clang build check clang
arm64 build check arm64
fuzz build fuzz
bench build bench
check-keras build keras
RULES
# Every command of README.md is of a kind that tools/fresh runs.
if ! { "$source/tools/readme-commands" > "$work/said" && sh -n "$work/said"; }; then fail "README.md has a command that nobody runs"; fi
exit $failed
