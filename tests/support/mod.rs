//! A real plug and its people: `sectd` and `sect` as processes, with a folder, a port and loopback
//! addresses of their own.

// Each test crate uses its own part of it.
#![allow(dead_code, unreachable_pub, clippy::print_stderr, reason = "a failing test shows the log")]

pub mod cloud;
pub mod impostor;
pub mod line;
pub mod pki;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// The home network of every test.
pub const HOME_SSID: &str = "home";
/// What opens it.
pub const HOME_PASSPHRASE: &str = "correct horse battery";
/// The plug's address on its own access point.
pub const AP_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 4, 1);
/// The plug's address at home.
pub const HOME_ADDRESS: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// How long a test waits for what must happen at once.
pub const SOON: Duration = Duration::from_secs(20);

/// A plug: a folder that survives power cuts, and a daemon while it has power.
pub struct Plug {
    folder: TempDir,
    port: u16,
    log_filter: &'static str,
    daemon: Option<Child>,
}

impl Plug {
    /// A factory-fresh plug without power.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let plug = Self { folder, port, log_filter: "debug", daemon: None };
        fs::write(plug.config(), plug.settings()).expect("a configuration");
        plug
    }

    /// Logs by another filter from the next start on.
    pub fn log_by(&mut self, filter: &'static str) {
        self.log_filter = filter;
    }

    /// A factory-fresh plug that has just shown its passcode.
    pub fn unclaimed() -> Self {
        let mut plug = Self::new();
        plug.power_on();
        plug.wait_for_passcode();
        plug
    }

    /// A plug at home, and the person who claimed it.
    pub fn claimed() -> (Self, Person) {
        let (plug, ana) = (Self::unclaimed(), Person::new());
        let paired = ana.pair(&plug);
        assert_eq!(paired.code, 0, "{}{}", paired.stdout, paired.stderr);
        plug.wait_until_online();
        (plug, ana)
    }

    fn settings(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            r#"
state-dir = "{folder}/state"
runtime-dir = "{folder}/run"

[local-server]
port = {port}

[wifi]
ap-address = "{AP_ADDRESS}"
join-delay-ms = 20

[[wifi.networks]]
ssid = "{HOME_SSID}"
passphrase = "{HOME_PASSPHRASE}"
address = "{HOME_ADDRESS}"

[announce]
interface = "lo"

[clock]
driver = "simulated"
"#,
            port = self.port
        )
    }

    /// Starts the daemon.
    pub fn power_on(&mut self) {
        self.power_on_until("");
    }

    /// Starts a daemon that cuts its own power at the named point.
    pub fn power_on_until(&mut self, crash_point: &str) {
        assert!(self.daemon.is_none(), "it has power");
        // What an earlier start has shown must not pass for what this one shows.
        let _ = fs::remove_file(self.run("display"));
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).expect("a log");
        let daemon = Command::new(env!("CARGO_BIN_EXE_sectd"))
            .arg("--config")
            .arg(self.config())
            .env("SECT_CRASH_AT", crash_point)
            .env("SECT_LOG", self.log_filter)
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("sectd starts");
        self.daemon = Some(daemon);
    }

    /// Cuts the power.
    pub fn power_cut(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("its own child");
            daemon.wait().expect("its own child");
        }
    }

    /// Cuts the power of the whole machine: what lay in its memory, the runtime folder, is gone as well.
    pub fn lose_power(&mut self) {
        self.power_cut();
        fs::remove_dir_all(self.runtime()).expect("its own folder");
    }

    /// Sets the machine's clock as a time server does.
    pub fn clock_says(&self, unix_ms: u64) {
        fs::write(self.run("clock.new"), unix_ms.to_string()).expect("written");
        fs::rename(self.run("clock.new"), self.run("clock")).expect("renamed");
    }

    /// Stops the daemon as systemd does, and says how long it took.
    pub fn terminate(&mut self) -> (ExitStatus, Duration) {
        let mut daemon = self.daemon.take().expect("it has power");
        let pid = rustix::process::Pid::from_child(&daemon);
        let asked = Instant::now();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("its own child");
        (daemon.wait().expect("its own child"), asked.elapsed())
    }

    /// Lets the daemon crash.
    pub fn crash(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("it has power");
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::ABORT).expect("its own child");
        daemon.wait().expect("its own child")
    }

    /// Waits until the daemon has cut its own power.
    pub fn wait_for_power_cut(&mut self) {
        let mut daemon = self.daemon.take().expect("it has power");
        let status = wait_for("the power cut", || daemon.try_wait().expect("its own child"));
        assert_eq!(status.signal(), Some(9), "{}", self.log_text());
    }

    /// Whether the daemon still runs.
    pub fn is_running(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.try_wait().expect("its own child").is_none())
    }

    /// The daemon's process id.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().expect("it has power").id()
    }

    /// The two lines of the display, if it shows anything.
    pub fn display(&self) -> Option<[String; 2]> {
        let text = fs::read_to_string(self.run("display")).ok()?;
        let mut lines = text.lines().map(str::to_owned);
        Some([lines.next()?, lines.next()?])
    }

    /// Waits until the display shows what `wanted` takes.
    pub fn wait_for_display<T>(&self, what: &str, wanted: impl Fn(&[String; 2]) -> Option<T>) -> T {
        wait_for(&format!("{what} on the display"), || self.display().and_then(|lines| wanted(&lines)))
    }

    /// Waits for an access point, and reads its name and its passcode from the display.
    pub fn wait_for_passcode(&self) -> (String, String) {
        self.wait_for_display("a passcode", |[first, second]| {
            let (ssid, _) = first.split_once(' ').filter(|(ssid, _)| ssid.starts_with("SecT-"))?;
            let is_code = second.len() == 16 && second.bytes().all(|c| c.is_ascii_alphanumeric());
            is_code.then(|| (ssid.to_owned(), second.clone()))
        })
    }

    /// Waits until it is at home.
    pub fn wait_until_online(&self) {
        self.wait_for_display("being online", |[_, second]| matches!(second.trim(), "on" | "off").then_some(()));
    }

    /// Whether the load has power, by what the outlet's file says.
    pub fn outlet_is_on(&self) -> bool {
        match fs::read_to_string(self.run("outlet")).expect("the outlet's file").trim() {
            "on" => true,
            "off" => false,
            other => panic!("the outlet says {other:?}"),
        }
    }

    /// Presses the button: `short` or `long`.
    pub fn press(&self, press: &str) {
        let mut button = fs::OpenOptions::new().write(true).open(self.run("button")).expect("the button");
        writeln!(button, "{press}").expect("pressed");
    }

    /// Switches the home router `on` or `off`.
    pub fn router(&self, switched: &str) {
        let mut routers = fs::OpenOptions::new().write(true).open(self.run("routers")).expect("the routers");
        writeln!(routers, "{switched} {HOME_SSID}").expect("switched");
    }

    /// Everything the daemon has logged.
    pub fn log_text(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Where its local server listens at home.
    pub fn home(&self) -> SocketAddr {
        (HOME_ADDRESS, self.port).into()
    }

    /// Where its local server listens on its access point.
    pub fn access_point(&self) -> SocketAddr {
        (AP_ADDRESS, self.port).into()
    }

    /// The FIFO that is its button.
    pub fn button(&self) -> PathBuf {
        self.run("button")
    }

    /// The folder that a restart empties.
    pub fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// The socket of its simulated radio.
    pub fn radio(&self) -> PathBuf {
        self.run("radio.sock")
    }

    /// The folder that survives a power cut.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Its settings.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("sectd.toml")
    }

    fn run(&self, name: &str) -> PathBuf {
        self.folder.path().join("run").join(name)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Plug {
    fn drop(&mut self) {
        self.power_cut();
        if std::thread::panicking() {
            eprintln!("the plug's log:\n{}", self.log_text());
        }
    }
}

/// A person with a keyring and `sect`.
pub struct Person {
    folder: TempDir,
    log_filter: Option<&'static str>,
}

/// What a `sect` command came to.
pub struct Done {
    /// Its exit status.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Person {
    /// Somebody with an empty keyring.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), log_filter: None }
    }

    /// Lets `sect` log by this filter from now on.
    pub fn log_by(&mut self, filter: &'static str) {
        self.log_filter = Some(filter);
    }

    /// `sect` with this person's keyring, on loopback.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sect"));
        command
            .env("XDG_DATA_HOME", self.folder.path())
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"))
            .env("SECT_INTERFACE", "lo")
            .env_remove("SECT_DEVICE")
            .env_remove("SECT_ADDRESS")
            .env_remove("SECT_LOG")
            .stdin(Stdio::null());
        if let Some(filter) = self.log_filter {
            command.env("SECT_LOG", filter);
        }
        command
    }

    /// Runs `sect` to its end.
    pub fn sect(&self, arguments: &[&str]) -> Done {
        done(self.command().args(arguments).output().expect("sect runs"))
    }

    /// Runs `sect` for one plug at its home address.
    pub fn sect_at(&self, plug: &Plug, arguments: &[&str]) -> Done {
        let address = plug.home().to_string();
        self.sect(&[&["--address", &address], arguments].concat())
    }

    /// The JSON that a `sect` command at the plug's home address prints.
    pub fn json_at(&self, plug: &Plug, arguments: &[&str]) -> Value {
        let done = self.sect_at(plug, &[&["--json"], arguments].concat());
        assert_eq!(done.code, 0, "{arguments:?}: {} {}", done.stdout, done.stderr);
        serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("no JSON: {}", done.stdout))
    }

    /// Claims a plug with what its display shows.
    pub fn pair(&self, plug: &Plug) -> Done {
        let (ssid, passcode) = plug.wait_for_passcode();
        self.pair_with(plug, &ssid, &passcode, HOME_PASSPHRASE, "")
    }

    /// Claims a plug with what the person believes; `crash_point` may cut the controller's power.
    pub fn pair_with(&self, plug: &Plug, ssid: &str, passcode: &str, wifi_password: &str, crash_point: &str) -> Done {
        let mut child = self
            .command()
            .env("SECT_CRASH_AT", crash_point)
            .args(["pair", "--ssid", ssid, "--home-ssid", HOME_SSID, "--name", "Ana", "--alias", "Lamp"])
            .args(["--secrets", "-", "--timeout", "5"])
            .args(["--address", &plug.access_point().to_string(), "--home-address", &plug.home().to_string()])
            .arg("--simulated-radio")
            .arg(plug.radio())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sect starts");
        let secrets = format!("passcode={passcode}\nwifi-password={wifi_password}\n");
        // It may have gone already, having found another mistake.
        let _ = child.stdin.take().expect("piped").write_all(secrets.as_bytes());
        done(child.wait_with_output().expect("sect ends"))
    }

    /// The keyring's folder.
    pub fn keyring(&self) -> PathBuf {
        self.folder.path().join("sect")
    }

    /// Starts `sect watch --json` at the plug's home address.
    pub fn watch(&self, plug: &Plug) -> Watch {
        let mut command = self.command();
        command.args(["--json", "--address", &plug.home().to_string(), "watch"]).stdout(Stdio::piped());
        Watch::start(command)
    }
}

/// A running `sect watch`.
pub struct Watch {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watch {
    /// Starts a `sect watch --json` whose output is piped.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("sect starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, lines }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line; waits for it.
    pub fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("readable");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line:?}"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn done(output: Output) -> Done {
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Asks until there is an answer; fails the test after [`SOON`].
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < SOON, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// A port that nobody has on any of the plug's addresses. Another process may take it before the
/// plug does; the kernel hands ports out in turn, so that this is rare.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}
