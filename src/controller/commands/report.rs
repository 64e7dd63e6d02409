//! The state of a plug, for people and for scripts.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use crate::controller::keyring::Entry;
use crate::controller::session::Answer;
use crate::proto::message::{State, SwitchedBy};

/// What scripts read; members are added, never renamed.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    /// The user's own name for the plug.
    name: &'a str,
    /// The plug's id.
    id: String,
    /// `on` or `off`.
    state: &'static str,
    /// What switched it last.
    by: SwitchedBy,
    /// Who, where a user did.
    #[serde(skip_serializing_if = "Option::is_none")]
    who: Option<&'a str>,
    /// For how long, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    for_s: Option<f64>,
    /// The time from the request to the answer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
    /// Where the plug is.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    /// The plug's own name.
    thing_name: &'a str,
}

impl<'a> Report<'a> {
    pub(super) fn of_state(entry: &'a Entry, state: &'a State, lasting: Option<Duration>) -> Self {
        Self {
            name: entry.alias.as_str(),
            id: entry.binding.thing.to_string(),
            state: on_or_off(state.on),
            by: state.by,
            who: state.who.as_ref().map(|name| name.as_str()),
            for_s: lasting.map(|lasting| rounded(lasting.as_secs_f64())),
            round_trip_ms: None,
            address: None,
            thing_name: state.name.as_str(),
        }
    }

    pub(super) fn of_answer(entry: &'a Entry, answer: &'a Answer, address: SocketAddr) -> Self {
        Self {
            round_trip_ms: Some(milliseconds(answer.round_trip)),
            address: Some(address),
            ..Self::of_state(entry, &answer.state, answer.lasting)
        }
    }
}

/// `Kitchen is on, switched by Anna 3 min ago (2.1 ms)`.
pub(super) fn sentence(entry: &Entry, answer: &Answer) -> String {
    format!("{} ({} ms)", state_sentence(entry, &answer.state, answer.lasting), milliseconds(answer.round_trip))
}

/// As [`sentence`], without a round trip.
pub(super) fn state_sentence(entry: &Entry, state: &State, lasting: Option<Duration>) -> String {
    let by = match (state.by, &state.who) {
        (SwitchedBy::User, Some(name)) => format!("switched by {name}"),
        (SwitchedBy::User, None) => "switched by a user".to_owned(),
        (SwitchedBy::Button, _) => "switched by its button".to_owned(),
        (SwitchedBy::Timer, _) => "switched by a timer".to_owned(),
        (SwitchedBy::Schedule, _) => "switched by its schedule".to_owned(),
        (SwitchedBy::Boot, _) => "since it was started".to_owned(),
    };
    let ago = lasting.map_or_else(String::new, |lasting| match (state.by, spoken(lasting)) {
        (_, None) => " just now".to_owned(),
        (_, Some(text)) => format!(" {text} ago"),
    });
    format!("{} is {}, {by}{ago}", entry.alias, on_or_off(state.on))
}

pub(super) const fn on_or_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// A duration as one says it; nothing below a second.
pub(super) fn spoken(duration: Duration) -> Option<String> {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0 => return None,
        1..=119 => (seconds, "s"),
        120..=7199 => (seconds / 60, "min"),
        7200..=172_799 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "days"),
    };
    Some(format!("{count} {unit}"))
}

/// Milliseconds with a tenth.
pub(super) fn milliseconds(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::keyring::testing::entry;
    use crate::proto::message::ReturnCode;
    use crate::proto::time::Micros;

    fn answer() -> Answer {
        let state = State {
            on: true,
            by: SwitchedBy::User,
            who: Some("Anna".parse().expect("a name")),
            since: Micros::ZERO,
            name: "SecT plug".parse().expect("a name"),
        };
        let round_trip = Duration::from_micros(2149);
        Answer { rc: ReturnCode::Ok, state, round_trip, lasting: Some(Duration::from_secs(200)) }
    }

    #[test]
    fn people_read_a_sentence() {
        let (entry, mut answer) = (entry("Kitchen", 1), answer());
        assert_eq!(sentence(&entry, &answer), "Kitchen is on, switched by Anna 3 min ago (2.1 ms)");
        (answer.state.on, answer.state.by, answer.state.who) = (false, SwitchedBy::Boot, None);
        assert_eq!(state_sentence(&entry, &answer.state, None), "Kitchen is off, since it was started");
        answer.state.by = SwitchedBy::Button;
        let just_now = Some(Duration::from_millis(20));
        assert_eq!(state_sentence(&entry, &answer.state, just_now), "Kitchen is off, switched by its button just now");
    }

    #[test]
    fn scripts_read_one_object() {
        let (entry, answer) = (entry("Kitchen", 1), answer());
        let report = Report::of_answer(&entry, &answer, SocketAddr::from(([127, 0, 0, 1], 8883)));
        let id = entry.binding.thing;
        assert_eq!(
            serde_json::to_string(&report).expect("JSON"),
            format!(
                r#"{{"name":"Kitchen","id":"{id}","state":"on","by":"user","who":"Anna","for_s":200.0,"round_trip_ms":2.1,"address":"127.0.0.1:8883","thing_name":"SecT plug"}}"#
            )
        );
    }
}
