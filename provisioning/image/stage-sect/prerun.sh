#!/bin/bash -e
# Goes on where the stage before has ended.
if [ ! -d "${ROOTFS_DIR}" ]; then
    copy_previous
fi
