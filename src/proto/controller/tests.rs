//! The controller against an honest thing made of the same primitives, message by message.

mod events;
mod network;
mod thing;
mod together;

use std::time::Duration;

use self::thing::{Mix, Thing, chain};
use super::*;
use crate::proto::envelope::Unopened;

/// What the controller's clock shows when the thing's shows zero.
const AHEAD: u64 = 5_000_000_000;

/// A controller and its thing on one clock that the test moves.
struct Pair {
    controller: Controller,
    thing: Thing,
    rng: Mix,
    /// Microseconds since the thing's first start.
    clock: u64,
    /// How fast the controller's clock runs, in millionths of the thing's.
    rate: u64,
}

impl Pair {
    fn new() -> Self {
        let mut thing = Thing::new();
        thing.boot(0);
        Self { controller: Controller::new(chain()), thing, rng: Mix::new(1), clock: 1_000_000, rate: 1_000_000 }
    }

    /// A pair whose controller knows thing time.
    fn acquainted() -> Self {
        let mut pair = Self::new();
        pair.ask();
        let answer = pair.exchange();
        assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
        assert!(matches!(pair.events()[..], [ControllerEvent::Status { .. }]));
        pair
    }

    /// The controller's clock.
    fn now(&self) -> Micros {
        Micros::new(AHEAD + self.clock * self.rate / 1_000_000)
    }

    fn pass(&mut self, time: Duration) {
        self.clock += u64::try_from(time.as_micros()).expect("short");
    }

    fn ask(&mut self) -> RequestHandle {
        self.controller.ask_status(self.now(), &mut self.rng)
    }

    fn wish(&mut self, on: bool) -> RequestHandle {
        self.controller.request(Operation::outlet(on), self.now(), &mut self.rng)
    }

    fn give(&mut self, path: Path, payload: &[u8]) -> Verdict {
        self.controller.handle_message(path, payload, self.now(), &mut self.rng)
    }

    fn time_out(&mut self) {
        self.controller.handle_timeout(self.now(), &mut self.rng);
    }

    fn sent(&mut self) -> Vec<Transmit> {
        let now = self.now();
        std::iter::from_fn(|| self.controller.poll_transmit(now)).collect()
    }

    fn sent_one(&mut self) -> Transmit {
        let [transmit] = <[_; 1]>::try_from(self.sent()).expect("one message");
        transmit
    }

    fn events(&mut self) -> Vec<ControllerEvent> {
        std::iter::from_fn(|| self.controller.poll_event()).collect()
    }

    /// The one message that is sent now reaches the thing; gives the answer.
    fn exchange(&mut self) -> Vec<u8> {
        let transmit = self.sent_one();
        self.thing.handle(&transmit.payload, self.clock).expect("an answer")
    }

    /// Neither message nor event.
    fn expect_nothing(&mut self) {
        assert_eq!((self.sent(), self.events()), (vec![], vec![]));
    }

    /// What an answered command looks like from here.
    fn done(&self, handle: RequestHandle, on: bool, round_trip: Duration) -> ControllerEvent {
        let state = self.thing.state_with(on);
        ControllerEvent::Answered { handle, rc: ReturnCode::Ok, state, result: None, round_trip, path: Path::Local }
    }

    fn told(&self, handle: RequestHandle, round_trip: Duration) -> ControllerEvent {
        let state = self.thing.state();
        ControllerEvent::Status { handle, rc: ReturnCode::Ok, state, result: None, round_trip, path: Path::Local }
    }
}

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn the_first_wish_asks_status_first_and_then_goes_out() {
    let mut pair = Pair::new();
    let handle = pair.wish(true);
    let question = pair.sent_one();
    assert_eq!((question.attempt, question.handle == handle), (1, false));
    pair.expect_nothing();
    let answer = pair.thing.handle(&question.payload, pair.clock).expect("an answer");
    pair.pass(MILLISECOND);
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.told(question.handle, MILLISECOND)]);

    let answer = pair.exchange();
    pair.pass(MILLISECOND);
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.done(handle, true, MILLISECOND)]);
    pair.expect_nothing();
    assert_eq!(pair.thing.executed(), [true]);
    assert_eq!(pair.controller.poll_timeout(), None);
}

