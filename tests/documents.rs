//! What docs/protocol.md works out and what docs/deviations.md points to is held to the code.

use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use data_encoding::HEXLOWER;
use sect::proto::envelope::{EnvelopeKey, Sealed};
use sect::proto::keys::{Ephemeral, EpochKeys, MasterKey, PairingCode, PairingKeys};
use sect::proto::passcode::Passcode;
use sect::proto::secret::Secret;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).expect("the document")
}

/// Section 11 of the protocol, and its part with this number.
fn worked_examples(part: &str) -> String {
    let text = document("protocol.md");
    let (_, section) = text.split_once("\n## 11. ").expect("the examples");
    let (section, _) = section.split_once("\n## 12. ").expect("and what follows them");
    let (_, part) = section.split_once(&format!("\n### {part} ")).expect("this part");
    part.split("\n### ").next().expect("there is a first").to_owned()
}

/// What stands behind a name, to the end of its line.
fn line<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}")).trim()
}

/// The first of the values there.
fn value<'a>(text: &'a str, name: &str) -> &'a str {
    line(text, name).split([' ', ',']).next().expect("there is a first")
}

fn secret<const N: usize>(hex: &str) -> Secret<N> {
    Secret::new(HEXLOWER.decode(hex.as_bytes()).expect("hexadecimal").try_into().expect("its length"))
}

/// The keys of the run between these two messages, with what 11.1 fixes for both examples.
fn pairing(first: &str, second: &str) -> PairingKeys {
    let keys = worked_examples("11.1");
    let own = Ephemeral::from_secret(&secret(value(&keys, "controller's X25519 private")));
    let thing = Ephemeral::from_secret(&secret(value(&keys, "thing's X25519 private")));
    let shared = own.agree(&thing.public()).expect("contributory");
    let passcode: Passcode = value(&keys, "passcode").parse().expect("a passcode");
    PairingKeys::derive(first.as_bytes(), second.as_bytes(), &shared, &PairingCode::of_passcode(&passcode))
}

/// Each sealed message of a part with the JSON on the line before it, held to one of the keys; gives how many.
fn opens(part: &str, keys: &[&EnvelopeKey]) -> usize {
    let lines: Vec<_> = part.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[0].starts_with('{') && pair[1].starts_with("eyJ"));
    pairs
        .map(|pair| {
            let sealed = Sealed::parse(pair[1].as_bytes()).expect("an envelope");
            let key = keys.iter().find(|key| key.kid() == sealed.kid()).expect("one of the keys");
            let opened = sealed.open(key).unwrap_or_else(|error| panic!("{error}: {}", pair[0]));
            assert_eq!(String::from_utf8_lossy(opened.bytes()).trim_end_matches(' '), pair[0]);
            // Sealed again it gives the same characters, padding included.
            let iv = Base64UrlUnpadded::decode_vec(pair[1].split('.').nth(2).expect("an IV")).expect("base64url");
            let again = key.seal_with_iv(pair[0].as_bytes(), &iv.try_into().expect("16 bytes")).expect("short");
            assert_eq!(String::from_utf8(again).expect("ASCII"), pair[1]);
        })
        .count()
}

fn epoch(master: &MasterKey, thing: &str, number: u32) -> EpochKeys {
    master.epoch(&thing.parse().expect("a thing id"), &"AAECAwQFBgc".parse().expect("a cid"), number)
}

#[test]
fn every_message_of_the_worked_examples_opens_under_the_keys_that_stand_there() {
    let keys = worked_examples("11.1");
    let first = MasterKey::from_stored(secret(value(&keys, "MK_0")));
    assert_eq!(pairing(line(&keys, "M1 "), line(&keys, "M2 ")).master, first);
    let now = epoch(&first, "0123456789abcdef", 0);
    assert_eq!(opens(&worked_examples("11.3"), &[&now.c2t, &now.t2c]), 5);
    assert_eq!(opens(&worked_examples("11.2"), &[&now.c2t, &now.t2c]), 1);
    assert_eq!(opens(&worked_examples("11.5"), &[&now.c2t, &now.t2c]), 2);
}

#[test]
fn the_pairing_run_of_the_worked_examples_opens_and_leads_to_its_keys() {
    let run = worked_examples("11.4");
    let clear: Vec<_> = run.lines().filter(|line| line.starts_with("{\"v\":1,\"t\":\"pair.")).collect();
    let [m1, m2, _m3] = clear.as_slice() else { panic!("{clear:#?}") };
    let keys = pairing(m1, m2);
    assert_eq!(HEXLOWER.encode(keys.c2t.expose()), value(&run, "K_pc "));
    assert_eq!(HEXLOWER.encode(keys.t2c.expose()), value(&run, "K_pt "));
    assert_eq!(HEXLOWER.encode(keys.master.expose()), value(&run, "MK_0 "));
    assert_eq!(opens(&run, &[&keys.c2t, &keys.t2c]), 7, "M3 to M9");

    let accept: Value = serde_json::from_str(m2).expect("JSON");
    let bound = epoch(&keys.master, accept["id"].as_str().expect("text"), 0);
    assert_eq!(HEXLOWER.encode(bound.c2t.expose()), value(&run, "K_c2t "));
    assert_eq!(HEXLOWER.encode(bound.t2c.expose()), value(&run, "K_t2c "));
    assert_eq!(HEXLOWER.encode(bound.psk.expose()), value(&run, "PSK "));
    assert_eq!(bound.psk_id.to_string(), value(&run, "psk_id "));
}

/// `a/{b,c}` is `a/b` and `a/c`.
fn spelled_out(place: &str) -> Vec<String> {
    match place.split_once('{').and_then(|(before, rest)| Some((before, rest.strip_suffix('}')?))) {
        Some((before, inside)) => inside.split(',').map(|name| format!("{before}{name}")).collect(),
        None => vec![place.to_owned()],
    }
}

/// All Rust files of the sources and the tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("readable").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

#[test]
fn every_place_and_test_that_the_deviations_point_to_exists() {
    let mut files = Vec::new();
    ["src", "tests"].into_iter().for_each(|folder| sources(&root().join(folder), &mut files));
    let code: String = files.iter().map(|file| fs::read_to_string(file).expect("UTF-8")).collect();

    let text = document("deviations.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| Where |"));
    let (mut places, mut missing) = (0, Vec::new());
    for row in rows {
        let where_ = row.trim_end_matches('|').rsplit('|').next().expect("a last cell");
        for name in where_.split('`').skip(1).step_by(2).flat_map(spelled_out) {
            places += 1;
            let is_there = if name.contains('/') {
                let file = if name.starts_with("tests/") { root().join(&name) } else { root().join("src").join(&name) };
                file.exists() || file.with_extension("rs").exists()
            } else {
                code.contains(&format!("fn {name}(")) || code.contains(&format!("mod {name};"))
            };
            if !is_there {
                missing.push(name);
            }
        }
    }
    assert!(places > 50, "{places}");
    assert!(missing.is_empty(), "{missing:#?}");
}
