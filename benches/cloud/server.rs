//! The two servers, each a process in a folder of its own, with the same certificates and accounts.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use sect::proto::json;
use sect::proto::registration::{down_topic, up_topic};
use tempfile::TempDir;

use crate::footprint;
use crate::households::{Household, Member, password, to_controller, to_thing, user};
use crate::packets;
use crate::pki::Pki;
use crate::wire::Wire;

/// The name that everybody knows the server by.
pub const HOST: &str = "localhost";

/// A server that knows the households, and is not running.
pub struct Installed {
    pub name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    folder: TempDir,
    things: u16,
    controllers: u16,
}

/// A process that ends with this value.
pub struct Server {
    child: Child,
    things: SocketAddr,
    controllers: SocketAddr,
}

/// What a process has used.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// Resident, in bytes.
    pub memory: u64,
    /// Of all threads that it has now.
    pub processor: Duration,
}

/// `sect-cloud` with the limits that it comes with; the plugs have registered.
pub fn sect_cloud(pki: &Pki, certificates: &Certificates, households: &[Household]) -> anyhow::Result<Installed> {
    let mut installed = Installed::new("sect-cloud", env!("CARGO_BIN_EXE_sect-cloud").into())?;
    let at = certificates.write(installed.folder.path(), pki)?;
    let (things, controllers) = (installed.things, installed.controllers);
    let config = installed.folder.path().join("sect-cloud.toml");
    fs::write(
        &config,
        format!(
            "state-dir = \"{at}/state\"\nmetrics = \"\"\n\
             [server]\ncertificate-chain = \"{at}/server.pem\"\nprivate-key = \"{at}/server.key\"\n\
             [things]\nlisten = [\"127.0.0.1:{things}\"]\nmanufacturer-ca = \"{at}/manufacturer.pem\"\n\
             [controllers]\nlisten = [\"127.0.0.1:{controllers}\"]\n"
        ),
    )?;
    installed.arguments = vec!["--config".to_owned(), config.to_string_lossy().into_owned()];
    let server = installed.start()?;
    for household in households {
        let mut plug = Wire::open(&server, &household.new_plug())?;
        let set = json::encode(&household.registration());
        plug.send(&packets::publish(&up_topic(&household.thing), &set))?;
        let (_, answer) = plug.receive()?;
        let answer = String::from_utf8_lossy(answer);
        ensure!(answer.contains(r#""t":"reg.ok""#) && answer.contains(r#""refused":[]"#), "not registered: {answer}");
    }
    Ok(installed)
}

/// A forwarder that does nothing else: this program in the role of that name.
pub fn floor(role: &'static str, pki: &Pki, certificates: &Certificates) -> anyhow::Result<Installed> {
    let mut installed = Installed::new(role, std::env::current_exe()?)?;
    certificates.write(installed.folder.path(), pki)?;
    let folder = installed.folder.path().to_string_lossy().into_owned();
    let ports = [installed.things, installed.controllers].map(|port| port.to_string());
    installed.arguments = [vec![role.to_owned(), folder], ports.to_vec()].concat();
    Ok(installed)
}

/// Mosquitto with a password file and an access list that say the same; `None` if it is not installed.
pub fn mosquitto(
    pki: &Pki,
    certificates: &Certificates,
    households: &[Household],
) -> anyhow::Result<Option<Installed>> {
    let (Some(program), Some(hash)) = (find("mosquitto"), find("mosquitto_passwd")) else { return Ok(None) };
    let mut installed = Installed::new("Mosquitto", program)?;
    let at = certificates.write(installed.folder.path(), pki)?;
    let (mut passwords, mut rights) = (String::new(), String::new());
    for household in households {
        let thing = household.thing;
        writeln!(rights, "user {thing}\ntopic read {}\ntopic write {}", down_topic(&thing), up_topic(&thing))?;
        for account in household.accounts() {
            writeln!(rights, "topic read {}\ntopic write {}", to_thing(account), to_controller(account))?;
        }
        for account in household.accounts() {
            let user = user(account);
            writeln!(passwords, "{user}:{}", password(account))?;
            writeln!(rights, "user {user}\ntopic write {}\ntopic read {}", to_thing(account), to_controller(account))?;
        }
    }
    write_private(&installed.folder.path().join("passwords"), &passwords)?;
    write_private(&installed.folder.path().join("rights"), &rights)?;
    let hashed = Command::new(hash).arg("-U").arg(installed.folder.path().join("passwords")).status()?;
    ensure!(hashed.success(), "mosquitto_passwd: {hashed}");
    let (things, controllers) = (installed.things, installed.controllers);
    let tls = format!("certfile {at}/server.pem\nkeyfile {at}/server.key\ntls_version tlsv1.3\nacl_file {at}/rights\n");
    let config = installed.folder.path().join("mosquitto.conf");
    // `user root` only keeps a broker that root starts from losing the right to read its keys.
    fs::write(
        &config,
        format!(
            "per_listener_settings true\npersistence false\nset_tcp_nodelay true\nlog_type none\nuser root\n\
             listener {things} 127.0.0.1\ncafile {at}/manufacturer.pem\nrequire_certificate true\n\
             use_identity_as_username true\n{tls}\
             listener {controllers} 127.0.0.1\nallow_anonymous false\npassword_file {at}/passwords\n{tls}"
        ),
    )?;
    installed.arguments = vec!["-c".to_owned(), config.to_string_lossy().into_owned()];
    Ok(Some(installed))
}

/// One server's certificates and key, for both.
pub struct Certificates {
    pub chain: String,
    key: String,
}

impl Certificates {
    pub fn new(pki: &Pki) -> Self {
        let issued = pki.server(&[HOST]);
        Self { chain: issued.certificate, key: issued.key.expose().to_owned() }
    }

    fn write<'a>(&self, folder: &'a Path, pki: &Pki) -> io::Result<std::path::Display<'a>> {
        write_private(&folder.join("server.pem"), &self.chain)?;
        write_private(&folder.join("server.key"), &self.key)?;
        write_private(&folder.join("manufacturer.pem"), &pki.manufacturer.certificate().to_pem())?;
        Ok(folder.display())
    }
}