#[test]
fn consecutive_commands_cost_one_round_trip_each() {
    let mut pair = Pair::acquainted();
    for on in [true, false, true] {
        let handle = pair.wish(on);
        let answer = pair.exchange();
        assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
        assert_eq!(pair.events(), [pair.done(handle, on, Duration::ZERO)]);
    }
    assert_eq!(pair.thing.executed(), [true, false, true]);
}

#[test]
fn a_lost_answer_brings_the_same_bytes_again_and_one_execution() {
    let mut pair = Pair::acquainted();
    let handle = pair.wish(true);
    let first = pair.sent_one();
    let lost = pair.thing.handle(&first.payload, pair.clock);
    pair.pass(SECOND);
    pair.time_out();
    let second = pair.sent_one();
    assert_eq!(second, Transmit { attempt: 2, ..first });
    let answer = pair.thing.handle(&second.payload, pair.clock);
    assert_eq!(answer, lost);
    assert_eq!(pair.give(Path::Local, &answer.expect("an answer")), Verdict::Answer);
    assert_eq!(pair.events(), [pair.done(handle, true, SECOND)]);
    assert_eq!(pair.thing.executed(), [true]);
}

#[test]
fn without_an_answer_the_bytes_go_out_ten_times_and_the_outcome_is_unknown() {
    let mut pair = Pair::acquainted();
    let handle = pair.wish(true);
    let payload = pair.sent_one().payload;
    for attempt in 2..=10 {
        assert_eq!(pair.controller.poll_timeout(), Some(pair.now().after(SECOND)));
        pair.pass(SECOND);
        pair.time_out();
        assert_eq!(pair.sent(), [Transmit { handle, payload: payload.clone(), attempt }]);
    }
    pair.pass(SECOND);
    pair.time_out();
    let question = pair.sent_one();
    assert_eq!(pair.events(), [ControllerEvent::Unknown { handle, question: question.handle }]);
    let answer = pair.thing.handle(&question.payload, pair.clock).expect("an answer");
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.told(question.handle, Duration::ZERO)]);
    pair.expect_nothing();
    assert!(pair.thing.executed().is_empty());
}

#[test]
fn an_answer_after_10_s_does_not_count_even_when_the_timer_was_late() {
    let mut pair = Pair::acquainted();
    let handle = pair.wish(true);
    let answer = pair.exchange();
    pair.pass(10 * SECOND);
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Ignored(Ignored::NotOutstanding));
    let question = pair.sent_one().handle;
    assert_eq!(pair.events(), [ControllerEvent::Unknown { handle, question }]);
}

#[test]
fn a_thing_that_is_away_gets_no_command() {
    let mut pair = Pair::new();
    let handle = pair.wish(true);
    let question = pair.sent_one().handle;
    pair.pass(10 * SECOND);
    pair.time_out();
    let told = [ControllerEvent::StatusUnanswered { handle: question }, ControllerEvent::NotSent { handle }];
    assert_eq!(pair.events(), told);
    pair.expect_nothing();
    assert_eq!(pair.controller.poll_timeout(), None);
}

#[test]
fn a_wish_that_came_late_to_a_question_gets_one_of_its_own() {
    let mut pair = Pair::new();
    let first = pair.ask();
    pair.sent_one();
    pair.pass(9 * SECOND);
    let handle = pair.wish(true);
    pair.sent();
    pair.pass(SECOND);
    pair.time_out();
    let second = pair.sent_one().handle;
    assert_eq!(pair.events(), [ControllerEvent::StatusUnanswered { handle: first }]);
    pair.pass(10 * SECOND);
    pair.time_out();
    let told = [ControllerEvent::StatusUnanswered { handle: second }, ControllerEvent::NotSent { handle }];
    assert_eq!(pair.events(), told);
    pair.expect_nothing();
}

