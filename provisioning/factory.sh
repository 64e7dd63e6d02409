#!/usr/bin/env bash
# The factory's last step, on simulated plugs: each one draws its own identity, the manufacturer's
# authority certifies it, and key and certificate lie where the daemon looks for them.
#
# Cut off, run it again: plugs that are done are checked and left as they are.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: factory.sh --authority DIR --out DIR --count N

  --authority DIR  the manufacturer's authority (sect-cloud provision authority)
  --out DIR        where the plugs go: plug-0001, plug-0002, ...
  --count N        how many

SECTD and SECT_CLOUD name the two programs when they are not on the PATH.
TEXT
}

fail() {
    printf 'factory.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

authority="" out="" count=""
while [ "$#" -gt 0 ]; do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --authority | --out | --count)
            [ "$#" -ge 2 ] || fail "$1 needs a value" 2
            case "$1" in
                --authority) authority=$2 ;;
                --out) out=$2 ;;
                --count) count=$2 ;;
            esac
            shift 2
            ;;
        *) fail "unknown argument $1; see --help" 2 ;;
    esac
done
if [ -z "$authority" ] || [ -z "$out" ]; then
    fail "--authority and --out are needed; see --help" 2
fi
[[ "$count" =~ ^[1-9][0-9]{0,4}$ ]] || fail "--count must be 1 to 99999" 2

sectd=${SECTD:-sectd}
sect_cloud=${SECT_CLOUD:-sect-cloud}

# What is made here is nobody else's.
umask 077
mkdir -p "$out"
out=$(cd "$out" && pwd -P)
case "$out" in
    *[\"\\]*) fail "the name of the folder $out cannot stand in a TOML file" 2 ;;
esac

for number in $(seq -f '%04g' "$count"); do
    plug="$out/plug-$number"
    mkdir -p "$plug"
    printf 'state-dir = "%s/state"\nruntime-dir = "%s/run"\n' "$plug" "$plug" >"$plug/sectd.toml"

    # The plug says who it is; its own authority's key never leaves it.
    id=$("$sectd" --config "$plug/sectd.toml" identity)

    if [ ! -e "$plug/state/device.crt" ]; then
        "$sect_cloud" provision device --authority "$authority" --id "$id" --out "$plug/state" >/dev/null
    fi

    # What leaves the factory is what was read back from the plug, and it must name this very plug.
    found=$("$sect_cloud" provision check --authority "$authority" "$plug/state/device.crt") ||
        fail "plug-$number: $found"
    [ "$found" = "$plug/state/device.crt: ok, $id" ] || fail "plug-$number: not its own certificate: $found"
    printf '%s plug-%s\n' "$id" "$number"
done
