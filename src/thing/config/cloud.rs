//! `[[cloud]]` and `[device]`: where the thing can be reached from elsewhere, and who it is there
//! (SecT STEP 8).

use std::path::PathBuf;

use serde::Deserialize;

use crate::mqtt::client::is_host_name;
use crate::proto::id::SpkiHash;
use crate::proto::pairing::message::MAX_CLOUDS;

/// `[[cloud]]`: one cloud server, and what pins it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CloudConfig {
    /// Its DNS name, which its certificate holds.
    pub host: String,
    /// Its port for things.
    #[serde(default = "things")]
    pub port: u16,
    /// Its port for controllers, who are told it when they are bound.
    #[serde(default = "controllers")]
    pub controller_port: u16,
    /// SHA-256 of its authority's SubjectPublicKeyInfo, base64url.
    pub pin: Option<SpkiHash>,
    /// Or else its authority's certificate, PEM.
    pub ca: Option<PathBuf>,
}

/// `[device]`: the certificate by the manufacturer's authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DeviceConfig {
    /// The certificate, PEM; `device.crt` in the state folder without it.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM; `device.key` in the state folder without it.
    pub key: Option<PathBuf>,
}

const fn things() -> u16 {
    8883
}

const fn controllers() -> u16 {
    8884
}

pub(super) fn problem(clouds: &[CloudConfig]) -> Option<(&'static str, &'static str)> {
    if clouds.len() > MAX_CLOUDS {
        return Some(("cloud", "name 4 cloud servers at most"));
    }
    for cloud in clouds {
        if !is_host_name(&cloud.host) {
            return Some(("cloud.host", "write a DNS name or an address, as in \"cloud.example.org\""));
        }
        if cloud.port == 0 || cloud.controller_port == 0 {
            return Some(("cloud.port", "write a port, as in 8883 for things and 8884 for controllers"));
        }
        if cloud.pin.is_some() == cloud.ca.is_some() {
            return Some(("cloud.pin", "write either pin = \"...\" or ca = \"/path/to/ca.crt\""));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::thing::config::Config;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("sectd.toml"), text).map_err(|error| error.to_string())
    }

    const PIN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    #[test]
    fn a_cloud_server_needs_a_name_and_a_pin() {
        let config = parse(&format!("[[cloud]]\nhost = \"cloud.example\"\npin = \"{PIN}\"\n")).expect("valid");
        let cloud = &config.cloud[0];
        assert_eq!((cloud.host.as_str(), cloud.port, cloud.controller_port), ("cloud.example", 8883, 8884));
        assert_eq!(cloud.pin.map(|pin| pin.to_string()).as_deref(), Some(PIN));
        assert_eq!(config.device_key_path(), Path::new("/var/lib/sect/device.key"));
        assert_eq!(config.device_certificate_path(), Path::new("/var/lib/sect/device.crt"));
        assert!(parse("").expect("valid").cloud.is_empty(), "nothing leaves the home network unless asked for");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key() {
        let server = format!("[[cloud]]\nhost = \"c\"\npin = \"{PIN}\"\n");
        for (text, problem) in [
            ("[[cloud]]\nhost = \"c\"\n".to_owned(), "cloud.pin: write either"),
            (format!("{server}ca = \"/ca.crt\"\n"), "cloud.pin: write either"),
            ("[[cloud]]\nhost = \"a b\"\nca = \"/ca.crt\"\n".to_owned(), "cloud.host: write"),
            ("[[cloud]]\nhost = \"\"\nca = \"/ca.crt\"\n".to_owned(), "cloud.host: write"),
            (format!("{server}port = 0\n"), "cloud.port: write a port"),
            (server.repeat(5), "cloud: name 4"),
            ("[[cloud]]\nhost = \"c\"\npin = \"short\"\n".to_owned(), "not a valid SPKI hash"),
        ] {
            let message = parse(&text).expect_err("wrong");
            assert!(message.contains(problem), "{text}: {message}");
        }
    }
}