#[test]
fn the_second_answer_by_the_other_path_shows_that_both_work() {
    let mut pair = Pair::acquainted();
    let handle = pair.wish(true);
    let answer = pair.exchange();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Ignored(Ignored::AnsweredBefore));
    assert_eq!(pair.give(Path::Cloud, &answer), Verdict::SecondPath);
    assert_eq!(pair.give(Path::Cloud, &answer), Verdict::Ignored(Ignored::AnsweredBefore));
    assert_eq!(
        pair.events(),
        [
            pair.done(handle, true, Duration::ZERO),
            ControllerEvent::BothPaths { handle, path: Path::Cloud, round_trip: Duration::ZERO }
        ]
    );
    assert_eq!(pair.controller.counts().of(Verdict::SecondPath), 1);
    assert_eq!(pair.controller.counts().of(Verdict::Ignored(Ignored::AnsweredBefore)), 2);
    pair.pass(10 * SECOND);
    assert_eq!(pair.give(Path::Cloud, &answer), Verdict::Ignored(Ignored::NotOutstanding));
    pair.expect_nothing();
}

#[test]
fn a_late_second_answer_does_not_set_the_clock_back() {
    let mut pair = Pair::acquainted();
    pair.wish(true);
    let answer = pair.exchange();
    let _ = pair.give(Path::Local, &answer);
    let before = pair.controller.thing_time(pair.now()).expect("known").get();
    pair.pass(5 * SECOND);
    assert_eq!(pair.give(Path::Cloud, &answer), Verdict::SecondPath);
    assert_eq!(pair.controller.thing_time(pair.now()), Some(Micros::new(before + 5_000_000)));
}

#[test]
fn a_newer_wish_replaces_the_one_that_waits_and_not_the_one_under_way() {
    let mut pair = Pair::acquainted();
    let [first, second, third] = [true, false, true].map(|on| pair.wish(on));
    assert_eq!(pair.events(), [ControllerEvent::Replaced { handle: second }]);
    let answer = pair.exchange();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.done(first, true, Duration::ZERO)]);
    let answer = pair.exchange();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.done(third, true, Duration::ZERO)]);
    assert_eq!(pair.thing.executed(), [true, true]);
}

#[test]
fn a_refusal_by_a_boot_that_began_before_the_command_is_retried_once() {
    let mut pair = Pair::acquainted();
    pair.pass(SECOND);
    pair.thing.boot(pair.clock);
    pair.pass(2 * SECOND);
    let handle = pair.wish(true);
    let refusal = pair.exchange();
    assert_eq!(pair.give(Path::Local, &refusal), Verdict::Answer);
    let answer = pair.exchange();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.done(handle, true, Duration::ZERO)]);
    assert_eq!(pair.thing.executed(), [true]);
    pair.expect_nothing();
}

#[test]
fn a_refusal_by_a_boot_that_may_have_begun_after_the_command_is_unknown() {
    let mut pair = Pair::acquainted();
    let handle = pair.wish(true);
    let command = pair.sent_one();
    pair.thing.handle(&command.payload, pair.clock);
    pair.pass(SECOND);
    // The thing has run it and lost its memory.
    pair.thing.boot(pair.clock);
    pair.pass(SECOND);
    let refusal = pair.thing.handle(&command.payload, pair.clock).expect("an answer");
    assert_eq!(pair.give(Path::Local, &refusal), Verdict::Answer);
    let question = pair.sent_one();
    assert_eq!(pair.events(), [ControllerEvent::Unknown { handle, question: question.handle }]);
    assert_eq!(pair.thing.executed(), [true]);
}

