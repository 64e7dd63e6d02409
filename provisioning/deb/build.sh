#!/bin/bash
# Makes a Debian package of sectd, of sect or of sect-cloud, on any Debian 12 or later on amd64.
#
#   provisioning/deb/build.sh [armhf|amd64] [FOLDER] [sect|sect-cloud]
#       puts sectd_VERSION_ARCH.deb into FOLDER, target/debian if not given; or, for amd64 alone, sect_VERSION_amd64.deb,
#       the owner's part, or sect-cloud_VERSION_amd64.deb, the cloud server
#
# armhf is for Raspberry Pi OS on every Raspberry Pi, the Zero included: static, ARMv6 (provisioning/armv6/build.sh).
# amd64 is the same package for this machine: for tests, and for other boards.
# Cargo.toml says what is in it. cargo-deb is kept in $SECT_DEB_CACHE, ~/.cache/sect-deb if not set; SECT_DEB_VERSION
# replaces the version, for a rebuild of the same sources.
set -euo pipefail
cd "$(dirname "$0")/../.."
architecture=${1:-armhf}
out=${2:-target/debian}
program=${3:-sectd}
cache=${SECT_DEB_CACHE:-$HOME/.cache/sect-deb}
stage=target/deb
cargo_deb=3.6.2
say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }

# Where Cargo keeps a package's sources.
source_of() {
    cargo metadata --locked --format-version 1 |
        python3 -c 'import json, sys
print(*(p["version"] + " " + p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == sys.argv[1]))' "$1"
}

missing=()
command -v python3 >/dev/null || missing+=(python3)
# It reads what the program is linked to.
command -v dpkg-shlibdeps >/dev/null || missing+=(dpkg-dev)
if ((${#missing[@]})); then
    say "installing ${missing[*]}"
    root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null ||
        { "${root[@]}" apt-get update -qq; "${root[@]}" apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; }
fi
if [ "$("$cache/bin/cargo-deb" --version 2>/dev/null)" != "cargo-deb $cargo_deb" ]; then
    say "fetching cargo-deb $cargo_deb"
    # Its own profile optimises for hours of use; one package is made here.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo install --quiet --force --locked --root "$cache" --target-dir "$cache/target" "cargo-deb@$cargo_deb"
    rm -rf "$cache/target"
fi

rm -rf $stage
mkdir -p $stage "$out"
parts=()
# The cloud server speaks TLS by other means.
if [ "$program" != sect-cloud ]; then
    read -r openssl manifest < <(source_of openssl-src)
    parts+=("OpenSSL=${openssl#*+}=Apache-2.0=$(dirname "$manifest")/openssl/LICENSE.txt")
fi
case $program-$architecture in
sectd-armhf)
    triple=arm-unknown-linux-musleabihf
    provisioning/armv6/build.sh $stage
    musl=$(find "${SECT_ARMV6_CACHE:-$HOME/.cache/sect-armv6}/venv/lib" -path '*/site-packages/ziglang/lib/libc/musl/COPYRIGHT')
    parts+=("musl=zig=MIT=$musl")
    ;;
sectd-amd64 | sect-amd64 | sect-cloud-amd64)
    triple=x86_64-unknown-linux-gnu
    cargo build --locked --release --bin "$program"
    strip --strip-all -o "$stage/$program" "${CARGO_TARGET_DIR:-target}/release/$program"
    ;;
*)
    say "no package of $program for $architecture: sectd for armhf or amd64, sect and sect-cloud for amd64"
    exit 2
    ;;
esac
if grep -q SECT_CRASH_AT "$stage/$program"; then say "this $program can be told to crash: it is a test's"; exit 1; fi
if [ "$program" = sect ]; then
    mkdir $stage/man
    $stage/sect man $stage/man >/dev/null
    for shell in bash zsh fish; do $stage/sect completions $shell >$stage/sect.$shell; done
fi
python3 provisioning/deb/licences.py "$program" $triple $stage "${parts[@]}"
# One time for all files: the last entry of the changelog's.
SOURCE_DATE_EPOCH=$(date -d "$(sed -n 's/^ -- .*>  //p' "provisioning/deb/$program/changelog" | head -1)" +%s)
export SOURCE_DATE_EPOCH
gzip -9n $stage/licences.txt
gzip -9nc CHANGELOG.md >$stage/changelog.gz

version=()
[ -z "${SECT_DEB_VERSION:-}" ] || version=(--deb-version "$SECT_DEB_VERSION")
"$cache/bin/cargo-deb" --quiet --no-build --no-strip --target $triple --variant "$program-$architecture" \
    "${version[@]}" --output "$out/"
