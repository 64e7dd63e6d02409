//! Who gives way when all places are taken: strangers to friends, what is ending to what begins, and who has
//! many sessions to who has none.

use std::collections::BTreeMap;

use super::LocalServer;
use super::admission::Entry;
use super::connection::Place;
use crate::mqtt::server::CloseReason;

impl LocalServer {
    /// The oldest of those from unknown addresses, if there is one.
    pub(super) fn displace_oldest_handshake(&mut self) {
        let since = |place: &Place| match place {
            Place::Handshake(handshake) => Some((handshake.origin, handshake.since)),
            Place::Vacant | Place::Live(_) | Place::Lingering(_) => None,
        };
        let oldest = (0..self.places.len()).filter_map(|index| Some((since(&self.places[index].1)?, index))).min();
        if let Some((_, index)) = oldest {
            self.counters.handshakes_displaced += 1;
            self.vacate(index);
        }
    }

    /// Makes room by giving up a connection that is at its end, or one that holds a key but has not
    /// logged in.
    pub(super) fn vacate_ending(&mut self) -> bool {
        let rank = |place: &Place| match place {
            Place::Lingering(_) => Some((0, None)),
            Place::Live(live) if live.mqtt.closing().is_some() => Some((1, Some(live.since))),
            Place::Live(live) if !live.mqtt.is_open() => Some((2, Some(live.since))),
            Place::Vacant | Place::Handshake(_) | Place::Live(_) => None,
        };
        let first = (0..self.places.len()).filter_map(|index| Some((rank(&self.places[index].1)?, index))).min();
        if let Some((_, index)) = first {
            self.vacate(index);
        }
        first.is_some()
    }

    /// Makes room by ending the oldest session of who has most of them, if that leaves him as many as the
    /// newcomer has then: so everybody gets in, however many sessions the others have.
    pub(super) fn vacate_greediest(&mut self, newcomer: &Entry) -> bool {
        let mut held = BTreeMap::new();
        for (index, (_, place)) in self.places.iter().enumerate() {
            let Place::Live(live) = place else { continue };
            let (count, oldest) = held.entry(live.claim.admission.holder()).or_insert((0, (live.since, index)));
            *count += 1;
            *oldest = (*oldest).min((live.since, index));
        }
        let own = held.get(newcomer.admission.holder()).map_or(0, |(count, _)| *count);
        let greediest = held.values().max_by_key(|(count, _)| *count).filter(|(count, _)| *count > own + 1);
        let Some(&(_, (_, index))) = greediest else { return false };
        self.close_place(index, CloseReason::TakenOver);
        self.vacate(index);
        true
    }

    /// A new session ends the one with the same name, and the oldest ones beyond the limit, of the same
    /// admission: nobody ends another's sessions.
    pub(super) fn displace_sessions(&mut self, newest: usize, serial: u64, max_sessions: usize) {
        let Place::Live(new) = &self.places[newest].1 else { return };
        let client_id = new.client_id.clone();
        let mut others = Vec::new();
        for (index, (_, place)) in self.places.iter().enumerate() {
            match place {
                Place::Live(live) if index != newest && live.is_under(serial) => {
                    others.push((live.client_id != client_id, live.since, index));
                }
                Place::Vacant | Place::Handshake(_) | Place::Live(_) | Place::Lingering(_) => {}
            }
        }
        others.sort_unstable();
        let beyond = (others.len() + 1).saturating_sub(max_sessions.max(1));
        for (at, (other_name, _, index)) in others.into_iter().enumerate() {
            if !other_name || at < beyond {
                self.close_place(index, CloseReason::TakenOver);
            }
        }
    }
}
