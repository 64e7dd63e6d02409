# In a root that systemd has booted: the cloud server's package. It waits for its certificate, serves under its sandbox,
# takes a renewed one without a restart, and is upgraded, removed and purged; an authority that lies there survives all.
# shellcheck shell=bash source=tests/package/booted.sh
service=sect-cloud.service
. /t/booted.sh

tree() {
    find /etc /usr /var/lib -xdev \( -path /var/lib/dpkg -o -path /var/lib/systemd -o -path /var/lib/private \) -prune \
        -o -printf '%p %M %u:%g\n' | LC_ALL=C sort
}
settings=/etc/sect/sect-cloud.toml
keys=/etc/sect-cloud
# What Prometheus reads.
metrics() {
    exec 3<>/dev/tcp/127.0.0.1/9464
    printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
    cat <&3
}
knock() { : <>"/dev/tcp/127.0.0.1/$1" && echo open; }

ip link set lo up
tree >/t/before

echo "== installed, and waiting for its certificate"
dpkg -i /t/cloud.deb | tee /t/said
[ "$(grep -c '^sect-cloud: ' /t/said)" = 2 ] || fail "it does not say what to do"
[ "$(property ActiveState)/$(systemctl is-enabled $service)/$(property NRestarts)" = inactive/enabled/0 ] || fail "started"
! systemctl start $service || fail "a server without a key started"
diff - <(cd / && stat -c '%A %U:%G %n' \
    etc/sect etc/sect/sect-cloud.toml etc/sect-cloud usr/bin/sect-cloud usr/lib/systemd/system/sect-cloud.service \
    usr/lib/sysusers.d/sect-cloud.conf usr/lib/tmpfiles.d/sect-cloud.conf) <<'TABLE' || fail "modes and owners"
drwxr-xr-x root:root etc/sect
-rw-r--r-- root:root etc/sect/sect-cloud.toml
drwxr-xr-x root:root etc/sect-cloud
-rwxr-xr-x root:root usr/bin/sect-cloud
-rw-r--r-- root:root usr/lib/systemd/system/sect-cloud.service
-rw-r--r-- root:root usr/lib/sysusers.d/sect-cloud.conf
-rw-r--r-- root:root usr/lib/tmpfiles.d/sect-cloud.conf
TABLE
listed=$(dpkg -L sect-cloud | while read -r file; do if [ -f "$file" ]; then echo "$file"; fi; done | grep -cv '^/usr/share/')
[ "$listed" = 5 ] || fail "$listed files outside of /usr/share, and the table has 5 of them"
[ "$(dpkg-query -W -f '${Conffiles}' sect-cloud | awk '{print $1}' | xargs)" = $settings ] || fail "conffiles"
[ "$(id -nG sect-cloud)" = sect-cloud ] || fail "groups: $(id sect-cloud)"
getent passwd sect-cloud | grep -q ':/var/lib/sect-cloud:/usr/sbin/nologin$' || fail "$(getent passwd sect-cloud)"
systemd-analyze verify --man=no /usr/lib/systemd/system/$service
systemd-analyze security --offline=true --threshold=18 --no-pager /usr/lib/systemd/system/$service | tail -1

echo "== README.Debian's way to the first start"
cd /t || exit
sect-cloud provision server-authority --out authority --name cloud.example.org
sect-cloud provision server --authority authority --host cloud.example.org --out server
sect-cloud provision authority --out manufacturer --name "Example Plugs"
cp manufacturer/authority.crt server/manufacturer.crt
(cd server && install -m 644 server.crt manufacturer.crt $keys/ && install -m 600 server.key $keys/)
sed "s|/run/credentials/sect-cloud.service/|$keys/|" $settings >/root/check.toml
[ "$(sect-cloud check-config /root/check.toml)" = ok ] || fail "check-config"
systemctl start $service
[ "$(property ActiveState)/$(property Type)/$(property User)" = active/notify/sect-cloud ] || fail "not served"
[[ "$(journalctl -u $service)" == *'ready things=0 accounts=0'* ]] || fail "it does not say that it is ready"
for port in 8883 8884; do [ "$(knock $port)" = open ] || fail "nobody at port $port"; done
[[ "$(metrics)" == *'sect_cloud_connections_total'* ]] || fail "no numbers"

