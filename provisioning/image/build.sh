#!/bin/bash
# Makes the image of a card for a plug, with pi-gen (https://github.com/RPi-Distro/pi-gen, its master branch).
#
#   provisioning/image/build.sh PI_GEN COUNTRY     PI_GEN is a clone of pi-gen, COUNTRY the two letters of the radio's
#
# The image is in PI_GEN/deploy afterwards. Runs as root, where pi-gen runs. Under sudo the package is made by who called
# it, with the Rust in his home.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ $# != 2 ] || ! [ -x "$1/build.sh" ] || ! [[ $2 =~ ^[A-Z]{2}$ ]]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
pi_gen=$(realpath "$1")
export SECT_COUNTRY=$2 SECT_IMAGE=$PWD/provisioning/image
if [ "$(id -u)" != 0 ]; then
    echo "only root can run pi-gen: sudo $0 $*" >&2
    exit 1
fi

# Whose compiler it is, and whose folder this is. Root's PATH leads to nobody's home.
caller=${SUDO_USER:-root}
home=$(getent passwd "$caller" | cut -d: -f6)
as_caller=(runuser -u "$caller" -- env "HOME=$home" "PATH=$home/.cargo/bin:$PATH")
if ! "${as_caller[@]}" cargo --version >&2; then
    echo "$caller has no working cargo, neither on the PATH nor in $home/.cargo/bin; nothing was begun." >&2
    echo "Install Rust as $caller (https://rustup.rs), or run this from a root shell that has cargo on its PATH." >&2
    exit 1
fi
rm -rf target/image
"${as_caller[@]}" provisioning/deb/build.sh armhf target/image
install -D -m 644 target/image/sectd_*_armhf.deb "$SECT_IMAGE/stage-sect/00-plug/files/sectd.deb"
# Of the stages before, none becomes an image of its own.
touch "$pi_gen/stage2/SKIP_IMAGES"
cd "$pi_gen"
./build.sh -c "$SECT_IMAGE/config"
