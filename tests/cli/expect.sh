# shellcheck shell=bash
# Sourced by tests of the command, after they read their arguments. Creates a temporary folder,
# which becomes the working directory and is removed at the end of the test, and defines `failed`,
# the exit status, and expect.
set -u
failed=0 said=''
under=() # a command that runs what is expected: (timeout 20)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
fail() { echo "FAILED: $*"; failed=1; }
# expect CODE TEXT COMMAND…: the expected exit code, and a text that the output must contain
# ("!TEXT": must not). $said keeps the output.
expect() {
    local code=$1 text=${2#!} wanted=yes holds=no got
    [[ $2 == !* ]] && wanted=no
    shift 2
    said=$("${under[@]}" "$@" 2>&1)
    got=$?
    [[ $said == *"$text"* ]] && holds=yes
    [ "$got" = "$code" ] && [ $holds = $wanted ] || fail "$*: exit $got, expected $code; '$text' present: $holds, expected $wanted; output: $said"
}
