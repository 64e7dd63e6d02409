#!/bin/bash -e
# What a plug's board needs at its start, and what a plug does without.
config="${ROOTFS_DIR}/boot/firmware/config.txt"
if ! grep -q '^# A SecT plug' "$config"; then
    cat >>"$config" <<'CONFIG'

[all]
# A SecT plug: off from the firmware's first look at this file on, until sectd says otherwise. For a
# relay board that switches on with a low level, write op,dh.
gpio=17=op,dl
# The display's bus.
dtparam=i2c_arm=on
# No second radio.
dtoverlay=disable-bt
CONFIG
fi

on_chroot <<CHROOT
# Nobody logs in, neither by a password nor by asking for one at the first boot; SSH is pi-gen's ENABLE_SSH.
passwd --lock "${FIRST_USER_NAME}"
# It would tell everybody at home the name of this machine. The plug announces itself, by a name that says nothing.
if [ -e /usr/lib/systemd/system/avahi-daemon.service ]; then
    systemctl mask avahi-daemon.service avahi-daemon.socket
fi
CHROOT
