# In the root of a certified card that systemd has booted: who the plug is, and what the service is handed.
# shellcheck shell=bash source=tests/package/booted.sh
service=sectd.service
. /t/booted.sh

ip link set lo up
# It waits for its owner, and for the factory's cloud server, which nobody here is: only then it reads its certificate.
sed -n '/^\[\[cloud\]\]$/,$p' /etc/sect/sectd.toml >/t/cloud
grep -qx 'host = "cloud.example"' /t/cloud || fail "the card does not know the factory's cloud server"
cat - /t/cloud >/etc/sect/sectd.toml <<'SETTINGS'
[wifi]
ap-address = "127.0.4.1"
[announce]
interface = "lo"
SETTINGS
systemctl restart sectd.service
pid=$(property MainPID)
folder=/run/credentials/sectd.service
[ "$(cd $folder && echo *)" = "sect.device.crt sect.device.key" ] || fail "credentials: $(ls $folder)"
cmp $folder/sect.device.key /etc/credstore/sect.device.key
tr '\0' '\n' <"/proc/$pid/environ" | grep -qx "CREDENTIALS_DIRECTORY=$folder" || fail "it is not told where they are"
setpriv --reuid=sect --regid=sect --clear-groups cat $folder/sect.device.key >/dev/null || fail "it cannot read its key"
! setpriv --reuid=nobody --regid=nogroup --clear-groups cat $folder/sect.device.key 2>/dev/null || fail "others can"
! journalctl -o cat -u sectd.service | grep -q 'no cloud server' || fail "the daemon refuses its certificate"
systemctl stop sectd.service
[ "$(setpriv --reuid=sect --regid=sect --init-groups sectd identity)" = "$(cat /t/id)" ] || fail "another plug"
echo 'all held'
