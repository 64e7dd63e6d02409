//! A server process with a folder, a manufacturer and ports of its own.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sect::proto::id::ThingId;
use tempfile::TempDir;

use super::client::Client;
use super::pki::Pki;

/// How long a test waits for what must happen at once.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Server {
    pub pki: Pki,
    pub things: SocketAddr,
    pub controllers: SocketAddr,
    pub metrics: SocketAddr,
    folder: TempDir,
    process: Option<Child>,
}

impl Server {
    /// A running server with these lines under `[limits]`.
    pub fn with_limits(limits: &str) -> Self {
        let pki = Pki::new();
        let [things, controllers, metrics] = free_addresses();
        let folder = tempfile::tempdir().expect("a folder");
        let mut server = Self { pki, things, controllers, metrics, folder, process: None };
        server.write_certificates();
        let at = server.folder.path().display();
        let config = format!(
            "state-dir = \"{at}/state\"\nmetrics = \"{metrics}\"\n\
             [server]\ncertificate-chain = \"{at}/server.pem\"\nprivate-key = \"{at}/server.key\"\n\
             [things]\nlisten = [\"{things}\"]\nmanufacturer-ca = \"{at}/manufacturer.pem\"\n\
             [controllers]\nlisten = [\"{controllers}\"]\n[limits]\n{limits}\n"
        );
        fs::write(server.path("sect-cloud.toml"), config).expect("written");
        server.start(&[]);
        server
    }

    pub fn new() -> Self {
        Self::with_limits("")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A fresh server certificate by the same authority.
    pub fn write_certificates(&self) {
        let issued = self.pki.server(&["localhost"]);
        fs::write(self.path("server.pem"), issued.certificate).expect("written");
        fs::write(self.path("server.key"), issued.key.expose()).expect("written");
        fs::write(self.path("manufacturer.pem"), self.pki.manufacturer.certificate().to_pem()).expect("written");
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sect-cloud"));
        command.arg("--config").arg(self.path("sect-cloud.toml"));
        for variable in ["SECT_LOG", "NOTIFY_SOCKET", "JOURNAL_STREAM", "SECT_CRASH_AT"] {
            command.env_remove(variable);
        }
        command
    }

    /// Starts the process and waits until it serves.
    pub fn start(&mut self, environment: &[(&str, &str)]) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).expect("a file");
        let mut command = self.command();
        command.arg("run").env("SECT_LOG", "debug").envs(environment.iter().copied());
        self.process = Some(command.stdin(Stdio::null()).stderr(log).spawn().expect("starts"));
        self.eventually("the server listens", |server| TcpStream::connect(server.metrics).is_ok());
    }

    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(self.process.as_ref().expect("running"))
    }

    /// Kills the process as a power cut would.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("running");
        process.kill().expect("a child");
        process.wait().expect("a child");
    }

    /// Waits until the process has ended by itself.
    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.process.take().expect("running").wait().expect("a child")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).expect("a log")
    }

    /// One number of the metrics.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().expect("a number")
    }

    pub fn denials(&self, reason: &str) -> u64 {
        self.metric(&format!("sect_cloud_denials_total{{reason=\"{reason}\"}}"))
    }

    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics).expect("connects");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("written");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        text
    }

    pub fn eventually(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < SOON, "not in time: {what}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A thing that is logged in and hears the answers to its registrations.
    pub fn thing(&self, id: ThingId) -> Client {
        let mut thing = Client::thing(self, &self.pki.device(&id)).expect("its certificate is the manufacturer's");
        assert_eq!(thing.connect(&id.to_string(), None), Some(0));
        assert_eq!(thing.subscribe(&[&format!("sect/cloud/{id}/down")]), [1]);
        thing
    }

    /// A controller that is logged in.
    pub fn controller(&self, client_id: &str, user: &str, password: &str) -> Client {
        let mut controller = Client::controller(self).expect("anybody gets that far");
        assert_eq!(controller.connect(client_id, Some((user, password))), Some(0), "{}", self.log());
        controller
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

fn free_addresses() -> [SocketAddr; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("binds"));
    listeners.map(|listener| listener.local_addr().expect("bound"))
}
