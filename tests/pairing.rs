//! Pairing, binding and bootstrapping with `sect` and `sectd` as processes (SecT STEP 1-8).

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::{HOME_PASSPHRASE, Person, Plug, files};

#[test]
fn who_reads_the_display_becomes_the_owner() {
    let (plug, ana) = (Plug::unclaimed(), Person::new());
    let (_, passcode) = plug.wait_for_passcode();
    let paired = ana.pair(&plug);
    assert_eq!(paired.code, 0, "{}{}", paired.stdout, paired.stderr);
    for step in ["STEP 1", "STEP 2", "STEP 3", "STEP 4", "STEP 5", "STEP 6", "STEP 7", "STEP 8"] {
        assert!(paired.stderr.contains(step), "{step} is not told in {}", paired.stderr);
    }
    plug.wait_until_online();
    assert!(plug.display().is_some_and(|lines| !lines.concat().contains(&passcode)));

    let listed: serde_json::Value = serde_json::from_str(&ana.sect(&["list", "--json"]).stdout).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let status = ana.json_at(&plug, &["status"]);
    assert_eq!((status["name"].as_str(), status["state"].as_str()), (Some("Lamp"), Some("off")));
}

#[test]
fn keys_are_the_owner_s_alone_on_both_sides() {
    let (plug, ana) = Plug::claimed();
    for folder in [plug.state(), ana.keyring()] {
        let mode = |path: &std::path::Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        let files = files(&folder);
        assert!(!files.is_empty());
        for file in files {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
}

#[test]
fn a_wrong_passcode_gets_nowhere_and_the_right_one_still_works() {
    let (plug, ana) = (Plug::unclaimed(), Person::new());
    let (ssid, passcode) = plug.wait_for_passcode();
    let wrong: String = passcode.chars().rev().map(|c| if c == '7' { '8' } else { '7' }).collect();
    let refused = ana.pair_with(&plug, &ssid, &wrong, HOME_PASSPHRASE, "");
    assert_eq!(refused.code, 6, "{}", refused.stderr);
    assert!(refused.stderr.contains("the code on the display has changed"), "{}", refused.stderr);
    assert!(files(&ana.keyring()).is_empty());
    assert_eq!(plug.wait_for_passcode(), (ssid, passcode), "a guess does not change the passcode");
    let paired = ana.pair(&plug);
    assert_eq!(paired.code, 0, "{}", paired.stderr);
}

#[test]
fn an_alias_of_another_plug_is_refused_before_anything_is_told_and_ones_own_is_taken_again() {
    let (lamp, ana) = (Plug::unclaimed(), Person::new());
    // Her computer dies when it has the keys and the plug does not know yet.
    let (ssid, passcode) = lamp.wait_for_passcode();
    assert_eq!(ana.pair_with(&lamp, &ssid, &passcode, HOME_PASSPHRASE, "keyring.renamed").code, -1);
    let kept = files(&ana.keyring());

    let other = Plug::unclaimed();
    let refused = ana.pair(&other);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("there is a plug called Lamp already"), "{}", refused.stderr);
    assert!(refused.stderr.contains("The plug calls itself"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("STEP 3") && !refused.stderr.contains("STEP 4"), "{}", refused.stderr);
    assert_eq!(files(&ana.keyring()), kept);

    let paired = ana.pair(&lamp);
    assert_eq!(paired.code, 0, "{}", paired.stderr);
}

#[test]
fn a_claimed_plug_cannot_be_claimed_again() {
    let (plug, ana) = (Plug::unclaimed(), Person::new());
    let (ssid, passcode) = plug.wait_for_passcode();
    assert_eq!(ana.pair_with(&plug, &ssid, &passcode, HOME_PASSPHRASE, "").code, 0);
    let mallory = Person::new();
    let refused = mallory.pair_with(&plug, &ssid, &passcode, HOME_PASSPHRASE, "");
    assert_eq!(refused.code, 3, "{}", refused.stderr);
    assert!(files(&mallory.keyring()).is_empty());
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
}

#[test]
fn a_claimed_plug_shows_no_passcode_after_power_cuts_and_presses() {
    let (mut plug, ana) = Plug::claimed();
    for _ in 0..3 {
        plug.power_cut();
        plug.power_on();
        plug.wait_until_online();
        plug.press("long");
    }
    plug.terminate();
    plug.power_on();
    plug.wait_until_online();
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
    let shown = plug.log_text();
    assert_eq!(shown.matches("AccessPointUp").count(), 1, "{shown}");
}

#[test]
fn a_mistyped_home_password_is_told_and_the_plug_stays_its_owner_s() {
    let (plug, ana) = (Plug::unclaimed(), Person::new());
    let (ssid, passcode) = plug.wait_for_passcode();
    let paired = ana.pair_with(&plug, &ssid, &passcode, "no such password", "");
    assert_eq!(paired.code, 5, "{}", paired.stderr);
    assert!(paired.stderr.contains("has not appeared on your home network"), "{}", paired.stderr);
    plug.wait_for_display("what is wrong", |[_, second]| second.contains("wrong password").then_some(()));
}

#[test]
fn everybody_who_watches_sees_who_switched() {
    let (plug, ana) = Plug::claimed();
    let mut watch = ana.watch(&plug);
    assert_eq!(watch.line()["state"].as_str(), Some("off"));
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
    let line = watch.line();
    assert_eq!((line["state"].as_str(), line["who"].as_str()), (Some("on"), Some("Ana")));
    plug.press("short");
    let line = watch.line();
    assert_eq!((line["state"].as_str(), line["by"].as_str()), (Some("off"), Some("button")));
    assert_eq!(ana.json_at(&plug, &["toggle"])["state"].as_str(), Some("on"));
    assert!(plug.outlet_is_on());
}

#[test]
fn a_daemon_that_is_told_to_stop_does_so_within_2_s() {
    let (mut plug, ana) = Plug::claimed();
    let _watch = ana.watch(&plug);
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
    let (status, took) = plug.terminate();
    assert!(status.success() && took.as_secs() < 2, "{status}, {took:?}");
    assert!(plug.outlet_is_on(), "stopping leaves the load alone");
}
