//! A real `dbus-daemon`, with the rules of a system bus: what does it hand on of what strangers send, and does
//! the link live through it?

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream as Socket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use zbus::wire::Endian;

use super::*;
use crate::thing::wifi::network_manager::progress::{Reason, Signal};

/// What Debian's system bus lets anybody do.
const POLICY: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd"><busconfig>
 <type>system</type><auth>EXTERNAL</auth><listen>unix:path=SOCKET</listen>
 <policy context="default">
  <allow user="*"/><allow own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
  <allow send_requested_reply="true" send_type="method_return"/><allow send_requested_reply="true" send_type="error"/>
  <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
  <allow receive_type="signal"/><allow send_destination="org.freedesktop.DBus"/>
  <allow send_destination="org.freedesktop.NetworkManager"/>
 </policy></busconfig>"#;

/// It ends with this.
struct Daemon {
    process: Child,
    folder: PathBuf,
}

impl Daemon {
    fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("sect-bus-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let config = folder.join("bus.conf");
        fs::write(&config, POLICY.replace("SOCKET", &folder.join("bus").display().to_string())).expect("a file");
        let mut command = Command::new("dbus-daemon");
        command.arg(format!("--config-file={}", config.display())).args(["--nofork", "--nopidfile", "--print-address"]);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("dbus-daemon is installed");
        let address = BufReader::new(process.stdout.take().expect("piped")).lines().next();
        assert!(address.expect("an address").expect("text").starts_with("unix:path="));
        Self { process, folder }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("bus")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A peer that says what it likes.
struct Stranger(Socket);

impl Stranger {
    fn come(bus: &Path) -> Self {
        let mut stranger = Self(Socket::connect(bus).expect("a bus"));
        // A bus that was told of a longer message waits for the rest of it.
        stranger.0.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket");
        let user: String =
            rustix::process::geteuid().as_raw().to_string().bytes().map(|b| format!("{b:02x}")).collect();
        stranger.0.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes()).expect("said");
        let mut line = [0; 256];
        let read = stranger.0.read(&mut line).expect("an answer");
        assert!(line[..read].starts_with(b"OK "));
        let hello = Message::method_call("/", "Hello").destination(BUS).interface(BUS).build(&()).expect("a call");
        let hello = [b"BEGIN\r\n".as_slice(), hello.data()].concat();
        stranger.0.write_all(&hello).expect("said");
        stranger
    }

    /// Says this, and waits until the bus has read it; false if it does not want to know us any more.
    fn say(&mut self, bytes: &[u8]) -> bool {
        let ping = Message::method_call("/", "GetId").destination(BUS).interface(BUS);
        let ping = ping.serial(0x5EC7_5EC7.try_into().expect("a number")).build(&()).expect("a call");
        if self.0.write_all(bytes).is_err() || self.0.write_all(ping.data()).is_err() {
            return false;
        }
        // Its answer names the call; nothing else here has such a number.
        let mut heard = Vec::new();
        let mut some = [0; 4096];
        while !heard.windows(4).any(|four| four == 0x5EC7_5EC7_u32.to_le_bytes()) {
            match self.0.read(&mut some) {
                Ok(0) | Err(_) => return false,
                Ok(read) => heard.extend_from_slice(&some[..read]),
            }
        }
        true
    }
}

/// NetworkManager on a real bus: answers until the test ends.
async fn network_manager(bus: &Path) -> Connection {
    let address = format!("unix:path={}", bus.display());
    let builder = Builder::address(address.as_str()).name(NAME);
    let connection = builder.build().await.expect("on the bus");
    let mut calls = MessageStream::from(&connection);
    let answering = connection.clone();
    tokio::spawn(async move {
        while let Some(Ok(call)) = calls.next().await {
            let header = call.header();
            let asked = call.body();
            let answer = match header.member().map(|member| member.as_str()) {
                Some("GetDevices") => answering.reply(&header, &vec![path(PLUG_DEVICE)]).await,
                Some("Get") => {
                    let (_, name): (String, String) = asked.deserialize().expect("a name");
                    let value = match name.as_str() {
                        "Interface" => Variant::from("wlan0"),
                        "DeviceType" => Variant::U32(2),
                        _ => Variant::U32(100),
                    };
                    answering.reply(&header, &value).await
                }
                _ => Ok(()),
            };
            answer.expect("answered");
        }
    });
    connection
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs dbus-daemon; tests/all installs it"]
async fn nothing_that_a_real_bus_hands_on_of_a_stranger_ends_the_link() {
    let daemon = Daemon::start();
    let service = network_manager(&daemon.socket()).await;
    let link = Link::open(&daemon.socket()).await.expect("let in");
    let ours = link.connection().unique_name().expect("a name").to_string();
    let mut manager = Manager::at(link, None).await.expect("found");

    let signal = |endian| {
        let forged = Message::signal(PLUG_DEVICE, DEVICE, "StateChanged").destination(ours.as_str()).endian(endian);
        forged.build(&(120_u32, "seven", vec![(7_u8, Variant::U64(7))])).expect("a signal").data().to_vec()
    };
    let bus = daemon.socket();
    let (mut sent, mut taken) = (0, 0);
    let strangers = tokio::task::spawn_blocking({
        let (ours, little, big) = (ours.clone(), signal(Endian::Little), signal(Endian::Big));
        move || {
            let mut stranger = Stranger::come(&bus);
            let mut send = |bytes: &[u8]| {
                sent += 1;
                if stranger.say(bytes) {
                    taken += 1;
                } else {
                    stranger = Stranger::come(&bus);
                }
            };
            for whole in [little, big] {
                send(&whole);
                // All but the place that says who is meant, which is in none of our names' bytes.
                for place in 0..whole.len() {
                    for byte in [0, 1, 2, 5, 9, 0x7f, 0xff, b'a', b'v', b'g', b'(', b'{', b'.', b'/', b':'] {
                        let mut changed = whole.clone();
                        changed[place] = byte;
                        send(&changed);
                    }
                }
            }
            for length in [200_000, 300_000, 20_000_000] {
                let large = Message::signal("/", "a.b", "C").destination(ours.as_str()).build(&vec![7_u8; length]);
                send(large.expect("a signal").data());
            }
            let mut deep = Variant::U8(1);
            for _ in 0..60 {
                deep = Variant::Variant(Box::new(deep));
            }
            let deep = Message::signal("/", "a.b", "C").destination(ours.as_str()).build(&deep).expect("a signal");
            for _ in 0..2000 {
                send(deep.data());
            }
            (sent, taken)
        }
    });
    let (sent, taken) = strangers.await.expect("done");
    println!("{sent} messages, of which the bus took {taken}");
    assert!(taken > 2100, "the bus hands on what is well-formed: {taken} of {sent}");

    assert_eq!(manager.state().await.expect("the link is there"), 100);
    let up = Message::signal(PLUG_DEVICE, DEVICE, "StateChanged").build(&(100_u32, 0_u32, 0_u32)).expect("a signal");
    service.send(&up).await.expect("said");
    assert_eq!(manager.next().await, Signal::Device { state: 100, reason: Reason(0) }, "none of theirs was kept");

    service.release_name(NAME).await.expect("released");
    assert_eq!(manager.next().await, Signal::Ended);
}