impl Installed {
    fn new(name: &'static str, program: PathBuf) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let [things, controllers] = free_ports()?;
        Ok(Self { name, program, arguments: Vec::new(), folder, things, controllers })
    }

    /// Starts it and waits until it listens.
    pub fn start(&self) -> anyhow::Result<Server> {
        let log = File::create(self.folder.path().join("log"))?;
        let child = Command::new(&self.program)
            .args(&self.arguments)
            .env_remove("SECT_LOG")
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} does not start", self.name))?;
        let [things, controllers] = [self.things, self.controllers].map(|port| (Ipv4Addr::LOCALHOST, port).into());
        let server = Server { child, things, controllers };
        let started = Instant::now();
        for address in [things, controllers] {
            while TcpStream::connect(address).is_err() {
                ensure!(started.elapsed() < Duration::from_secs(10), "{} does not listen", self.name);
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(server)
    }
}

impl Server {
    /// The port that this session goes to.
    pub fn address_for(&self, member: &Member) -> SocketAddr {
        if member.is_thing { self.things } else { self.controllers }
    }

    /// What it has used so far.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let pid = self.child.id();
        let memory = footprint::memory(pid)?;
        let mut processor = Duration::ZERO;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let spent = fs::read_to_string(task?.path().join("schedstat"))?;
            let nanoseconds = spent.split_whitespace().next().context("the kernel does not tell")?.parse()?;
            processor += Duration::from_nanos(nanoseconds);
        }
        Ok(Usage { memory: (memory.anonymous + memory.file) * 1024, processor })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where Debian puts servers is in no user's PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn free_ports() -> io::Result<[u16; 2]> {
    let listeners = [TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?];
    Ok([listeners[0].local_addr()?.port(), listeners[1].local_addr()?.port()])
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
