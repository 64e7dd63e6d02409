#!/bin/bash -e
# The daemon. Its identity is drawn at the first boot of each card, or by the factory, and never here.
install -m 644 files/sectd.deb "${ROOTFS_DIR}/var/cache/sectd.deb"
on_chroot <<'CHROOT'
apt-get install -y /var/cache/sectd.deb
rm /var/cache/sectd.deb
CHROOT
if [ -e "${ROOTFS_DIR}/var/lib/sect/thing.db" ]; then
    echo "this image has an identity, which all its cards would share" >&2
    exit 1
fi
