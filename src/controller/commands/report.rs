//! The state of a plug, for people and for scripts.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::controller::keyring::Entry;
use crate::controller::print::clean;
use crate::controller::session::{Answer, CloudState, WayReport};
use crate::proto::controller::Path;
use crate::proto::message::{State, SwitchedBy};
use crate::proto::operation::result::Countdown;

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
    /// Where the plug is on the home network, if it was reached there.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<SocketAddr>,
    /// The plug's own name.
    thing_name: &'a str,
    /// What the plug's countdown will make of it, if one runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    timer: Option<&'static str>,
    /// In how many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    timer_in_s: Option<u64>,
    /// `local` or `cloud`: the way by which it answered first.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'static str>,
    /// Each way, where all were waited for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paths: Vec<WayRow<'a>>,
    /// Where the plug itself stands with its cloud servers.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    clouds: &'a [CloudState],
}

/// One way to the plug.
#[derive(Debug, Serialize)]
struct WayRow<'a> {
    /// `local` or `cloud`.
    path: &'static str,
    /// Where it leads, where that is known.
    #[serde(skip_serializing_if = "str::is_empty")]
    at: &'a str,
    /// Whether the plug answered by it.
    answered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_ms: Option<f64>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
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
            timer: None,
            timer_in_s: None,
            path: None,
            paths: Vec::new(),
            clouds: &[],
        }
    }

    pub(super) fn of_answer(entry: &'a Entry, answer: &'a Answer) -> Self {
        let running = countdown(answer);
        Self {
            timer: running.map(|(on, _)| on_or_off(on)),
            timer_in_s: running.map(|(_, left)| left.as_secs()),
            round_trip_ms: Some(milliseconds(answer.round_trip)),
            address: answer.address,
            path: Some(word(answer.path)),
            clouds: &answer.clouds,
            ..Self::of_state(entry, &answer.state, answer.lasting)
        }
    }

    /// Adds how each way did.
    pub(super) fn with_ways(self, ways: &'a [WayReport]) -> Self {
        let row = |way: &'a WayReport| WayRow {
            path: word(way.path),
            at: &way.at,
            answered: way.outcome.is_ok(),
            round_trip_ms: way.outcome.as_ref().ok().map(|time| milliseconds(*time)),
            problem: way.outcome.as_ref().err().map(String::as_str),
        };
        Self { paths: ways.iter().map(row).collect(), ..self }
    }
}

/// `Kitchen is on, switched by Anna 3 min ago (2.1 ms)`.
pub(super) fn sentence(entry: &Entry, answer: &Answer) -> String {
    let by = match answer.path {
        Path::Local => "",
        Path::Cloud => ", through the cloud server",
    };
    let later = countdown(answer).map(|(on, left)| {
        let left = spoken(left).unwrap_or_else(|| "less than a second".to_owned());
        format!("; {} in {left}", on_or_off(on))
    });
    let state = state_sentence(entry, &answer.state, answer.lasting) + &later.unwrap_or_default();
    format!("{state} ({} ms{by})", milliseconds(answer.round_trip))
}

/// The countdown that an answer to `status` tells of, and how long it still takes.
pub(super) fn countdown(answer: &Answer) -> Option<(bool, Duration)> {
    #[derive(Deserialize)]
    struct Told {
        timer: Countdown,
    }
    let Told { timer } = serde_json::from_str(answer.result.as_deref()?).ok()?;
    let now = answer.state.since.after(answer.lasting?);
    Some((timer.on, timer.at.since(now)))
}

/// How each way did, a line each, and what the plug itself says of its servers; nothing where there is
/// only one way and nothing wrong.
pub(super) fn of_ways(ways: &[WayReport], answer: &Answer) -> String {
    let of_server = |cloud: &CloudState| {
        cloud.problem().map(|problem| format!("\n  the plug says of {}: {problem}", cloud.host)).unwrap_or_default()
    };
    let told: String = answer.clouds.iter().map(of_server).collect();
    if ways.len() < 2 {
        return clean(&told);
    }
    let width = ways.iter().map(|way| way.at.chars().count()).max().unwrap_or(0);
    let line = |way: &WayReport| {
        let outcome = match &way.outcome {
            Ok(time) => format!("{} ms", milliseconds(*time)),
            Err(problem) => format!("no answer: {problem}"),
        };
        format!("\n  {:<5}  {:<width$}  {outcome}", word(way.path), way.at)
    };
    let lines: String = ways.iter().map(line).collect();
    let all = if ways.iter().all(|way| way.outcome.is_ok()) { "\n  identical answers: all paths work" } else { "" };
    clean(&(lines + all + &told))
}

