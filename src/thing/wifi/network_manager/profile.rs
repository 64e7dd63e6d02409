//! The two connection profiles, as NetworkManager's dictionaries.
//!
//! Both are given along with the order to activate them and live in memory: a profile of a plug is gone
//! with the daemon, and nothing of it reaches `/etc`. The access point gives no route: its method is
//! `manual`, because `shared` would make the plug a router (docs/adr/0013).

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::argument::{Profile, Setting, Settings};
use crate::proto::passcode::Passcode;
use crate::proto::secret::SecretString;
use crate::proto::wifi::HomeNetwork;

/// Half-way up the band, where no country forbids it.
pub(super) const CHANNEL: u32 = 6;
/// The prefix of the access point's network.
pub(super) const PREFIX: u32 = 24;
/// `pmf`: off (`NM_SETTING_WIRELESS_SECURITY_PMF_DISABLE`).
const PMF_DISABLE: i32 = 1;
/// `powersave`: off (`NM_SETTING_WIRELESS_POWERSAVE_DISABLE`).
const POWERSAVE_DISABLE: u32 = 2;

/// The Thing-AP (SecT STEP 1).
///
/// Frame protection is off because the radio of a Zero W cannot install its group key, and IPv6 because a
/// plug has one address there.
pub(super) fn access_point(ssid: &str, passphrase: &Passcode, address: IpAddr) -> Profile {
    BTreeMap::from([
        ("connection", connection("SecT access point")),
        (
            "802-11-wireless",
            BTreeMap::from([
                ("ssid", Setting::Bytes(ssid.as_bytes().to_vec())),
                ("mode", "ap".into()),
                ("band", "bg".into()),
                ("channel", Setting::Uint32(CHANNEL)),
                ("hidden", Setting::Bool(false)),
            ]),
        ),
        (
            "802-11-wireless-security",
            BTreeMap::from([
                ("key-mgmt", Setting::from("wpa-psk")),
                ("proto", Setting::Texts(vec!["rsn".to_owned()])),
                ("pairwise", Setting::Texts(vec!["ccmp".to_owned()])),
                ("group", Setting::Texts(vec!["ccmp".to_owned()])),
                ("pmf", Setting::Int32(PMF_DISABLE)),
                ("psk", Setting::Secret(SecretString::new(passphrase.expose().to_owned()))),
            ]),
        ),
        (
            "ipv4",
            BTreeMap::from([
                ("method", Setting::from("manual")),
                ("address-data", Setting::ManySettings(vec![address_data(address)])),
                ("never-default", Setting::Bool(true)),
            ]),
        ),
        ("ipv6", BTreeMap::from([("method", Setting::from("disabled"))])),
    ])
}

/// The home network (SecT STEP 8).
///
/// It is joined once it gave an IPv4 address. A radio that sleeps between two beacons would answer a
/// command a tenth of a second late.
pub(super) fn station(network: &HomeNetwork) -> Profile {
    BTreeMap::from([
        ("connection", connection("SecT home network")),
        (
            "802-11-wireless",
            BTreeMap::from([
                ("ssid", Setting::Bytes(network.ssid.as_bytes().to_vec())),
                ("mode", "infrastructure".into()),
                ("powersave", Setting::Uint32(POWERSAVE_DISABLE)),
            ]),
        ),
        (
            "802-11-wireless-security",
            BTreeMap::from([
                ("key-mgmt", Setting::from("wpa-psk")),
                ("psk", Setting::Secret(SecretString::new(network.psk.expose().to_owned()))),
            ]),
        ),
        ("ipv4", BTreeMap::from([("method", Setting::from("auto")), ("may-fail", Setting::Bool(false))])),
        ("ipv6", BTreeMap::from([("method", Setting::from("disabled"))])),
    ])
}

/// What comes along with a profile: it is nowhere but in memory, and ends with this daemon.
pub(super) fn options() -> Settings {
    BTreeMap::from([("persist", Setting::from("volatile")), ("bind-activation", "dbus-client".into())])
}

