//! What a client sends, byte by byte from the specifications.

pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    while length > 127 {
        packet.push((length % 128) as u8 | 0x80);
        length /= 128;
    }
    packet.push(length as u8);
    packet.extend_from_slice(body);
    packet
}

pub(super) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

pub(super) fn connect_as(version: u8, flags: u8, fields: &[Vec<u8>], properties: &[u8], keep_alive: u16) -> Vec<u8> {
    let mut body = [b"\x00\x04MQTT".as_slice(), &[version, flags], &keep_alive.to_be_bytes()].concat();
    if version == 5 {
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
    }
    body.extend(fields.concat());
    packet(0x10, &body)
}

pub(super) fn connect(version: u8, client_id: &str, properties: &[u8], keep_alive: u16) -> Vec<u8> {
    let fields = [string(client_id), string("user"), string("pass")];
    connect_as(version, 0xc2, &fields, properties, keep_alive)
}

pub(super) fn subscribe(version: u8, packet_id: u16, topics: &[(&str, u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    for (topic, qos) in topics {
        body.extend(string(topic));
        body.push(*qos);
    }
    packet(0x82, &body)
}

pub(super) fn unsubscribe(version: u8, packet_id: u16, topics: &[&str]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == 5 {
        body.push(0);
    }
    body.extend(topics.iter().flat_map(|topic| string(topic)));
    packet(0xa2, &body)
}

pub(super) fn publish(version: u8, flags: u8, topic: &str, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = string(topic);
    if flags & 0x06 != 0 {
        body.extend(packet_id.to_be_bytes());
    }
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x30 | flags, &body)
}

pub(super) const PINGREQ: &[u8] = b"\xc0\x00";
pub(super) const PINGRESP: &[u8] = b"\xd0\x00";
