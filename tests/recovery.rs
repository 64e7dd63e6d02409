//! A lost phone: the button, the display and the code on paper, with the real programs (protocol section 9).

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::{Done, HOME_PASSPHRASE, HOME_SSID, Person, Plug};

/// Runs `sect` with secrets on its standard input.
fn sect(who: &Person, arguments: &[&str], secrets: &str) -> Done {
    let mut command = who.command();
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("sect starts");
    let _ = child.stdin.take().expect("piped").write_all(secrets.as_bytes());
    let output = child.wait_with_output().expect("sect ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Done { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A plug at home whose owner has a recovery code in a file.
fn claimed(folder: &Path) -> (Plug, Person, PathBuf) {
    let (plug, ana, file) = (Plug::unclaimed(), Person::new(), folder.join("paper.txt"));
    let (ssid, passcode) = plug.wait_for_passcode();
    let (nearby, home, radio) = (plug.access_point().to_string(), plug.home().to_string(), plug.radio());
    let arguments = [
        &["pair", "--ssid", &ssid, "--home-ssid", HOME_SSID, "--name", "Ana", "--alias", "Lamp", "--secrets", "-"][..],
        &["--address", &nearby, "--home-address", &home, "--simulated-radio", text(&radio)],
        &["--recovery-file", text(&file)],
    ];
    let secrets = format!("passcode={passcode}\nwifi-password={HOME_PASSPHRASE}\n");
    let paired = sect(&ana, &arguments.concat(), &secrets);
    assert_eq!(paired.code, 0, "{}{}", paired.stdout, paired.stderr);
    plug.wait_until_online();
    (plug, ana, file)
}

/// `sect recover` by somebody who reads the display and has this line on paper.
fn recover(who: &Person, plug: &Plug, paper: &str, next: &Path) -> Done {
    let (ssid, passcode) = plug.wait_for_passcode();
    let (nearby, home, radio) = (plug.access_point().to_string(), plug.home().to_string(), plug.radio());
    let arguments = [
        &["recover", "--ssid", &ssid, "--name", "Ana", "--alias", "Lamp", "--secrets", "-"][..],
        &["--address", &nearby, "--home-address", &home, "--simulated-radio", text(&radio)],
        &["--recovery-file", text(next), "--timeout", "10"],
    ];
    sect(who, &arguments.concat(), &format!("passcode={passcode}\n{paper}"))
}

#[test]
fn a_lost_phone_is_replaced_by_button_display_and_paper() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut plug, old_phone, file) = claimed(folder.path());
    let paper = fs::read_to_string(&file).expect("the code");
    assert_eq!(fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let new_phone = Person::new();

    plug.press("long");
    let wrong = "recovery-code=CHJP-CSV8-D5N6-PV3D-DSQQ-0WBJ-ECXQ\n";
    let void = folder.path().join("void.txt");
    let refused = recover(&new_phone, &plug, wrong, &void);
    assert_eq!(refused.code, 6, "{}{}", refused.stdout, refused.stderr);
    assert!(!void.exists(), "a code that recovers nothing is not left behind");
    assert!(!refused.stderr.contains("ECXQ"), "{}", refused.stderr);

    let next = folder.path().join("next.txt");
    let recovered = recover(&new_phone, &plug, &paper, &next);
    assert_eq!(recovered.code, 0, "{}{}", recovered.stdout, recovered.stderr);
    plug.wait_until_online();
    assert_eq!(new_phone.sect_at(&plug, &["on"]).code, 0);
    assert!(plug.outlet_is_on());
    let lost = old_phone.sect_at(&plug, &["off"]);
    assert!(matches!(lost.code, 3 | 6), "{}: {}{}", lost.code, lost.stdout, lost.stderr);
    assert!(plug.outlet_is_on());

    // It outlives a power cut, and the paper that was used is void.
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    assert_eq!(new_phone.sect_at(&plug, &["off"]).code, 0);
    plug.press("long");
    let thief = Person::new();
    let again = recover(&thief, &plug, &paper, &void);
    assert_eq!(again.code, 6, "{}{}", again.stdout, again.stderr);
    let newest = fs::read_to_string(&next).expect("the code");
    let third = folder.path().join("third.txt");
    assert_eq!(recover(&thief, &plug, &newest, &third).code, 0, "the newest one holds");
}

#[test]
fn an_owner_draws_a_new_code_and_the_old_one_is_void() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plug, ana, file) = claimed(folder.path());
    let (old, next) = (fs::read_to_string(&file).expect("the code"), folder.path().join("next.txt"));
    let drawn = ana.sect_at(&plug, &["recovery-code", "--recovery-file", text(&next)]);
    assert_eq!(drawn.code, 0, "{}{}", drawn.stdout, drawn.stderr);
    let nobody = ana.sect_at(&plug, &["recovery-code"]);
    assert_eq!(nobody.code, 2, "a script says where the code goes: {}", nobody.stderr);
    plug.press("long");
    let void = folder.path().join("void.txt");
    assert_eq!(recover(&Person::new(), &plug, &old, &void).code, 6);
    let newest = fs::read_to_string(&next).expect("the code");
    let recovered = recover(&Person::new(), &plug, &newest, &folder.path().join("third.txt"));
    assert_eq!(recovered.code, 0, "{}{}", recovered.stdout, recovered.stderr);
}

