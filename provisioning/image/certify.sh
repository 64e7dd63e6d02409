#!/usr/bin/env bash
# The factory's step for a real plug: its card, in a reader or as a mounted image, gets an identity of its own and the
# manufacturer's certificate for it.
#
# Cut off, run it again: what is done is checked and left as it is.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: certify.sh --authority DIR --root DIR

  --authority DIR  the manufacturer's authority (sect-cloud provision authority)
  --root DIR       where the card's root file system is mounted

Prints the plug's id. Runs as root. SECTD and SECT_CLOUD name the two programs when they are not on the PATH; sectd
must be of the card's version, for this machine's processor.
TEXT
}

fail() {
    printf 'certify.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

authority="" root=""
while [ "$#" -gt 0 ]; do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --authority | --root)
            [ "$#" -ge 2 ] || fail "$1 needs a value" 2
            if [ "$1" = --root ]; then root=$2; else authority=$2; fi
            shift 2
            ;;
        *) fail "unknown argument $1; see --help" 2 ;;
    esac
done
if [ -z "$authority" ] || [ -z "$root" ]; then
    fail "--authority and --root are needed; see --help" 2
fi
[ "$(id -u)" -eq 0 ] || fail "only root can write a card for its plug"
root=$(cd "$root" && pwd -P)
[ "$root" != / ] || fail "/ is this machine, not a card" 2
case "$root" in
    *[\"\\]*) fail "the name of the folder $root cannot stand in a TOML file" 2 ;;
esac

sectd=${SECTD:-sectd}
sect_cloud=${SECT_CLOUD:-sect-cloud}

# A link on a card that somebody else has written leads into this machine.
for folder in etc etc/credstore var var/lib var/lib/sect; do
    [ ! -L "$root/$folder" ] || fail "$root/$folder is a link: not a card that pi-gen made"
done

# A newer sectd would write a store that the card's own cannot read.
installed=$(dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${Version}' sectd 2>/dev/null) ||
    fail "$root has no sectd installed"
here=$("$sectd" --version)
[ "sectd ${installed%-*}" = "$here" ] || fail "the card has sectd ${installed%-*}, and this is $here"
owner=$(awk -F: '$1 == "sect" { print $3 ":" $4 }' "$root/etc/passwd")
[ "$(stat -c '%u:%g %a' "$root/var/lib/sect")" = "$owner 700" ] ||
    fail "$root/var/lib/sect is not the user's sect alone: install the package anew"

umask 077
scratch=$(mktemp -d)
credentials=$root/etc/credstore
trap 'rm -rf "$scratch" "$credentials/.sect.new"' EXIT
chmod 755 "$scratch"
printf 'state-dir = "%s/var/lib/sect"\nruntime-dir = "%s/run"\n' "$root" "$scratch" >"$scratch/sectd.toml"
chmod 644 "$scratch/sectd.toml"

# As the card's own user, whatever its number is here: what is drawn belongs to it, and to nobody else.
id=$(setpriv --reuid="${owner%:*}" --regid="${owner#*:}" --clear-groups "$sectd" --config "$scratch/sectd.toml" identity)

# The key is made on the card, and has never been anywhere else.
mkdir -p "$credentials"
chown root:root "$credentials"
chmod 700 "$credentials"
if [ ! -e "$credentials/sect.device.crt" ] || [ ! -e "$credentials/sect.device.key" ]; then
    rm -rf "$credentials/.sect.new"
    mkdir "$credentials/.sect.new"
    "$sect_cloud" provision device --authority "$authority" --id "$id" --out "$credentials/.sect.new" >/dev/null
    chown root:root "$credentials/.sect.new"/device.*
    chmod 600 "$credentials/.sect.new"/device.*
    # The certificate last: with it all is there.
    mv "$credentials/.sect.new/device.key" "$credentials/sect.device.key"
    mv "$credentials/.sect.new/device.crt" "$credentials/sect.device.crt"
fi
# What leaves the factory is what was read back from the card, and it must name this very plug.
found=$("$sect_cloud" provision check --authority "$authority" "$credentials/sect.device.crt") || fail "$found"
[ "$found" = "$credentials/sect.device.crt: ok, $id" ] || fail "not its own certificate: $found"
sync --file-system "$credentials"
printf '%s\n' "$id"
