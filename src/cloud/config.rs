//! The server's configuration: TOML, kebab-case, nothing unknown accepted, everything with a default.
//!
//! It names files with secrets and holds none.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// Where the configuration is looked for when nobody says where; it may be missing there.
pub const DEFAULT_PATH: &str = "/etc/sect/sect-cloud.toml";

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// What must survive a power cut: the registrations.
    pub state_dir: PathBuf,
    /// Where the numbers are read, on loopback; `""` for nowhere.
    pub metrics: String,
    /// Who the server is.
    pub server: ServerConfig,
    /// The port for things.
    pub things: ThingsConfig,
    /// The port for controllers.
    pub controllers: ControllersConfig,
    /// What everybody together and each may use.
    pub limits: LimitsConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServerConfig {
    /// PEM: the server's certificate first, the CA that plugs and controllers pin last.
    pub certificate_chain: PathBuf,
    /// PEM: the key of the first certificate.
    pub private_key: PathBuf,
}

/// `[things]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ThingsConfig {
    /// Addresses and ports.
    pub listen: Vec<SocketAddr>,
    /// PEM: the manufacturer CA that has certified the things, or several.
    pub manufacturer_ca: PathBuf,
}

/// `[controllers]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ControllersConfig {
    /// Addresses and ports.
    pub listen: Vec<SocketAddr>,
}

/// `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitsConfig {
    /// Connections at the same time; one more is closed at once.
    pub connections: usize,
    /// Connections from one address at the same time (IPv6: from one /64); one more is closed at once.
    pub connections_per_address: usize,
    /// New connections from one address in the long run; at once there may be `connections-per-address`.
    pub connections_per_address_each_second: usize,
    /// Sessions of one thing or of one controller's account; for one more, the oldest is ended.
    pub sessions_per_account: usize,
    /// Connections that have not logged in yet; one more waits in the kernel's queue.
    pub handshakes: usize,
    /// A TLS handshake that is not complete by then is given up, in seconds.
    pub handshake_within_s: u16,
    /// A CONNECT that is not complete by then, after the handshake, ends the connection, in seconds.
    pub connect_within_s: u16,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogConfig {
    /// What is logged, as in `info` or `warn,sect::cloud=debug`; the environment's `SECT_LOG` goes before it.
    pub filter: String,
    /// One JSON object a line instead of text.
    pub json: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/sect-cloud".into(),
            metrics: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)).to_string(),
            server: ServerConfig::default(),
            things: ThingsConfig::default(),
            controllers: ControllersConfig::default(),
            limits: LimitsConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            certificate_chain: "/etc/sect-cloud/server.crt".into(),
            private_key: "/etc/sect-cloud/server.key".into(),
        }
    }
}

impl Default for ThingsConfig {
    fn default() -> Self {
        Self { listen: vec![everywhere(8883)], manufacturer_ca: "/etc/sect-cloud/manufacturer.crt".into() }
    }
}

