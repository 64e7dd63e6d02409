//! MQTT 3.1.1 over TLS, written for these tests: it also says what no client should.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use sect::cloud::provision::Issued;
use sect::proto::registration::{Entry, RegSet};
use sect::proto::{id::ThingId, json};

use super::packets::{packet, string};
use super::server::{SOON, Server};

pub struct Client {
    stream: StreamOwned<ClientConnection, TcpStream>,
    input: Vec<u8>,
    messages: Vec<(String, Vec<u8>)>,
    packet_id: u16,
}

impl Client {
    pub fn thing(server: &Server, issued: &Issued) -> io::Result<Self> {
        let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        let key = PrivateKeyDer::from_pem_slice(issued.key.expose().as_bytes());
        Self::open(server, server.things, Some((chain.expect("PEM"), key.expect("PEM"))))
    }

    pub fn thing_with(
        server: &Server,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> io::Result<Self> {
        Self::open(server, server.things, Some((chain, key)))
    }

    pub fn controller(server: &Server) -> io::Result<Self> {
        Self::open(server, server.controllers, None)
    }

    pub fn open(
        server: &Server,
        address: std::net::SocketAddr,
        certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let authority = server.pki.servers.certificate().as_der().to_vec();
        roots.add(CertificateDer::from(authority)).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots);
        let config = match certificate {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).expect("they fit"),
            None => config.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("valid");
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(SOON))?;
        socket.set_nodelay(true)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self { stream, input: Vec::new(), messages: Vec::new(), packet_id: 0 })
    }

    /// The server's certificates, its own first.
    pub fn server_chain(&self) -> Vec<Vec<u8>> {
        self.stream.conn.peer_certificates().expect("a chain").iter().map(|der| der.to_vec()).collect()
    }

    /// Tickets that the server has sent, for a resumption.
    pub fn tickets(&self) -> u32 {
        self.stream.conn.tls13_tickets_received()
    }

    /// The CONNACK's code, or `None` if the server closes without one.
    pub fn connect(&mut self, client_id: &str, login: Option<(&str, &str)>) -> Option<u8> {
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.push(if login.is_some() { 0xc2 } else { 0x02 });
        body.extend(60_u16.to_be_bytes());
        body.extend(string(client_id));
        if let Some((user, password)) = login {
            body.extend(string(user));
            body.extend(string(password));
        }
        self.send(&packet(0x10, &body)).ok()?;
        self.packet(0x20, SOON).map(|body| body[1])
    }

    /// Whether the answer to a CONNECT that was sent by hand is a CONNACK with this code.
    pub fn is_refused_with(&mut self, code: u8) -> bool {
        self.packet(0x20, SOON).is_some_and(|body| body[1] == code)
    }

    /// The SUBACK's codes.
    pub fn subscribe(&mut self, topics: &[&str]) -> Vec<u8> {
        self.packet_id += 1;
        let mut body = self.packet_id.to_be_bytes().to_vec();
        for topic in topics {
            body.extend(string(topic));
            body.push(1);
        }
        self.send(&packet(0x82, &body)).expect("sent");
        self.packet(0x90, SOON).expect("a SUBACK")[2..].to_vec()
    }

    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.send(&packet(0x30, &[&string(topic), payload].concat())).expect("sent");
    }

    /// Waits until the server has dealt with all that was sent.
    pub fn ping(&mut self) {
        self.send(b"\xc0\x00").expect("sent");
        self.packet(0xd0, SOON).expect("a PINGRESP");
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next message, if one comes in time.
    pub fn message(&mut self, within: Duration) -> Option<(String, String)> {
        let until = Instant::now() + within;
        while self.messages.is_empty() && self.read(until) {}
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        (!self.messages.is_empty()).then(|| self.messages.remove(0)).map(|(topic, payload)| (topic, text(payload)))
    }

    /// All that has come once the server has dealt with a PINGREQ.
    pub fn messages(&mut self) -> Vec<String> {
        self.ping();
        self.messages.drain(..).map(|(_, payload)| String::from_utf8(payload).expect("UTF-8")).collect()
    }

    /// Sends a list and gives the server's answer.
    pub fn register(&mut self, thing: &ThingId, generation: u64, acl: &[Entry]) -> String {
        self.ask_to_register(thing, generation, acl);
        self.message(SOON).expect("an answer").1
    }

    pub fn ask_to_register(&mut self, thing: &ThingId, generation: u64, acl: &[Entry]) {
        let set = json::encode(&RegSet { generation, acl: acl.to_vec() });
        self.publish(&format!("sect/cloud/{thing}/up"), &set);
    }

    /// Whether the server ends the connection in time.
    pub fn is_ended_within(&mut self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if !self.read(until) && Instant::now() < until {
                return true;
            }
        }
        false
    }

    /// The body of the next packet with this first byte; messages are put aside.
    fn packet(&mut self, first: u8, within: Duration) -> Option<Vec<u8>> {
        let until = Instant::now() + within;
        loop {
            if let Some((kind, body)) = self.take() {
                if kind == first {
                    return Some(body);
                }
                panic!("packet {kind:02x} where {first:02x} was expected");
            }
            if !self.receive(until) {
                return None;
            }
        }
    }

    /// Reads messages until the time has come; `false` then, or when the connection is over.
    fn read(&mut self, until: Instant) -> bool {
        let more = self.receive(until);
        let unasked = self.take().map(|(kind, _)| kind);
        assert_eq!(unasked, None, "a packet that nobody asked for");
        more
    }

    fn receive(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.stream.sock.set_read_timeout(Some(left)).expect("set");
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            // A part of a record, or the time is over, which the next round finds.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.input.extend_from_slice(&buffer[..count]);
                true
            }
        }
    }

    /// A whole packet that is no message.
    fn take(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let (mut length, mut at) = (0, 1);
            loop {
                let digit = *self.input.get(at)?;
                length |= usize::from(digit & 0x7f) << (7 * (at - 1));
                at += 1;
                if digit & 0x80 == 0 {
                    break;
                }
            }
            if self.input.len() < at + length {
                return None;
            }
            let rest = self.input.split_off(at + length);
            let packet = std::mem::replace(&mut self.input, rest);
            let (first, body) = (packet[0], packet[at..].to_vec());
            if first >> 4 != 3 {
                return Some((first, body));
            }
            let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
            let topic = String::from_utf8(body[2..topic_end].to_vec()).expect("UTF-8");
            let mut payload_start = topic_end;
            if first & 0x06 != 0 {
                payload_start += 2;
                let acknowledgement = packet_of_two(0x40, &body[topic_end..payload_start]);
                let _ = self.send(&acknowledgement);
            }
            self.messages.push((topic, body[payload_start..].to_vec()));
        }
    }
}

fn packet_of_two(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first, 2], body].concat()
}