#[test]
fn a_second_refusal_is_unknown() {
    let mut pair = Pair::acquainted();
    pair.thing.boot(pair.clock);
    pair.pass(2 * SECOND);
    let handle = pair.wish(true);
    let refusal = pair.exchange();
    assert_eq!(pair.give(Path::Local, &refusal), Verdict::Answer);
    pair.sent_one();
    // This refusal, too, shows that the message can never run; it is not repeated all the same.
    let re = pair.controller.command.as_ref().expect("under way").exchange.re;
    pair.pass(SECOND);
    let refusal = pair.thing.respond(re, ReturnCode::Stale, pair.clock);
    assert_eq!(pair.give(Path::Local, &refusal), Verdict::Answer);
    let question = pair.sent_one().handle;
    assert_eq!(pair.events(), [ControllerEvent::Unknown { handle, question }]);
    assert!(pair.thing.executed().is_empty());
}

#[test]
fn a_newer_wish_replaces_a_refused_one() {
    let mut pair = Pair::acquainted();
    pair.thing.boot(pair.clock);
    pair.pass(2 * SECOND);
    let [first, second] = [true, false].map(|on| pair.wish(on));
    let refusal = pair.exchange();
    assert_eq!(pair.give(Path::Local, &refusal), Verdict::Answer);
    assert_eq!(pair.events(), [ControllerEvent::Replaced { handle: first }]);
    let answer = pair.exchange();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.done(second, false, Duration::ZERO)]);
    assert_eq!(pair.thing.executed(), [false]);
}

#[test]
fn a_slow_clock_is_corrected_by_one_refusal() {
    // 2 % slow: after 30 minutes its stamps lie 36 s behind.
    let mut pair = Pair::acquainted();
    pair.rate = 980_000;
    pair.ask();
    let answer = pair.exchange();
    let _ = pair.give(Path::Local, &answer);
    pair.events();
    pair.pass(1800 * SECOND);
    let handle = pair.wish(true);
    let refusal = pair.exchange();
    assert_eq!(pair.give(Path::Local, &refusal), Verdict::Answer);
    let answer = pair.exchange();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.done(handle, true, Duration::ZERO)]);
}

#[test]
fn a_fast_clock_makes_a_command_that_might_still_run_and_it_is_not_repeated() {
    // 1 % fast: after 30 minutes its stamps lie 18 s ahead.
    let mut pair = Pair::acquainted();
    pair.rate = 1_010_000;
    pair.ask();
    let answer = pair.exchange();
    let _ = pair.give(Path::Local, &answer);
    pair.events();
    pair.pass(1800 * SECOND);
    let handle = pair.wish(true);
    let refusal = pair.exchange();
    assert_eq!(pair.give(Path::Local, &refusal), Verdict::Answer);
    let question = pair.sent_one();
    assert_eq!(pair.events(), [ControllerEvent::Unknown { handle, question: question.handle }]);
    // The clock is right again, yet the stamps go on rising: nothing is accepted out of order.
    pair.pass(20 * SECOND);
    pair.time_out();
    pair.events();
    let handle = pair.wish(false);
    let answer = pair.exchange();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.done(handle, false, Duration::ZERO)]);
}

#[test]
fn a_good_clock_needs_no_status_for_an_hour_and_one_after_it() {
    let mut pair = Pair::acquainted();
    pair.pass(3600 * SECOND);
    let handle = pair.wish(true);
    assert_eq!(pair.sent_one().handle, handle);
    let mut pair = Pair::acquainted();
    pair.pass(3600 * SECOND + MILLISECOND);
    let handle = pair.wish(true);
    assert_ne!(pair.sent_one().handle, handle);
}

#[test]
fn what_the_thing_did_not_seal_is_ignored_by_reason() {
    let mut pair = Pair::acquainted();
    pair.wish(true);
    let command = pair.sent_one().payload;
    let answer = pair.thing.handle(&command, pair.clock).expect("an answer");
    // The own command thrown back.
    assert_eq!(pair.give(Path::Cloud, &command), Verdict::Ignored(Ignored::Unopened(Unopened::UnknownKid)));
    for place in 0..answer.len() {
        let mut forged = answer.clone();
        forged[place] ^= 1;
        assert!(matches!(pair.give(Path::Cloud, &forged), Verdict::Ignored(Ignored::Unopened(_))), "byte {place}");
    }
    for payload in [&b""[..], b"....", &[b'A'; 100_000]] {
        assert!(matches!(pair.give(Path::Cloud, payload), Verdict::Ignored(Ignored::Unopened(_))));
    }
    pair.expect_nothing();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
}

