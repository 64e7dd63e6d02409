//! Key update, message by message: when the next epoch comes into force, and what never brings it about.

use std::time::Duration;

use super::*;
use crate::proto::action::NewSessions;
use crate::proto::envelope::Unopened;
use crate::proto::freshness::Stale;
use crate::proto::id::{Nonce, X25519Public};
use crate::proto::keys::{Ephemeral, MasterKey};
use crate::proto::message::{EVENT_REKEY_DUE, Status};
use crate::proto::rekey::{Accept, Commit, Init};
use crate::proto::secret::Secret;

const UNKNOWN: Verdict = Verdict::Dropped(Dropped::Unopened(Unopened::UnknownKid));
const OK: Verdict = Verdict::Answered(ReturnCode::Ok);

/// `rk.init`, and the private half of its key.
fn init(hand: &mut Hand, epoch: u32, ts: Micros, seed: u8) -> (Vec<u8>, Ephemeral) {
    let ephemeral = Ephemeral::from_secret(&Secret::new([seed; 32]));
    (hand.seal(&json::encode(&Init { boot: BOOT, ts, epoch, x: ephemeral.public() })), ephemeral)
}

/// The hand with the keys that follow from `rk.init` and its answer.
fn next_hand(bench: &Bench, hand: &Hand, epoch: u32, init: &[u8], accept: &[u8], ephemeral: &Ephemeral) -> Hand {
    let opened = Sealed::parse(accept).expect("shape").open(&hand.t2c).expect("authentic");
    let read: Accept = json::read(opened.bytes()).expect("rk.acc");
    assert_eq!((read.re, read.boot, read.epoch), (crate::proto::envelope::request_id(init), BOOT, epoch));
    let master = hand.record.master.next(init, accept, &ephemeral.agree(&read.y).expect("contributory"));
    Hand::at(bench, &ControllerRecord { epoch, master, ..hand.record.clone() })
}

fn commit(hand: &mut Hand, epoch: u32, ts: Micros) -> Vec<u8> {
    hand.seal(&json::encode(&Commit { boot: BOOT, ts, epoch }))
}

fn status(hand: &mut Hand) -> Vec<u8> {
    let text = json::encode(&Status { id: Nonce::random(&mut hand.rng) });
    hand.seal(&text)
}

impl Bench {
    /// Publishes, and gives what is published in return.
    fn tell(&mut self, hand: &Hand, payload: &[u8], expected: Verdict) -> Vec<Vec<u8>> {
        assert_eq!(self.publish(SESSION, &hand.topic(), payload), expected);
        let payload = |action| match action {
            Action::Publish { path: Path::Local, topic, payload } => {
                assert_eq!(*topic, hand.record.topic.t2c());
                Some(payload.to_vec())
            }
            Action::Admit(_) | Action::Show(Screen::Online { .. }) => None,
            other => panic!("unexpected {other:?}"),
        };
        self.actions().into_iter().filter_map(payload).collect()
    }

    /// Agrees on the next epoch; gives its hand.
    fn agree(&mut self, hand: &mut Hand, epoch: u32, seed: u8) -> Hand {
        self.wait(1);
        let (init, ephemeral) = init(hand, epoch, self.now, seed);
        let accept = self.tell(hand, &init, OK).remove(0);
        next_hand(self, hand, epoch, &init, &accept, &ephemeral)
    }
}

