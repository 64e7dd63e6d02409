//! The daemon's configuration: TOML, kebab-case, nothing unknown accepted, everything with a default.
//!
//! The file is read once at the start. It holds no secret of a real house: the passphrases in it are
//! those of simulated networks, and are never printed all the same.

pub mod cloud;
pub mod hardware;
pub mod wifi;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, de};
use thiserror::Error;

use self::cloud::{CloudConfig, DeviceConfig};
pub use self::hardware::{
    ButtonConfig, ButtonDriverName, DisplayConfig, DisplayDriverName, LedConfig, LedDriverName, OutletConfig,
    OutletDriverName,
};
pub use self::wifi::{NetworkConfig, WifiConfig, WifiDriverName};

/// Where the configuration is looked for when nobody says where; it may be missing there.
pub const DEFAULT_PATH: &str = "/etc/sect/sectd.toml";

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What must survive a power cut.
    pub state_dir: PathBuf,
    /// Sockets and what scripts read; may be gone after a boot.
    pub runtime_dir: PathBuf,
    /// The local server.
    pub local_server: LocalServerConfig,
    /// The power relay.
    pub outlet: OutletConfig,
    /// The display.
    pub display: DisplayConfig,
    /// The button.
    pub button: ButtonConfig,
    /// The status LED.
    pub led: LedConfig,
    /// The radio.
    pub wifi: WifiConfig,
    /// The announcement by mDNS.
    pub announce: AnnounceConfig,
    /// The cloud servers, 4 at most; without one nothing leaves the home network.
    pub cloud: Vec<CloudConfig>,
    /// How the thing proves itself to them.
    pub device: DeviceConfig,
    /// The time of day.
    pub clock: ClockConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// `[clock]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ClockConfig {
    /// Where the time of day comes from, unless an owner tells it.
    pub driver: ClockDriverName,
    /// The file that says that a time server has set the machine's clock.
    pub synchronized: PathBuf,
    /// The simulated clock's file; `clock` in the runtime folder without it.
    pub path: Option<PathBuf>,
}

/// Where the time of day comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockDriverName {
    /// The machine's clock, once a time server has set it.
    #[default]
    System,
    /// A file that says milliseconds since 1970.
    Simulated,
}

/// `[local-server]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LocalServerConfig {
    /// The TCP port, on the access point and at home.
    pub port: u16,
}

/// `[announce]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AnnounceConfig {
    /// Whether the thing is announced at all; without it a controller needs its address.
    pub enabled: bool,
    /// The one network interface that it is announced on; without it, the one that has the thing's address.
    pub interface: Option<String>,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// What is logged, as in `info` or `warn,sect::thing=debug`; the environment's `SECT_LOG` goes before it.
    pub filter: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/sect".into(),
            runtime_dir: "/run/sect".into(),
            local_server: LocalServerConfig::default(),
            outlet: OutletConfig::default(),
            display: DisplayConfig::default(),
            button: ButtonConfig::default(),
            led: LedConfig::default(),
            wifi: WifiConfig::default(),
            announce: AnnounceConfig::default(),
            cloud: Vec::new(),
            device: DeviceConfig::default(),
            clock: ClockConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for LocalServerConfig {
    fn default() -> Self {
        Self { port: 8883 }
    }
}

impl Default for AnnounceConfig {
    fn default() -> Self {
        Self { enabled: true, interface: None }
    }
}

impl Default for ClockConfig {
    fn default() -> Self {
        let synchronized = "/run/systemd/timesync/synchronized".into();
        Self { driver: ClockDriverName::default(), synchronized, path: None }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info,rusqlite_migration=warn".to_owned() }
    }
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; name another file with --config FILE", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What it says is no configuration.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Which character of it, from 1.
        column: usize,
        /// What is wrong, and with which key.
        message: String,
    },
    /// A value that does not fit.
    #[error("{}: {key}: {problem}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Whose value, as in `wifi.ap-address`.
        key: &'static str,
        /// What is wrong, and what to write instead.
        problem: &'static str,
    },
}