fn connection(name: &'static str) -> Settings {
    BTreeMap::from([
        ("type", Setting::from("802-11-wireless")),
        ("id", name.into()),
        ("autoconnect", Setting::Bool(false)),
    ])
}

fn address_data(address: IpAddr) -> Settings {
    BTreeMap::from([("address", Setting::Text(address.to_string())), ("prefix", Setting::Uint32(PREFIX))])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the debug text, but for secrets, which that does not show, and with the type of a number.
    fn shown(value: &Setting) -> String {
        match value {
            Setting::Secret(secret) => format!("secret {:?}", secret.expose()),
            Setting::Int32(number) => format!("int32 {number}"),
            Setting::Uint32(number) => format!("uint32 {number}"),
            value => format!("{value:?}"),
        }
    }

    /// Every key with what it says, in order.
    fn written(profile: &Profile) -> Vec<String> {
        let keys = |(setting, keys): (&&str, &Settings)| {
            keys.iter().map(|(key, value)| format!("{setting}.{key} = {}", shown(value))).collect::<Vec<_>>()
        };
        profile.iter().flat_map(keys).collect()
    }

    #[test]
    fn the_access_point_has_each_key_of_the_architecture_and_no_other() {
        let passcode: Passcode = "0123456789ABCDEF".parse().expect("a passcode");
        let profile = access_point("SecT-4F7K", &passcode, IpAddr::from([192, 168, 4, 1]));
        assert_eq!(
            written(&profile),
            [
                "802-11-wireless.band = \"bg\"",
                "802-11-wireless.channel = uint32 6",
                "802-11-wireless.hidden = false",
                "802-11-wireless.mode = \"ap\"",
                "802-11-wireless.ssid = b\"SecT-4F7K\"",
                "802-11-wireless-security.group = [\"ccmp\"]",
                "802-11-wireless-security.key-mgmt = \"wpa-psk\"",
                "802-11-wireless-security.pairwise = [\"ccmp\"]",
                "802-11-wireless-security.pmf = int32 1",
                "802-11-wireless-security.proto = [\"rsn\"]",
                "802-11-wireless-security.psk = secret \"0123456789ABCDEF\"",
                "connection.autoconnect = false",
                "connection.id = \"SecT access point\"",
                "connection.type = \"802-11-wireless\"",
                "ipv4.address-data = [{\"address\": \"192.168.4.1\", \"prefix\": 24}]",
                "ipv4.method = \"manual\"",
                "ipv4.never-default = true",
                "ipv6.method = \"disabled\"",
            ]
        );
    }

    #[test]
    fn the_home_network_has_these_keys_and_no_other() {
        let network = HomeNetwork {
            ssid: crate::proto::wifi::Ssid::new(b"Zu\xffH").expect("a name"),
            psk: "correct horse".parse().expect("a passphrase"),
        };
        assert_eq!(
            written(&station(&network)),
            [
                "802-11-wireless.mode = \"infrastructure\"",
                "802-11-wireless.powersave = uint32 2",
                "802-11-wireless.ssid = b\"Zu\\xffH\"",
                "802-11-wireless-security.key-mgmt = \"wpa-psk\"",
                "802-11-wireless-security.psk = secret \"correct horse\"",
                "connection.autoconnect = false",
                "connection.id = \"SecT home network\"",
                "connection.type = \"802-11-wireless\"",
                "ipv4.may-fail = false",
                "ipv4.method = \"auto\"",
                "ipv6.method = \"disabled\"",
            ]
        );
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let passcode: Passcode = "0123456789ABCDEF".parse().expect("a passcode");
        let profile = access_point("SecT-4F7K", &passcode, IpAddr::from([192, 168, 4, 1]));
        assert!(!format!("{profile:?}").contains("0123456789ABCDEF"));
    }

    #[test]
    fn a_profile_is_in_memory_alone_and_ends_with_the_daemon() {
        let options: Vec<String> = options().iter().map(|(key, value)| format!("{key} = {value:?}")).collect();
        assert_eq!(options, ["bind-activation = \"dbus-client\"", "persist = \"volatile\""]);
    }
}
