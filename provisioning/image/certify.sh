#!/usr/bin/env bash
# The factory's step for a real plug: its card, in a reader or as a mounted image, gets an identity of its own, the
# manufacturer's certificate for it, and the cloud server that it is to use.
#
# Cut off, run it again: what is done is checked and left as it is.
set -euo pipefail

usage() {
    cat <<'TEXT'
Usage: certify.sh --authority DIR --root DIR [--cloud FILE]

  --authority DIR  the manufacturer's authority (sect-cloud provision authority)
  --root DIR       where the card's root file system is mounted
  --cloud FILE     the [[cloud]] section that goes to the end of the card's /etc/sect/sectd.toml, or up to four of them;
                   refused when another is there already

Prints the plug's id. Runs as root. SECTD and SECT_CLOUD name the two programs when they are not on the PATH; sectd
must be of the card's version, for this machine's processor.
TEXT
}

fail() {
    printf 'certify.sh: %s\n' "$1" >&2
    exit "${2:-1}"
}

authority="" root="" cloud=""
while [ "$#" -gt 0 ]; do
    case "$1" in
        --help | -h) usage; exit 0 ;;
        --authority | --root | --cloud)
            [ "$#" -ge 2 ] || fail "$1 needs a value" 2
            case "$1" in
                --authority) authority=$2 ;;
                --root) root=$2 ;;
                --cloud) cloud=$2 ;;
            esac
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
for path in etc etc/credstore etc/passwd etc/sect etc/sect/sectd.toml var var/lib var/lib/sect; do
    [ ! -L "$root/$path" ] || fail "$root/$path is a link: not a card that pi-gen made"
done
link=$(find "$root/var/lib/sect" "$root/etc/credstore" ! -type f ! -type d -print -quit 2>/dev/null) || true
[ -z "$link" ] || fail "$link is no file: not a card that pi-gen made"

# A newer sectd would write a store that the card's own cannot read.
installed=$(dpkg-query --admindir="$root/var/lib/dpkg" --show --showformat='${Version}' sectd 2>/dev/null) ||
    fail "$root has no sectd installed"
here=$("$sectd" --version)
[ "sectd ${installed%-*}" = "$here" ] || fail "the card has sectd ${installed%-*}, and this is $here"
owner=$(awk -F: '$1 == "sect" { print $3 ":" $4 }' "$root/etc/passwd")
[[ $owner =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || fail "the card's user sect is nobody, or more than a user: $owner"
[ "$(stat -c '%u:%g %a' "$root/var/lib/sect")" = "$owner 700" ] ||
    fail "$root/var/lib/sect is not the user's sect alone: install the package anew"

umask 077
scratch=$(mktemp -d)
credentials=$root/etc/credstore
settings=$root/etc/sect/sectd.toml
trap 'rm -rf "$scratch" "$credentials/.sect.new" "$settings.new"' EXIT
chmod 755 "$scratch"

# What is asked for is looked at before the card is written to. The card's own sectd is of this version, so it will take
# what this one takes.
if [ -n "$cloud" ]; then
    [ -f "$cloud" ] || fail "there is no file $cloud"
    [ -f "$settings" ] || fail "the card has no /etc/sect/sectd.toml"
    # Nothing else of the card's settings changes.
    other=$(awk '/^[ \t]*(#|$)/ { next } /^[ \t]*\[\[cloud\]\][ \t]*(#|$)/ { any = 1; next }
        !any || /^[ \t]*\[/ { print; any = 1; exit } END { if (!any) print "nothing" }' "$cloud")
    [ -z "$other" ] || fail "$cloud is for [[cloud]] alone, and has: $other"
    "$sectd" check-config "$cloud" >/dev/null || fail "$cloud does not hold"
    "$sectd" check-config "$settings" >/dev/null || fail "the card's own settings do not hold"
    cp "$settings" "$scratch/before"
    size=$(stat -c %s "$cloud")
    # A step that was cut off after this, and is done again.
    if tail -c "$size" "$settings" | cmp -s - "$cloud"; then
        head -c "-$size" "$settings" >"$scratch/before"
        cloud=
    fi
    # sectd takes four servers at most: with four more it takes a card that has none, and no other.
    { cat "$scratch/before"; printf '\n[[cloud]]\nhost = "c.invalid"\npin = "%043d"\n' 0 0 0 0; } >"$scratch/full"
    "$sectd" check-config "$scratch/full" >/dev/null 2>&1 || fail "the card has another [[cloud]] in /etc/sect/sectd.toml"
    if [ -n "$cloud" ]; then
        { cat "$settings"; echo; cat "$cloud"; } >"$scratch/after"
        "$sectd" check-config "$scratch/after" >/dev/null || fail "$cloud does not fit the card's settings"
    fi
fi
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
if [ -n "$cloud" ]; then
    # Whole or not at all, for its readers.
    rm -rf "$settings.new"
    install --mode="$(stat -c %a "$settings")" "$scratch/after" "$settings.new"
    mv "$settings.new" "$settings"
fi
sync --file-system "$credentials"
printf '%s\n' "$id"