/// Somebody whom the owner has invited as an operator.
fn guest(plug: &Plug, owner: &Person, name: &str) -> Person {
    let invited = owner.json_at(plug, &["user", "add", "--name", name, "--role", "operator"]);
    let (guest, home) = (Person::new(), plug.home().to_string());
    let invitation = invited["invitation"].as_str().expect("the text");
    let accepted = sect(&guest, &["--address", &home, "accept", "-", "--alias", "Lamp"], invitation);
    assert_eq!(accepted.code, 0, "{}{}", accepted.stdout, accepted.stderr);
    guest
}

#[test]
fn who_may_not_set_a_recovery_code_is_shown_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut plug, ana, _) = claimed(folder.path());
    let (ben, file) = (guest(&plug, &ana, "Ben"), folder.path().join("bens.txt"));
    let refused = ben.sect_at(&plug, &["recovery-code", "--recovery-file", text(&file)]);
    assert_eq!(refused.code, 4, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("only an owner"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("recovery code is in") && !file.exists(), "{}", refused.stderr);
    plug.power_cut();
    let away = ana.sect_at(&plug, &["recovery-code", "--recovery-file", text(&file)]);
    assert!(matches!(away.code, 3 | 5), "{}{}", away.stdout, away.stderr);
    assert!(!away.stderr.contains("recovery code is in") && !file.exists(), "{}", away.stderr);
}

#[test]
fn who_stayed_after_a_recovery_is_named_with_the_way_to_remove_him() {
    let folder = tempfile::tempdir().expect("a folder");
    let (plug, ana, file) = claimed(folder.path());
    let (ben, paper) = (guest(&plug, &ana, "Ben"), fs::read_to_string(&file).expect("the code"));
    plug.press("long");
    let (new_phone, next) = (Person::new(), folder.path().join("next.txt"));
    let recovered = recover(&new_phone, &plug, &paper, &next);
    assert_eq!(recovered.code, 0, "{}{}", recovered.stdout, recovered.stderr);
    assert!(recovered.stderr.contains("stayed a user of Lamp: Ben (operator)."), "{}", recovered.stderr);
    assert!(recovered.stderr.contains("`sect user remove NAME`"), "{}", recovered.stderr);
    assert_eq!(ben.sect_at(&plug, &["on"]).code, 0, "he has");
    assert_eq!(new_phone.sect_at(&plug, &["user", "remove", "Ben", "--yes"]).code, 0);
}