#[test]
fn what_the_thing_must_not_say_is_ignored() {
    let mut pair = Pair::acquainted();
    pair.wish(true);
    let answer = pair.exchange();
    let re = pair.thing.last_request.expect("a request has come");
    let (boot, ts) = (pair.thing.boot, pair.clock);
    let st = r#"{"on":true,"by":"user","since":0,"name":"lamp"}"#;
    for text in [
        // A command, a result with another rc than 0, an unknown rc, unknown members, an unknown type.
        format!(r#"{{"v":1,"t":"cmd","boot":"{boot}","ts":{ts},"op":"outlet.set","a":{{"on":true}}}}"#),
        format!(r#"{{"v":1,"t":"rsp","re":"{re}","rc":4,"boot":"{boot}","ts":{ts},"st":{st},"r":{{}}}}"#),
        format!(r#"{{"v":1,"t":"rsp","re":"{re}","rc":10,"boot":"{boot}","ts":{ts},"st":{st}}}"#),
        format!(r#"{{"v":1,"t":"rsp","re":"{re}","rc":0,"boot":"{boot}","ts":{ts},"st":{st},"x":0}}"#),
        format!(r#"{{"v":1,"t":"evt","boot":"{boot}","ts":{ts},"k":"state","st":{{}}}}"#),
        format!(r#"{{"v":1,"t":"hello","boot":"{boot}"}}"#),
        "hello".into(),
    ] {
        let payload = pair.thing.seal(text.as_bytes());
        assert_eq!(pair.give(Path::Local, &payload), Verdict::Ignored(Ignored::Malformed), "{text}");
    }
    pair.expect_nothing();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
}

#[test]
fn an_answer_with_another_return_code_ends_the_command_with_it() {
    let mut pair = Pair::acquainted();
    let handle = pair.wish(true);
    pair.sent_one();
    let re = pair.controller.command.as_ref().expect("under way").exchange.re;
    let payload = pair.thing.respond(re, ReturnCode::Forbidden, pair.clock);
    assert_eq!(pair.give(Path::Local, &payload), Verdict::Answer);
    let ControllerEvent::Answered { handle: answered, rc, .. } = &pair.events()[0] else { panic!("not answered") };
    assert_eq!((*answered, *rc), (handle, ReturnCode::Forbidden));
    pair.expect_nothing();
}

#[test]
fn an_answer_of_a_boot_that_is_over_completes_its_question_and_teaches_nothing() {
    let mut pair = Pair::acquainted();
    let old = pair.ask();
    let late = pair.exchange();
    pair.thing.switch(true, pair.clock);
    pair.thing.boot(pair.clock);
    pair.pass(SECOND);
    let new = pair.ask();
    // The old question is due again; the thing sees the new one alone.
    let transmit = pair.sent().into_iter().find(|transmit| transmit.handle == new).expect("sent");
    let answer = pair.thing.handle(&transmit.payload, pair.clock).expect("an answer");
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    let time = pair.controller.thing_time(pair.now());
    assert_eq!(pair.give(Path::Local, &late), Verdict::Answer);
    assert_eq!(pair.controller.thing_time(pair.now()), time);
    assert_eq!(pair.events(), [pair.told(new, Duration::ZERO), pair.told(old, SECOND)]);
}

#[test]
fn questions_under_way_have_a_limit() {
    let mut pair = Pair::new();
    let handles: Vec<_> = (0..100).map(|_| pair.ask()).collect();
    assert_eq!(pair.sent().len(), MAX_QUESTIONS);
    assert!(handles[MAX_QUESTIONS..].iter().all(|&handle| handle == handles[MAX_QUESTIONS - 1]));
}
