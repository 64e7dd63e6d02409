//! The real machines through a key update: a crash of either side at each step, and long walks at random.

use std::time::Duration;

use sect::proto::controller::ControllerEvent;
use sect::proto::message::ReturnCode;

use crate::dice::Dice;
use crate::real::Pair;

/// One step of an update in fair weather; false when there is nothing left to do.
fn step(pair: &mut Pair, heard: &mut usize, told: &mut usize) -> bool {
    if pair.to_persist.is_some() {
        pair.persist();
    } else if *heard < pair.to_thing.len() {
        pair.give_thing(*heard);
        *heard += 1;
    } else if *told < pair.to_controller.len() {
        pair.give_controller(*told);
        *told += 1;
    } else {
        return false;
    }
    true
}

#[test]
fn an_update_in_fair_weather_takes_one_key_from_both_sides_and_gives_another() {
    let mut pair = Pair::new(1);
    let before = pair.keyring.master.clone();
    let handle = pair.begin();
    pair.run();
    assert_eq!(pair.stored().0, 1);
    assert_ne!(pair.keyring.master, before);
    assert!(pair.events.contains(&ControllerEvent::KeysUpdated { handle: Some(handle), epoch: 1 }));
    pair.settle();
    assert_eq!(pair.stored().0, 1);
}

#[test]
fn a_crash_of_either_side_at_any_step_leaves_one_key_in_common() {
    let mut crashes = 0;
    for side in 0..3 {
        for at in 0.. {
            let mut pair = Pair::new(2);
            pair.begin();
            let (mut heard, mut told) = (0, 0);
            if !(0..at).all(|_| step(&mut pair, &mut heard, &mut told)) {
                break;
            }
            if side != 1 {
                pair.crash_thing();
            }
            if side != 0 {
                pair.crash_controller();
            }
            pair.settle();
            crashes += 1;
        }
    }
    assert!(crashes >= 24, "the update has at least eight steps, not {}", crashes / 3);
}

#[test]
fn a_disk_that_fails_at_the_commit_leaves_the_present_epoch_and_a_later_update_works() {
    let mut pair = Pair::new(3);
    pair.break_disk(true);
    let handle = pair.begin();
    pair.run();
    assert_eq!(pair.stored().0, 0);
    assert!(pair.events.contains(&ControllerEvent::UpdateUnanswered { handle }));
    // Commands go on under the present epoch, which has answered.
    let wish = pair.wish(true);
    pair.run();
    let answered = |event: &ControllerEvent| matches!(event, ControllerEvent::Answered { handle, rc: ReturnCode::Ok, .. } if *handle == wish);
    assert!(pair.events.iter().any(answered), "{:?}", pair.events);
    pair.break_disk(false);
    pair.settle();
    assert_eq!(pair.stored().0, 1);
}

#[test]
fn a_newer_wish_waits_for_the_update_and_never_takes_its_place() {
    let mut pair = Pair::new(4);
    let update = pair.begin();
    let older = pair.wish(true);
    let newer = pair.wish(false);
    assert_eq!(pair.begin(), update, "one update at a time");
    pair.run();
    let place = |wanted: &dyn Fn(&ControllerEvent) -> bool| pair.events.iter().position(wanted).expect("it happened");
    let updated = place(&|event| *event == ControllerEvent::KeysUpdated { handle: Some(update), epoch: 1 });
    let replaced = place(&|event| *event == ControllerEvent::Replaced { handle: older });
    let done = place(&|event| matches!(event, ControllerEvent::Answered { handle, .. } if *handle == newer));
    assert!(replaced < updated && updated < done, "{:?}", pair.events);
    assert_eq!(pair.switched().len(), 1);
}

#[test]
fn a_keyring_that_cannot_write_ends_the_update_and_nothing_is_committed() {
    let mut pair = Pair::new(5);
    let handle = pair.begin();
    let (mut heard, mut told) = (0, 0);
    while pair.to_persist.is_none() {
        assert!(step(&mut pair, &mut heard, &mut told));
    }
    pair.to_persist = None;
    let now = pair.now();
    pair.controller.not_persisted(now, &mut Dice::new(9));
    pair.run();
    assert!(pair.events.contains(&ControllerEvent::NotSent { handle }));
    assert_eq!((pair.stored().0, &pair.keyring.candidate), (0, &None));
    pair.settle();
}

/// Whatever is delivered, doubled, overtaken, lost or cut off, the weather clears and one key is left.
#[test]
fn in_any_weather_nobody_is_locked_out() {
    let walks = if cfg!(debug_assertions) { 300 } else { 3000 };
    let mut updated = 0;
    for seed in 0..walks {
        let (mut pair, mut dice) = (Pair::new(seed), Dice::new(!seed));
        for _ in 0..60 {
            match dice.below(40) {
                0 | 1 => drop(pair.begin()),
                2 => drop(pair.wish(dice.below(2) == 0)),
                3 => pair.ask(),
                4 => pair.crash_thing(),
                5 => pair.crash_controller(),
                6 => pair.pass(Duration::from_millis(dice.draw() % 12_000)),
                7 => pair.break_disk(dice.below(4) == 0),
                8..=14 => pair.persist(),
                15..=26 if !pair.to_thing.is_empty() => pair.give_thing(newest(&mut dice, pair.to_thing.len())),
                27.. if !pair.to_controller.is_empty() => {
                    pair.give_controller(newest(&mut dice, pair.to_controller.len()));
                }
                _ => {}
            }
            // At no moment is there no key in common.
            let (epoch, master) = pair.stored();
            let keyring = &pair.keyring;
            let present = (keyring.epoch, &keyring.master) == (epoch, master);
            assert!(
                present || (keyring.epoch + 1 == epoch && keyring.candidate.as_ref() == Some(master)),
                "seed {seed}"
            );
        }
        pair.break_disk(false);
        updated += u64::from(pair.stored().0 > 0);
        pair.settle();
    }
    assert!(updated > walks / 10, "the walks hardly update: {updated} of {walks}");
}

/// Most often the last one.
fn newest(dice: &mut Dice, sent: usize) -> usize {
    let back = [0, 0, 0, dice.place(sent.min(3)), dice.place(sent)];
    sent - 1 - back[dice.place(back.len())]
}
