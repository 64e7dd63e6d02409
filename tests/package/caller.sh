# provisioning/image/build.sh under sudo, in a root where `pi` has the compiler in his home and root has none: who makes
# the package, with what, and who runs pi-gen. Both are stand-ins that write down who they are; the real ones take an hour.
# shellcheck shell=bash
set -euo pipefail
fail() { echo "FAILED: $*" >&2; exit 1; }

mkdir -p /t/repo/provisioning/deb /t/pi-gen/stage2
cat >/t/repo/provisioning/deb/build.sh <<'END'
#!/bin/bash
mkdir -p "$2"
echo "$(id -un) $HOME $(command -v cargo) $*" >"$2/sectd_1_armhf.deb"
END
cat >/t/pi-gen/build.sh <<'END'
#!/bin/bash
echo "$(id -un) $SECT_COUNTRY $*" >ran
END
chmod 755 /t/repo/provisioning/deb/build.sh /t/pi-gen/build.sh
chown -R pi:pi /t/repo
# As sudo leaves it.
build() {
    env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin SUDO_USER=pi \
        /t/repo/provisioning/image/build.sh /t/pi-gen DE
}

before=$(find /t/repo /t/pi-gen -printf '%p %T@\n' | sort)
if build 2>/t/said; then fail "an image without a compiler"; fi
grep -q '^Install Rust as pi' /t/said || fail "it does not say what to do: $(cat /t/said)"
[ "$(find /t/repo /t/pi-gen -printf '%p %T@\n' | sort)" = "$before" ] || fail "something was begun"

mkdir -p /home/pi/.cargo/bin
printf '#!/bin/sh\necho cargo\n' >/home/pi/.cargo/bin/cargo
chmod 755 /home/pi/.cargo/bin/cargo
# What an earlier version has left does not get into the image.
runuser -u pi -- mkdir -p /t/repo/target/image
runuser -u pi -- touch /t/repo/target/image/sectd_0_armhf.deb
build
package=/t/repo/provisioning/image/stage-sect/00-plug/files/sectd.deb
[ "$(cat $package)" = "pi /home/pi /home/pi/.cargo/bin/cargo armhf target/image" ] || fail "made by: $(cat $package)"
[ "$(stat -c %U /t/repo/target/image/sectd_1_armhf.deb)" = pi ] || fail "root's files in the folder of pi"
[ "$(cat /t/pi-gen/ran)" = "root DE -c /t/repo/provisioning/image/config" ] || fail "pi-gen: $(cat /t/pi-gen/ran)"
