# What the scenarios share; they run as root in a machine that is thrown away, with `set -euo pipefail`.
# shellcheck shell=bash

say() { printf -- '-- %s\n' "$*"; }
fail() {
    printf 'WRONG: %s\n' "$*"
    exit 1
}
trap 'printf "WRONG: line %s: %s\n" "$LINENO" "$BASH_COMMAND"' ERR

# is WHAT EXPECTED FOUND
is() {
    [ "$2" = "$3" ] || fail "$1 is '$3', not '$2'"
    say "$1: $3"
}

# soon WHAT COMMAND...: waits until the command succeeds, for a minute at most.
soon() {
    local what=$1 until=$((SECONDS + ${patience:-60}))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "not within ${patience:-60} s: $what"
        sleep 0.1
    done
    say "$what"
}
