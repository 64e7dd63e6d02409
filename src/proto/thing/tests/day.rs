//! A day at home: countdown, schedules, what the load has when power is back, and the audit log.

use serde_json::{Value, json};

use super::*;
use crate::proto::operation::argument::{Bounded, Days, PowerOn, Schedule, TimeSet, TimerSet};
use crate::proto::operation::{Operation, argument};
use crate::proto::record::StoredSchedule;

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
/// Friday 2026-11-20, 07:00 in Berlin.
const FRIDAY_7: u64 = 1_795_154_400_000;

/// Everybody may listen: a second session hears each event.
fn house() -> (Bench, Hand) {
    let (mut bench, hand) = one_owner();
    bench.thing.handle_session_opened(SessionId(2), &hand.psk_identity());
    (bench, hand)
}

impl Bench {
    /// What was said at the local server; that the same people are admitted anew is no matter here.
    fn said(&mut self) -> Vec<Vec<u8>> {
        self.actions()
            .into_iter()
            .filter_map(|action| match action {
                Action::Publish { path: Path::Local, payload, .. } => Some(payload.to_vec()),
                Action::Show(Screen::Online { .. }) | Action::Admit(_) => None,
                other => panic!("unexpected {other:?}"),
            })
            .collect()
    }

    /// Asks and gives how it ended, and the result.
    fn ask(&mut self, hand: &mut Hand, operation: &Operation) -> (ReturnCode, Value) {
        self.wait(1);
        let command = hand.seal(&operation.command(BOOT, self.now));
        assert!(matches!(self.publish(SESSION, &hand.topic(), &command), Verdict::Answered(_)));
        let answer = self.said().remove(0);
        hand.result(&answer)
    }

    fn done(&mut self, hand: &mut Hand, operation: &Operation) -> Value {
        let (code, result) = self.ask(hand, operation);
        assert_eq!(code, ReturnCode::Ok, "{operation:?}");
        result
    }

    fn status(&mut self, hand: &mut Hand) -> Value {
        let status = crate::proto::message::Status { id: crate::proto::id::Nonce::random(&mut hand.rng) };
        let question = hand.seal(&json::encode(&status));
        assert_eq!(self.publish(SESSION, &hand.topic(), &question), Verdict::Answered(ReturnCode::Ok));
        let answer = self.said().remove(0);
        hand.result(&answer).1
    }

    /// Lives on for so long, each time-out in its moment; gives what switched when, in seconds since then.
    fn live(&mut self, hand: &Hand, micros: u64) -> Vec<(u64, bool, SwitchedBy)> {
        let begin = self.now;
        let end = Micros::new(begin.get() + micros);
        let mut switched = Vec::new();
        while let Some(at) = self.thing.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.thing.handle_timeout(self.now, ports!(self));
            for message in self.said() {
                let (_, on, by, _) = hand.event(&message);
                switched.push((self.now.since(begin).as_secs(), on, by));
            }
        }
        self.now = end;
        switched
    }

    fn clock_says(&mut self, unix_ms: u64) {
        self.thing.handle_wall_clock(unix_ms, self.now);
    }

    fn told(&self) -> Vec<String> {
        let line = |note: &Note| match &note.by {
            Some((_, who)) => format!("{who}: {}", note.what),
            None => note.what.to_string(),
        };
        self.vault.notes.iter().map(line).collect()
    }
}

impl Hand {
    fn result(&self, jwe: &[u8]) -> (ReturnCode, Value) {
        let opened = Sealed::parse(jwe).expect("shape").open(&self.t2c).expect("authentic");
        let response = json::read::<Response<'_>>(opened.bytes()).expect("a response");
        let result = response.r.map(|r| serde_json::from_str(r.get()).expect("JSON"));
        (response.rc, result.unwrap_or(Value::Null))
    }
}

fn timer(on: bool, in_s: u32) -> Operation {
    Operation::TimerSet(TimerSet { on, in_s: Bounded::new(in_s).expect("in range") })
}

fn schedule(days: u32, hour: u32, minute: u32, on: bool) -> Schedule {
    let at = Bounded::new(hour * 60 + minute).expect("in a day");
    Schedule { days: Days(Bounded::new(days).expect("days")), at, on }
}

fn time(unix_ms: u64, zone: Option<&str>) -> Operation {
    Operation::TimeSet(TimeSet { unix_ms, zone: zone.map(str::to_owned) })
}

