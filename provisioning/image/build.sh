#!/bin/bash
# Makes the image of a card for a plug, with pi-gen (https://github.com/RPi-Distro/pi-gen, its master branch).
#
#   provisioning/image/build.sh PI_GEN COUNTRY     PI_GEN is a clone of pi-gen, COUNTRY the two letters of the radio's
#
# The image is in PI_GEN/deploy afterwards. Runs as root, where pi-gen runs.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ $# != 2 ] || ! [ -x "$1/build.sh" ] || ! [[ $2 =~ ^[A-Z]{2}$ ]]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
pi_gen=$(realpath "$1")
export SECT_COUNTRY=$2 SECT_IMAGE=$PWD/provisioning/image
provisioning/deb/build.sh armhf target/image
install -D -m 644 target/image/sectd_*_armhf.deb "$SECT_IMAGE/stage-sect/00-plug/files/sectd.deb"
# Of the stages before, none becomes an image of its own.
touch "$pi_gen/stage2/SKIP_IMAGES"
cd "$pi_gen"
./build.sh -c "$SECT_IMAGE/config"