echo "== what its sandbox leaves it"
pid=$(property MainPID)
grep -q '^Seccomp:.2$' "/proc/$pid/status" || fail "no filter of system calls"
grep -qE '^CapBnd:.0+$' "/proc/$pid/status" || fail "it can get capabilities"
! nsenter --target "$pid" --mount touch /usr/x 2>/dev/null || fail "it can write to the system"
! setpriv --reuid=sect-cloud --regid=sect-cloud --clear-groups cat $keys/server.key 2>/dev/null || fail "the key is its user's"
[ "$(stat -c '%A %U:%G' /var/lib/sect-cloud)" = "drwx------ sect-cloud:sect-cloud" ] || fail "where it keeps registrations"

echo "== a renewed certificate"
sect-cloud provision server --authority authority --host cloud.example.org --out server
! cmp -s server/server.crt $keys/server.crt || fail "it is the same"
install -m 644 server/server.crt $keys/
systemctl reload $service
eventually 'certificates and key were read again' journalctl -o cat -u $service
[ "$(property MainPID)" = "$pid" ] || fail "a reload has restarted it"

echo "== upgraded, with an administrator's settings, and as it was when he had stopped it"
echo '# An administrator was here.' >>$settings
dpkg -i --force-confdef --force-confold newer.deb
eventually active property ActiveState
[ "$(property MainPID)" != "$pid" ] || fail "the old version still runs"
grep -q administrator $settings || fail "the upgrade lost the settings"
[ -e $settings.dpkg-dist ] || fail "no copy of the new settings"
systemctl --quiet disable --now $service
setpriv --reuid=sect-cloud --regid=sect-cloud --clear-groups sect-cloud list
dpkg -i --force-confdef --force-confold newer.deb
[ "$(property ActiveState)/$(systemctl is-enabled $service || true)" = inactive/disabled ] || fail "it runs again"
systemctl --quiet enable --now $service

echo "== removed, and installed again"
dpkg -r sect-cloud
[ "$(property LoadState)" = not-found ] || fail "the service is still there"
! grep -qxs sect-cloud /proc/[0-9]*/comm || fail "the server still runs"
for kept in $settings $keys/server.key /var/lib/sect-cloud; do [ -e "$kept" ] || fail "the removal took $kept"; done
dpkg -i --force-confdef --force-confold cloud.deb
[ "$(property ActiveState)" = active ] || fail "with its certificate it does not start"

echo "== a plug's daemon comes and goes beside it"
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
dpkg -i sectd.deb
dpkg -P sectd
rm /usr/sbin/policy-rc.d
[ "$(echo /etc/sect/*)" = "$settings $settings.dpkg-dist" ] || fail "the plug's purge leaves $(echo /etc/sect/*)"
[ "$(property ActiveState)" = active ] || fail "the plug's purge has ended it"

echo "== purged"
install -m 600 authority/authority.key $keys/
dpkg -P sect-cloud
! grep -qxs sect-cloud /proc/[0-9]*/comm || fail "the server still runs"
[ "$(ls -A $keys)" = authority.key ] || fail "in its folder is: $(ls -A $keys)"
rm -r $keys
tree >/t/after
lists='/etc/(passwd|group|shadow|gshadow)'
left=$({ diff /t/before /t/after || true; } | { grep '^[<>]' || true; } | { grep -vE "^> $lists- " || true; })
[ -z "$left" ] || fail "a purge leaves or takes this: $left"
getent passwd sect-cloud >/dev/null || fail "the user is gone"
echo 'all held'