#[test]
fn an_update_ends_with_one_epoch_on_both_sides_and_the_past_key_off_the_disk() {
    let (mut bench, mut hand) = one_owner();
    let mut next = bench.agree(&mut hand, 1, 7);
    assert!(bench.vault.saves.is_empty(), "the pending key is in RAM alone");

    bench.wait(1);
    let commit = commit(&mut next, 1, bench.now);
    let answers = bench.tell(&next, &commit, OK);
    assert_eq!(next.answer(&answers[0]), (crate::proto::envelope::request_id(&commit), ReturnCode::Ok, false));
    let [(household, 7)] = &bench.vault.saves[..] else { panic!("one transaction, with the same registration") };
    let stored = &household.controllers[0];
    assert_eq!((stored.epoch, &stored.master), (1, &next.record.master));
    assert_ne!(stored.master, hand.record.master);
    assert_eq!(stored.key_age, KeyAge::default());

    // The past epoch is not heard any more, and the repeated commit gets the same bytes.
    bench.wait(1);
    let (old, new) = (hand.command(true, bench.now), next.command(true, bench.now));
    assert_eq!(bench.tell(&hand, &old, UNKNOWN), Vec::<Vec<u8>>::new());
    assert_eq!(bench.tell(&next, &commit, Verdict::Repeated), answers);
    assert_eq!(next.answer(&bench.tell(&next, &new, OK)[0]).1, ReturnCode::Ok);
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn any_message_under_the_next_epoch_commits_it_fresh_or_not() {
    for stale in [false, true] {
        let (mut bench, mut hand) = one_owner();
        let mut next = bench.agree(&mut hand, 1, 7);
        let (message, verdict) = if stale {
            (next.command_at(true, Boot::new([9; 16]), bench.now), Verdict::Stale(Stale::OtherBoot))
        } else {
            (status(&mut next), OK)
        };
        assert_eq!(bench.tell(&next, &message, verdict).len(), 1);
        assert_eq!(bench.vault.saves.last().map(|(household, _)| household.controllers[0].epoch), Some(1));
        assert!(bench.outlet.switched.is_empty());
    }
}

#[test]
fn a_store_that_fails_leaves_the_epoch_pending_and_nothing_answered() {
    let (mut bench, mut hand) = one_owner();
    let mut next = bench.agree(&mut hand, 1, 7);
    let commit = commit(&mut next, 1, Micros::new(bench.now.get() + 1));
    bench.vault.broken = true;
    assert_eq!(bench.tell(&next, &commit, Verdict::Dropped(Dropped::Store)), Vec::<Vec<u8>>::new());
    // The present epoch goes on; the next one comes into force as soon as the store works.
    let question = status(&mut hand);
    assert_eq!(bench.tell(&hand, &question, OK).len(), 1);
    bench.vault.broken = false;
    assert_eq!(next.answer(&bench.tell(&next, &commit, OK)[0]).1, ReturnCode::Ok);
    assert_eq!(bench.vault.saves.len(), 1);
}

#[test]
fn a_forged_tag_commits_nothing() {
    let (mut bench, mut hand) = one_owner();
    let mut next = bench.agree(&mut hand, 1, 7);
    let genuine = commit(&mut next, 1, bench.now);
    for place in (genuine.len() - 43..genuine.len()).step_by(7) {
        let mut forged = genuine.clone();
        forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
        assert!(matches!(bench.publish(SESSION, &hand.topic(), &forged), Verdict::Dropped(Dropped::Unopened(_))));
    }
    assert!(bench.vault.saves.is_empty());
    assert_eq!(bench.published(), []);
}

#[test]
fn a_restart_forgets_the_pending_epoch_and_the_present_one_goes_on() {
    let (mut bench, mut hand) = one_owner();
    let mut next = bench.agree(&mut hand, 1, 7);
    let late = commit(&mut next, 1, bench.now);
    let mut bench = Bench::at_home(vec![hand.record.clone()]);
    assert_eq!(bench.tell(&next, &late, UNKNOWN), Vec::<Vec<u8>>::new());
    let command = hand.command(true, bench.now);
    assert_eq!(hand.answer(&bench.tell(&hand, &command, OK)[0]).1, ReturnCode::Ok);
}

#[test]
fn a_repeated_init_gets_the_same_bytes_and_a_newer_one_replaces_what_is_pending() {
    let (mut bench, mut hand) = one_owner();
    bench.wait(1);
    let (first, ephemeral) = init(&mut hand, 1, bench.now, 7);
    let accept = bench.tell(&hand, &first, OK);
    assert_eq!(bench.tell(&hand, &first, Verdict::Repeated), accept);
    let mut replaced = next_hand(&bench, &hand, 1, &first, &accept[0], &ephemeral);
    let mut next = bench.agree(&mut hand, 1, 8);
    let late = commit(&mut replaced, 1, bench.now);
    assert_eq!(bench.tell(&replaced, &late, UNKNOWN), Vec::<Vec<u8>>::new());
    bench.wait(1);
    let commit = commit(&mut next, 1, bench.now);
    assert_eq!(next.answer(&bench.tell(&next, &commit, OK)[0]).1, ReturnCode::Ok);
}

#[test]
fn a_wrong_epoch_is_a_conflict_and_a_key_that_contributes_nothing_is_refused() {
    let (mut bench, mut hand) = one_owner();
    for epoch in [0, 2, u32::MAX] {
        bench.wait(1);
        let (init, _) = init(&mut hand, epoch, bench.now, 7);
        let answers = bench.tell(&hand, &init, Verdict::Answered(ReturnCode::Conflict));
        assert_eq!(hand.answer(&answers[0]).1, ReturnCode::Conflict);
    }
    bench.wait(1);
    let wrong = commit(&mut hand, 1, bench.now);
    bench.tell(&hand, &wrong, Verdict::Answered(ReturnCode::Conflict));
    bench.wait(1);
    let weak = json::encode(&Init { boot: BOOT, ts: bench.now, epoch: 1, x: X25519Public::new([0; 32]) });
    let weak = hand.seal(&weak);
    bench.tell(&hand, &weak, Verdict::Answered(ReturnCode::BadRequest));
    assert!(bench.vault.saves.is_empty());
}

#[test]
fn a_viewer_updates_its_key_too() {
    let (owner, viewer) = (record(7, "Ana", Role::Owner), record(200, "Vic", Role::Viewer));
    let mut bench = Bench::at_home(vec![owner, viewer.clone()]);
    let mut hand = Hand::of(&bench, &viewer);
    let mut next = bench.agree(&mut hand, 1, 7);
    let question = status(&mut next);
    assert_eq!(next.answer(&bench.tell(&next, &question, OK)[0]).1, ReturnCode::Ok);
}

#[test]
fn freshness_outlives_the_epoch() {
    let (mut bench, mut hand) = one_owner();
    bench.wait(10);
    let ahead = Micros::new(bench.now.get() + 1_000_000);
    let command = hand.command(true, ahead);
    bench.tell(&hand, &command, OK);
    let (init, ephemeral) = init(&mut hand, 1, Micros::new(ahead.get() + 1), 7);
    let accept = bench.tell(&hand, &init, OK).remove(0);
    let mut next = next_hand(&bench, &hand, 1, &init, &accept, &ephemeral);
    let not_newer = next.command(false, ahead);
    bench.tell(&next, &not_newer, Verdict::Stale(Stale::NotNewer));
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn the_past_key_opens_no_new_session_and_its_open_ones_end_after_600_s() {
    let (mut bench, mut hand) = one_owner();
    let mut next = bench.agree(&mut hand, 1, 7);
    let question = status(&mut next);
    assert_eq!(bench.publish(SESSION, &next.topic(), &question), OK);
    let admitted = |actions: Vec<Action>| -> Vec<(String, bool)> {
        let list = actions.into_iter().find_map(|action| match action {
            Action::Admit(list) => Some(list),
            _ => None,
        });
        let list = list.expect("admissions").into_iter();
        list.map(|admission| (admission.psk_identity, admission.new_sessions == NewSessions::Open)).collect()
    };
    let both = vec![(next.psk_identity(), true), (hand.psk_identity(), false)];
    assert_eq!(admitted(bench.actions()), both);
    // A session that was opened just before is this controller's still.
    bench.thing.handle_session_opened(SessionId(9), &hand.psk_identity());
    bench.next_timeout();
    assert_eq!(bench.now.get(), 100_000_001 + 600_000_000);
    assert_eq!(admitted(bench.actions()), vec![(next.psk_identity(), true)]);
    assert_eq!(bench.thing.poll_timeout(), None);
}

/// An owner whose key has this age.
fn aged(uptime_s: u32, accepted: u32) -> (Bench, Hand) {
    let owner = ControllerRecord { key_age: KeyAge { uptime_s, accepted }, ..record(7, "Ana", Role::Owner) };
    let bench = Bench::at_home(vec![owner.clone()]);
    let hand = Hand::of(&bench, &owner);
    (bench, hand)
}

const DAY: u32 = 86_400;

#[test]
fn who_is_due_is_told_after_the_answer_and_once_a_day() {
    for (uptime_s, accepted, told) in
        [(7 * DAY - 200, 0, false), (7 * DAY, 0, true), (0, (1 << 16) - 2, false), (0, (1 << 16) - 1, true)]
    {
        let (mut bench, mut hand) = aged(uptime_s, accepted);
        let command = hand.command(true, bench.now);
        let published = bench.tell(&hand, &command, OK);
        assert_eq!(hand.answer(&published[0]).1, ReturnCode::Ok);
        let events: Vec<_> = published[1..].iter().map(|event| hand.event(event).0).collect();
        assert_eq!(events, vec![EVENT_REKEY_DUE; usize::from(told)], "{uptime_s} s, {accepted} messages");
        bench.wait(1_000_000);
        let command = hand.command(false, bench.now);
        assert_eq!(bench.tell(&hand, &command, OK).len(), if accepted == (1 << 16) - 2 { 2 } else { 1 });
    }
}

#[test]
fn a_key_that_is_too_old_is_good_for_status_and_its_own_update_alone() {
    for (uptime_s, accepted) in [(30 * DAY, 0), (0, 1 << 20)] {
        let (mut bench, mut hand) = aged(uptime_s, accepted);
        let command = hand.command(true, bench.now);
        let answers = bench.tell(&hand, &command, Verdict::Answered(ReturnCode::Epoch));
        assert_eq!(hand.answer(&answers[0]).1, ReturnCode::Epoch);
        assert_eq!(bench.tell(&hand, &command, Verdict::Repeated), answers[..1], "the answer is kept");
        assert!(bench.outlet.switched.is_empty());
        let question = status(&mut hand);
        bench.tell(&hand, &question, OK);

        let mut next = bench.agree(&mut hand, 1, 7);
        bench.wait(1);
        let commit = commit(&mut next, 1, bench.now);
        bench.tell(&next, &commit, OK);
        bench.wait(1);
        let again = next.command(true, bench.now);
        assert_eq!(next.answer(&bench.tell(&next, &again, OK)[0]).1, ReturnCode::Ok);
        assert_eq!(bench.outlet.switched, [OutletState::On]);
    }
}

#[test]
fn ages_are_persisted_with_whatever_is_and_a_minute_after_an_hour_of_use() {
    let (mut bench, mut hand) = aged(1000, 5);
    for _ in 0..3 {
        bench.wait(1_000_000);
        let command = hand.command(true, bench.now);
        bench.tell(&hand, &command, OK);
    }
    assert_eq!(bench.thing.poll_timeout(), None, "nothing wakes up for a key that is used a little");
    bench.wait(3_600_000_000);
    let command = hand.command(false, bench.now);
    bench.tell(&hand, &command, OK);
    assert!(bench.vault.saves.is_empty(), "no message costs a write");
    bench.next_timeout();
    let age = bench.vault.saves.last().expect("one write").0.controllers[0].key_age;
    assert_eq!((age.accepted, age.uptime_s), (9, 1000 + 3600 + 103));
    assert_eq!((bench.now.get(), bench.thing.poll_timeout()), (100_000_000 + 3_603_000_000 + 60_000_000, None));
    // Nothing is counted twice.
    bench.wait(10_000_000);
    let renamed = hand.seal(
        &Operation::NameSet(crate::proto::operation::argument::NameSet { name: "desk".parse().expect("a name") })
            .command(BOOT, bench.now),
    );
    bench.tell(&hand, &renamed, OK);
    let age = bench.vault.saves.last().expect("another").0.controllers[0].key_age;
    assert_eq!((age.accepted, age.uptime_s), (10, 1000 + 3600 + 173));
    assert_eq!((bench.vault.saves.len(), bench.thing.poll_timeout()), (2, None));
}

#[test]
fn no_command_waits_for_the_disk_however_many_there_are() {
    let (mut bench, mut hand) = one_owner();
    let mut ask = |bench: &mut Bench, times: u32| {
        for _ in 0..times {
            bench.wait(100);
            let command = hand.command(true, bench.now);
            bench.tell(&hand, &command, OK);
        }
    };
    ask(&mut bench, 1023);
    assert_eq!(bench.thing.poll_timeout(), None);
    ask(&mut bench, 3977);
    assert!(bench.vault.saves.is_empty(), "5000 commands, and no write");
    // The 1024th has asked for the one that follows, a minute later.
    bench.next_timeout();
    assert_eq!(bench.now.get(), 100_000_000 + 102_400 + 60_000_000);
    let saved = |bench: &Bench| bench.vault.saves.iter().map(|(one, _)| one.controllers[0].key_age.accepted).collect();
    let accepted: Vec<u32> = saved(&bench);
    assert_eq!((accepted, bench.thing.poll_timeout()), (vec![5000], None));

    // However fast it goes, a power cut loses 32768 at most.
    ask(&mut bench, 32_767);
    assert!(bench.thing.poll_timeout() > Some(bench.now));
    ask(&mut bench, 1);
    assert_eq!(bench.thing.poll_timeout(), Some(bench.now), "before anything else");
    // A store that refuses is asked again once in a minute.
    bench.vault.broken = true;
    bench.next_timeout();
    assert_eq!(bench.thing.poll_timeout(), None);
    bench.vault.broken = false;
    ask(&mut bench, 2);
    assert_eq!(bench.thing.poll_timeout(), Some(bench.now.after(Duration::from_micros(60_000_000 - 100))));
    bench.next_timeout();
    assert_eq!(saved(&bench), [5000, 5000 + 32_770]);
}

#[test]
fn five_updates_in_a_row_leave_one_master_key() {
    let (mut bench, mut hand) = one_owner();
    let mut masters: Vec<MasterKey> = vec![hand.record.master.clone()];
    for epoch in 1..=6 {
        let mut next = bench.agree(&mut hand, epoch, 10 + u8::try_from(epoch).expect("small"));
        bench.wait(1);
        let commit = commit(&mut next, epoch, bench.now);
        bench.tell(&next, &commit, OK);
        assert!(!masters.contains(&next.record.master));
        masters.push(next.record.master.clone());
        hand = next;
    }
    let (household, _) = bench.vault.saves.last().expect("saved");
    assert_eq!(Some(&household.controllers[0].master), masters.last());
}
