//! The least MQTT 3.1.1 client that speaks TLS 1.3 by PSK: one blocking socket, one buffer each way,
//! nothing between a message and its write, so that the bench measures the server and not itself.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion};
use sect::proto::keys::TlsPsk;

/// What opens a session.
pub struct Login<'a> {
    /// The identity of the TLS-PSK.
    pub psk_identity: String,
    /// Its key.
    pub psk: TlsPsk,
    /// User name and password, where the server asks for them.
    pub user: Option<(&'a str, &'a str)>,
    /// The MQTT client id.
    pub client_id: &'a str,
}

/// An open session.
pub struct Wire {
    stream: SslStream<TcpStream>,
    outgoing: Vec<u8>,
    incoming: Box<[u8]>,
    /// What has come in and was not taken yet.
    unread: Range<usize>,
}

/// The first byte of the packets in use (MQTT 3.1.1 section 2.2).
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
/// No answer takes longer, or something is broken.
const PATIENCE: Duration = Duration::from_secs(10);

impl Wire {
    /// Connects, proves the key and logs in without a keep-alive, so that an idle session is silent.
    pub fn open(address: SocketAddr, login: &Login<'_>) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let context = context(login)?;
        let ssl = Ssl::new(&context)?;
        let stream = ssl.connect(tcp).map_err(|error| io::Error::other(error.to_string()))?;
        let mut wire = Self { stream, outgoing: Vec::new(), incoming: vec![0; 16 * 1024].into(), unread: 0..0 };

        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.push(if login.user.is_some() { 0xc2 } else { 0x02 });
        body.extend_from_slice(&[0, 0]);
        push_text(&mut body, login.client_id);
        if let Some((user, password)) = login.user {
            push_text(&mut body, user);
            push_text(&mut body, password);
        }
        wire.send(CONNECT, &[&body])?;
        match wire.receive_packet()? {
            (CONNACK, body) if wire.incoming[body.clone()] == [0, 0] => Ok(wire),
            (first, body) => Err(unexpected(first, &wire.incoming[body])),
        }
    }

    /// Subscribes to one topic at QoS 0.
    pub fn subscribe(&mut self, topic: &str) -> io::Result<()> {
        let mut body = vec![0, 1];
        push_text(&mut body, topic);
        body.push(0);
        self.send(SUBSCRIBE, &[&body])?;
        match self.receive_packet()? {
            (SUBACK, body) if self.incoming[body.clone()] == [0, 1, 0] => Ok(()),
            (first, body) => Err(unexpected(first, &self.incoming[body])),
        }
    }

    /// Publishes at QoS 0: one TLS record, one write. Gives the size of the packet.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> io::Result<usize> {
        let length = u16::try_from(topic.len()).map_err(io::Error::other)?.to_be_bytes();
        self.send(PUBLISH, &[&length, topic.as_bytes(), payload])?;
        Ok(self.outgoing.len())
    }

    /// The payload of the next PUBLISH, and the size of its packet.
    pub fn receive(&mut self) -> io::Result<(&[u8], usize)> {
        let (first, body) = self.receive_packet()?;
        let packet = &self.incoming[body];
        let [high, low, rest @ ..] = packet else { return Err(unexpected(first, packet)) };
        match rest.get(usize::from(u16::from_be_bytes([*high, *low]))..) {
            Some(payload) if first == PUBLISH => Ok((payload, 1 + length_bytes(packet.len()) + packet.len())),
            _ => Err(unexpected(first, packet)),
        }
    }

    fn send(&mut self, first: u8, body: &[&[u8]]) -> io::Result<()> {
        self.outgoing.clear();
        self.outgoing.push(first);
        let mut length: usize = body.iter().map(|part| part.len()).sum();
        while length >= 0x80 {
            self.outgoing.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        self.outgoing.push(length as u8);
        for part in body {
            self.outgoing.extend_from_slice(part);
        }
        self.stream.write_all(&self.outgoing)
    }

    /// The first byte of the next packet, and where its body lies.
    fn receive_packet(&mut self) -> io::Result<(u8, Range<usize>)> {
        loop {
            if let Some((first, body)) = packet_in(&self.incoming[self.unread.clone()]) {
                let body = body.start + self.unread.start..body.end + self.unread.start;
                self.unread.start = body.end;
                return Ok((first, body));
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

/// The first packet in these bytes, if it is whole.
fn packet_in(bytes: &[u8]) -> Option<(u8, Range<usize>)> {
    let (first, rest) = bytes.split_first()?;
    let (mut length, mut shift) = (0, 0);
    for (at, &digit) in rest.iter().take(4).enumerate() {
        length |= usize::from(digit & 0x7f) << shift;
        shift += 7;
        if digit & 0x80 == 0 {
            let body = at + 2..at + 2 + length;
            return (body.end <= bytes.len()).then_some((*first, body));
        }
    }
    None
}

fn length_bytes(length: usize) -> usize {
    1 + [0x7f, 0x3fff, 0x1f_ffff].iter().filter(|&&largest| length > largest).count()
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&u16::try_from(text.len()).expect("names here are short").to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

fn unexpected(first: u8, body: &[u8]) -> io::Error {
    io::Error::other(format!("unexpected packet {first:#x} of {} bytes", body.len()))
}

/// As a controller does it: TLS 1.3, PSK with X25519, one SHA-256 suite.
fn context(login: &Login<'_>) -> Result<SslContext, openssl::error::ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_ciphersuites("TLS_AES_128_GCM_SHA256")?;
    builder.set_groups_list("X25519")?;
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_verify(SslVerifyMode::PEER);
    builder.set_read_ahead(true);
    let (identity, psk) = (login.psk_identity.clone().into_bytes(), login.psk.clone());
    builder.set_psk_client_callback(move |_, _, identity_place, key_place| {
        let key = psk.expose();
        identity_place[..identity.len()].copy_from_slice(&identity);
        identity_place[identity.len()] = 0;
        key_place[..key.len()].copy_from_slice(key);
        Ok(key.len())
    });
    Ok(builder.build())
}
