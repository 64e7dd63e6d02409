//! Who has which address on the Thing-AP.
//!
//! There is a place for each of a few radios, and it keeps its address for as long as the access point is
//! open; a further one takes the place of the one that came first. Whoever is here has read the display.

use std::net::Ipv4Addr;

use super::message::{Answer, Ask, Hardware, Question};

/// Addresses that are given at the same time.
const PLACES: usize = 32;
/// The last byte of the first of them.
const FIRST: u8 = 10;
/// As long as an access point stays open.
const LEASE_SECONDS: u32 = 600;

/// The stations, and what is answered to them.
#[derive(Debug)]
pub struct Stations {
    own: Ipv4Addr,
    /// By place.
    known: Vec<Hardware>,
    /// The place that the next station gets once all are taken.
    next: usize,
}

/// A message for one station.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// What.
    pub message: Vec<u8>,
    /// The address that it goes to: the station's, or everybody's.
    pub to: Ipv4Addr,
}

impl Stations {
    /// Nobody is here yet; the thing has this address, in a network of 24 bits.
    #[must_use]
    pub const fn new(own: Ipv4Addr) -> Self {
        Self { own, known: Vec::new(), next: 0 }
    }

    /// Answers a message, if it is one that wants an answer from here.
    pub fn answer(&mut self, message: &[u8]) -> Option<Reply> {
        let question = Question::read(message)?;
        let (answer, given) = match question.ask {
            Ask::Discover => (Answer::Offer, Some(self.address_of(question.hardware))),
            Ask::Inform => (Answer::Ack, None),
            Ask::Request => {
                // It has taken another server's offer.
                if question.server.is_some_and(|server| server != self.own) {
                    return None;
                }
                let given = self.address_of(question.hardware);
                if question.requested.or(question.current) == Some(given) {
                    (Answer::Ack, Some(given))
                } else {
                    (Answer::Nak, None)
                }
            }
        };
        let message = question.reply(answer, self.own, given.map(|address| (address, LEASE_SECONDS)));
        // One that has no address yet, or must not use the one that it has, hears what all hear.
        // What claims to be elsewhere is not looked for there.
        let here = question.current.filter(|current| current.octets()[..3] == self.own.octets()[..3]);
        let to = here.filter(|_| answer == Answer::Ack).unwrap_or(Ipv4Addr::BROADCAST);
        Some(Reply { message, to })
    }

    fn address_of(&mut self, hardware: Hardware) -> Ipv4Addr {
        let place = self.known.iter().position(|known| *known == hardware).unwrap_or_else(|| self.place(hardware));
        let [a, b, c, own] = self.own.octets();
        let free = (FIRST..u8::MAX).filter(|last| *last != own).nth(place);
        Ipv4Addr::new(a, b, c, free.expect("there are more bytes from FIRST on than places"))
    }