impl Config {
    /// Reads the configuration that the command line names, or else the default one, which may be
    /// missing.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(path, &text),
            Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Read { path: path.to_owned(), source }),
        }
    }

    /// Reads a configuration from its text; `path` is for the messages.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        // The parser's own display quotes the line, which may hold a passphrase.
        let config: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            ConfigError::Text { path: path.to_owned(), line, column, message: error.message().to_owned() }
        })?;
        match config.problem() {
            None => Ok(config),
            Some((key, problem)) => Err(ConfigError::Value { path: path.to_owned(), key, problem }),
        }
    }

    /// The simulated outlet's file.
    #[must_use]
    pub fn outlet_path(&self) -> PathBuf {
        self.in_runtime_dir(self.outlet.path.as_ref(), "outlet")
    }

    /// The file display's file.
    #[must_use]
    pub fn display_path(&self) -> PathBuf {
        self.in_runtime_dir(self.display.path.as_ref(), "display")
    }

    /// The simulated button's FIFO.
    #[must_use]
    pub fn button_path(&self) -> PathBuf {
        self.in_runtime_dir(self.button.path.as_ref(), "button")
    }

    /// The device certificate, PEM.
    #[must_use]
    pub fn device_certificate_path(&self) -> PathBuf {
        self.of_factory(self.device.certificate.as_ref(), "device.crt")
    }

    /// Its key, PEM.
    #[must_use]
    pub fn device_key_path(&self) -> PathBuf {
        self.of_factory(self.device.key.as_ref(), "device.key")
    }

    /// The simulated radio's socket.
    #[must_use]
    pub fn radio_path(&self) -> PathBuf {
        self.in_runtime_dir(self.wifi.path.as_ref(), "radio.sock")
    }

    /// The simulated clock's file.
    #[must_use]
    pub fn clock_path(&self) -> PathBuf {
        self.in_runtime_dir(self.clock.path.as_ref(), "clock")
    }

    /// The FIFO in which the simulated networks come and go.
    #[must_use]
    pub fn routers_path(&self) -> PathBuf {
        self.in_runtime_dir(None, "routers")
    }

    /// What the factory has put there: where the configuration says, as a credential of the service manager
    /// (systemd.exec(5), `LoadCredential=`), or in the state folder.
    fn of_factory(&self, named: Option<&PathBuf>, name: &str) -> PathBuf {
        let credential = || {
            let folder = PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?);
            Some(folder.join(format!("sect.{name}"))).filter(|path| path.exists())
        };
        named.cloned().or_else(credential).unwrap_or_else(|| self.state_dir.join(name))
    }

    fn in_runtime_dir(&self, named: Option<&PathBuf>, name: &str) -> PathBuf {
        named.cloned().unwrap_or_else(|| self.runtime_dir.join(name))
    }

    fn problem(&self) -> Option<(&'static str, &'static str)> {
        if !self.state_dir.is_absolute() {
            return Some(("state-dir", "write the whole path, as in \"/var/lib/sect\""));
        }
        if !self.runtime_dir.is_absolute() {
            return Some(("runtime-dir", "write the whole path, as in \"/run/sect\""));
        }
        if self.local_server.port == 0 {
            return Some(("local-server.port", "write a port that controllers can be told, as in 8883"));
        }
        let hardware = || hardware::problem(&self.outlet, &self.button, &self.led, &self.display);
        self.wifi.problem().or_else(hardware).or_else(|| cloud::problem(&self.cloud))
    }
}

/// Reads what is written as text; the message names no value, because it may be a passphrase.
fn text<'de, D: Deserializer<'de>, T: FromStr<Err: fmt::Display>>(deserializer: D) -> Result<T, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Other(IgnoredAny),
    }
    match Written::deserialize(deserializer)? {
        Written::Text(text) => text.parse().map_err(de::Error::custom),
        Written::Other(_) => Err(de::Error::custom("write this as text in quotes")),
    }
}

