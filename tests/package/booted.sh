# What the scripts share that run in a root which systemd has booted; sourced by them, with $service set.
# shellcheck shell=bash disable=SC2154
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
fail() {
    echo "FAILED: $*"
    systemctl status --no-pager --full "$service" || true
    journalctl --no-pager -u "$service" | tail -40
    exit 1
}
trap 'fail "line $LINENO"' ERR

# `property NAME`: what systemd knows of the service.
property() { systemctl show --value --property="$1" "$service"; }
# `eventually TEXT COMMAND...`: within 20 s the command says this text.
eventually() {
    local wanted=$1 said=''
    shift
    for _ in $(seq 200); do
        said=$("$@" 2>&1) || true
        if [[ $said == *"$wanted"* ]]; then return; fi
        sleep 0.1
    done
    fail "no \"$wanted\" from: $*; it says: $said"
}
