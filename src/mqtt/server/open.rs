//! What a session holds while its client is logged in, its subscriptions above all.

use std::collections::VecDeque;
use std::time::Duration;

use mqtt_protocol_core::mqtt::packet::Qos as WireQos;

use super::Qos;
use super::policy::Policy;
use super::reply::Version;
use super::session::{Event, Rejection};

/// A client that has logged in.
pub(super) struct Open {
    pub(super) version: Version,
    /// One and a half times the keep-alive; `None` if the client wants none.
    pub(super) silence: Option<Duration>,
    /// What the client takes at most in one packet.
    pub(super) packet_bytes: usize,
    /// QoS 1 messages that the client takes before it acknowledges.
    pub(super) receive_maximum: u16,
    pub(super) subscriptions: Vec<(String, Qos)>,
    pub(super) unacknowledged: u16,
    pub(super) waiting: VecDeque<(String, Vec<u8>)>,
}

impl Open {
    pub(super) fn subscribed(&self, topic: &str) -> Option<Qos> {
        self.subscriptions.iter().find(|(subscribed, _)| subscribed == topic).map(|(_, qos)| *qos)
    }

    pub(super) fn subscribe<'a>(
        &mut self,
        asked: impl Iterator<Item = (&'a str, WireQos)>,
        limit: usize,
        policy: &impl Policy,
    ) -> (Vec<Option<Qos>>, Vec<Event>) {
        let mut granted = Vec::new();
        let mut events = Vec::new();
        let mut swept = false;
        for (topic, qos) in asked {
            // Once for each packet: one packet may ask for thousands.
            if self.subscriptions.len() >= limit && !swept {
                swept = true;
                // Subscriptions whose right is gone deliver nothing and hold no place either.
                for (lost, _) in self.subscriptions.extract_if(.., |(topic, _)| !policy.may_subscribe(topic)) {
                    events.push(Event::Unsubscribed { topic: lost });
                }
            }
            let qos = if qos == WireQos::AtMostOnce { Qos::AtMostOnce } else { Qos::AtLeastOnce };
            let room = self.subscriptions.len() < limit;
            let known = self.subscriptions.iter_mut().find(|(subscribed, _)| subscribed == topic);
            let allowed = !is_wildcard(topic) && policy.may_subscribe(topic);
            match known {
                Some(entry) if allowed => entry.1 = qos,
                None if allowed && room => {
                    self.subscriptions.push((topic.to_owned(), qos));
                }
                Some(_) | None => {
                    granted.push(None);
                    events.push(Event::Rejected(Rejection::SubscribeTopic));
                    continue;
                }
            }
            granted.push(Some(qos));
            events.push(Event::Subscribed { topic: topic.to_owned() });
        }
        (granted, events)
    }

    pub(super) fn unsubscribe<'a>(&mut self, topics: impl Iterator<Item = &'a str>) -> (Vec<bool>, Vec<Event>) {
        let mut existed = Vec::new();
        let mut events = Vec::new();
        for topic in topics {
            let at = self.subscriptions.iter().position(|(subscribed, _)| subscribed == topic);
            existed.push(at.is_some());
            if let Some(at) = at {
                self.subscriptions.swap_remove(at);
                events.push(Event::Unsubscribed { topic: topic.to_owned() });
            }
        }
        (existed, events)
    }
}

/// A topic filter that means more than one topic; no topic of SecT has these characters.
pub(super) fn is_wildcard(topic: &str) -> bool {
    topic.contains(['#', '+'])
}