/// Line and column, from 1, of a byte.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::thing::gpio::Active;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("sectd.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_gives_the_defaults_of_a_pi() {
        let config = parse("").expect("all has a default");
        assert_eq!(config, Config::default());
        assert_eq!(config.local_server.port, 8883);
        assert_eq!(config.wifi.ap_address, IpAddr::from([192, 168, 4, 1]));
        assert_eq!(config.display_path(), Path::new("/run/sect/display"));
        assert_eq!(config.radio_path(), Path::new("/run/sect/radio.sock"));
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            r#"
            state-dir = "/s"
            runtime-dir = "/r"
            [local-server]
            port = 18883
            [outlet]
            driver = "simulated"
            path = "/o"
            [display]
            driver = "file"
            path = "/d"
            [led]
            driver = "none"
            active = "low"
            [button]
            driver = "simulated"
            path = "/b"
            [wifi]
            driver = "simulated"
            ap-address = "127.0.4.1"
            path = "/w"
            join-delay-ms = 5
            [[wifi.networks]]
            ssid = "Zuhause"
            passphrase = "correct horse"
            address = "127.0.0.2"
            [announce]
            enabled = false
            interface = "lo"
            [[cloud]]
            host = "cloud.example"
            port = 1
            controller-port = 2
            ca = "/ca.crt"
            [device]
            certificate = "/c"
            key = "/k"
            [clock]
            driver = "simulated"
            synchronized = "/y"
            path = "/t"
            [log]
            filter = "debug"
            "#,
        )
        .expect("valid");
        let expected = Config {
            state_dir: "/s".into(),
            runtime_dir: "/r".into(),
            local_server: LocalServerConfig { port: 18883 },
            outlet: OutletConfig { driver: OutletDriverName::Simulated, path: Some("/o".into()), ..Default::default() },
            display: DisplayConfig { driver: DisplayDriverName::File, path: Some("/d".into()), ..Default::default() },
            button: ButtonConfig { driver: ButtonDriverName::Simulated, path: Some("/b".into()), ..Default::default() },
            led: LedConfig { driver: LedDriverName::None, active: Active::Low, ..Default::default() },
            wifi: WifiConfig {
                driver: WifiDriverName::Simulated,
                ap_address: IpAddr::from([127, 0, 4, 1]),
                interface: None,
                country: None,
                path: Some("/w".into()),
                join_delay_ms: 5,
                networks: vec![NetworkConfig {
                    ssid: "Zuhause".parse().expect("a name"),
                    passphrase: "correct horse".parse().expect("a passphrase"),
                    address: IpAddr::from([127, 0, 0, 2]),
                }],
            },
            announce: AnnounceConfig { enabled: false, interface: Some("lo".into()) },
            cloud: vec![CloudConfig {
                host: "cloud.example".into(),
                port: 1,
                controller_port: 2,
                pin: None,
                ca: Some("/ca.crt".into()),
            }],
            device: DeviceConfig { certificate: Some("/c".into()), key: Some("/k".into()) },
            clock: ClockConfig {
                driver: ClockDriverName::Simulated,
                synchronized: "/y".into(),
                path: Some("/t".into()),
            },
            log: LogConfig { filter: "debug".into() },
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_what_there_is() {
        let message = parse("[display]\ndriver = \"file\"\ncolour = \"green\"\n").expect_err("unknown");
        assert!(message.starts_with("sectd.toml:3:1: unknown field `colour`, expected one of `driver`"), "{message}");
        let message = parse("[wifi]\nap_address = \"127.0.4.1\"\n").expect_err("snake case");
        assert!(message.starts_with("sectd.toml:2:1: unknown field `ap_address`"), "{message}");
    }

    #[test]
    fn a_wrong_value_is_refused_with_its_place() {
        for (text, expected) in [
            (
                "[outlet]\ndriver = \"triac\"",
                "sectd.toml:2:10: unknown variant `triac`, expected one of `simulated`, `rppal`, `gpiocdev`",
            ),
            (
                "[local-server]\nport = 0",
                "sectd.toml: local-server.port: write a port that controllers can be told, as in 8883",
            ),
            ("state-dir = \"x\"", "sectd.toml: state-dir: write the whole path, as in \"/var/lib/sect\""),
            (
                "[display]\ndriver = \"terminal\"\npath = \"/d\"",
                "sectd.toml: display.path: remove it, or set display.driver = \"file\"",
            ),
        ] {
            assert_eq!(parse(text).expect_err(text), expected);
        }
        let message =
            parse("[wifi]\nap-address = \"127.0.0.1\"\n[[wifi.networks]]\nssid = \"a\"\npassphrase = \"12345678\"");
        assert_eq!(
            message.expect_err("one address for both"),
            "sectd.toml: wifi.networks.address: write another address than that of wifi.ap-address"
        );
    }

    #[test]
    fn no_message_and_no_debug_shows_a_passphrase() {
        for wrong in ["\"hunt3r!\"", "31415926", "[\"hunt3r22\"]"] {
            let message =
                parse(&format!("[[wifi.networks]]\nssid = \"a\"\npassphrase = {wrong}\n")).expect_err("wrong");
            assert!(message.starts_with("sectd.toml:3:14: "), "{message}");
            assert!(!message.contains("hunt3r") && !message.contains("3141"), "{message}");
        }
        let config = parse("[[wifi.networks]]\nssid = \"a\"\npassphrase = \"hunter22\"\n").expect("valid");
        assert!(!format!("{config:?}").contains("hunter22"));
    }

    #[test]
    fn a_named_file_must_be_there() {
        let error = Config::load(Some(Path::new("/nonexistent/sectd.toml"))).expect_err("not there");
        assert!(error.to_string().starts_with("cannot read /nonexistent/sectd.toml: "), "{error}");
    }
}
