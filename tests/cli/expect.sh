# shellcheck shell=bash
# What tests of the command begin with: a folder of their own, which is the working directory and goes when the test ends, `failed`,
# which is the exit status, and expect. A script sources it after its arguments.
set -u
failed=0 said=''
under=() # a command that runs what is expected: (timeout 20)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
fail() { echo "FAILED: $*"; failed=1; }
# expect CODE TEXT COMMAND…: the exit code, and a text that what was said, which stays in $said, must hold ("!TEXT": must not hold)
expect() {
    local code=$1 text=${2#!} wanted=yes holds=no got
    [[ $2 == !* ]] && wanted=no
    shift 2
    said=$("${under[@]}" "$@" 2>&1)
    got=$?
    [[ $said == *"$text"* ]] && holds=yes
    [ "$got" = "$code" ] && [ $holds = $wanted ] || fail "$*: exit $got, expected $code; '$text' said: $holds, expected $wanted; said: $said"
}
