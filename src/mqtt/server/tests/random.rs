//! Input that nobody would send on purpose, and some that somebody would.

use super::packets::*;
use super::*;

/// A small generator, so that a failure comes back with its number.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }
}

/// The library is written with `unwrap` and `assert` in places, and a panic would end the daemon.
#[test]
fn no_input_makes_a_session_panic_or_grow() {
    let mut seen = std::collections::BTreeMap::new();
    for number in 1..=30_000_u64 {
        let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let version = 4 + (number % 2) as u8;
        let mut properties = Vec::new();
        if version == 5 {
            let offers: [&[u8]; 6] = [
                b"\x22\x00\x00",
                b"\x21\x00\x01",
                b"\x27\x00\x00\x00\x20",
                b"\x11\xff\xff\xff\xff",
                b"\x26\x00\x01a\x00\x01b",
                b"\x17\x01",
            ];
            for _ in 0..dice.roll(3) {
                properties.extend_from_slice(offers[dice.roll(offers.len())]);
            }
        }
        let mut packets = vec![connect(version, "me", &properties, 60)];
        for _ in 0..dice.roll(12) {
            let topic = ["to", "from", "to", "from", "", "#", "$share/a/b", "\u{0}"][dice.roll(8)];
            let id = 1 + dice.roll(3) as u16;
            // Mostly what is allowed, so that a script gets far before it goes wrong.
            packets.push(match dice.roll(40) {
                0..10 => subscribe(version, id, &[(topic, dice.roll(3) as u8), ("from", 1)]),
                10..14 => unsubscribe(version, id, &[topic]),
                14..26 => publish(version, [0, 2, 8, 10][dice.roll(4)], topic, id, b"payload"),
                26 => publish(version, dice.roll(16) as u8, topic, 0, b"payload"),
                27..32 => packet(0x40, &[0, id as u8]),
                32 => packet([0x50, 0x62, 0x70][dice.roll(3)], &[0, id as u8]),
                33 => packet(0xe0, &[]),
                34 => packet((dice.roll(16) << 4) as u8, &[0, id as u8, 0]),
                _ => PINGREQ.to_vec(),
            });
        }
        // Some packets are harmed, most of them after the login.
        let mut bytes = packets.concat();
        for _ in 0..dice.roll(3) {
            let start = if dice.roll(8) == 0 { 0 } else { packets[0].len() };
            if start < bytes.len() {
                let at = start + dice.roll(bytes.len() - start);
                match dice.roll(3) {
                    0 => bytes[at] ^= 1 << dice.roll(8),
                    1 => bytes[at] = dice.roll(256) as u8,
                    _ => drop(bytes.remove(at)),
                }
            }
        }
        let mut script = Script::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let piece = 1 + dice.roll(rest.len());
            script.session.handle_bytes(&rest[..piece], script.now, &mut script.policy);
            rest = &rest[piece..];
            script.publishes(b"x", if dice.roll(2) == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce });
        }
        script.passes(Duration::from_secs(dice.roll(100) as u64));
        script.session.close(CloseReason::Ended);
        assert!(script.session.output().len() < 8192, "script {number}");
        for event in script.events() {
            *seen.entry(event.split(' ').next().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
    }
    let kinds: Vec<_> = seen.iter().filter(|(_, count)| **count > 100).map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["acknowledged", "connected", "published", "rejected", "subscribed", "unsubscribed"], "{seen:?}");
}
