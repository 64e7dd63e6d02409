//! Thousands of lives of one plug and its people, each from a seed: whatever the network loses and wherever the
//! power is cut, nothing is switched twice or late, and whoever should be able to use the plug can.
//!
//! `SIM_SEED=n` plays one seed and tells it; `SIM_SEEDS=n` plays so many, however long that takes.

#![allow(clippy::print_stdout, reason = "a simulation says how much it has played, and how it went wrong")]

#[path = "../support/world/mod.rs"]
mod world;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use world::{Broken, Mutation, Tale, play, tell};

/// Without being told otherwise: so many seeds, or for so long.
const SEEDS: u64 = 2000;
const BUDGET: Duration = Duration::from_secs(60);
/// The end of a trace that is printed.
const LINES: usize = 200;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// Plays seeds from `first` on, on all processors; gives the sum of the tales, and the first that went wrong.
fn play_many(first: u64, seeds: u64, budget: Option<Duration>, mutation: Mutation) -> (u64, Tale, Option<Broken>) {
    // One test after the other: each is given all processors.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let started = Instant::now();
    let (next, is_broken) = (AtomicU64::new(0), AtomicBool::new(false));
    let played = Mutex::new((0, Tale::default(), None::<Broken>));
    let players = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..players {
            scope.spawn(|| {
                while !is_broken.load(Ordering::Relaxed) && budget.is_none_or(|budget| started.elapsed() < budget) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let outcome = std::panic::catch_unwind(|| play(first + seed, mutation)).unwrap_or_else(|_| {
                        let what = "a machine panicked".to_owned();
                        Err(Box::new(Broken { seed: first + seed, what, trace: Vec::new() }))
                    });
                    let mut played = played.lock().expect("nobody panics with it");
                    played.0 += 1;
                    match outcome {
                        Ok(tale) => played.1.add(&tale),
                        Err(broken) => {
                            is_broken.store(true, Ordering::Relaxed);
                            played.2.get_or_insert(*broken);
                        }
                    }
                }
            });
        }
    });
    played.into_inner().expect("nobody panicked with it")
}

fn fail(broken: &Broken) -> ! {
    let skipped = broken.trace.len().saturating_sub(LINES);
    for line in &broken.trace[skipped..] {
        println!("{line}");
    }
    panic!("seed {}: {} (SIM_SEED={} tells all of it)", broken.seed, broken.what, broken.seed);
}

#[test]
fn in_thousands_of_lives_no_promise_is_broken() {
    if let Some(seed) = number("SIM_SEED") {
        match play(seed, Mutation::None) {
            Ok(_) => tell(seed).iter().for_each(|line| println!("{line}")),
            Err(broken) => {
                broken.trace.iter().for_each(|line| println!("{line}"));
                panic!("seed {seed}: {}", broken.what);
            }
        }
        return;
    }
    let (seeds, budget) = match number("SIM_SEEDS") {
        Some(seeds) => (seeds, None),
        None => (SEEDS, Some(BUDGET)),
    };
    let (played, tale, broken) = play_many(1, seeds, budget, Mutation::None);
    if let Some(broken) = broken {
        fail(&broken);
    }
    println!("{played} seeds: {tale:#?}");
    assert!(played >= seeds.min(100), "only {played} seeds in {BUDGET:?}");
    assert!(tale.clicks > played, "hardly anything was switched: {tale:?}");
    assert!(tale.power_cuts > played && tale.deaths > played / 2, "hardly anything went wrong: {tale:?}");
}

#[test]
fn the_same_seed_plays_the_same_life() {
    for seed in 1..6 {
        assert_eq!(tell(seed), tell(seed), "seed {seed}");
    }
    assert_ne!(tell(1), tell(2));
}

/// A simulation that cannot fail is worthless: with a fault built in, some seed breaks the promise.
fn expect_noticed(mutation: Mutation, promises: &[&str]) {
    let (played, _, broken) = play_many(1, 3000, Some(Duration::from_secs(120)), mutation);
    let broken = broken.unwrap_or_else(|| panic!("{mutation:?} went unnoticed in {played} seeds"));
    println!("{mutation:?}: seed {} after {played}: {}", broken.seed, broken.what);
    assert!(promises.iter().any(|promise| broken.what.contains(promise)), "{mutation:?}: {}", broken.what);
}

#[test]
fn a_store_that_forgets_its_last_write_is_noticed() {
    expect_noticed(Mutation::StoreForgets, &["was told that it is in the household", "is in the household as"]);
}

#[test]
fn a_keyring_that_forgets_is_noticed() {
    expect_noticed(Mutation::KeyringForgets, &["no keyring has its keys"]);
}

#[test]
fn a_controller_that_commits_a_key_before_it_keeps_it_is_noticed() {
    expect_noticed(Mutation::CandidateIsNotKept, &["no keyring has its keys"]);
}

#[test]
fn a_controller_that_seals_each_repetition_anew_is_noticed() {
    expect_noticed(Mutation::RepeatsAreNewCommands, &["switched the load 2 times"]);
}

#[test]
fn a_thing_whose_boot_never_changes_is_noticed() {
    expect_noticed(Mutation::BootNeverChanges, &["switched the load 2 times"]);
}
