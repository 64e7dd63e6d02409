//! Running `mosquitto_pub` and `mosquitto_sub` as they come from Debian.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
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
    tool: String,
    environment: Vec<(String, PathBuf)>,
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
        let environment = vec![("XDG_CONFIG_HOME".to_owned(), folder.path().to_owned())];
        Self { tool: tool.to_owned(), environment, folder }
    }

    /// Sets a variable of its environment.
    pub(crate) fn environment(mut self, name: &str, value: &Path) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs it to its end, which comes within half a minute.
    pub(crate) fn run(self) -> Output {
        self.command("timeout", "30").output().expect("coreutils")
    }

    /// Starts a subscriber that ends with the first message, and waits until it is subscribed.
    pub(crate) fn listen(self) -> Listener {
        let said = self.folder.path().join("said");
        // Line by line: into a file it would speak only at its end, and who listens must know when.
        let child = self.command("stdbuf", "-oL").stdout(private_file(&said)).spawn().expect("coreutils");
        let mut listener = Listener { child, folder: self.folder };
        wait_for("the SUBACK", || {
            assert!(listener.child.try_wait().expect("its own child").is_none(), "{}", listener.said());
            listener.said().contains("Subscribed (mid: 1): 0").then_some(())
        });
        listener
    }

    fn command(&self, wrapper: &str, option: &str) -> Command {
        let mut command = Command::new(wrapper);
        command.args([option, &self.tool]).env_remove("HOME").stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
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
