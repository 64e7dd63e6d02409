//! Bytes that wait to be written, in one buffer that is reused.

/// The queue of one session.
#[derive(Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    written: usize,
}

impl Output {
    /// What has not been written yet.
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Takes off the front what has been written.
    pub(super) fn consume(&mut self, count: usize) {
        self.written = self.bytes.len().min(self.written + count);
        if self.written == self.bytes.len() {
            self.clear();
        } else if self.written >= self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
    }

    /// Forgets everything; a buffer that a burst made large is given back.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.written = 0;
    }

    /// Appends an encoded packet.
    pub(super) fn push(&mut self, packet: &[u8]) {
        self.bytes.extend_from_slice(packet);
    }

    /// Appends a QoS 0 PUBLISH without a detour through a packet value: the way of each answer.
    pub(super) fn push_publish(&mut self, topic: &str, payload: &[u8], properties: bool) {
        // MQTT 5.0 3.3: topic, then an empty property list in 5.0 only, then the payload.
        self.bytes.push(0x30);
        let mut length = remaining_length(topic, payload, properties);
        loop {
            let digit = (length % 128) as u8;
            length /= 128;
            self.bytes.push(if length > 0 { digit | 0x80 } else { digit });
            if length == 0 {
                break;
            }
        }
        self.bytes.extend_from_slice(&(topic.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(topic.as_bytes());
        if properties {
            self.bytes.push(0);
        }
        self.bytes.extend_from_slice(payload);
    }
}

/// The size of a QoS 0 PUBLISH with its fixed header, or `None` if MQTT cannot carry it.
pub(super) fn publish_size(topic: &str, payload: &[u8], properties: bool) -> Option<usize> {
    let remaining = remaining_length(topic, payload, properties);
    if topic.len() > usize::from(u16::MAX) || remaining > MQTT_LENGTH_MAX {
        return None;
    }
    let digits = 1 + [0x7f, 0x3fff, 0x1f_ffff].iter().filter(|&&largest| remaining > largest).count();
    Some(1 + digits + remaining)
}

fn remaining_length(topic: &str, payload: &[u8], properties: bool) -> usize {
    2 + topic.len() + usize::from(properties) + payload.len()
}

/// MQTT 5.0 1.5.5: the largest variable byte integer.
const MQTT_LENGTH_MAX: usize = 268_435_455;
/// Enough for the largest SecT message; a busy session does not allocate for it again.
const KEPT_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumed_bytes_leave_from_the_front() {
        let mut output = Output::default();
        output.push(b"abcdef");
        output.consume(2);
        assert_eq!(output.pending(), b"cdef");
        output.consume(2);
        output.push(b"g");
        assert_eq!(output.pending(), b"efg");
        output.consume(99);
        assert_eq!(output.pending(), b"");
    }

    #[test]
    fn a_publish_is_encoded_as_the_specification_draws_it() {
        let mut output = Output::default();
        output.push_publish("a/b", b"xy", false);
        assert_eq!(output.pending(), b"\x30\x07\x00\x03a/bxy");
        output.clear();
        output.push_publish("a/b", b"xy", true);
        assert_eq!(output.pending(), b"\x30\x08\x00\x03a/b\x00xy");
    }

    #[test]
    fn the_announced_size_is_the_size_at_each_length_of_the_length() {
        for payload in [0, 1, 121, 122, 123, 16_376, 16_377, 16_378, 16_379, 20_000] {
            let payload = vec![7; payload];
            let mut output = Output::default();
            output.push_publish("a/b", &payload, true);
            assert_eq!(publish_size("a/b", &payload, true), Some(output.pending().len()));
        }
    }

    #[test]
    fn a_burst_does_not_keep_its_buffer() {
        let mut output = Output::default();
        output.push(&[0; 60_000]);
        output.consume(60_000);
        assert!(output.bytes.capacity() <= 2 * KEPT_BYTES);
    }
}
