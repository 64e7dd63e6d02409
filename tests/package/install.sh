# In a clean root without a running systemd, as in an image that is being built: what the package puts where, that
# systemd and sectd find it sound, and that a purge takes all of it away.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
fail() { echo "FAILED: $*" >&2; exit 1; }

# Every file with its mode and owner, and the content of those that are not logs or dpkg's own.
tree() {
    find / -xdev \( -path /t -o -path /proc -o -path /sys -o -path /dev -o -path /run/systemd -o -path /var/log \
        -o -path /var/lib/dpkg -o -path /var/cache -o -path /tmp -o -path /var/tmp \) -prune -o -printf '%p %M %u:%g\n' |
        LC_ALL=C sort >"/t/$1.tree"
    find /etc /usr /var/lib -xdev -path /var/lib/dpkg -prune -o -type f -newer /t/sectd.deb -print0 |
        LC_ALL=C sort -z | xargs -0r sha256sum >"/t/$1.changed"
}

tree before
dpkg -i /t/sectd.deb

# Mode, owner, name: all that the package brings, but for /usr/share.
diff - <(cd / && stat -c '%A %U:%G %n' \
    etc/sect etc/sect/sectd.toml usr/bin/sectd usr/lib/NetworkManager/conf.d/90-sect.conf \
    usr/lib/modules-load.d/sectd.conf usr/lib/systemd/system/sectd.service usr/lib/sysusers.d/sectd.conf \
    usr/lib/tmpfiles.d/sectd.conf usr/lib/udev/rules.d/60-sectd.rules \
    usr/share/polkit-1/rules.d/50-sect-networkmanager.rules var/lib/sect) <<'TABLE' || fail "modes and owners"
drwxr-xr-x root:root etc/sect
-rw-r--r-- root:root etc/sect/sectd.toml
-rwxr-xr-x root:root usr/bin/sectd
-rw-r--r-- root:root usr/lib/NetworkManager/conf.d/90-sect.conf
-rw-r--r-- root:root usr/lib/modules-load.d/sectd.conf
-rw-r--r-- root:root usr/lib/systemd/system/sectd.service
-rw-r--r-- root:root usr/lib/sysusers.d/sectd.conf
-rw-r--r-- root:root usr/lib/tmpfiles.d/sectd.conf
-rw-r--r-- root:root usr/lib/udev/rules.d/60-sectd.rules
-rw-r--r-- root:root usr/share/polkit-1/rules.d/50-sect-networkmanager.rules
drwx------ sect:sect var/lib/sect
TABLE
listed=$(dpkg -L sectd | while read -r file; do if [ -f "$file" ]; then echo "$file"; fi; done | grep -cv '^/usr/share/')
[ "$listed" = 8 ] || fail "$listed files outside of /usr/share, and the table has 8 of them"
[ "$(dpkg-query -W -f '${Conffiles}' sectd | awk '{print $1}' | xargs)" = /etc/sect/sectd.toml ] || fail "conffiles"

# A user that nobody is, in the groups of lines and bus alone.
[ "$(id -nG sect | tr ' ' '\n' | sort | xargs)" = "gpio i2c sect" ] || fail "groups: $(id sect)"
getent passwd sect | grep -q ':SecT plug:/var/lib/sect:/usr/sbin/nologin$' || fail "$(getent passwd sect)"
[ "$(id -u sect)" -lt 1000 ] || fail "sect is no system user"
passwd -S sect | grep -q '^sect L' || fail "sect has a password"

sectd check-config | grep -qx ok || fail "the settings that it ships"
[ -L /etc/systemd/system/multi-user.target.wants/sectd.service ] || fail "not enabled"
[ ! -e /var/lib/sect/thing.db ] || fail "an image must not have an identity"
# The manual is looked at by tests/manual.rs; there is no man here.
systemd-analyze verify --man=no /usr/lib/systemd/system/sectd.service
systemd-analyze security --offline=true --threshold=18 --no-pager /usr/lib/systemd/system/sectd.service | tail -1
echo "systemd $(systemctl --version | sed -n '1s/systemd //p')"
udevadm verify --no-style /usr/lib/udev/rules.d/60-sectd.rules >/dev/null

# The factory's way: the identity is drawn as the plug's own user, and stays when the package goes.
id=$(setpriv --reuid=sect --regid=sect --init-groups sectd identity)
[[ $id =~ ^[0-9a-f]{16}$ ]] || fail "identity: $id"
[ "$(stat -c '%A %U:%G' /var/lib/sect/thing.db)" = "-rw------- sect:sect" ] || fail "the store's mode"
echo "# An administrator was here." >>/etc/sect/sectd.toml
dpkg -r sectd
[ -e /var/lib/sect/thing.db ] || fail "a removed package forgot its household"
grep -q administrator /etc/sect/sectd.toml || fail "a removed package forgot its settings"
dpkg -i /t/sectd.deb
[ "$(setpriv --reuid=sect --regid=sect --init-groups sectd identity)" = "$id" ] || fail "another plug after the removal"
grep -q administrator /etc/sect/sectd.toml || fail "installed again, it forgot the settings"

# What the factory put there is the plug's as well.
install -d -m 700 /etc/credstore
touch /etc/credstore/sect.device.key /etc/credstore/sect.device.crt /etc/credstore/other
dpkg -P sectd
rm /etc/credstore/other || fail "somebody else's credential is gone"
grep -q '^/etc/credstore ' /t/before.tree || rmdir /etc/credstore
tree after
# The user and the groups stay, as users do in Debian; the lists that hold them, and their backups, are all that is new.
lists='/etc/(passwd|group|shadow|gshadow)'
left=$({ diff /t/before.tree /t/after.tree || true; } | { grep '^[<>]' || true; } | { grep -vE "^> $lists- " || true; })
[ -z "$left" ] || fail "a purge leaves or takes this: $left"
changed=$(sed -E 's/^[0-9a-f]+ +//' /t/after.changed | { grep -vE "^$lists-?\$" || true; })
[ -z "$changed" ] || fail "a purge leaves this changed: $changed"
getent passwd sect >/dev/null || fail "the user is gone"
dpkg -i /t/sectd.deb
[ "$(setpriv --reuid=sect --regid=sect --init-groups sectd identity)" != "$id" ] || fail "the same plug after a purge"
dpkg -P sectd
echo "install: all held"
