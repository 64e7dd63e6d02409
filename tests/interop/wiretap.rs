//! What a server says on the wire, byte for byte, while a stock client talks to it.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How much later the client hears it. libmosquitto words a failed handshake differently when the alert is
/// there at once, so that its exit status would tell about the machine's load and nothing else.
const DELAY: Duration = Duration::from_millis(150);

/// Carries one connection to a server, and keeps what the server says.
pub(crate) struct Wiretap {
    /// Where the client connects to.
    pub(crate) address: SocketAddr,
    carried: JoinHandle<Vec<u8>>,
}

impl Wiretap {
    /// A wiretap before the server at `server`.
    pub(crate) fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let carried = thread::spawn(move || {
            let (client, _) = listener.accept().expect("a client");
            let server = TcpStream::connect(server).expect("a server");
            let (from, to) = (client.try_clone().expect("a socket"), server.try_clone().expect("a socket"));
            let forth = thread::spawn(move || carry(&from, &to, Duration::ZERO));
            let said = carry(&server, &client, DELAY);
            forth.join().expect("carried");
            said
        });
        Self { address, carried }
    }

    /// Everything that the server said to a client that has ended.
    pub(crate) fn heard(self) -> Vec<u8> {
        // One that never came would be waited for without end; this comes in its place and goes at once.
        drop(TcpStream::connect(self.address));
        self.carried.join().expect("carried")
    }
}

/// Carries bytes until one side ends, then ends the other.
fn carry(mut from: &TcpStream, mut to: &TcpStream, delay: Duration) -> Vec<u8> {
    let mut said = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        said.extend_from_slice(&buffer[..count]);
        thread::sleep(delay);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
    said
}
