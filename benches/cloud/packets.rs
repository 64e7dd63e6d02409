//! The few MQTT 3.1.1 packets that a session here sends and receives, as bytes.

use std::io;
use std::ops::Range;

/// The first byte of the packets in use (MQTT 3.1.1 section 2.2).
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
/// No session here has to show within a measurement that it lives.
const KEEP_ALIVE_S: u16 = 1200;

/// Who logs in, and what he wants to hear.
#[derive(Debug, Clone)]
pub struct Login {
    pub client_id: String,
    pub user: Option<(String, String)>,
    pub topics: Vec<String>,
}

impl Login {
    pub fn connect(&self) -> Vec<u8> {
        let mut body = b"\x00\x04MQTT\x04".to_vec();
        body.push(if self.user.is_some() { 0xc2 } else { 0x02 });
        body.extend_from_slice(&KEEP_ALIVE_S.to_be_bytes());
        push_text(&mut body, &self.client_id);
        if let Some((user, password)) = &self.user {
            push_text(&mut body, user);
            push_text(&mut body, password);
        }
        packet(CONNECT, &body)
    }

    /// All topics at QoS 0.
    pub fn subscribe(&self) -> Vec<u8> {
        let mut body = vec![0, 1];
        for topic in &self.topics {
            push_text(&mut body, topic);
            body.push(0);
        }
        packet(SUBSCRIBE, &body)
    }
}

/// A message at QoS 0.
pub fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    push_text(&mut body, topic);
    body.extend_from_slice(payload);
    packet(PUBLISH, &body)
}

/// What a client here sends.
pub enum Incoming<'a> {
    Connect,
    Subscribe(Vec<&'a [u8]>),
    /// With its topic.
    Publish(&'a [u8]),
}

/// What these bytes are, one whole packet, to a server that trusts everybody.
pub fn incoming(packet: &[u8]) -> Option<Incoming<'_>> {
    let (first, body) = packet_in(packet)?;
    let body = &packet[body];
    match first {
        CONNECT => Some(Incoming::Connect),
        SUBSCRIBE => {
            let mut topics = Vec::new();
            let mut rest = body.get(2..)?;
            while let Some((topic, [_qos, after @ ..])) = text_in(rest) {
                topics.push(topic);
                rest = after;
            }
            Some(Incoming::Subscribe(topics))
        }
        PUBLISH => text_in(body).map(|(topic, _)| Incoming::Publish(topic)),
        _ => None,
    }
}

/// The answer to a CONNECT.
pub fn accept() -> Vec<u8> {
    packet(CONNACK, &[0, 0])
}

/// The answer to a SUBSCRIBE of one of these clients.
pub fn grant(topics: usize) -> Vec<u8> {
    packet(SUBACK, &[&[0, 1][..], &vec![0; topics]].concat())
}

/// Fails unless this packet accepts the CONNECT.
pub fn expect_accepted(first: u8, body: &[u8]) -> io::Result<()> {
    if (first, body) == (CONNACK, &[0, 0]) { Ok(()) } else { Err(unexpected(first, body)) }
}

/// Fails unless this packet grants each topic.
pub fn expect_granted(first: u8, body: &[u8], topics: usize) -> io::Result<()> {
    match body {
        [0, 1, codes @ ..] if first == SUBACK && codes.len() == topics && codes.iter().all(|code| *code == 0) => Ok(()),
        _ => Err(unexpected(first, body)),
    }
}

/// Fails unless this packet is a message with this payload.
pub fn expect_message(first: u8, body: &[u8], payload: &[u8]) -> io::Result<()> {
    if first == PUBLISH && body.ends_with(payload) { Ok(()) } else { Err(unexpected(first, body)) }
}

/// The first packet in these bytes, if it is whole: its first byte, and where its body lies.
pub fn packet_in(bytes: &[u8]) -> Option<(u8, Range<usize>)> {
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

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length >= 0x80 {
        packet.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    packet.push(length as u8);
    packet.extend_from_slice(body);
    packet
}

fn push_text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&u16::try_from(text.len()).expect("names here are short").to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// A text and what follows it.
fn text_in(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(2)?;
    rest.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])))
}

fn unexpected(first: u8, body: &[u8]) -> io::Error {
    io::Error::other(format!("unexpected packet {first:#x} of {} bytes", body.len()))
}
