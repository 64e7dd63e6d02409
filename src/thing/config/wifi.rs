//! The radio: `[wifi]` and `[[wifi.networks]]`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use super::text;
use crate::proto::wifi::{Ssid, WifiPsk};

/// `[wifi]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct WifiConfig {
    /// Whose radio.
    pub driver: WifiDriverName,
    /// The thing's own address on its access point.
    pub ap_address: IpAddr,
    /// `networkmanager`: the network interface, as in `wlan0`; the first one of a radio without it.
    pub interface: Option<String>,
    /// `networkmanager`: the country whose rules the radio keeps to.
    #[serde(deserialize_with = "country")]
    pub country: Option<Country>,
    /// The simulated radio's socket; `radio.sock` in the runtime folder without it.
    pub path: Option<PathBuf>,
    /// How long the simulated radio takes to join, in milliseconds.
    pub join_delay_ms: u16,
    /// What the simulated radio finds on the air.
    pub networks: Vec<NetworkConfig>,
}

/// Whose radio.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WifiDriverName {
    /// A Unix socket that stands for the air.
    #[default]
    Simulated,
    /// The one that NetworkManager owns.
    NetworkManager,
}

/// A country, as in `DE` (ISO 3166-1 alpha-2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Country([u8; 2]);

/// Text that is no country.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a country is written as two capital letters, as in \"DE\"")]
pub struct CountryError;

/// `[[wifi.networks]]`: a network that the simulated radio can join.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkConfig {
    /// Its name.
    #[serde(deserialize_with = "text")]
    pub ssid: Ssid,
    /// What opens it.
    #[serde(deserialize_with = "text")]
    pub passphrase: WifiPsk,
    /// The address that the thing gets there.
    #[serde(default = "localhost")]
    pub address: IpAddr,
}

impl Default for WifiConfig {
    fn default() -> Self {
        Self {
            driver: WifiDriverName::default(),
            ap_address: IpAddr::V4(Ipv4Addr::new(192, 168, 4, 1)),
            interface: None,
            country: None,
            path: None,
            join_delay_ms: 200,
            networks: Vec::new(),
        }
    }
}

impl WifiConfig {
    /// How long the simulated radio takes to join.
    #[must_use]
    pub fn join_delay(&self) -> Duration {
        Duration::from_millis(self.join_delay_ms.into())
    }

    /// The first key whose value does not fit, and what to write instead.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        if self.ap_address.is_unspecified() || self.ap_address.is_multicast() {
            return Some(("wifi.ap-address", "write the address of one host, as in \"192.168.4.1\""));
        }
        // On one address a stranger who reads the announcement could knock at the pairing listener.
        if self.networks.iter().any(|network| network.address == self.ap_address) {
            return Some(("wifi.networks.address", "write another address than that of wifi.ap-address"));
        }
        // Of 15 characters at most, which the kernel would refuse without saying so.
        let named = self.interface.as_ref().is_none_or(|name| (1..=15).contains(&name.len()));
        match (self.driver, self.ap_address) {
            (WifiDriverName::NetworkManager, IpAddr::V4(address)) if address.is_private() && named => None,
            (WifiDriverName::NetworkManager, IpAddr::V4(address)) if address.is_private() => {
                Some(("wifi.interface", "write the name of a network interface, as in \"wlan0\""))
            }
            (WifiDriverName::NetworkManager, _) => {
                Some(("wifi.ap-address", "write a private IPv4 address, as in \"192.168.4.1\""))
            }
            (WifiDriverName::Simulated, _) if self.interface.is_some() || self.country.is_some() => {
                Some(("wifi.driver", "set it to \"networkmanager\", or remove wifi.interface and wifi.country"))
            }
            (WifiDriverName::Simulated, _) => None,
        }
    }
}

impl FromStr for Country {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, CountryError> {
        let letters: [u8; 2] = text.as_bytes().try_into().map_err(|_| CountryError)?;
        if letters.iter().all(u8::is_ascii_uppercase) { Ok(Self(letters)) } else { Err(CountryError) }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

fn country<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Country>, D::Error> {
    text(deserializer).map(Some)
}

fn localhost() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::thing::config::Config;

    fn parse(text: &str) -> Result<WifiConfig, String> {
        Config::parse(Path::new("sectd.toml"), text).map(|config| config.wifi).map_err(|error| error.to_string())
    }

    #[test]
    fn the_radio_of_a_real_plug_needs_no_more_than_its_name() {
        let config = parse("[wifi]\ndriver = \"networkmanager\"\n").expect("valid");
        assert_eq!(config, WifiConfig { driver: WifiDriverName::NetworkManager, ..WifiConfig::default() });
        let config = parse("[wifi]\ndriver = \"networkmanager\"\ninterface = \"wlan1\"\ncountry = \"DE\"\n");
        let config = config.expect("valid");
        assert_eq!(config.interface.as_deref(), Some("wlan1"));
        assert_eq!(config.country.map(|country| country.to_string()).as_deref(), Some("DE"));
    }

    #[test]
    fn what_does_not_fit_the_radio_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("country = \"de\"", "sectd.toml:2:11: a country is written as two capital letters, as in \"DE\""),
            ("country = 49", "sectd.toml:2:11: write this as text in quotes"),
            (
                "interface = \"wlan0\"",
                "sectd.toml: wifi.driver: set it to \"networkmanager\", or remove wifi.interface and wifi.country",
            ),
            (
                "driver = \"networkmanager\"\nap-address = \"fd00::1\"",
                "sectd.toml: wifi.ap-address: write a private IPv4 address, as in \"192.168.4.1\"",
            ),
            (
                "driver = \"networkmanager\"\nap-address = \"8.8.8.8\"",
                "sectd.toml: wifi.ap-address: write a private IPv4 address, as in \"192.168.4.1\"",
            ),
            (
                "driver = \"networkmanager\"\ninterface = \"\"",
                "sectd.toml: wifi.interface: write the name of a network interface, as in \"wlan0\"",
            ),
            ("driver = \"wpa\"", "sectd.toml:2:10: unknown variant `wpa`, expected `simulated` or `networkmanager`"),
        ] {
            assert_eq!(parse(&format!("[wifi]\n{text}\n")).expect_err(text), expected);
        }
    }
}