    fn place(&mut self, hardware: Hardware) -> usize {
        if self.known.len() < PLACES {
            self.known.push(hardware);
            return self.known.len() - 1;
        }
        let place = self.next;
        self.known[place] = hardware;
        self.next = (place + 1) % PLACES;
        place
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const OWN: Ipv4Addr = Ipv4Addr::new(192, 168, 4, 1);
    const PHONE: Hardware = [2, 0, 0, 0, 0, 1];

    /// A station's message, with the options of `options`.
    fn asks(hardware: Hardware, current: [u8; 4], options: &[u8]) -> Vec<u8> {
        let mut message = vec![0; 236];
        message[..3].copy_from_slice(&[1, 1, 6]);
        message[4..8].copy_from_slice(b"xidx");
        message[10] = 0x80;
        message[12..16].copy_from_slice(&current);
        message[28..34].copy_from_slice(&hardware);
        message.extend([99, 130, 83, 99, 0, 12, 3, b'e', b'v', b'e']);
        message.extend(options);
        message.push(255);
        message
    }

    fn discover(hardware: Hardware) -> Vec<u8> {
        asks(hardware, [0; 4], &[53, 1, 1])
    }

    fn request(hardware: Hardware, server: [u8; 4], wanted: [u8; 4]) -> Vec<u8> {
        let [a, b, c, d] = wanted;
        let [e, f, g, h] = server;
        asks(hardware, [0; 4], &[53, 1, 3, 50, 4, a, b, c, d, 54, 4, e, f, g, h])
    }

    fn given(reply: &Reply) -> [u8; 4] {
        reply.message[16..20].try_into().expect("four bytes")
    }

    /// The message without what no answer has in it.
    fn options(reply: &Reply) -> &[u8] {
        assert_eq!(reply.message.len(), 300);
        let end = reply.message.iter().rposition(|byte| *byte == 255).expect("an end");
        &reply.message[240..end]
    }

    #[test]
    fn a_station_gets_an_address_and_neither_gateway_nor_name_server() {
        let mut stations = Stations::new(OWN);
        let offer = stations.answer(&discover(PHONE)).expect("an offer");
        assert_eq!(offer.to, Ipv4Addr::BROADCAST);
        assert_eq!(offer.message[..12], [2, 1, 6, 0, b'x', b'i', b'd', b'x', 0, 0, 0x80, 0]);
        assert_eq!((given(&offer), &offer.message[28..34]), ([192, 168, 4, 10], &PHONE[..]));
        let lease = [54, 4, 192, 168, 4, 1, 51, 4, 0, 0, 2, 88, 1, 4, 255, 255, 255, 0];
        assert_eq!(options(&offer), [&[53, 1, 2][..], &lease].concat());

        let ack = stations.answer(&request(PHONE, [192, 168, 4, 1], [192, 168, 4, 10])).expect("an answer");
        assert_eq!((given(&ack), ack.to), ([192, 168, 4, 10], Ipv4Addr::BROADCAST));
        assert_eq!(options(&ack), [&[53, 1, 5][..], &lease].concat());
    }

    #[test]
    fn a_station_that_renews_is_answered_where_it_is() {
        let mut stations = Stations::new(OWN);
        stations.answer(&discover(PHONE)).expect("an offer");
        let ack = stations.answer(&asks(PHONE, [192, 168, 4, 10], &[53, 1, 3])).expect("an answer");
        assert_eq!((given(&ack), ack.to), ([192, 168, 4, 10], Ipv4Addr::new(192, 168, 4, 10)));
        assert_eq!(options(&ack)[..3], [53, 1, 5]);
        // One that set its address itself gets none.
        let ack = stations.answer(&asks(PHONE, [192, 168, 4, 99], &[53, 1, 8])).expect("an answer");
        assert_eq!((given(&ack), ack.to), ([0; 4], Ipv4Addr::new(192, 168, 4, 99)));
        assert_eq!(options(&ack), [53, 1, 5, 54, 4, 192, 168, 4, 1, 1, 4, 255, 255, 255, 0]);
    }

    #[test]
    fn nobody_is_answered_at_an_address_of_another_network() {
        let mut stations = Stations::new(OWN);
        for current in [[10, 0, 0, 7], [192, 168, 5, 10], [8, 8, 8, 8]] {
            let ack = stations.answer(&asks(PHONE, current, &[53, 1, 8])).expect("an answer");
            assert_eq!((given(&ack), ack.to), ([0; 4], Ipv4Addr::BROADCAST));
        }
    }

    #[test]
    fn an_address_of_another_network_is_refused_aloud() {
        let mut stations = Stations::new(OWN);
        for message in [
            asks(PHONE, [0; 4], &[53, 1, 3, 50, 4, 10, 0, 0, 7]),
            asks(PHONE, [10, 0, 0, 7], &[53, 1, 3]),
            asks(PHONE, [0; 4], &[53, 1, 3]),
        ] {
            let nak = stations.answer(&message).expect("an answer");
            assert_eq!((given(&nak), nak.to), ([0; 4], Ipv4Addr::BROADCAST));
            assert_eq!(options(&nak), [53, 1, 6, 54, 4, 192, 168, 4, 1]);
        }
        assert_eq!(stations.answer(&request(PHONE, [192, 168, 4, 2], [192, 168, 4, 10])), None, "it asks another");
    }

    #[test]
    fn each_station_has_its_own_address_and_the_thing_gives_its_own_to_nobody() {
        let own = Ipv4Addr::new(10, 0, 0, 12);
        let mut stations = Stations::new(own);
        let mut address = |last: u8| given(&stations.answer(&discover([2, 0, 0, 0, 0, last])).expect("an offer"));
        let addresses: Vec<[u8; 4]> = (0..32).map(&mut address).collect();
        let expected = (10..=42).filter(|last| *last != 12).map(|last| [10, 0, 0, last]);
        assert_eq!(addresses, expected.collect::<Vec<_>>());
        assert_eq!(address(31), [10, 0, 0, 42], "a station that is known keeps its own");
        assert_eq!(address(32), [10, 0, 0, 10], "there is no end to stations, but to addresses");
        assert_eq!(address(0), [10, 0, 0, 11]);
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let mut stations = Stations::new(OWN);
        let good = discover(PHONE);
        for length in 0..good.len() - 1 {
            assert_eq!(stations.answer(&good[..length]), None, "cut at {length}");
        }
        for (at, byte) in [(0, 2), (1, 6), (2, 16), (24, 1), (236, 0), (248, 2), (248, 4), (248, 7), (247, 2)] {
            let mut message = good.clone();
            assert_ne!(message[at], byte);
            message[at] = byte;
            assert_eq!(stations.answer(&message), None, "{at} {byte}");
        }
        assert!(stations.answer(&good).is_some());
        assert_eq!(stations.known, [PHONE], "what was not answered takes no place");
    }

    proptest! {
        #[test]
        fn a_question_with_other_bytes_in_it_gets_an_address_of_here_or_none(
            changes in vec((any::<Index>(), any::<u8>()), 1..6),
            length in 0..300_usize,
        ) {
            let mut message = request(PHONE, [192, 168, 4, 1], [192, 168, 4, 10]);
            for (place, byte) in changes {
                *place.get_mut(&mut message) = byte;
            }
            message.truncate(length);
            if let Some(reply) = Stations::new(OWN).answer(&message) {
                prop_assert_eq!(reply.message.len(), 300);
                prop_assert!(matches!(given(&reply), [0, 0, 0, 0] | [192, 168, 4, 10]));
            }
        }
    }
}
