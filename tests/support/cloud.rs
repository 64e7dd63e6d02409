//! A cloud server as a process: `sect-cloud` with authorities, ports and a folder of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sect::cloud::provision::Issued;
use sect::proto::id::ThingId;
use tempfile::TempDir;

use super::pki::Pki;
use super::{Plug, wait_for};

/// The name that things and controllers know the server by.
pub const HOST: &str = "localhost";

/// The server, its authorities, and a process while it runs.
pub struct Cloud {
    folder: TempDir,
    /// Who certifies the server and the things.
    pub pki: Pki,
    things: u16,
    controllers: u16,
    process: Option<Child>,
}

impl Cloud {
    /// A server that runs.
    pub fn running() -> Self {
        let mut cloud = Self::new();
        cloud.start();
        cloud
    }

    /// A server that does not run yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let cloud = Self { folder, pki: Pki::new(), things: free_port(), controllers: free_port(), process: None };
        cloud.install(&cloud.pki.server(&[HOST]));
        write(&cloud.path("manufacturer.crt"), &cloud.pki.manufacturer.certificate().to_pem());
        write(&cloud.path("sect-cloud.toml"), &cloud.settings());
        cloud
    }

    /// Gives the server another certificate; takes effect at the next start.
    pub fn install(&self, server: &Issued) {
        write(&self.path("server.crt"), &server.certificate);
        write(&self.path("server.key"), server.key.expose());
    }

    fn settings(&self) -> String {
        let (folder, things, controllers) = (self.folder.path().display(), self.things, self.controllers);
        format!(
            r#"
state-dir = "{folder}/state"
metrics = ""

[server]
certificate-chain = "{folder}/server.crt"
private-key = "{folder}/server.key"

[things]
listen = ["127.0.0.1:{things}"]
manufacturer-ca = "{folder}/manufacturer.crt"

[controllers]
listen = ["127.0.0.1:{controllers}"]
"#
        )
    }

    /// Starts the server and waits until it listens.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a log");
        let process = Command::new(env!("CARGO_BIN_EXE_sect-cloud"))
            .arg("--config")
            .arg(self.path("sect-cloud.toml"))
            .env("SECT_LOG", "debug,rusqlite_migration=warn")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sect-cloud starts");
        self.process = Some(process);
        for port in [self.things, self.controllers] {
            wait_for("the cloud server", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
        }
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    /// Cuts the server's power.
    pub fn power_cut(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("its own child");
            process.wait().expect("its own child");
        }
    }

    /// Where controllers reach it.
    pub fn for_controllers(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.controllers).into()
    }

    /// Where things reach it.
    pub fn for_things(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.things).into()
    }

    /// Everything it has logged.
    pub fn log_text(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Does the factory's part for a plug without power, and tells it about this server.
    pub fn provision(&self, plug: &Plug) {
        let pin = self.pki.servers.pin();
        self.provision_as(plug, HOST, &pin.to_string(), &self.pki);
    }

    /// The same with another name, pin or manufacturer.
    pub fn provision_as(&self, plug: &Plug, host: &str, pin: &str, factory: &Pki) {
        let device = factory.device(&plug.identity());
        write(&plug.state().join("device.crt"), &device.certificate);
        write(&plug.state().join("device.key"), device.key.expose());
        let (things, controllers) = (self.things, self.controllers);
        plug.configure(&format!(
            "[[cloud]]\nhost = \"{host}\"\nport = {things}\ncontroller-port = {controllers}\npin = \"{pin}\""
        ));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.power_cut();
        if std::thread::panicking() {
            eprintln!("the cloud server's log:\n{}", self.log_text());
        }
    }
}

impl Plug {
    /// A plug that the factory has provisioned for this server, at home, and its owner.
    pub fn claimed_with(cloud: &Cloud) -> (Self, super::Person) {
        let mut plug = Self::new();
        cloud.provision(&plug);
        plug.power_on();
        let ana = super::Person::new();
        let paired = ana.pair(&plug);
        assert_eq!(paired.code, 0, "{}{}", paired.stdout, paired.stderr);
        plug.wait_until_online();
        (plug, ana)
    }

    /// The id that the factory certifies.
    pub fn identity(&self) -> ThingId {
        let output = Command::new(env!("CARGO_BIN_EXE_sectd"))
            .arg("--config")
            .arg(self.config())
            .arg("identity")
            .output()
            .expect("sectd runs");
        let id = String::from_utf8(output.stdout).expect("UTF-8");
        id.trim().parse().unwrap_or_else(|_| panic!("no id: {id:?}"))
    }

    /// Adds to the settings; takes effect at the next power-on.
    pub fn configure(&self, extra: &str) {
        let mut settings = fs::read_to_string(self.config()).expect("the settings");
        settings.push_str(extra);
        settings.push('\n');
        fs::write(self.config(), settings).expect("written");
    }
}

/// The owner alone reads it.
fn write(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path).expect("a file");
    file.write_all(text.as_bytes()).expect("written");
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}