impl Default for ControllersConfig {
    fn default() -> Self {
        Self { listen: vec![everywhere(8884)] }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_address: 512,
            connections_per_address_each_second: 50,
            sessions_per_account: 4,
            handshakes: 1024,
            handshake_within_s: 10,
            connect_within_s: 5,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info,rusqlite_migration=warn".to_owned(), json: false }
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
    #[error("{}: {message}", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// Where and what, with the line.
        message: String,
    },
    /// A value that does not fit.
    #[error("{}: {key}: {problem}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// Whose value, as in `limits.connections`.
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
        let config: Self = toml::from_str(text).map_err(|error| {
            let message = error.to_string().trim_end().to_owned();
            ConfigError::Text { path: path.to_owned(), message }
        })?;
        match config.problem() {
            None => Ok(config),
            Some((key, problem)) => Err(ConfigError::Value { path: path.to_owned(), key, problem }),
        }
    }

    /// Where the numbers are read; `None` for nowhere.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.parse().ok()
    }

    fn problem(&self) -> Option<(&'static str, &'static str)> {
        if !self.state_dir.is_absolute() {
            return Some(("state-dir", "write the whole path, as in \"/var/lib/sect-cloud\""));
        }
        match (self.metrics.as_str(), self.metrics_address()) {
            ("", _) => {}
            (_, Some(address)) if address.ip().is_loopback() => {}
            // The numbers tell when people are at home; they have no password.
            _ => return Some(("metrics", "write an address of this machine only, as in \"127.0.0.1:9464\", or \"\"")),
        }
        if self.things.listen.is_empty() {
            return Some(("things.listen", "write at least one address, as in [\"[::]:8883\"]"));
        }
        if self.controllers.listen.is_empty() {
            return Some(("controllers.listen", "write at least one address, as in [\"[::]:8884\"]"));
        }
        let limits = &self.limits;
        for (key, value) in [
            ("limits.connections", limits.connections),
            ("limits.connections-per-address", limits.connections_per_address),
            ("limits.connections-per-address-each-second", limits.connections_per_address_each_second),
            ("limits.sessions-per-account", limits.sessions_per_account),
            ("limits.handshakes", limits.handshakes),
            ("limits.handshake-within-s", limits.handshake_within_s.into()),
            ("limits.connect-within-s", limits.connect_within_s.into()),
        ] {
            if value == 0 || value > 1_000_000 {
                return Some((key, "write a number from 1 to 1000000"));
            }
        }
        None
    }
}

fn everywhere(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("sect-cloud.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = parse("").expect("all has a default");
        assert_eq!(config, Config::default());
        assert!(config.metrics_address().expect("an address").ip().is_loopback());
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            r#"
            state-dir = "/s"
            metrics = "[::1]:1"
            [server]
            certificate-chain = "/c"
            private-key = "/k"
            [things]
            listen = ["127.0.0.1:1", "[::1]:2"]
            manufacturer-ca = "/m"
            [controllers]
            listen = ["127.0.0.1:3"]
            [limits]
            connections = 1
            connections-per-address = 2
            connections-per-address-each-second = 7
            sessions-per-account = 3
            handshakes = 4
            handshake-within-s = 5
            connect-within-s = 6
            [log]
            filter = "debug"
            json = true
            "#,
        )
        .expect("valid");
        let expected = Config {
            state_dir: "/s".into(),
            metrics: "[::1]:1".into(),
            server: ServerConfig { certificate_chain: "/c".into(), private_key: "/k".into() },
            things: ThingsConfig {
                listen: vec!["127.0.0.1:1".parse().expect("valid"), "[::1]:2".parse().expect("valid")],
                manufacturer_ca: "/m".into(),
            },
            controllers: ControllersConfig { listen: vec!["127.0.0.1:3".parse().expect("valid")] },
            limits: LimitsConfig {
                connections: 1,
                connections_per_address: 2,
                connections_per_address_each_second: 7,
                sessions_per_account: 3,
                handshakes: 4,
                handshake_within_s: 5,
                connect_within_s: 6,
            },
            log: LogConfig { filter: "debug".into(), json: true },
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        for (text, expected) in [
            ("[limits]\nconections = 3", "line 2, column 1"),
            ("state_dir = \"/s\"", "unknown field `state_dir`"),
            ("state-dir = \"s\"", "sect-cloud.toml: state-dir: write the whole path"),
            ("metrics = \"0.0.0.0:9464\"", "sect-cloud.toml: metrics: write an address of this machine only"),
            ("metrics = \"x\"", "sect-cloud.toml: metrics: write an address of this machine only"),
            ("[things]\nlisten = []", "sect-cloud.toml: things.listen: write at least one"),
            ("[limits]\nhandshakes = 0", "sect-cloud.toml: limits.handshakes: write a number"),
        ] {
            let message = parse(text).expect_err(text);
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(parse("metrics = \"\"").expect("valid").metrics_address(), None);
    }
}
