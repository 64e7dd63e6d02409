# In a root that systemd has booted: the service under its sandbox, an upgrade that takes an older household along and
# leaves the load alone, a daemon that dies, removal and purge. The plug's parts are simulated; its lines are
# tests/vm's.
# shellcheck shell=bash source=tests/package/booted.sh
service=sectd.service
. /t/booted.sh

# The version of the tables, as SQLite has it in the file.
tables() { od -An -tu4 --endian=big -j60 -N4 /var/lib/sect/thing.db | tr -d ' '; }
load() { tr -d ' \n' </run/sect/outlet; }

ip link set lo up
# The owner's part, whose keys are in his own folder.
dpkg -i /t/sect.deb
export HOME=/root XDG_DATA_HOME=/t/me XDG_CACHE_HOME=/t/me/cache SECT_INTERFACE=lo

echo "== an older version with its household, and an administrator's settings"
# Where policy says so nothing is started, and the installation is none the worse.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
dpkg -i /t/older.deb
[ "$(property ActiveState)" = inactive ] || fail "started against the policy"
cat >/etc/sect/sectd.toml <<'SETTINGS'
# An administrator's.
[wifi]
ap-address = "127.0.4.1"
[[wifi.networks]]
ssid = "Home"
passphrase = "correct horse battery"
address = "127.0.0.1"
[announce]
interface = "lo"
SETTINGS
install -o sect -g sect -m 600 /t/household-2/thing.db /t/household-2/claimed /var/lib/sect/
install -d -m 700 /t/me /t/me/sect
install -m 600 /t/household-2/keyring.json /t/me/sect/c2bcabb638ca5129.json
[ "$(tables)" = 2 ] || fail "the older household has tables of version $(tables)"
rm /usr/sbin/policy-rc.d

echo "== the upgrade"
dpkg -i --force-confdef --force-confold /t/sectd.deb
eventually active property ActiveState
[ "$(property Type)/$(property NotifyAccess)/$(property WatchdogUSec)" = notify/main/1min ] || fail "no watchdog"
[ "$(property User)" = sect ] || fail "it runs as $(property User)"
grep -q "An administrator's" /etc/sect/sectd.toml || fail "the upgrade lost the settings"
[ -e /etc/sect/sectd.toml.dpkg-dist ] || fail "no copy of the new settings"
eventually 'Lamp is off' sect status --device Lamp
sect on --device Lamp
eventually on load
[ "$(stat -c '%A %U:%G' /var/lib/sect /var/lib/sect/thing.db /run/sect | xargs)" = \
    "drwx------ sect:sect -rw------- sect:sect drwx------ sect:sect" ] || fail "modes of what it keeps"

echo "== what its sandbox leaves it"
pid=$(property MainPID)
grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' "/proc/$pid/status" | tr '\t\n' '  '; echo
grep -q '^Seccomp:.2$' "/proc/$pid/status" || fail "no filter of system calls"
# Ports below 1024, if the unit says so, and nothing else.
grep -qE '^CapBnd:.0+(400)?$' "/proc/$pid/status" || fail "it can get capabilities"
! nsenter --target "$pid" --mount touch /usr/x 2>/dev/null || fail "it can write to the system"

echo "== an upgrade with the load on"
touch -d '2020-01-01' /t/mark
level=$(stat -c '%i %y' /run/sect/outlet)
dpkg -i --force-confdef --force-confold /t/newer.deb
eventually active property ActiveState
[ "$(property MainPID)" != "$pid" ] || fail "the old version still runs"
eventually 'Lamp is on' sect status --device Lamp
[ "$(stat -c '%i %y' /run/sect/outlet)" = "$level" ] || fail "the outlet was set by the upgrade"
[[ "$(journalctl -u sectd.service)" == *'cause=Restart'* ]] || fail "it took the upgrade for a power cut"

echo "== a daemon that is killed"
pid=$(property MainPID)
kill -KILL "$pid"
eventually 1 property NRestarts
eventually active property ActiveState
eventually 'Lamp is on' sect status --device Lamp
[ "$(stat -c '%i %y' /run/sect/outlet)" = "$level" ] || fail "the outlet was set by the restart"
systemctl stop sectd.service
[ "$(tables)" -gt 2 ] || fail "the household was not brought to the new tables"
systemctl start sectd.service

echo "== an upgrade that the administrator had stopped and disabled stays so"
systemctl --quiet disable --now sectd.service
dpkg -i --force-confdef --force-confold /t/newer.deb
[ "$(property ActiveState)/$(systemctl is-enabled sectd.service || true)" = inactive/disabled ] || fail "it runs again"
systemctl --quiet enable --now sectd.service
eventually 'Lamp is on' sect status --device Lamp

echo "== removed, and installed again"
dpkg -r sectd
[ "$(property LoadState)" = not-found ] || fail "the service is still there"
! grep -qxs sectd /proc/[0-9]*/comm || fail "the daemon still runs"
[ "$(load)" = on ] || fail "the removal switched the load"
if ! [ -e /var/lib/sect/thing.db ] || ! [ -e /etc/sect/sectd.toml ]; then fail "the removal took what is the household's"; fi
dpkg -i --force-confdef --force-confold /t/sectd.deb
eventually 'Lamp is on' sect status --device Lamp

echo "== purged"
dpkg -P sectd
! grep -qxs sectd /proc/[0-9]*/comm || fail "the daemon still runs"
for folder in /var/lib/sect /run/sect /etc/sect; do
    [ ! -e "$folder" ] || fail "a purge leaves a folder"
done

echo "== and new again: another plug, in its factory state"
dpkg -i /t/sectd.deb
systemctl stop sectd.service
printf '[wifi]\nap-address = "127.0.4.1"\n[announce]\ninterface = "lo"\n' >/etc/sect/sectd.toml
systemctl reset-failed sectd.service
systemctl start sectd.service
eventually 'SecT-' cat /run/sect/display
! sect status --device Lamp --timeout 2 2>/dev/null || fail "the purged plug knows its owner"
dpkg -P sectd sect
[ ! -e /usr/bin/sect ] || fail "sect is still there"
[ -e /t/me/sect/c2bcabb638ca5129.json ] || fail "purging sect took its owner's keys"
echo 'all held'
