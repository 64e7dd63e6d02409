//! The first packet of a connection, collected before the library sees it.
//!
//! It comes from somebody who has not logged in, so it has its own small limit, must be a CONNECT from
//! its first byte on, and is made harmless: the library asserts that a 5.0 client's Topic Alias Maximum
//! is not zero, although zero is valid (MQTT 5.0 3.1.2.11.5) and would stop the whole process.

use zeroize::Zeroizing;

/// What has come of the first packet so far. It holds a password and is wiped.
pub(super) struct FirstPacket {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
}

/// The whole packet and the number of bytes used for it, once it is complete.
pub(super) type Collected = Option<(Zeroizing<Vec<u8>>, usize)>;

/// Why the first packet cannot be a CONNECT that is welcome here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstPacketError {
    /// It is some other packet.
    NotConnect,
    /// Its length is not a length, or its property list does not fit it.
    Malformed,
    /// It is longer than a CONNECT needs to be.
    TooLarge,
}

impl FirstPacket {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(limit)), limit }
    }

    /// Takes bytes until the packet is complete.
    pub(super) fn collect(&mut self, input: &[u8]) -> Result<Collected, FirstPacketError> {
        for (used, byte) in input.iter().enumerate() {
            self.bytes.push(*byte);
            if self.bytes[0] != CONNECT {
                return Err(FirstPacketError::NotConnect);
            }
            if let Some(size) = packet_size(&self.bytes)? {
                if size > self.limit {
                    return Err(FirstPacketError::TooLarge);
                }
                if self.bytes.len() == size {
                    let mut packet = std::mem::take(&mut self.bytes);
                    defuse_topic_alias_maximum(&mut packet)?;
                    return Ok(Some((packet, used + 1)));
                }
            }
        }
        Ok(None)
    }
}

/// The size of a packet with its fixed header, as soon as its length field is there.
pub(super) fn packet_size(packet: &[u8]) -> Result<Option<usize>, FirstPacketError> {
    let Some((length, digits)) = variable_byte_integer(packet.get(1..).unwrap_or_default())? else { return Ok(None) };
    Ok(Some(1 + digits + length))
}

/// MQTT 5.0 1.5.5: value and size, or `None` if more bytes are needed.
fn variable_byte_integer(bytes: &[u8]) -> Result<Option<(usize, usize)>, FirstPacketError> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(FirstPacketError::Malformed) }
}

/// Turns a Topic Alias Maximum of zero into one. No alias is ever used, so both mean the same here.
fn defuse_topic_alias_maximum(packet: &mut [u8]) -> Result<(), FirstPacketError> {
    let Some((_, digits)) = variable_byte_integer(&packet[1..])? else { return Err(FirstPacketError::Malformed) };
    let body = &mut packet[1 + digits..];
    // MQTT 5.0 3.1.2: name (6 bytes), level, flags, keep-alive (2 bytes), then the property list.
    if body.get(6) != Some(&5) {
        return Ok(());
    }
    let Some((length, digits)) = variable_byte_integer(body.get_mut(10..).unwrap_or_default())? else {
        return Err(FirstPacketError::Malformed);
    };
    let start = 10 + digits;
    let properties = body.get_mut(start..start + length).ok_or(FirstPacketError::Malformed)?;
    let mut at = 0;
    while at < properties.len() {
        let value = at + 1;
        if properties[at] == TOPIC_ALIAS_MAXIMUM && properties.get(value..value + 2) == Some(&[0, 0]) {
            properties[value + 1] = 1;
        }
        at = value + property_size(properties[at], &properties[value..])?;
    }
    if at == properties.len() { Ok(()) } else { Err(FirstPacketError::Malformed) }
}

