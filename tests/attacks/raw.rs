//! An MQTT client that says what no honest one does: bytes over TLS-PSK, or over nothing.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslStream};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sect::proto::pairing::binding::Binding;

pub(crate) use crate::wire::{packet, string, tls12_only};

/// How long a client waits for what must come.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection from the loopback address with this last byte: each is a source of its own.
pub(crate) fn tcp(server: SocketAddr, from: u8) -> io::Result<TcpStream> {
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, from), 0))?;
    rustix::net::connect(&socket, &server)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// One client.
pub(crate) struct Raw {
    stream: SslStream<TcpStream>,
}

impl Raw {
    /// A handshake as stock clients make it, after `change` of its settings; gives what came instead of one.
    pub(crate) fn tls_with(
        server: SocketAddr,
        from: u8,
        identity: &str,
        key: [u8; 32],
        change: impl FnOnce(&mut SslContextBuilder),
    ) -> Result<Self, String> {
        let identity = [identity.as_bytes(), b"\0"].concat();
        let mut context = SslContext::builder(SslMethod::tls_client()).expect("a context");
        context.set_ciphersuites("TLS_AES_128_GCM_SHA256").expect("a suite");
        context.set_psk_client_callback(move |_, _, name, psk| {
            name[..identity.len()].copy_from_slice(&identity);
            psk[..32].copy_from_slice(&key);
            Ok(32)
        });
        change(&mut context);
        let ssl = Ssl::new(&context.build()).expect("an SSL");
        let stream = tcp(server, from).map_err(|error| error.to_string())?;
        match ssl.connect(stream) {
            Ok(stream) => Ok(Self { stream }),
            Err(error) => Err(error.to_string()),
        }
    }

    pub(crate) fn tls(server: SocketAddr, from: u8, identity: &str, key: [u8; 32]) -> Result<Self, String> {
        Self::tls_with(server, from, identity, key, |_| {})
    }

    /// TLS with a binding's PSK, and nothing said yet.
    pub(crate) fn of(server: SocketAddr, from: u8, binding: &Binding) -> Self {
        let (identity, key) = binding.psk();
        Self::tls(server, from, &identity.to_string(), *key.expose()).expect("the PSK is right")
    }

    /// A session of a binding.
    pub(crate) fn login(server: SocketAddr, from: u8, binding: &Binding, version: u8, client_id: &str) -> Self {
        let mut raw = Self::of(server, from, binding);
        raw.send(&connect(version, client_id, Some(binding))).expect("written");
        assert_eq!(raw.packet().expect("a CONNACK")[..3], [0x20, 0, 0], "and no session is present");
        raw
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Sends as much as is taken, and says how much.
    pub(crate) fn send_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    /// The next packet: its first byte and its body. `None` once the connection has ended or is silent.
    pub(crate) fn packet(&mut self) -> Option<Vec<u8>> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok()?;
        let mut packet = byte.to_vec();
        let (mut length, mut shift) = (0, 0);
        loop {
            self.stream.read_exact(&mut byte).ok()?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        packet.resize(1 + length, 0);
        self.stream.read_exact(&mut packet[1..]).ok()?;
        Some(packet)
    }

    /// Whether a PINGREQ is answered; what comes before the answer is passed over.
    pub(crate) fn ping(&mut self) -> bool {
        self.send(b"\xc0\x00").is_ok() && std::iter::from_fn(|| self.packet()).any(|packet| packet == [0xd0])
    }

    /// Reads to the end. Fails the test if the connection is silent and open instead.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = [0; 4096];
        loop {
            match self.stream.ssl_read(&mut rest) {
                Ok(_) => {}
                Err(error) => {
                    let kind = error.io_error().map(io::Error::kind);
                    assert_ne!(kind, Some(io::ErrorKind::WouldBlock), "the session is still open");
                    return;
                }
            }
        }
    }

    pub(crate) fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }
}

/// Reads what a stranger gets until the end.
pub(crate) fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

/// A CONNECT with these flags, properties (5.0) and payload between the client id and the login.
pub(crate) fn connect_with(
    version: u8,
    flags: u8,
    properties: &[u8],
    client_id: &str,
    will: &[u8],
    login: Option<&Binding>,
) -> Vec<u8> {
    let flags = flags | if login.is_some() { 0xc2 } else { 0x02 };
    let mut body = [b"\x00\x04MQTT".as_slice(), &[version, flags, 0, 60]].concat();
    if version == 5 {
        body.extend(length(properties.len()));
        body.extend_from_slice(properties);
    }
    body.extend([string(client_id), will.to_vec()].concat());
    if let Some(binding) = login {
        body.extend(string(binding.credentials.user.expose()));
        body.extend(string(binding.credentials.password.expose()));
    }
    packet(0x10, &body)
}

pub(crate) fn connect(version: u8, client_id: &str, login: Option<&Binding>) -> Vec<u8> {
    connect_with(version, 0, &[], client_id, &[], login)
}

/// A variable byte integer.
pub(crate) fn length(length: usize) -> Vec<u8> {
    let mut bytes = packet(0, &vec![0; length]);
    bytes.truncate(bytes.len() - length);
    bytes.split_off(1)
}

/// A SUBSCRIBE for these filters.
pub(crate) fn subscribe(version: u8, filters: &[&str]) -> Vec<u8> {
    let mut body = vec![0, 7];
    if version == 5 {
        body.push(0);
    }
    for filter in filters {
        body.extend(string(filter));
        body.push(1);
    }
    packet(0x82, &body)
}

/// A QoS 0 publish.
pub(crate) fn publish(version: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    publish_with(0x30, version, topic, &[], payload)
}

/// A QoS 1 publish.
pub(crate) fn publish_acknowledged(version: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = string(topic);
    body.extend(packet_id.to_be_bytes());
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x32, &body)
}

/// A publish without a packet id, with this first byte and these properties.
pub(crate) fn publish_with(first: u8, version: u8, topic: &str, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = string(topic);
    if version == 5 {
        body.extend(length(properties.len()));
        body.extend_from_slice(properties);
    }
    body.extend_from_slice(payload);
    packet(first, &body)
}