const fn word(path: Path) -> &'static str {
    match path {
        Path::Local => "local",
        Path::Cloud => "cloud",
    }
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
        Answer {
            rc: ReturnCode::Ok,
            state,
            round_trip,
            lasting: Some(Duration::from_secs(200)),
            path: Path::Local,
            address: Some(SocketAddr::from(([127, 0, 0, 1], 8883))),
            result: None,
            clouds: Vec::new(),
        }
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
    fn a_countdown_stands_beside_the_state() {
        let (entry, mut answer) = (entry("Kitchen", 1), answer());
        answer.result = Some(r#"{"clouds":[],"timer":{"on":false,"at":2000000000}}"#.to_owned());
        assert_eq!(sentence(&entry, &answer), "Kitchen is on, switched by Anna 3 min ago; off in 30 min (2.1 ms)");
        let report = serde_json::to_value(Report::of_answer(&entry, &answer)).expect("JSON");
        assert_eq!((&report["timer"], &report["timer_in_s"]), (&"off".into(), &1800.into()));
        answer.result = Some(r#"{"at":7}"#.to_owned());
        assert_eq!(countdown(&answer), None);
    }

    #[test]
    fn scripts_read_one_object() {
        let (entry, answer) = (entry("Kitchen", 1), answer());
        let report = Report::of_answer(&entry, &answer);
        let id = entry.binding.thing;
        assert_eq!(
            serde_json::to_string(&report).expect("JSON"),
            format!(
                r#"{{"name":"Kitchen","id":"{id}","state":"on","by":"user","who":"Anna","for_s":200.0,"round_trip_ms":2.1,"address":"127.0.0.1:8883","thing_name":"SecT plug","path":"local"}}"#
            )
        );
    }

    #[test]
    fn each_way_has_its_line() {
        let (entry, mut answer) = (entry("Kitchen", 1), answer());
        let way = |path, at: &str, outcome| WayReport { path, at: at.to_owned(), outcome };
        let mut ways = vec![
            way(Path::Local, "192.168.1.7:8883", Ok(Duration::from_micros(2149))),
            way(Path::Cloud, "cloud.example:8884", Ok(Duration::from_millis(48))),
        ];
        let both = "\n  local  192.168.1.7:8883    2.1 ms\n  cloud  cloud.example:8884  48 ms\n  identical answers: all paths work";
        assert_eq!(of_ways(&ways, &answer), both);
        ways[1].outcome = Err("the server's certificate has expired".to_owned());
        let one = "\n  local  192.168.1.7:8883    2.1 ms\n  cloud  cloud.example:8884  no answer: the server's certificate has expired";
        assert_eq!(of_ways(&ways, &answer), one);

        let seen = CloudState { host: "cloud.example".to_owned(), state: "wrong-name".to_owned() };
        answer.clouds = vec![seen];
        assert_eq!(
            of_ways(&ways, &answer),
            format!("{one}\n  the plug says of cloud.example: the server shows it a certificate for another name")
        );
        let report = serde_json::to_value(Report::of_answer(&entry, &answer).with_ways(&ways)).expect("JSON");
        let expected = serde_json::json!([
            {"path": "local", "at": "192.168.1.7:8883", "answered": true, "round_trip_ms": 2.1},
            {"path": "cloud", "at": "cloud.example:8884", "answered": false, "problem": "the server's certificate has expired"},
        ]);
        assert_eq!(report["paths"], expected);
        assert_eq!(report["clouds"], serde_json::json!([{"host": "cloud.example", "state": "wrong-name"}]));
        answer.clouds.clear();
        assert_eq!(of_ways(&ways[..1], &answer), "", "the only way needs no line");
    }
}
