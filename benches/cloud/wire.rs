//! A session on one blocking socket, with nothing between a message and its write.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::ops::Range;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::households::Member;
use crate::packets::{self, packet_in};
use crate::server::{HOST, Server};

/// An open session.
pub struct Wire {
    stream: StreamOwned<ClientConnection, TcpStream>,
    incoming: Box<[u8]>,
    /// What has come in and was not taken yet.
    unread: Range<usize>,
}

/// No answer takes longer, or something is broken.
const PATIENCE: Duration = Duration::from_secs(30);

impl Wire {
    /// Connects, logs in and subscribes.
    pub fn open(server: &Server, member: &Member) -> io::Result<Self> {
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        let connection = ClientConnection::new(member.tls.clone(), name).map_err(io::Error::other)?;
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(member.from, 0))?;
        let address: SocketAddr = server.address_for(member);
        connect(&socket, &address)?;
        let tcp = TcpStream::from(socket);
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let stream = StreamOwned::new(connection, tcp);
        let mut wire = Self { stream, incoming: vec![0; 16 * 1024].into(), unread: 0..0 };
        wire.send(&member.login.connect())?;
        let (first, body) = wire.receive()?;
        packets::expect_accepted(first, body)?;
        wire.send(&member.login.subscribe())?;
        let (first, body) = wire.receive()?;
        packets::expect_granted(first, body, member.login.topics.len())?;
        Ok(wire)
    }

    /// Sends a whole packet: one TLS record, one write.
    pub fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        self.stream.write_all(packet)?;
        self.stream.flush()
    }

    /// The first byte of the next packet, and its body.
    pub fn receive(&mut self) -> io::Result<(u8, &[u8])> {
        loop {
            if let Some((first, body)) = packet_in(&self.incoming[self.unread.clone()]) {
                let body = body.start + self.unread.start..body.end + self.unread.start;
                self.unread.start = body.end;
                return Ok((first, &self.incoming[body]));
            }
            self.incoming.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            let count = self.stream.read(&mut self.incoming[self.unread.end..])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.end += count;
        }
    }
}
