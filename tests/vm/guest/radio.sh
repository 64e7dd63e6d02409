# Three simulated radios: the plug's, a phone's and a router's, each of the last two in a network namespace of its own;
# NetworkManager with polkit; and a plug that runs as the user `sect`, with no more rights than its service has.
# shellcheck shell=bash source=tests/vm/guest/prelude.sh

home=Home password='correct horse battery' country=DE

phone() { ip netns exec phone "$@"; }
router() { ip netns exec router "$@"; }

# start_radios: the radios, and a second network of the plug, on which somebody listens.
start_radios() {
    # Where no package has done it, as systemd-sysusers does it on a plug.
    if ! getent passwd sect >/dev/null; then
        printf 'sect:x:980:980::/var/lib/sect:/usr/sbin/nologin\n' >>/etc/passwd
        printf 'sect:x:980:\n' >>/etc/group
    fi
    # As the kernel's command line says it on a plug.
    modprobe cfg80211 ieee80211_regdom=$country
    modprobe mac80211_hwsim radios=3
    iw reg set $country
    local name number=0
    for name in plug phone router; do
        ip netns add "$name" 2>/dev/null
        [ "$name" = plug ] || iw phy "phy$number" set netns name "$name"
        ip -n "$name" link set lo up
        number=$((number + 1))
    done
    ip netns add cellar
    ip link add cable type veth peer name far netns cellar
    ip address add 10.55.0.1/24 dev cable
    ip link set cable up
    ip -n cellar address add 10.55.0.2/24 dev far
    ip -n cellar link set far up
    ip -n cellar route add default via 10.55.0.1
}

# start_services: what owns the plug's radio, as Debian sets it up, with the package's two files.
start_services() {
    cp /repo/provisioning/polkit/*.rules /usr/share/polkit-1/rules.d/
    cp /repo/provisioning/networkmanager/*.conf /usr/lib/NetworkManager/conf.d/
    mkdir -p /run/dbus /var/lib/NetworkManager
    dbus-uuidgen --ensure
    dbus-daemon --system --fork
    setpriv --reuid polkitd --regid polkitd --init-groups /usr/lib/polkit-1/polkitd --no-debug >/tmp/polkit.log 2>&1 &
    wpa_supplicant -u -s -O /run/wpa_supplicant -B >/dev/null
    # Without udev it takes a /sys that it can write to for one that somebody else prepares.
    mount -o remount,ro /sys
    start_network_manager
}

start_network_manager() {
    NetworkManager --debug --log-level=INFO >>/tmp/nm.log 2>&1 &
    network_manager=$!
    soon "NetworkManager runs" nmcli -t -f STATE general
}

# settle_plug: its folders and its settings.
settle_plug() {
    mkdir -p /var/lib/sect /run/sect /etc/sect
    chown sect:sect /var/lib/sect /run/sect
    chmod 700 /var/lib/sect
    cat >/etc/sect/sectd.toml <<END
[wifi]
driver = "networkmanager"
country = "$country"
[log]
filter = "info,sect=debug,rusqlite_migration=warn"
END
}

# start_plug: the real sectd, as its service starts it.
start_plug() {
    settle_plug
    setpriv --reuid sect --regid sect --clear-groups --no-new-privs --bounding-set -all,+net_bind_service \
        --inh-caps -all,+net_bind_service --ambient-caps -all,+net_bind_service sectd >>/tmp/sectd.log 2>&1 &
    plug=$!
}

# start_router: the home network, with addresses and no way out.
start_router() {
    cat >/tmp/hostapd.conf <<END
interface=wlan2
driver=nl80211
ssid=$home
country_code=$country
hw_mode=g
channel=11
wpa=2
wpa_key_mgmt=WPA-PSK
rsn_pairwise=CCMP
wpa_passphrase=$password
END
    ip -n router address replace 10.9.9.1/24 dev wlan2
    ip netns exec router hostapd /tmp/hostapd.conf >>/tmp/hostapd.log 2>&1 &
    hostapd=$!
    soon "the router is on the air" grep -q AP-ENABLED /tmp/hostapd.log
    pgrep -F /tmp/dnsmasq.pid >/dev/null 2>&1 || router dnsmasq --conf-file=/dev/null --interface=wlan2 --bind-interfaces \
        --port=0 --dhcp-range=10.9.9.10,10.9.9.99,1h --dhcp-leasefile=/tmp/leases --pid-file=/tmp/dnsmasq.pid
}

# read_display: what a person reads who stands before the plug.
read_display() {
    { read -r ssid _ && read -r passcode; } </run/sect/display
    cat /run/sect/display
}
outlet() { tr -d '[:space:]' </run/sect/outlet; }
shows() { grep -q "$1" /run/sect/display; }
iw_says() { iw dev wlan0 info | grep -q "$1"; }

# join_wifi NAME PASSWORD: the phone joins this network by a real wpa_supplicant, and gets an address.
join_wifi() {
    leave_wifi
    cat >/tmp/phone.conf <<END
ctrl_interface=/run/phone
network={
 ssid="$1"
 psk="$2"
 key_mgmt=WPA-PSK
 proto=RSN
}
END
    : >/tmp/phone.log
    phone wpa_supplicant -B -Dnl80211 -iwlan1 -c/tmp/phone.conf -f/tmp/phone.log -P/tmp/phone.pid >/dev/null
    soon "the phone is in $1" phone_is_in "$1"
    get_address
}
phone_is_in() {
    local state
    state=$(phone wpa_cli -p /run/phone -i wlan1 status) && grep -qx wpa_state=COMPLETED <<<"$state" && grep -qx "ssid=$1" <<<"$state"
}
get_address() {
    ip -n phone address flush dev wlan1
    phone busybox udhcpc -i wlan1 -n -q -t 10 -T 2 -s /vm/guest/lease >/tmp/udhcpc.log 2>&1 || fail "no address: $(cat /tmp/udhcpc.log)"
    say "the phone's lease: $(tr '\n' ' ' </tmp/lease)"
}
leave_wifi() {
    if [ -f /tmp/phone.pid ]; then
        kill "$(cat /tmp/phone.pid)" || true
        soon "the phone is in no network" test ! -e /tmp/phone.pid
    fi
}
# follow_to NAME PASSWORD: in the background: once the plug's network is gone, the phone goes home by itself.
follow_home() {
    (until ! phone_is_in "$ssid"; do sleep 0.5; done; join_wifi "$home" "$password") &
}

# The serial line is no person who could be asked to press Enter.
exec </dev/null
export XDG_DATA_HOME=/tmp/ana XDG_CACHE_HOME=/tmp/ana/cache
mkdir -p /tmp/ana
# What went on, if something went wrong.
trap 'tell_all' EXIT
tell_all() {
    local status=$?
    ((status)) || return 0
    for log in sectd nm polkit hostapd phone; do
        printf '== %s\n' "$log"
        tail -40 "/tmp/$log.log" || true
    done
}
