//! The fuzz properties with each `cargo test`: every parser over its seeds, over mutated seeds and
//! over noise.

#[path = "fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "there it is a library")]
mod properties;

use std::collections::BTreeSet;
use std::path::Path;

use properties::{PARSERS, Parser};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};

/// Cases of each parser: a second for all of them.
const CASES: u32 = 2000;

/// One thing that goes wrong with a text under way.
#[derive(Debug, Clone)]
enum Mutation {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Truncate(Index),
    ChangeCase(Index),
    Repeat(Index, Index),
}

impl Mutation {
    fn apply(&self, input: &mut Vec<u8>) {
        if input.is_empty() {
            return;
        }
        let length = input.len();
        match self {
            Self::Replace(place, byte) => input[place.index(length)] = *byte,
            Self::Insert(place, byte) => input.insert(place.index(length), *byte),
            Self::Remove(place) => {
                input.remove(place.index(length));
            }
            Self::Truncate(place) => input.truncate(place.index(length)),
            Self::ChangeCase(place) => input[place.index(length)] ^= 0x20,
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let piece = input[from.min(to)..from.max(to)].to_vec();
                input.extend_from_slice(&piece);
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    // What means something in base64url, JSON and DER comes more often than other bytes.
    let byte = prop_oneof![proptest::sample::select(b"AaZz09-_=. {}[]\",:\\\0\n".to_vec()), any::<u8>()].boxed();
    prop_oneof![
        (any::<Index>(), byte.clone()).prop_map(|(place, byte)| Mutation::Replace(place, byte)),
        (any::<Index>(), byte).prop_map(|(place, byte)| Mutation::Insert(place, byte)),
        any::<Index>().prop_map(Mutation::Remove),
        any::<Index>().prop_map(Mutation::Truncate),
        any::<Index>().prop_map(Mutation::ChangeCase),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
    ]
}

fn input(parser: &Parser) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds = (parser.seeds)();
    let mutated = (proptest::sample::select(seeds), vec(mutation(), 0..4)).prop_map(|(mut input, mutations)| {
        for mutation in &mutations {
            mutation.apply(&mut input);
        }
        input
    });
    prop_oneof![9 => mutated, 1 => vec(any::<u8>(), 0..3000)]
}

#[test]
fn every_seed_is_read() {
    for parser in &PARSERS {
        for seed in (parser.seeds)() {
            assert!((parser.property)(&seed), "{}: {}", parser.name, String::from_utf8_lossy(&seed));
        }
    }
}

#[test]
fn no_input_breaks_a_parser_and_what_is_read_prints_back() {
    for parser in &PARSERS {
        let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&input(parser), |input| {
            (parser.property)(&input);
            Ok(())
        });
        assert!(outcome.is_ok(), "{}: {}", parser.name, outcome.expect_err("checked"));
    }
}

#[test]
fn every_parser_has_a_fuzz_target_of_its_name() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/fuzz_targets");
    let targets: BTreeSet<String> = std::fs::read_dir(folder)
        .expect("the targets")
        .map(|entry| entry.expect("a target").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    assert_eq!(targets, PARSERS.iter().map(|parser| parser.name.to_owned()).collect());
    for name in targets {
        let manifest = include_str!("fuzz/Cargo.toml");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in the manifest");
    }
}
