//! Who has which address on the Thing-AP.
//!
//! An address belongs to the station that was first to ask for it (REQUEST), for as long as the access point is
//! open: who is here and served stays served, whoever comes after, and no clock is needed for it. An offer keeps
//! nothing. It only lets two newcomers hear of different addresses, and the oldest one is the first to be made
//! again, so that invented stations that never ask keep nobody out.
//!
//! Invented stations that do ask are not told from real ones: a message says who it is about, and nobody knows who
//! has sent it. Once they have all 245 addresses, a newcomer hears nothing. To take an address away again would be
//! the worse choice: then the same flood would reach those who are served. Whoever can do either has read the
//! display, so he could as well claim the plug, and a station can always set its address itself.

use std::net::Ipv4Addr;

use super::message::{Answer, Ask, Hardware, Question};

/// The last byte of the first address that is given.
const FIRST: u8 = 10;
/// From there to the network's last one, which is everybody's.
const PLACES: usize = (u8::MAX - FIRST) as usize;
/// As long as an access point stays open.
const LEASE_SECONDS: u32 = 600;

/// The stations, and what is answered to them.
#[derive(Debug)]
pub struct Stations {
    own: Ipv4Addr,
    /// By address.
    places: [Place; PLACES],
    /// Where the search for an address to offer goes on: behind the newest offer.
    next: usize,
}

