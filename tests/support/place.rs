//! A folder with settings for a `sectd` of its own.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A folder with settings; the port is free because the addresses are the test crate's own.
pub(crate) struct Place(TempDir);

impl Place {
    /// `state` is the state folder, in this folder or anywhere; the access point is 127.0.`net`.1.
    pub(crate) fn new(net: u8, state: &str, more: &str) -> Self {
        let place = Self(tempfile::tempdir().expect("a folder"));
        let folder = place.0.path().display();
        let state = place.0.path().join(state);
        let port = TcpListener::bind((format!("127.0.{net}.1").as_str(), 0)).and_then(|listener| listener.local_addr());
        let settings = format!(
            "state-dir = \"{}\"\nruntime-dir = \"{folder}/run\"\n[wifi]\nap-address = \"127.0.{net}.1\"\n\
             [local-server]\nport = {}\n[announce]\nenabled = false\n{more}",
            state.display(),
            port.expect("a port").port(),
        );
        fs::write(place.path("sectd.toml"), settings).expect("written");
        place
    }

    /// What has this name in it.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `sectd` with these settings, and nobody who manages services.
    pub(crate) fn sectd(&self) -> Command {
        self.settled(Command::new(env!("CARGO_BIN_EXE_sectd")))
    }

    /// The same with SIGHUP as it is by default: who runs the tests under `nohup` ignores it, and so would `sectd`.
    pub(crate) fn sectd_at_a_terminal(&self) -> Command {
        let mut command = Command::new("env");
        command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_sectd")]);
        self.settled(command)
    }

    fn settled(&self, mut command: Command) -> Command {
        command.arg("--config").arg(self.path("sectd.toml"));
        command.env_remove("SECT_LOG").env_remove("JOURNAL_STREAM").env_remove("NOTIFY_SOCKET");
        command
    }
}

/// What a process said.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}
