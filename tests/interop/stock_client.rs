//! Running `mosquitto_pub` and `mosquitto_sub` as they come from Debian.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use data_encoding::HEXLOWER;
use sect::proto::pairing::binding::Binding;
use tempfile::TempDir;

use crate::support::{Plug, wait_for};

/// Both versions of MQTT, as the clients' option `-V` calls them.
pub(crate) const VERSIONS: [&str; 2] = ["311", "5"];

/// What a stock client is told.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) address: SocketAddr,
    pub(crate) psk_identity: String,
    /// Hexadecimal.
    pub(crate) psk: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl Account {
    /// The one that a binding gives.
    pub(crate) fn of(plug: &Plug, binding: &Binding) -> Self {
        let (psk_id, psk) = binding.psk();
        Self {
            address: plug.home(),
            psk_identity: psk_id.to_string(),
            psk: HEXLOWER.encode(psk.expose()),
            user: binding.credentials.user.expose().to_owned(),
            password: binding.credentials.password.expose().to_owned(),
        }
    }

    /// The options for a login with all four.
    pub(crate) fn options(&self) -> Vec<String> {
        let Self { address, psk_identity, psk, user, password } = self;
        vec![
            format!("-h {}", address.ip()),
            format!("-p {}", address.port()),
            format!("--psk-identity {psk_identity}"),
            format!("--psk {psk}"),
            format!("-u {user}"),
            format!("-P {password}"),
        ]
    }
}

/// A stock client, ready to run.
pub(crate) struct Client {
    command: Command,
    /// Lives as long as the client may read its settings.
    folder: TempDir,
}

impl Client {
    /// `mosquitto_pub` or `mosquitto_sub`. All options go into its settings file, one a line, for the key,
    /// the password and the topic are secrets and every local user sees a command line.
    pub(crate) fn new(tool: &str, options: &[String], more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = private_file(&folder.path().join(tool));
        for option in options.iter().map(String::as_str).chain(more.iter().copied()) {
            writeln!(settings, "{option}").expect("written");
        }
        // Line by line: into a file they would speak only at their end, and who listens must know when.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", tool]);
        command.env("XDG_CONFIG_HOME", folder.path()).env_remove("HOME").stdin(Stdio::null());
        Self { command, folder }
    }

    /// Sets a variable of its environment.
    pub(crate) fn environment(mut self, name: &str, value: &Path) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Output {
        self.command.output().unwrap_or_else(|error| panic!("{:?}: {error}", self.command.get_program()))
    }

    /// Starts a subscriber that ends with the first message, and waits until it is subscribed.
    pub(crate) fn listen(mut self) -> Listener {
        let said = self.folder.path().join("said");
        let child = self
            .command
            .stdout(private_file(&said))
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", self.command.get_program()));
        let mut listener = Listener { child, folder: self.folder };
        wait_for("the SUBACK", || {
            assert!(listener.child.try_wait().expect("its own child").is_none(), "{}", listener.said());
            listener.said().contains("Subscribed (mid: 1): 0").then_some(())
        });
        listener
    }
}

/// A subscriber at work; with option `-d`, for it is its debug output that tells of the SUBACK.
pub(crate) struct Listener {
    child: Child,
    folder: TempDir,
}

impl Listener {
    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).expect("readable")
    }

    /// The one message that it has received.
    pub(crate) fn message(mut self) -> Vec<u8> {
        let status = wait_for("the message", || self.child.try_wait().expect("its own child"));
        assert!(status.success(), "{status}");
        let said = self.said();
        let jwe = said.lines().find(|line| line.starts_with("eyJ")).unwrap_or_else(|| panic!("no JWE in {said}"));
        jwe.as_bytes().to_vec()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn private_file(path: &Path) -> File {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).expect("a file")
}
