# The image's stage and the factory's step for its cards, on a plain folder: sourced by run, which names $work, $package,
# $architecture and $cache and has `enter` and `fail`. What pi-gen does before and after the stage is pi-gen's.
# shellcheck shell=bash disable=SC2154

# pi-gen's own, as far as a stage uses it.
export ROOTFS_DIR=$work/image FIRST_USER_NAME=pi
copy_previous() {
    mkdir -p "$ROOTFS_DIR"
    tar -C "$ROOTFS_DIR" -xf "$SECT_TEST_ROOT"
    mkdir -p "$ROOTFS_DIR/boot/firmware" "$ROOTFS_DIR/t"
    printf '# As the stages before leave it.\n[cm4]\notg_mode=1\n' >"$ROOTFS_DIR/boot/firmware/config.txt"
    printf 'useradd --create-home pi\necho pi:raspberry | chpasswd\n' | on_chroot
}
on_chroot() {
    cat >"$ROOTFS_DIR/t/chroot.sh"
    systemd-nspawn --quiet --register=no --keep-unit --private-network --console=pipe --directory="$ROOTFS_DIR" \
        --as-pid2 /bin/bash -e /t/chroot.sh </dev/null
}
export SECT_TEST_ROOT="$cache/$suite-$architecture.tar"
export -f copy_previous on_chroot

cp -r provisioning/image/stage-sect "$work/stage"
install -D -m 644 "$package" "$work/stage/00-plug/files/sectd.deb"
(cd "$work/stage" && ./prerun.sh)
(cd "$work/stage/00-plug" && ./01-run.sh && ./02-run.sh && ./02-run.sh)

wanted=$({ dpkg-deb -f "$package" Depends Recommends | sed -E 's/^[A-Za-z]+: //; s/ \([^)]*\)//g; s/, /\n/g'; } |
    grep -vE '^(systemd|lib.*)$' | sort | xargs)
[ "$(tr ' ' '\n' <"$work/stage/00-plug/00-packages" | sort | xargs)" = "$wanted" ] || fail "the stage's packages: $wanted"
[ "$(sed -n '/^\[all\]/,$p' "$ROOTFS_DIR/boot/firmware/config.txt" | grep -v '^#' | xargs)" = \
    "[all] gpio=17=op,dl dtparam=i2c_arm=on dtoverlay=disable-bt" ] || fail "config.txt"
grep -q '^pi:!' "$ROOTFS_DIR/etc/shadow" || fail "somebody can log in"
[ ! -e "$ROOTFS_DIR/var/lib/sect/thing.db" ] || fail "the image has an identity"
[ ! -e "$ROOTFS_DIR/var/cache/sectd.deb" ] || fail "the package lies about"
for variable in IMG_NAME RELEASE STAGE_LIST WPA_COUNTRY TARGET_HOSTNAME FIRST_USER_PASS ENABLE_SSH; do
    value=$(SECT_COUNTRY=DE SECT_IMAGE=/image bash -euc ". provisioning/image/config; echo \"\$$variable\"")
    [ -n "$value" ] || fail "$variable is empty"
done

# Who makes an image, and calls sudo for it.
mkdir -p "$ROOTFS_DIR/t/repo/provisioning"
cp -r provisioning/image "$ROOTFS_DIR/t/repo/provisioning/"
on_chroot <"$here/caller.sh"
rm -r "$ROOTFS_DIR"/t/{repo,pi-gen} "$ROOTFS_DIR/home/pi/.cargo"

# Two cards of that image, and who makes them plugs.
mkdir "$work/bin"
cp "${CARGO_TARGET_DIR:-target}"/release/{sectd,sect-cloud} "$work/bin/"
export SECTD=$work/bin/sectd SECT_CLOUD=$work/bin/sect-cloud
"$SECT_CLOUD" provision authority --out "$work/manufacturer" --name "Example Plugs"
cp -a "$ROOTFS_DIR" "$work/card"
certify() { provisioning/image/certify.sh --authority "$work/manufacturer" --root "$@"; }
# All that the step may write to, by time, mode, owner and content.
written_to() {
    (cd "$1" && find etc/sect etc/credstore var/lib/sect -printf '%p %M %U:%G %T@ %l\n' 2>/dev/null | sort)
    sha256sum "$1/etc/sect/sectd.toml" || true
}
# refused WHY OPTION...: the second card is, and nothing on it has changed; what is said begins so.
refused() {
    local why=$1 before
    shift
    before=$(written_to "$work/card")
    if certify "$work/card" "$@" 2>"$work/said"; then fail "passed, and was to be refused: $why"; fi
    grep -q "$why" "$work/said" || fail "it says $(cat "$work/said"), and was to say: $why"
    [ "$(written_to "$work/card")" = "$before" ] || fail "refused, and written to all the same: $why"
}