/// An address, as far as the stations are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    /// This station was told of it.
    Offered(Hardware),
    /// This station has asked for it, and has it.
    Bound(Hardware),
    /// This station says that somebody else has it, and may still think better of it: others can say so in its name.
    Declined(Hardware),
    /// The thing has it.
    Own,
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
    pub fn new(own: Ipv4Addr) -> Self {
        let mut stations = Self { own, places: [Place::Free; PLACES], next: 0 };
        if let Some(place) = stations.place_of(own) {
            stations.places[place] = Place::Own;
        }
        stations
    }

    /// Answers a message, if it is one that wants an answer from here.
    pub fn answer(&mut self, message: &[u8]) -> Option<Reply> {
        let question = Question::read(message)?;
        let (answer, given) = match question.ask {
            Ask::Discover => (Answer::Offer, Some(self.offer(question.hardware)?)),
            Ask::Inform => (Answer::Ack, None),
            Ask::Decline => {
                self.decline(question.hardware, question.requested?);
                return None;
            }
            Ask::Request => {
                // It has taken another server's offer.
                if question.server.is_some_and(|server| server != self.own) {
                    return None;
                }
                match question.requested.or(question.current).filter(|wanted| self.bind(question.hardware, *wanted)) {
                    Some(address) => (Answer::Ack, Some(address)),
                    None => (Answer::Nak, None),
                }
            }
        };
        let message = question.reply(answer, self.own, given.map(|address| (address, LEASE_SECONDS)));
        // One that has no address yet, or must not use the one that it has, hears what all hear.
        // What claims to be elsewhere is not looked for there.
        let here = question.current.filter(|current| self.is_here(*current));
        let to = here.filter(|_| answer == Answer::Ack).unwrap_or(Ipv4Addr::BROADCAST);
        Some(Reply { message, to })
    }

    /// An address that this station may ask for: its own if it has one, else one that nobody has.
    fn offer(&mut self, hardware: Hardware) -> Option<Ipv4Addr> {
        let known = self.bound_to(hardware).or_else(|| self.find(Place::Offered(hardware)));
        let place = match known {
            Some(place) => place,
            None => {
                let around = (self.next..PLACES).chain(0..self.next);
                let mut unbound = around.filter(|place| self.is_unbound(*place));
                let place = unbound.next()?;
                self.next = place + 1;
                self.places[place] = Place::Offered(hardware);
                place
            }
        };
        Some(self.address_of(place))
    }

    /// Gives this station the address that it wants, and says whether it has it now. Another's offer does not stand
    /// in the way, but a station has one address at most.
    fn bind(&mut self, hardware: Hardware, wanted: Ipv4Addr) -> bool {
        let Some(place) = self.place_of(wanted) else { return false };
        if let Some(bound) = self.bound_to(hardware).filter(|bound| *bound != place) {
            if self.places[place] != Place::Declined(hardware) {
                return false;
            }
            // Which of the two it said itself nobody knows, so it finds both.
            self.places[bound] = Place::Declined(hardware);
        }
        if self.places[place] == Place::Bound(hardware) {
            return true;
        }
        if !self.is_unbound(place) && self.places[place] != Place::Declined(hardware) {
            return false;
        }
        if let Some(offered) = self.find(Place::Offered(hardware)) {
            self.places[offered] = Place::Free;
        }
        self.places[place] = Place::Bound(hardware);
        true
    }

    /// A station of its own making has the address, as it may; the one that was given it shall get another.
    fn decline(&mut self, hardware: Hardware, address: Ipv4Addr) {
        let known = [Place::Offered(hardware), Place::Bound(hardware)];
        if let Some(place) = self.place_of(address).filter(|place| known.contains(&self.places[*place])) {
            self.places[place] = Place::Declined(hardware);
        }
    }

    fn bound_to(&self, hardware: Hardware) -> Option<usize> {
        self.find(Place::Bound(hardware))
    }

    fn find(&self, wanted: Place) -> Option<usize> {
        self.places.iter().position(|place| *place == wanted)
    }

    fn is_unbound(&self, place: usize) -> bool {
        matches!(self.places[place], Place::Free | Place::Offered(_))
    }

    fn is_here(&self, address: Ipv4Addr) -> bool {
        address.octets()[..3] == self.own.octets()[..3]
    }

    /// The place of an address that can be given.
    fn place_of(&self, address: Ipv4Addr) -> Option<usize> {
        let place = address.octets()[3].checked_sub(FIRST)?;
        Some(usize::from(place)).filter(|place| self.is_here(address) && *place < PLACES)
    }

    fn address_of(&self, place: usize) -> Ipv4Addr {
        let [a, b, c, _] = self.own.octets();
        let last = usize::from(FIRST) + place;
        Ipv4Addr::new(a, b, c, u8::try_from(last).expect("a place is less than PLACES, which ends at the last byte"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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

    /// A station that nobody has seen.
    fn invented(number: u16) -> Hardware {
        let [high, low] = number.to_be_bytes();
        [6, 0, 0, 0, high, low]
    }

    fn offered(stations: &mut Stations, hardware: Hardware) -> Option<[u8; 4]> {
        stations.answer(&discover(hardware)).map(|offer| given(&offer))
    }

    /// Whether it has the address now.
    fn gets(stations: &mut Stations, hardware: Hardware, wanted: [u8; 4]) -> bool {
        let reply = stations.answer(&request(hardware, OWN.octets(), wanted)).expect("an answer");
        assert!(matches!(options(&reply)[..3], [53, 1, 5 | 6]));
        options(&reply)[2] == 5
    }

    /// Whether it may go on with it.
    fn renews(stations: &mut Stations, hardware: Hardware, current: [u8; 4]) -> bool {
        let reply = stations.answer(&asks(hardware, current, &[53, 1, 3])).expect("an answer");
        options(&reply)[..3] == [53, 1, 5] && given(&reply) == current
    }

    #[test]
    fn each_station_has_its_own_address_and_the_thing_gives_its_own_to_nobody() {
        let own = Ipv4Addr::new(192, 168, 4, 12);
        let mut stations = Stations::new(own);
        let mut addresses = Vec::new();
        for number in 0..244 {
            let address = offered(&mut stations, invented(number)).expect("an offer");
            let message = request(invented(number), own.octets(), address);
            assert_eq!(options(&stations.answer(&message).expect("an answer"))[..3], [53, 1, 5]);
            addresses.push(address);
        }
        let expected = (10..=254).filter(|last| *last != 12).map(|last| [192, 168, 4, last]);
        assert_eq!(addresses, expected.collect::<Vec<_>>());
        assert_eq!(offered(&mut stations, invented(243)), Some([192, 168, 4, 254]), "it has that one");
        assert_eq!(offered(&mut stations, PHONE), None);
        for last in [12, 1, 9, 255] {
            let message = request(PHONE, own.octets(), [192, 168, 4, last]);
            assert_eq!(options(&stations.answer(&message).expect("an answer"))[..3], [53, 1, 6], "{last}");
        }
    }

    #[test]
    fn two_newcomers_at_a_time_hear_of_two_addresses() {
        let mut stations = Stations::new(OWN);
        assert_eq!(offered(&mut stations, PHONE), Some([192, 168, 4, 10]));
        assert_eq!(offered(&mut stations, invented(0)), Some([192, 168, 4, 11]));
        assert_eq!(offered(&mut stations, PHONE), Some([192, 168, 4, 10]), "who asks twice hears the same");
        assert!(gets(&mut stations, invented(0), [192, 168, 4, 11]));
        assert!(gets(&mut stations, PHONE, [192, 168, 4, 10]));
        assert!(!gets(&mut stations, PHONE, [192, 168, 4, 13]), "one is enough");
        assert!(!gets(&mut stations, invented(1), [192, 168, 4, 10]), "it is somebody's");
    }

    #[test]
    fn a_station_that_is_served_stays_served_whoever_comes_after() {
        let mut stations = Stations::new(OWN);
        let address = offered(&mut stations, PHONE).expect("an offer");
        assert!(gets(&mut stations, PHONE, address));
        for number in 0..1000 {
            if let Some(address) = offered(&mut stations, invented(number)) {
                assert!(gets(&mut stations, invented(number), address));
            }
            assert!(!gets(&mut stations, invented(number + 1000), address));
            assert!(!renews(&mut stations, invented(number + 1000), address));
        }
        assert!(renews(&mut stations, PHONE, address));
        assert_eq!(offered(&mut stations, PHONE), Some(address));
        assert!(gets(&mut stations, PHONE, address));
        // Nothing is left for another one, and it is no use to shout at it.
        assert_eq!(offered(&mut stations, [2, 0, 0, 0, 0, 2]), None);
    }

    #[test]
    fn stations_that_are_offered_an_address_and_never_ask_keep_nobody_out() {
        let mut stations = Stations::new(OWN);
        for number in 0..1000 {
            offered(&mut stations, invented(number)).expect("an offer");
        }
        let address = offered(&mut stations, PHONE).expect("an offer");
        for number in 1000..2000 {
            offered(&mut stations, invented(number)).expect("an offer");
        }
        assert!(gets(&mut stations, PHONE, address), "first to ask, although others were told of it since");
        for number in 2000..3000 {
            assert_ne!(offered(&mut stations, invented(number)), Some(address));
        }
        assert!(renews(&mut stations, PHONE, address));
    }

    #[test]
    fn an_address_that_somebody_has_set_himself_is_given_to_nobody() {
        let decline = |hardware, last: u8| asks(hardware, [0; 4], &[53, 1, 4, 50, 4, 192, 168, 4, last]);
        let mut stations = Stations::new(OWN);
        assert_eq!(offered(&mut stations, PHONE), Some([192, 168, 4, 10]));
        assert!(gets(&mut stations, PHONE, [192, 168, 4, 10]));
        // It looks around before it uses it, and finds somebody there.
        assert_eq!(stations.answer(&decline(PHONE, 10)), None);
        assert_eq!(offered(&mut stations, PHONE), Some([192, 168, 4, 11]));
        assert!(!gets(&mut stations, invented(0), [192, 168, 4, 10]));
        assert!(gets(&mut stations, PHONE, [192, 168, 4, 11]));
        assert_eq!(stations.answer(&decline(invented(0), 11)), None, "it is not his to decline");
        assert_eq!(stations.answer(&asks(PHONE, [0; 4], &[53, 1, 4])), None);
        assert!(renews(&mut stations, PHONE, [192, 168, 4, 11]));
        // Nor does it help to say so in the phone's name.
        assert_eq!(stations.answer(&decline(PHONE, 11)), None);
        assert!(renews(&mut stations, PHONE, [192, 168, 4, 11]));
        // Nor to ask for another one in its name as well.
        assert_eq!(stations.answer(&decline(PHONE, 11)), None);
        assert!(gets(&mut stations, PHONE, [192, 168, 4, 77]));
        assert!(renews(&mut stations, PHONE, [192, 168, 4, 11]));
        assert!(renews(&mut stations, PHONE, [192, 168, 4, 77]));
        assert!(renews(&mut stations, PHONE, [192, 168, 4, 11]));
        assert!(!gets(&mut stations, PHONE, [192, 168, 4, 78]), "one more that was never declined is one too many");
        assert!(!gets(&mut stations, invented(0), [192, 168, 4, 77]));
    }

    #[test]
    fn a_station_that_comes_back_to_an_access_point_that_was_opened_again_keeps_its_address() {
        let mut stations = Stations::new(OWN);
        assert!(renews(&mut stations, PHONE, [192, 168, 4, 77]));
        assert!(!renews(&mut stations, invented(0), [192, 168, 4, 77]));
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
        assert!(stations.places.iter().all(|place| *place == Place::Free), "what was not answered takes no place");
        assert!(stations.answer(&good).is_some());
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
                prop_assert!(matches!(given(&reply), [0, 0, 0, 0] | [192, 168, 4, 10..=254]));
            }
        }

        #[test]
        fn in_whatever_order_stations_ask_an_address_stays_its_station_s(
            steps in vec((0..8_u16, 0..4_u8, prop_oneof![8..16_u8, 250..=255_u8]), 0..200),
        ) {
            let own = Ipv4Addr::new(192, 168, 4, 12);
            let mut stations = Stations::new(own);
            let mut served: BTreeMap<[u8; 4], Hardware> = BTreeMap::new();
            let mut offers: BTreeMap<Hardware, [u8; 4]> = BTreeMap::new();
            let mut declined: BTreeMap<[u8; 4], Hardware> = BTreeMap::new();
            for (number, kind, last) in steps {
                let (hardware, wanted) = (invented(number), [192, 168, 4, last]);
                if kind == 3 {
                    let [a, b, c, d] = wanted;
                    prop_assert_eq!(stations.answer(&asks(hardware, [0; 4], &[53, 1, 4, 50, 4, a, b, c, d])), None);
                    if served.get(&wanted) == Some(&hardware) || offers.get(&hardware) == Some(&wanted) {
                        served.remove(&wanted);
                        offers.remove(&hardware);
                        declined.insert(wanted, hardware);
                    }
                    continue;
                }
                let reply = match kind {
                    0 => stations.answer(&discover(hardware)),
                    1 => stations.answer(&request(hardware, own.octets(), wanted)),
                    _ => stations.answer(&asks(hardware, wanted, &[53, 1, 3])),
                };
                let reply = reply.expect("eight stations do not fill a network");
                let has = served.iter().find(|(_, one)| **one == hardware).map(|(address, _)| *address);
                let can_have = (10..=254).contains(&last) && last != 12 && declined.get(&wanted).is_none_or(|one| *one == hardware);
                match (options(&reply)[2], has) {
                    (2, Some(address)) => prop_assert_eq!(given(&reply), address),
                    (2, None) => {
                        let offer = given(&reply);
                        prop_assert!(offer != own.octets() && !served.contains_key(&offer) && !declined.contains_key(&offer));
                        offers.insert(hardware, offer);
                    }
                    (5, None) => {
                        prop_assert!(can_have);
                        prop_assert_eq!(given(&reply), wanted);
                        prop_assert_eq!(served.insert(wanted, hardware), None);
                        declined.remove(&wanted);
                        offers.retain(|one, offer| *one != hardware && *offer != wanted);
                    }
                    (5, Some(address)) => {
                        prop_assert_eq!(given(&reply), wanted);
                        if wanted != address {
                            prop_assert_eq!(declined.remove(&wanted), Some(hardware));
                            prop_assert_eq!(served.remove(&address), Some(hardware));
                            declined.insert(address, hardware);
                            served.insert(wanted, hardware);
                        }
                    }
                    (6, Some(address)) => {
                        prop_assert_ne!(wanted, address);
                        prop_assert_ne!(declined.get(&wanted), Some(&hardware));
                    }
                    (6, None) => prop_assert!(!can_have || served.contains_key(&wanted)),
                    (kind, _) => prop_assert!(false, "{kind}"),
                }
            }
        }
    }
}
