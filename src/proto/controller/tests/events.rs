//! What the thing tells by itself: shown once, in order, and never from before a restart.

use super::*;
use crate::proto::envelope::request_id;

#[test]
fn an_event_counts_once_and_only_the_newest_state_is_shown() {
    let mut pair = Pair::acquainted();
    let on = pair.thing.switch(true, pair.clock);
    pair.pass(MILLISECOND);
    let off = pair.thing.switch(false, pair.clock);
    let changed = |pair: &Pair| ControllerEvent::StateChanged { state: pair.thing.state(), ts: pair.thing.last_ts };
    let newest = changed(&pair);
    assert_eq!(pair.give(Path::Local, &off), Verdict::Event);
    assert_eq!(pair.give(Path::Local, &on), Verdict::Event);
    assert_eq!(pair.events(), [newest]);
    for (path, event) in [(Path::Cloud, &off), (Path::Local, &on), (Path::Local, &off)] {
        assert_eq!(pair.give(path, event), Verdict::Ignored(Ignored::EventRepeated));
    }
    pair.pass(31 * SECOND);
    assert_eq!(pair.give(Path::Cloud, &on), Verdict::Ignored(Ignored::EventTooOld));
    pair.expect_nothing();
}

#[test]
fn an_event_that_overtook_an_answer_is_what_the_answer_shows() {
    let mut pair = Pair::acquainted();
    let handle = pair.wish(true);
    let answer = pair.exchange();
    pair.pass(MILLISECOND);
    let off = pair.thing.switch(false, pair.clock);
    assert_eq!(pair.give(Path::Local, &off), Verdict::Event);
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    let changed = ControllerEvent::StateChanged { state: pair.thing.state(), ts: pair.thing.last_ts };
    assert_eq!(pair.events(), [changed, pair.done(handle, false, MILLISECOND)]);
}

#[test]
fn an_event_of_an_unknown_boot_is_held_until_a_status_is_answered() {
    let mut pair = Pair::new();
    let event = pair.thing.switch(true, pair.clock);
    let another = pair.thing.switch(true, pair.clock);
    assert_eq!(pair.give(Path::Local, &event), Verdict::Held);
    assert_eq!(pair.give(Path::Local, &another), Verdict::Ignored(Ignored::EventOfOtherBoot));
    let question = pair.sent_one();
    pair.expect_nothing();
    let answer = pair.thing.handle(&question.payload, pair.clock).expect("an answer");
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    // The answer is newer than the event, so it is what is shown, and the event adds nothing.
    let told = pair.told(question.handle, Duration::ZERO);
    assert_eq!(pair.events(), [told]);
    assert_eq!(pair.controller.counts().of(Verdict::Event), 1);
    assert_eq!(pair.give(Path::Cloud, &event), Verdict::Ignored(Ignored::EventRepeated));
    // The one that was dropped is judged by itself when it comes again.
    assert_eq!(pair.give(Path::Cloud, &another), Verdict::Event);
}

#[test]
fn a_held_event_that_is_newer_than_the_answer_is_shown() {
    let mut pair = Pair::new();
    // The answer is made before the event and arrives after it.
    pair.ask();
    let early = pair.exchange();
    let event = pair.thing.switch(true, pair.clock);
    assert_eq!(pair.give(Path::Local, &event), Verdict::Held);
    let question = pair.sent_one();
    assert_eq!(pair.give(Path::Local, &early), Verdict::Answer);
    assert_eq!(pair.events().len(), 1);
    // Only the answer to the event's own question releases it.
    let changed = ControllerEvent::StateChanged { state: pair.thing.state(), ts: pair.thing.last_ts };
    let re = request_id(&question.payload);
    let before = pair.thing.respond_at(re, ReturnCode::Ok, Micros::new(pair.clock - 1), false);
    assert_eq!(pair.give(Path::Local, &before), Verdict::Answer);
    let events = pair.events();
    assert_eq!((events.len(), events.last()), (2, Some(&changed)));
}

