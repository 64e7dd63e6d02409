//! Mosquitto with the same key and the same suite, where it is installed.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use sect::proto::pairing::binding::Binding;

/// A broker that ends with this value.
pub struct Mosquitto {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Where Debian puts it is in no user's PATH.
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join("mosquitto")).find(|file| file.is_file())
}

impl Mosquitto {
    /// Starts it in a folder of its own, with the binding's PSK as the only one.
    pub fn start(program: &Path, folder: &Path, binding: &Binding) -> io::Result<Self> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let (psk_id, psk) = binding.psk();
        let keys = folder.join("keys");
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&keys)?;
        writeln!(file, "{psk_id}:{}", HEXLOWER.encode(psk.expose()))?;
        let config = folder.join("mosquitto.conf");
        // `user root` only keeps a broker that root starts from losing the right to read its keys.
        fs::write(
            &config,
            format!(
                "listener {port} 127.0.0.1\npsk_hint sect\npsk_file {}\ntls_version tlsv1.3\n\
                 use_identity_as_username true\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\n\
                 log_type none\nuser root\n",
                keys.display()
            ),
        )?;
        let child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let broker = Self { child, address: (Ipv4Addr::LOCALHOST, port).into() };
        let started = Instant::now();
        while TcpStream::connect(broker.address).is_err() {
            if started.elapsed() > Duration::from_secs(10) {
                return Err(io::Error::other("mosquitto does not listen"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(broker)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
