//! Power cuts over a recovery: afterwards the earlier owner has the plug, or the one who has recovered it, and
//! in either case somebody has who needs no help; nothing of the other's keys is left (protocol section 9).

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::Value;
use support::{HOME_PASSPHRASE, HOME_SSID, Person, Plug, files};

/// Runs `sect` with secrets on its standard input and, perhaps, a power cut; gives its exit code.
fn sect(who: &Person, arguments: &[&str], secrets: &str, crash_point: &str) -> Option<i32> {
    let mut command = who.command();
    command.env("SECT_CRASH_AT", crash_point).args(arguments).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("sect starts");
    let _ = child.stdin.take().expect("piped").write_all(secrets.as_bytes());
    child.wait().expect("its own child").code()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A plug at home whose owner has a recovery code in a file; it cuts its power at its first `point`.
fn claimed_until(point: &str, folder: &Path) -> (Plug, Person, PathBuf) {
    let (mut plug, ana, file) = (Plug::unclaimed(), Person::new(), folder.join("paper.txt"));
    let (ssid, passcode) = plug.wait_for_passcode();
    let (nearby, home, radio) = (plug.access_point().to_string(), plug.home().to_string(), plug.radio());
    let arguments = [
        &["pair", "--ssid", &ssid, "--home-ssid", HOME_SSID, "--name", "Ana", "--alias", "Lamp", "--secrets", "-"][..],
        &["--address", &nearby, "--home-address", &home, "--simulated-radio", text(&radio)],
        &["--recovery-file", text(&file)],
    ];
    let secrets = format!("passcode={passcode}\nwifi-password={HOME_PASSPHRASE}\n");
    assert_eq!(sect(&ana, &arguments.concat(), &secrets, ""), Some(0));
    plug.wait_until_online();
    plug.power_cut();
    plug.power_on_until(point);
    plug.wait_until_online();
    (plug, ana, file)
}

/// Holds the button and recovers, with what stands on this paper.
fn recover(who: &Person, plug: &Plug, paper: &Path, next: &Path, crash_point: &str) -> Option<i32> {
    plug.press("long");
    let (ssid, passcode) = plug.wait_for_passcode();
    let (nearby, home, radio) = (plug.access_point().to_string(), plug.home().to_string(), plug.radio());
    let arguments = [
        &["recover", "--ssid", &ssid, "--name", "Ana", "--alias", "Lamp", "--secrets", "-"][..],
        &["--address", &nearby, "--home-address", &home, "--simulated-radio", text(&radio)],
        &["--recovery-file", text(next), "--timeout", "5"],
    ];
    let code = fs::read_to_string(paper).expect("the code");
    sect(who, &arguments.concat(), &format!("passcode={passcode}\n{code}"), crash_point)
}

fn restart(plug: &mut Plug) {
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
}

fn expect_works(who: &Person, plug: &Plug, cell: &str) {
    for (wish, on) in [("on", true), ("off", false)] {
        let done = who.sect_at(plug, &[wish]);
        assert_eq!(done.code, 0, "{cell}: {}{}", done.stdout, done.stderr);
        assert_eq!(plug.outlet_is_on(), on, "{cell}");
    }
}

fn expect_unknown(who: &Person, plug: &Plug, cell: &str) {
    let refused = who.sect_at(plug, &["on"]);
    assert_ne!(refused.code, 0, "{cell}: {}{}", refused.stdout, refused.stderr);
    assert!(!plug.outlet_is_on(), "{cell}");
}

/// Topic, password and master key, as they would stand in the plug's files.
fn secrets(person: &Person) -> [Vec<u8>; 3] {
    let is_entry = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let path = files(&person.keyring()).into_iter().find(is_entry).expect("an entry in the keyring");
    let entry: Value = serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON");
    let text = |name: &str| entry["binding"][name].as_str().expect("a text").to_owned();
    let master = Base64UrlUnpadded::decode_vec(&text("master")).expect("base64url");
    [text("topic").into_bytes(), text("pass").into_bytes(), master]
}

fn found(plug: &Plug, secrets: &[Vec<u8>]) -> usize {
    let contents: Vec<_> = files(&plug.state()).into_iter().map(|path| fs::read(path).expect("readable")).collect();
    let stands = |secret: &Vec<u8>| contents.iter().any(|bytes| bytes.windows(secret.len()).any(|part| part == secret));
    secrets.iter().filter(|secret| stands(secret)).count()
}

/// One cell; `has_recovered` says whether the cut leaves the plug to the new phone.
fn cut(thing_point: &str, controller_point: &str, has_recovered: bool) {
    let cell = format!("thing {thing_point:?}, controller {controller_point:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let (mut plug, ana, paper) = claimed_until(thing_point, folder.path());
    let (new_phone, before) = (Person::new(), secrets(&ana));
    assert_eq!(found(&plug, &before), 3, "{cell}: the search finds what is there");
    let next = folder.path().join("next.txt");
    let ended = recover(&new_phone, &plug, &paper, &next, controller_point);
    assert_ne!(ended, Some(0), "{cell}: somebody had no power");
    if !thing_point.is_empty() {
        plug.wait_for_power_cut();
    }
    restart(&mut plug);
    if has_recovered {
        expect_works(&new_phone, &plug, &cell);
    } else {
        expect_works(&ana, &plug, &cell);
        // The code on the old paper is as good as before, on whatever computer.
        let (another, last) = (Person::new(), folder.path().join("last.txt"));
        assert_eq!(recover(&another, &plug, &paper, &last, ""), Some(0), "{cell}");
        plug.wait_until_online();
        expect_works(&another, &plug, &cell);
    }
    expect_unknown(&ana, &plug, &cell);
    assert_eq!(found(&plug, &before), 0, "{cell}");
}

#[test]
fn a_recovery_over_which_the_plug_loses_its_power_has_happened_or_not() {
    for (point, has_recovered) in [("save.before", false), ("save.committed", true), ("save.after", true)] {
        cut(point, "", has_recovered);
    }
}

#[test]
fn a_recovery_over_which_the_new_phone_dies_has_happened_or_not() {
    for (point, has_recovered) in [("keyring.before", false), ("keyring.renamed", false), ("keyring.before:2", true)] {
        cut("", point, has_recovered);
    }
}

/// What the keyring says of the only plug in it.
fn kept(person: &Person) -> Value {
    let is_entry = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    let path = files(&person.keyring()).into_iter().find(is_entry).expect("an entry in the keyring");
    serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON")
}

#[test]
fn an_owner_whose_own_recovery_is_cut_off_keeps_the_keys_that_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut plug, ana, paper) = claimed_until("", folder.path());
    let before = kept(&ana)["binding"]["cid"].clone();
    for (round, runs) in [("first", 1), ("second", 2)] {
        let others = |entry: &Value| entry["others"].as_array().map(Vec::len);
        let next = folder.path().join(format!("{round}.txt"));
        assert_ne!(recover(&ana, &plug, &paper, &next, "keyring.renamed"), Some(0), "{round}: cut off");
        let entry = kept(&ana);
        assert_eq!(entry["binding"]["confirmed"], false, "{round}: {entry}");
        assert_eq!(others(&entry), Some(runs), "{round}: those from before");
        restart(&mut plug);
        expect_works(&ana, &plug, round);
        let entry = kept(&ana);
        assert_eq!((&entry["binding"]["cid"], &entry["binding"]["confirmed"]), (&before, &Value::Bool(true)));
        // A refusal proves nothing: whoever stands between can refuse as well.
        assert_eq!(others(&entry), Some(runs), "{round}: the new ones stay");
    }
    // Where the plug has taken the new keys, they are the ones, and the earlier ones are gone.
    let last = folder.path().join("last.txt");
    assert_ne!(recover(&ana, &plug, &paper, &last, "keyring.before:2"), Some(0), "M8 is out");
    restart(&mut plug);
    expect_works(&ana, &plug, "taken");
    let entry = kept(&ana);
    assert_ne!(entry["binding"]["cid"], before);
    assert!(entry.get("others").is_none(), "{entry}");
}