#[test]
fn a_replayed_event_of_a_boot_that_is_over_is_not_shown() {
    let mut pair = Pair::acquainted();
    let old = pair.thing.switch(true, pair.clock);
    pair.thing.boot(pair.clock);
    pair.pass(SECOND);
    pair.ask();
    let answer = pair.exchange();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    pair.events();
    assert_eq!(pair.give(Path::Cloud, &old), Verdict::Ignored(Ignored::EventOfOtherBoot));
    pair.expect_nothing();
}

#[test]
fn a_replayed_event_of_a_boot_never_met_is_held_and_dropped() {
    let mut pair = Pair::new();
    let old = pair.thing.switch(true, pair.clock);
    pair.thing.boot(pair.clock);
    pair.thing.boot(pair.clock);
    pair.pass(SECOND);
    assert_eq!(pair.give(Path::Cloud, &old), Verdict::Held);
    let answer = pair.exchange();
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert!(matches!(pair.events()[..], [ControllerEvent::Status { .. }]));
    assert_eq!(pair.controller.counts().of(Verdict::Ignored(Ignored::EventOfOtherBoot)), 1);
}

#[test]
fn an_event_after_a_restart_is_shown_once_the_new_boot_is_known() {
    let mut pair = Pair::acquainted();
    pair.thing.boot(pair.clock);
    pair.pass(SECOND);
    let event = pair.thing.switch(true, pair.clock);
    assert_eq!(pair.give(Path::Local, &event), Verdict::Held);
    let question = pair.sent_one();
    let answer = pair.thing.handle(&question.payload, pair.clock).expect("an answer");
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    assert_eq!(pair.events(), [pair.told(question.handle, Duration::ZERO)]);
    assert_eq!(pair.controller.state().map(|(state, _)| state.on), Some(true));
    let next = pair.thing.switch(false, pair.clock);
    assert_eq!(pair.give(Path::Local, &next), Verdict::Event);
}

#[test]
fn a_held_event_is_dropped_when_nobody_answers() {
    let mut pair = Pair::new();
    let event = pair.thing.switch(true, pair.clock);
    assert_eq!(pair.give(Path::Local, &event), Verdict::Held);
    let question = pair.sent_one().handle;
    pair.pass(10 * SECOND);
    pair.time_out();
    assert_eq!(pair.events(), [ControllerEvent::StatusUnanswered { handle: question }]);
    pair.expect_nothing();
    assert_eq!(pair.controller.state(), None);
    assert_eq!(pair.controller.counts().of(Verdict::Ignored(Ignored::EventOfOtherBoot)), 1);
}

#[test]
fn an_event_of_an_unknown_kind_is_ignored() {
    let mut pair = Pair::acquainted();
    let event = pair.thing.event("moon", pair.clock);
    assert_eq!(pair.give(Path::Local, &event), Verdict::Ignored(Ignored::EventUnknown));
    pair.expect_nothing();
}

#[test]
fn an_event_that_tells_something_counts_once_and_shows_no_state_that_is_shown() {
    let mut pair = Pair::acquainted();
    let event = pair.thing.event("invite.reuse", pair.clock);
    assert_eq!(pair.give(Path::Local, &event), Verdict::Event);
    assert_eq!(pair.events(), [ControllerEvent::Told { k: "invite.reuse", d: None }]);
    assert_eq!(pair.give(Path::Cloud, &event), Verdict::Ignored(Ignored::EventRepeated));
    pair.expect_nothing();

    // A held one keeps what it tells until it is judged.
    pair.thing.boot(pair.clock);
    pair.pass(SECOND);
    let held = pair.thing.event("rekey.due", pair.clock);
    assert_eq!(pair.give(Path::Local, &held), Verdict::Held);
    let question = pair.sent_one();
    let answer = pair.thing.handle(&question.payload, pair.clock).expect("an answer");
    assert_eq!(pair.give(Path::Local, &answer), Verdict::Answer);
    let told = pair.told(question.handle, Duration::ZERO);
    assert_eq!(pair.events(), [told, ControllerEvent::Told { k: "rekey.due", d: None }]);
}
