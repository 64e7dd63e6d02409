//! The short way of a message: a whole PUBLISH at QoS 0, read where it lies.
//!
//! It is what sessions carry most of, and it changes nothing in the state of a connection. Whatever is
//! not exactly this, or is wrong in any way, is left to the library, which says what follows from it.

use super::connect::packet_size;
use super::reply::Version;

/// Such a message, taken out of what was read.
pub(super) struct Short {
    /// Topic and payload, one after the other.
    bytes: Box<[u8]>,
    topic_bytes: usize,
}

/// Such a message where it was read.
pub(super) struct Seen<'a> {
    pub(super) topic: &'a str,
    payload: &'a [u8],
    /// Bytes of its packet.
    pub(super) packet_bytes: usize,
}

impl<'a> Seen<'a> {
    /// The message that `input` begins with, if it is one, whole and no larger than `packet_bytes`.
    pub(super) fn at(input: &'a [u8], version: Version, packet_bytes: u32) -> Option<Self> {
        // MQTT 5.0 3.3.1: neither sent again nor to be retained, QoS 0.
        if *input.first()? != PUBLISH {
            return None;
        }
        let size = packet_size(input).ok()??;
        if size > packet_bytes as usize {
            return None;
        }
        let digits = input[1..].iter().position(|digit| digit & 0x80 == 0)? + 1;
        let (length, rest) = input.get(1 + digits..size)?.split_at_checked(2)?;
        let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([length[0], length[1]])))?;
        let payload = match version {
            Version::V3 => rest,
            // An empty property list; another one is for the library.
            Version::V5 => rest.strip_prefix(&[0])?,
        };
        // [MQTT-1.5.3-2], [MQTT-3.3.2-2]; every topic of SecT is printable ASCII without a wildcard.
        let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'#' | b'+');
        if topic.is_empty() || !topic.iter().all(is_plain) {
            return None;
        }
        let topic = std::str::from_utf8(topic).ok()?;
        Some(Self { topic, payload, packet_bytes: size })
    }

    pub(super) fn take(&self) -> Short {
        Short { bytes: [self.topic.as_bytes(), self.payload].concat().into(), topic_bytes: self.topic.len() }
    }
}

impl Short {
    pub(super) fn topic(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.topic_bytes]).expect("it was text when it was seen")
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.bytes[self.topic_bytes..]
    }
}

/// A PUBLISH without flags.
const PUBLISH: u8 = 0x30;

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(input: &[u8], version: Version) -> Option<(&str, &[u8], usize)> {
        Seen::at(input, version, 100).map(|seen| (seen.topic, seen.payload, seen.packet_bytes))
    }

    #[test]
    fn a_whole_message_is_seen_and_what_follows_is_left() {
        let two = b"\x30\x07\x00\x03a/bxy\x30\x07";
        assert_eq!(seen(two, Version::V3), Some(("a/b", &b"xy"[..], 9)));
        let two = b"\x30\x08\x00\x03a/b\x00xy\xc0";
        assert_eq!(seen(two, Version::V5), Some(("a/b", &b"xy"[..], 10)));
        let taken = Seen::at(two, Version::V5, 100).expect("one").take();
        assert_eq!((taken.topic(), taken.payload()), ("a/b", &b"xy"[..]));
    }

    #[test]
    fn a_message_that_is_cut_anywhere_is_left_to_the_library() {
        let packet = b"\x30\x07\x00\x03a/bxy";
        for cut in 0..packet.len() {
            assert_eq!(seen(&packet[..cut], Version::V3), None);
        }
    }

    #[test]
    fn whatever_is_not_a_plain_message_is_left_to_the_library() {
        for packet in [
            &b"\x31\x07\x00\x03a/bxy"[..],
            b"\x32\x09\x00\x03a/b\x00\x01xy",
            b"\x38\x07\x00\x03a/bxy",
            b"\x30\x04\x00\x03a/",
            b"\x30\x01\x00",
            b"\x30\x00",
            b"\x30\x04\x00\x00xy",
            b"\x30\x07\x00\x03a/#xy",
            b"\x30\x07\x00\x03a/+xy",
            b"\x30\x07\x00\x03a/\x00xy",
            b"\x30\x07\x00\x03a/\xffxy",
            b"\x30\x07\x00\x03a\xc3\xa4xy",
            b"\x30\xff\xff\xff\xff\x01",
            b"\xc0\x00",
        ] {
            assert_eq!(seen(packet, Version::V3), None, "{packet:?}");
        }
        let with_alias = b"\x30\x0b\x00\x03a/b\x03\x23\x00\x01xy";
        assert_eq!(seen(with_alias, Version::V5), None);
        let large = [&b"\x30\x62\x00\x03a/b"[..], &[0; 93]].concat();
        assert_eq!(seen(&large, Version::V3).map(|(.., size)| size), Some(100));
        let larger = [&b"\x30\x63\x00\x03a/b"[..], &[0; 94]].concat();
        assert_eq!(seen(&larger, Version::V3), None);
    }
}