# The server's section, and what is none.
server() { printf '[[cloud]]\nhost = "%s"\npin = "%s"\n' "$1" "${2:-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA}"; }
settings=etc/sect/sectd.toml
{ echo '# As its operator says.'; server cloud.example; } >"$work/cloud.toml"
server elsewhere.example >"$work/other.toml"
wrong() { cat >"$work/wrong.toml"; refused "$1" --cloud "$work/wrong.toml"; }
refused 'there is no file' --cloud "$work/missing.toml"
wrong 'has: nothing' </dev/null
wrong 'has: host' <<<'host = "cloud.example"'
wrong 'has: \[log\]' < <(server cloud.example; printf '[log]\nfilter = "debug"\n')
wrong 'wrong.toml:3:7: .*SPKI' < <(server cloud.example short)
wrong 'name 4 cloud servers' < <(for host in a b c d e; do server $host; done)
cp -p "$work/card/$settings" "$work/kept.toml"
server elsewhere.example >>"$work/card/$settings"
refused 'the card has another' --cloud "$work/cloud.toml"
{ cat "$work/kept.toml"; echo; cat "$work/other.toml" "$work/cloud.toml"; } >"$work/card/$settings"
refused 'the card has another' --cloud "$work/cloud.toml"
{ echo 'cloud = [{ host = "a", ca = "/b" }]'; cat "$work/kept.toml"; } >"$work/card/$settings"
refused 'the card has another' --cloud "$work/cloud.toml"
cp -p "$work/kept.toml" "$work/card/$settings"

# A card that leads into the factory's own machine changes nothing there, and neither does one whose user is root.
mkdir -m 755 "$work/elsewhere"
cp "$work/kept.toml" "$work/elsewhere/sectd.toml"
outside=$(cd "$work/elsewhere" && stat -c '%n %a %y' . ./*)
for path in etc/credstore etc/sect $settings var/lib/sect/thing.db var/lib/sect; do
    to=$work/elsewhere
    case $path in *.*) to=$work/elsewhere/sectd.toml ;; esac
    [ ! -e "$work/card/$path" ] || mv "$work/card/$path" "$work/aside"
    ln -s "$to" "$work/card/$path"
    refused 'not a card that pi-gen made' --cloud "$work/cloud.toml"
    rm "$work/card/$path"
    [ ! -e "$work/aside" ] || mv "$work/aside" "$work/card/$path"
done
[ "$(cd "$work/elsewhere" && stat -c '%n %a %y' . ./*)" = "$outside" ] || fail "what the links lead to was changed"
sed -i.kept 's/^sect:x:[0-9]*:[0-9]*:/sect:x:0:0:/' "$work/card/etc/passwd"
refused 'more than a user: 0:0'
mv "$work/card/etc/passwd.kept" "$work/card/etc/passwd"

id=$(certify "$ROOTFS_DIR" --cloud "$work/cloud.toml")
[[ $id =~ ^[0-9a-f]{16}$ ]] || fail "the id is $id"
{ cat "$work/kept.toml"; echo; cat "$work/cloud.toml"; } | cmp - "$ROOTFS_DIR/$settings"
[ "$(stat -c '%a %u:%g' "$ROOTFS_DIR/$settings")" = "644 0:0" ] || fail "the mode of the card's settings"
before=$(sha256sum "$ROOTFS_DIR"/etc/credstore/sect.device.* && stat -c %y "$ROOTFS_DIR/$settings")
# Cut off before the certificate was in its place, and run again when all was done.
[ "$(certify "$ROOTFS_DIR" --cloud "$work/cloud.toml")" = "$id" ] || fail "another identity the second time"
[ "$(certify "$ROOTFS_DIR")" = "$id" ] || fail "another identity the third time"
if certify "$ROOTFS_DIR" --cloud "$work/other.toml"; then fail "a card with another server passed"; fi
[ "$(sha256sum "$ROOTFS_DIR"/etc/credstore/sect.device.* && stat -c %y "$ROOTFS_DIR/$settings")" = "$before" ] ||
    fail "done twice"
mv "$ROOTFS_DIR/etc/credstore/sect.device.crt" "$work/first.crt"
[ "$(certify "$ROOTFS_DIR")" = "$id" ] || fail "another identity after an interruption"
[ "$(certify "$work/card")" != "$id" ] || fail "two cards with one identity"
cmp "$work/kept.toml" "$work/card/$settings"
# What another card was given is noticed.
cp "$work/first.crt" "$work/card/etc/credstore/sect.device.crt"
if certify "$work/card"; then fail "a card with another card's certificate passed"; fi
sed -i '/^Package: sectd$/,/^$/s/^Version: .*/Version: 0.1.9-1/' "$work/card/var/lib/dpkg/status"
if certify "$work/card"; then fail "a card with an older sectd passed"; fi
rm -r "$work/card"
owner=$(awk -F: '$1 == "sect" { print $3 ":" $4 }' "$ROOTFS_DIR/etc/passwd")
[ "$(cd "$ROOTFS_DIR" && stat -c '%A %u:%g %n' etc/credstore etc/credstore/* var/lib/sect var/lib/sect/thing.db)" = \
    "drwx------ 0:0 etc/credstore
-rw------- 0:0 etc/credstore/sect.device.crt
-rw------- 0:0 etc/credstore/sect.device.key
drwx------ $owner var/lib/sect
-rw------- $owner var/lib/sect/thing.db" ] || fail "modes and owners on the card"

# The card's first boot, as far as a machine without lines goes: the service hands the certificate on, and to it alone.
printf '%s\n' "$id" >"$ROOTFS_DIR/t/id"
boot "$ROOTFS_DIR" card.sh