fn history(from: u64, cid: Option<Cid>) -> Operation {
    Operation::HistoryList(argument::HistoryList { from, cid })
}

#[test]
fn a_countdown_switches_once_and_tells_everybody() {
    let (mut bench, mut hand) = house();
    let at = bench.done(&mut hand, &timer(true, 90));
    assert_eq!(at, json!({"at": bench.now.get() + 90 * SECOND}));
    assert_eq!(bench.status(&mut hand)["timer"], json!({"on": true, "at": bench.now.get() + 90 * SECOND}));
    bench.wifi(WifiEvent::Lost);
    bench.actions();
    assert_eq!(bench.live(&hand, 89 * SECOND), []);
    assert_eq!(bench.live(&hand, MINUTE), [(1, true, SwitchedBy::Timer)]);
    assert_eq!(bench.status(&mut hand)["timer"], Value::Null);
    assert_eq!(bench.live(&hand, 7 * 24 * 60 * MINUTE), [], "and nothing wakes up any more");
    assert_eq!(bench.told()[1..], ["Ana: countdown: on in 90 s", "on by timer"]);
}

#[test]
fn a_newer_countdown_replaces_the_older_one_and_it_can_be_cleared() {
    let (mut bench, mut hand) = house();
    bench.done(&mut hand, &timer(true, 10));
    bench.done(&mut hand, &timer(true, 20));
    assert_eq!(bench.live(&hand, MINUTE), [(20, true, SwitchedBy::Timer)]);
    bench.done(&mut hand, &timer(false, 10));
    bench.done(&mut hand, &Operation::TimerClear);
    bench.done(&mut hand, &Operation::TimerClear);
    assert_eq!(bench.live(&hand, MINUTE), []);
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn a_countdown_ends_when_somebody_brings_its_state_about_and_not_otherwise() {
    let (mut bench, mut hand) = house();
    // Off in 10 min; off by hand, on again by hand: what counted down is over.
    bench.done(&mut hand, &Operation::outlet(true));
    bench.done(&mut hand, &timer(false, 600));
    bench.press(Press::Short);
    bench.press(Press::Short);
    bench.published();
    assert_eq!(bench.live(&hand, 20 * MINUTE), [], "it is on, by hand");
    // A heater is switched on once more by hand: it still goes off.
    bench.done(&mut hand, &timer(false, 600));
    bench.done(&mut hand, &Operation::outlet(true));
    assert_eq!(bench.live(&hand, 20 * MINUTE), [(599, false, SwitchedBy::Timer)]);
}

#[test]
fn a_countdown_whose_outlet_did_not_switch_tries_again() {
    let (mut bench, mut hand) = house();
    bench.done(&mut hand, &timer(true, 10));
    bench.outlet.broken = true;
    bench.next_timeout();
    assert_eq!(bench.actions(), [Action::Show(Screen::Fault(Fault::Outlet))]);
    bench.outlet.broken = false;
    assert_eq!(bench.live(&hand, MINUTE), [(10, true, SwitchedBy::Timer)]);
}

#[test]
fn schedules_need_time_and_zone_and_say_so() {
    let (mut bench, mut hand) = house();
    let half_past = Operation::ScheduleSet(schedule(127, 7, 30, true));
    assert_eq!(bench.done(&mut hand, &half_past), json!({"id": 1, "clock": false}));
    assert!(bench.thing.wants_clock());
    assert_eq!(bench.live(&hand, 24 * 60 * MINUTE), []);
    bench.done(&mut hand, &time(FRIDAY_7, None));
    assert_eq!(bench.live(&hand, 24 * 60 * MINUTE), [], "no zone yet");
    bench.done(&mut hand, &time(FRIDAY_7, Some(BERLIN)));
    assert_eq!(bench.vault.saves.last().expect("saved").0.zone.as_deref(), Some(BERLIN));
    let listed = bench.done(&mut hand, &Operation::ScheduleList(argument::From { from: 0 }));
    let item = json!({"id": 1, "days": 127, "at": 450, "on": true});
    assert_eq!(listed, json!({"items": [item], "clock": true, "zone": BERLIN}));
    assert_eq!(bench.live(&hand, 31 * MINUTE), [(1799, true, SwitchedBy::Schedule)]);
    // The same time and zone again write nothing.
    let saves = bench.vault.saves.len();
    bench.done(&mut hand, &time(FRIDAY_7 + 31 * 60_000, Some(BERLIN)));
    assert_eq!(bench.vault.saves.len(), saves);
    for wrong in ["Europe/Berlin", "", "CET"] {
        assert_eq!(bench.ask(&mut hand, &time(FRIDAY_7, Some(wrong))).0, ReturnCode::BadRequest, "{wrong:?}");
    }
    assert_eq!(bench.ask(&mut hand, &time(u64::MAX >> 11, None)).0, ReturnCode::BadRequest);
}

/// A house with a zone and these schedules in the store, told the time by its own clock.
fn scheduled(schedules: &[Schedule], zone: &str, unix_ms: u64) -> (Bench, Hand) {
    let owner = record(7, "Ana", Role::Owner);
    let mut household = Household::founded(owner.clone(), network(), None);
    household.joined_once = true;
    household.zone = Some(zone.to_owned());
    household.schedules =
        (1..).zip(schedules).map(|(id, schedule)| StoredSchedule { id, schedule: schedule.clone() }).collect();
    household.next_schedule = schedules.len() as u64 + 1;
    let mut bench = Bench::new(Some(household));
    let hand = Hand::of(&bench, &owner);
    bench.wifi(WifiEvent::Joined);
    for session in [1, 2] {
        bench.thing.handle_session_opened(SessionId(session), &hand.psk_identity());
    }
    bench.wait(100 * SECOND);
    bench.actions();
    bench.clock_says(unix_ms);
    (bench, hand)
}

#[test]
fn schedules_of_the_store_run_day_after_day() {
    let (mut bench, hand) =
        scheduled(&[schedule(0b001_1111, 7, 30, true), schedule(127, 22, 0, false)], BERLIN, FRIDAY_7);
    let day = 24 * 3600;
    assert_eq!(
        bench.live(&hand, 4 * 24 * 60 * MINUTE),
        [
            (1800, true, SwitchedBy::Schedule),
            (15 * 3600, false, SwitchedBy::Schedule),
            (3 * day + 1800, true, SwitchedBy::Schedule),
            (3 * day + 15 * 3600, false, SwitchedBy::Schedule),
        ],
        "not on Saturday and Sunday; what is off stays off without a word"
    );
}

#[test]
fn a_clock_set_back_and_forth_runs_nothing_twice() {
    let (mut bench, hand) = scheduled(&[schedule(127, 7, 30, true), schedule(127, 7, 45, false)], BERLIN, FRIDAY_7);
    assert_eq!(bench.live(&hand, 40 * MINUTE), [(1800, true, SwitchedBy::Schedule)]);
    // 07:40 becomes 06:50, then 07:44 again.
    bench.clock_says(FRIDAY_7 - 10 * 60_000);
    assert_eq!(bench.live(&hand, 45 * MINUTE), [], "07:30 comes a second time");
    bench.clock_says(FRIDAY_7 + 44 * 60_000);
    assert_eq!(bench.live(&hand, 10 * MINUTE), [(60, false, SwitchedBy::Schedule)]);
    // A day back and a day forth: neither day runs again, the day between never ran and does.
    bench.clock_says(FRIDAY_7);
    assert_eq!(bench.live(&hand, 60 * MINUTE), []);
    bench.clock_says(FRIDAY_7 + 86_400_000);
    assert_eq!(bench.live(&hand, 60 * MINUTE).len(), 2);
}

#[test]
fn what_is_some_minutes_late_is_caught_up_with_and_older_things_are_not() {
    for (late_min, runs) in [(1, true), (5, true), (6, false), (60, false)] {
        let (mut bench, hand) = scheduled(&[schedule(127, 7, 30, true)], BERLIN, FRIDAY_7);
        bench.wait(15 * MINUTE);
        bench.clock_says(FRIDAY_7 + (30 + late_min) * 60_000);
        let expected = [(0, true, SwitchedBy::Schedule)];
        assert_eq!(bench.live(&hand, MINUTE), if runs { &expected[..] } else { &[] }, "{late_min} min");
    }
    // What fell into the time before this start is not caught up with: it may have run.
    let (mut bench, hand) = scheduled(&[schedule(127, 7, 30, true)], BERLIN, FRIDAY_7 + 32 * 60_000);
    assert_eq!(bench.live(&hand, MINUTE), []);
    // Nor what lies before the making of a schedule.
    let (mut bench, mut hand) = scheduled(&[], BERLIN, FRIDAY_7 + 31 * 60_000);
    bench.done(&mut hand, &Operation::ScheduleSet(schedule(127, 7, 30, true)));
    assert_eq!(bench.live(&hand, 60 * MINUTE), []);
}

#[test]
fn of_several_that_are_due_together_the_latest_alone_switches() {
    // 2026-03-29, 01:55 in Berlin: the clock goes from 02:00 to 03:00.
    let before_gap = 1_774_745_700_000;
    let (mut bench, hand) = scheduled(
        &[schedule(127, 2, 50, false), schedule(127, 2, 10, true), schedule(127, 2, 45, true)],
        BERLIN,
        before_gap,
    );
    bench.press(Press::Short);
    bench.published();
    bench.outlet.switched.clear();
    assert_eq!(bench.live(&hand, 60 * MINUTE), [(300, false, SwitchedBy::Schedule)]);
    assert_eq!(bench.outlet.switched, [OutletState::Off]);
}

#[test]
fn the_machine_s_own_clock_goes_before_what_an_owner_says() {
    let (mut bench, mut hand) = scheduled(&[schedule(127, 7, 30, true)], BERLIN, FRIDAY_7);
    bench.done(&mut hand, &time(FRIDAY_7 + 20 * 60_000, None));
    assert_eq!(bench.live(&hand, 60 * MINUTE), [(1799, true, SwitchedBy::Schedule)]);
}

#[test]
fn schedules_have_names_that_are_never_used_again_and_a_limit() {
    let (mut bench, mut hand) = house();
    for minute in 0..32 {
        let made = bench.done(&mut hand, &Operation::ScheduleSet(schedule(127, 0, minute, true)));
        assert_eq!(made["id"], minute + 1);
    }
    let one_more = Operation::ScheduleSet(schedule(127, 1, 0, true));
    assert_eq!(bench.ask(&mut hand, &one_more).0, ReturnCode::Busy);
    let same = bench.done(&mut hand, &Operation::ScheduleSet(schedule(127, 0, 5, true)));
    assert_eq!(same["id"], 6, "the same schedule is the one that is there");
    let clear = Operation::ScheduleClear(argument::ScheduleClear { id: 32 });
    bench.done(&mut hand, &clear);
    assert_eq!(bench.ask(&mut hand, &clear).0, ReturnCode::NotFound);
    assert_eq!(bench.done(&mut hand, &one_more)["id"], 33);

    let (mut from, mut ids) = (0, Vec::new());
    loop {
        let page = bench.done(&mut hand, &Operation::ScheduleList(argument::From { from }));
        ids.extend(page["items"].as_array().expect("items").iter().map(|item| item["id"].as_u64().expect("an id")));
        let Some(next) = page["next"].as_u64() else { break };
        from = next;
    }
    assert_eq!(ids, (1..=31).chain([33]).collect::<Vec<_>>());
}

#[test]
fn what_the_load_has_when_power_is_back_is_the_owner_s_choice_and_a_restart_changes_nothing() {
    use OutletState::{Off, On};
    for (power_on, remembered, had, gets) in [
        (PowerOn::Off, Some(On), On, Off),
        (PowerOn::On, Some(Off), Off, On),
        (PowerOn::Last, Some(On), Off, On),
        (PowerOn::Last, Some(Off), On, Off),
        (PowerOn::Last, None, On, Off),
    ] {
        for cause in [StartCause::PowerUp, StartCause::Restart] {
            let mut household = Household::founded(record(7, "Ana", Role::Owner), network(), None);
            household.power_on = power_on;
            let stored = Stored {
                identity: identity(),
                generation: 0,
                household: Some(household),
                wiping: false,
                outlet: remembered,
            };
            let (mut outlet, mut vault, mut rng) = (TestOutlet::default(), TestVault::default(), Counter::new(1));
            let start = Start { stored, boot: BOOT, outlet: had, cause, clouds: Vec::new() };
            let air = TestAir::default();
            let ports = &mut Ports { outlet: &mut outlet, vault: &mut vault, air: &air, rng: &mut rng };
            let thing = Thing::start(start, Micros::ZERO, ports).expect("its own identity");
            let expected = if cause == StartCause::PowerUp { gets } else { had };
            assert_eq!(thing.core.outlet.state, expected, "{power_on:?} {cause:?}");
            assert_eq!(thing.core.outlet.by, SwitchedBy::Boot);
            let switched = if cause == StartCause::PowerUp { vec![gets] } else { vec![] };
            assert_eq!(outlet.switched, switched, "{power_on:?} {cause:?}");
        }
    }
}

#[test]
fn what_the_load_has_is_remembered_once_it_has_come_to_rest_and_only_where_it_is_wanted() {
    let (mut bench, mut hand) = house();
    bench.done(&mut hand, &Operation::outlet(true));
    assert_eq!(bench.live(&hand, MINUTE), []);
    assert_eq!(bench.vault.remembered, []);

    bench.done(&mut hand, &Operation::BootSet(argument::BootSet { state: PowerOn::Last }));
    assert_eq!(bench.vault.remembered, [OutletState::On], "a power cut may come now");
    for on in [false, true, false] {
        bench.done(&mut hand, &Operation::outlet(on));
        assert_eq!(bench.live(&hand, SECOND), []);
    }
    assert_eq!(bench.vault.remembered.len(), 1, "no command waits for the disk");
    bench.vault.broken = true;
    bench.live(&hand, 2 * SECOND);
    bench.vault.broken = false;
    bench.live(&hand, 2 * MINUTE);
    assert_eq!(bench.vault.remembered, [OutletState::On, OutletState::Off]);
    bench.vault.broken = true;
    let refused = bench.ask(&mut hand, &Operation::BootSet(argument::BootSet { state: PowerOn::Off }));
    assert_eq!(refused.0, ReturnCode::Storage);
}

#[test]
fn the_audit_log_says_who_did_what_and_when() {
    let (ana, ben) = (record(7, "Ana", Role::Owner), record(9, "Ben", Role::Operator));
    let mut bench = Bench::at_home(vec![ana.clone(), ben.clone()]);
    let (mut hand, mut his) = (Hand::of(&bench, &ana), Hand::of(&bench, &ben));
    bench.vault.notes.clear();
    bench.done(&mut his, &Operation::outlet(true));
    bench.done(&mut his, &Operation::outlet(true));
    bench.press(Press::Short);
    bench.published();
    for _ in 0..3 {
        assert_eq!(bench.ask(&mut his, &history(0, None)).0, ReturnCode::Forbidden);
    }
    bench.clock_says(FRIDAY_7);
    let name = Operation::NameSet(argument::NameSet { name: "Kitchen".parse().expect("a name") });
    bench.done(&mut hand, &name);
    assert_eq!(bench.told(), ["Ben: on", "off by button", "Ben: refused: history.list", "Ana: named it Kitchen"]);

    let listed = bench.done(&mut hand, &history(0, None));
    let expected = json!([
        {"unix": FRIDAY_7 / 1000, "who": "Ana", "what": "named it Kitchen"},
        {"up": 100, "who": "Ben", "what": "refused: history.list"},
        {"up": 100, "what": "off by button"},
        {"up": 100, "who": "Ben", "what": "on"},
    ]);
    assert_eq!(listed, json!({"items": expected}));
    let of_ben = bench.done(&mut hand, &history(0, Some(ben.cid)));
    assert_eq!(of_ben["items"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_audit_log_comes_in_pages_that_fit_whatever_stands_in_it() {
    let name = "ü".repeat(16);
    let owner = record(7, &name, Role::Owner);
    let mut bench = Bench::at_home(vec![owner.clone()]);
    let mut hand = Hand::of(&bench, &owner);
    let long = Operation::NameSet(argument::NameSet { name: name.parse().expect("a name") });
    bench.done(&mut hand, &long);
    bench.done(&mut hand, &Operation::outlet(true));
    bench.vault.notes.clear();
    for up_s in 0..300 {
        let what = if up_s < 100 { "on".into() } else { format!("named it {name}").into() };
        let by = Some((owner.cid, owner.name.clone()));
        bench.vault.notes.push(Note { unix_s: (up_s % 2 == 0).then_some(u64::MAX >> 11), up_s, by, what });
    }
    for cid in [None, Some(owner.cid)] {
        let (mut from, mut seen) = (0, 0);
        loop {
            let page = bench.done(&mut hand, &history(from, cid));
            seen += page["items"].as_array().expect("items").len();
            let Some(next) = page["next"].as_u64() else { break };
            assert!(from == 0 || next < from);
            from = next;
        }
        assert_eq!(seen, 300);
    }
}
