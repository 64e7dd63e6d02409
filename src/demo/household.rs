//! A plug and its owner, each a process of this very program, with a folder of their own.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use super::factory::{self, Provisioned};
use super::lcd::Lcd;
use crate::controller::clock;
use crate::controller::keyring::Keyring;
use crate::proto::certificate::ThingIdentity;
use crate::proto::pairing::binding::Binding;
use crate::thing::store::Store;

/// The plug's address on its own access point.
pub(super) const ACCESS_POINT: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
/// The plug's address at home.
pub(super) const HOME: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The home network.
pub(super) const HOME_SSID: &str = "Home";
/// The name of the cloud server.
pub(super) const CLOUD: &str = "localhost";
/// How long a process may take to get ready.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked at.
const GLANCE: Duration = Duration::from_millis(5);
/// What opens it.
const HOME_PASSWORD: &str = "correct horse battery staple";

/// The folder, the plug in it, and the program that plays both.
pub(super) struct Household {
    folder: TempDir,
    program: PathBuf,
    port: u16,
    /// The cloud server's ports, for things and for controllers.
    cloud_ports: (u16, u16),
    plug: Option<Child>,
    cloud: Option<Child>,
    pub(super) lcd: Lcd,
}

/// What a `sect` command came to.
pub(super) struct Done {
    pub(super) code: Option<i32>,
    /// What a person reads: progress, warnings and the answer.
    pub(super) output: String,
    /// What a script reads.
    pub(super) answer: String,
}