/// The size of a CONNECT property's value (MQTT 5.0 2.2.2.2).
fn property_size(identifier: u8, value: &[u8]) -> Result<usize, FirstPacketError> {
    let string = |value: &[u8]| match value {
        [high, low, ..] => Ok(2 + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => Err(FirstPacketError::Malformed),
    };
    match identifier {
        0x17 | 0x19 => Ok(1),
        0x21 | TOPIC_ALIAS_MAXIMUM => Ok(2),
        0x11 | 0x27 => Ok(4),
        0x15 | 0x16 => string(value),
        0x26 => {
            let name = string(value)?;
            Ok(name + string(value.get(name..).unwrap_or_default())?)
        }
        _ => Err(FirstPacketError::Malformed),
    }
}

/// MQTT 5.0 3.1.1: packet type 1, reserved flags zero.
const CONNECT: u8 = 0x10;
/// MQTT 5.0 3.1.2.11.5.
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;

#[cfg(test)]
mod tests {
    use super::*;

    const V3: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";

    fn v5(properties: &[u8]) -> Vec<u8> {
        let mut body = b"\x00\x04MQTT\x05\x02\x00\x3c".to_vec();
        body.push(properties.len() as u8);
        body.extend_from_slice(properties);
        body.extend_from_slice(b"\x00\x01a");
        [&[0x10, body.len() as u8], &body[..]].concat()
    }

    #[test]
    fn a_connect_is_whole_however_it_is_cut() {
        let two = [V3, b"next"].concat();
        for cut in 0..two.len() {
            let mut first = FirstPacket::new(100);
            let early = first.collect(&two[..cut]).expect("valid");
            let (packet, used) = match early {
                Some((packet, used)) => (packet, used),
                None => {
                    let (packet, used) = first.collect(&two[cut..]).expect("valid").expect("complete");
                    (packet, cut + used)
                }
            };
            assert_eq!((packet.as_slice(), used), (V3, V3.len()));
        }
    }

    #[test]
    fn another_first_packet_ends_at_its_first_byte() {
        assert_eq!(FirstPacket::new(100).collect(b"\xc0"), Err(FirstPacketError::NotConnect));
        assert_eq!(FirstPacket::new(100).collect(b"GET / HTTP/1.1"), Err(FirstPacketError::NotConnect));
    }

    #[test]
    fn a_long_connect_ends_before_it_is_collected() {
        assert_eq!(FirstPacket::new(100).collect(b"\x10\x63"), Err(FirstPacketError::TooLarge));
        assert_eq!(FirstPacket::new(100).collect(b"\x10\xff\xff\xff\x7f"), Err(FirstPacketError::TooLarge));
        assert_eq!(FirstPacket::new(100).collect(b"\x10\xff\xff\xff\xff\x01"), Err(FirstPacketError::Malformed));
    }

    #[test]
    fn topic_alias_maximum_zero_is_defused_wherever_it_stands() {
        for (properties, safe) in [
            (&b"\x22\x00\x00"[..], &b"\x22\x00\x01"[..]),
            (b"\x11\x00\x00\x00\x0a\x22\x00\x00", b"\x11\x00\x00\x00\x0a\x22\x00\x01"),
            (b"\x26\x00\x01a\x00\x02\x22\x00\x22\x00\x00", b"\x26\x00\x01a\x00\x02\x22\x00\x22\x00\x01"),
            (b"\x22\x00\x00\x22\x00\x00", b"\x22\x00\x01\x22\x00\x01"),
            (b"\x22\x00\x07", b"\x22\x00\x07"),
        ] {
            let collected = FirstPacket::new(100).collect(&v5(properties)).expect("valid").expect("complete");
            assert_eq!(*collected.0, v5(safe));
        }
    }

    #[test]
    fn a_property_list_that_does_not_fit_is_refused() {
        for properties in [&b"\x22\x00"[..], b"\x22", b"\x26\x00\x05a", b"\x15\xff\xff", b"\x7f\x00", b"\x11\x00"] {
            let result = FirstPacket::new(100).collect(&v5(properties));
            assert_eq!(result, Err(FirstPacketError::Malformed), "{properties:?}");
        }
    }
}