impl Household {
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("sect-demo-").context("could not make a temporary folder")?;
        let program = std::env::current_exe().context("could not find this program")?;
        let (port, cloud_ports) = (free_port()?, (free_port()?, free_port()?));
        let lcd = Lcd::new(folder.path().join("run/display"));
        let household = Self { folder, program, port, cloud_ports, plug: None, cloud: None, lcd };
        fs::write(household.config(), household.settings()).context("could not write the plug's settings")?;
        Ok(household)
    }

    fn settings(&self) -> String {
        let (folder, port) = (self.folder.path().display(), self.port);
        format!(
            r#"state-dir = "{folder}/state"
runtime-dir = "{folder}/run"
local-server = {{ port = {port} }}
announce = {{ interface = "lo" }}

[wifi]
ap-address = "{ACCESS_POINT}"

[[wifi.networks]]
ssid = "{HOME_SSID}"
passphrase = "{HOME_PASSWORD}"
address = "{HOME}"
"#
        )
    }

    /// Gives the plug power.
    pub(super) fn power_on(&mut self) -> anyhow::Result<()> {
        // What an earlier start has shown must not pass for what this one shows.
        let _ = fs::remove_file(self.lcd.path());
        let plug = self.spawn("--plug", &self.config())?;
        self.plug = Some(plug);
        Ok(())
    }

    /// Does the factory's part: authorities, the server's certificate, and the plug's for its id.
    pub(super) fn provision(&self) -> anyhow::Result<Provisioned> {
        // The plug is this very program, so its identity is drawn here as `sectd identity` draws it.
        let create = || ThingIdentity::create(&mut clock::rng()).to_stored();
        let (_, stored) = Store::open(&self.folder.path().join("state"), create)?;
        let thing = ThingIdentity::from_stored(&stored.identity)?.id();
        let provisioned =
            factory::provision(&thing, &self.folder.path().join("state"), &self.folder.path().join("cloud"))?;
        let (things, controllers) = self.cloud_ports;
        let settings = format!(
            "{}\n[[cloud]]\nhost = \"{CLOUD}\"\nport = {things}\ncontroller-port = {controllers}\npin = \"{}\"\n",
            self.settings(),
            provisioned.pin
        );
        fs::write(self.config(), settings).context("could not write the plug's settings")?;
        fs::write(self.cloud_config(), self.cloud_settings()).context("could not write the server's settings")?;
        Ok(provisioned)
    }

    fn cloud_settings(&self) -> String {
        let folder = self.folder.path().join("cloud");
        let (folder, (things, controllers)) = (folder.display(), self.cloud_ports);
        format!(
            r#"state-dir = "{folder}/state"
metrics = ""
server = {{ certificate-chain = "{folder}/server.crt", private-key = "{folder}/server.key" }}
things = {{ listen = ["{HOME}:{things}"], manufacturer-ca = "{folder}/manufacturer.crt" }}
controllers = {{ listen = ["{HOME}:{controllers}"] }}
"#
        )
    }

    /// Starts the cloud server and waits until it listens.
    pub(super) async fn start_cloud(&mut self) -> anyhow::Result<()> {
        self.cloud = Some(self.spawn("--cloud", &self.cloud_config())?);
        let started = Instant::now();
        while TcpStream::connect((HOME, self.cloud_ports.1)).await.is_err() {
            ensure!(started.elapsed() < PATIENCE, "the cloud server does not listen");
            sleep(GLANCE).await;
        }
        Ok(())
    }

    /// Cuts the cloud server's power.
    pub(super) async fn cut_cloud(&mut self) -> anyhow::Result<()> {
        if let Some(mut cloud) = self.cloud.take() {
            cloud.kill().await.context("the cloud server does not stop")?;
        }
        Ok(())
    }

    /// Starts a process of this very program, which logs.
    fn spawn(&self, role: &str, config: &Path) -> anyhow::Result<Child> {
        let log = fs::File::options().create(true).append(true).open(self.log()).context("no log")?;
        Command::new(&self.program)
            .args([OsStr::new("demo"), OsStr::new(role), config.as_os_str()])
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{role} does not start"))
    }

    /// Cuts the plug's power.
    pub(super) async fn power_cut(&mut self) -> anyhow::Result<()> {
        if let Some(mut plug) = self.plug.take() {
            plug.kill().await.context("the plug does not stop")?;
        }
        Ok(())
    }

    /// Runs `sect` as the owner, or as anybody with an empty keyring.
    pub(super) async fn sect(&self, who: &str, arguments: &[&str], input: &str) -> anyhow::Result<Done> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env("XDG_DATA_HOME", self.data(who))
            .env("XDG_CACHE_HOME", self.data(who).join("cache"))
            .env("SECT_INTERFACE", "lo")
            .env_remove("SECT_DEVICE")
            .env_remove("SECT_ADDRESS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("sect does not start")?;
        if let Some(mut stdin) = child.stdin.take() {
            // It may have ended already, having found a mistake.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        let output = child.wait_with_output().await.context("sect does not end")?;
        let answer = String::from_utf8_lossy(&output.stdout).into_owned();
        let text = String::from_utf8_lossy(&output.stderr) + answer.as_str();
        Ok(Done { code: output.status.code(), output: text.into_owned(), answer })
    }

    /// Runs `sect pair` with what somebody believes the display says.
    pub(super) async fn pair(&self, who: &str, ssid: &str, passcode: &str) -> anyhow::Result<Done> {
        let access_point = self.access_point().to_string();
        let radio = self.radio();
        let radio = radio.to_str().context("the temporary folder's name is no UTF-8")?;
        let arguments = [
            &["pair", "--ssid", ssid, "--home-ssid", HOME_SSID, "--name", who, "--alias", "Lamp", "--secrets", "-"][..],
            &["--address", &access_point, "--simulated-radio", radio, "--no-recovery-code"],
        ]
        .concat();
        let secrets = format!("passcode={passcode}\nwifi-password={HOME_PASSWORD}\n");
        self.sect(who, &arguments, &secrets).await
    }

    /// What the owner's keyring holds of the plug.
    pub(super) fn binding(&self, who: &str) -> anyhow::Result<Binding> {
        let contents = Keyring::at(self.data(who).join("sect"))?.contents()?;
        match <[_; 1]>::try_from(contents.entries) {
            Ok([entry]) => Ok(entry.binding),
            Err(entries) => bail!("the keyring holds {} plugs", entries.len()),
        }
    }

    /// Whether the load has power.
    pub(super) fn outlet_is_on(&self) -> anyhow::Result<bool> {
        let text = fs::read_to_string(self.run("outlet")).context("the outlet has no file")?;
        Ok(text.trim() == "on")
    }

    /// Whether one of these stands anywhere in the plug's files, byte for byte.
    pub(super) fn store_holds(&self, secrets: &[&[u8]]) -> anyhow::Result<bool> {
        for entry in fs::read_dir(self.folder.path().join("state")).context("the plug has no store")? {
            let bytes = fs::read(entry?.path())?;
            if secrets.iter().any(|secret| bytes.windows(secret.len()).any(|at| at == *secret)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Presses the button.
    pub(super) fn press(&self) -> anyhow::Result<()> {
        fs::write(self.run("button"), "short\n").context("the button does not move")
    }

    pub(super) fn home(&self) -> SocketAddr {
        (HOME, self.port).into()
    }

    pub(super) fn access_point(&self) -> SocketAddr {
        (ACCESS_POINT, self.port).into()
    }

    pub(super) fn radio(&self) -> PathBuf {
        self.run("radio.sock")
    }

    pub(super) fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    pub(super) fn data(&self, who: &str) -> PathBuf {
        self.folder.path().join(who)
    }

    pub(super) fn program(&self) -> &PathBuf {
        &self.program
    }

    /// What the plug has logged, for who wants to know why the demo failed.
    pub(super) fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("sectd.toml")
    }

    fn cloud_config(&self) -> PathBuf {
        self.folder.path().join("cloud/sect-cloud.toml")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

/// A port that is free now; should another program take it, the log says so.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((HOME, 0)).and_then(|socket| socket.local_addr()).context("no free port")?.port())
}
