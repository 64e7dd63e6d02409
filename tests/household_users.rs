//! A household with the real programs: the owner invites by a picture of the QR code, the invited person
//! accepts from it, may do what the role allows, and is out when removed (SecT STEP 16, 17).

mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use support::{Done, Person, Plug};

/// What the other side needs besides a keyring: a folder for what people hand each other.
struct Table(tempfile::TempDir);

impl Table {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs `sect` at the plug's home address with something on standard input.
fn with_stdin(person: &Person, plug: &Plug, arguments: &[&str], stdin: &str) -> Done {
    let mut child = person
        .command()
        .args(["--address", &plug.home().to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sect starts");
    // It may have gone already, having found a mistake.
    let _ = child.stdin.take().expect("piped").write_all(stdin.as_bytes());
    let output = child.wait_with_output().expect("sect ends");
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Invites with these words; gives the text.
fn invite(owner: &Person, plug: &Plug, arguments: &[&str]) -> String {
    let invited = owner.json_at(plug, &[&["user", "add"], arguments].concat());
    invited["invitation"].as_str().expect("the text").to_owned()
}

fn join(person: &Person, plug: &Plug, invitation: &str) {
    let accepted = with_stdin(person, plug, &["accept", "-", "--alias", "Lamp"], invitation);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
}

#[test]
fn an_invited_user_joins_by_picture_does_what_the_role_allows_and_is_out_when_removed() {
    let (plug, owner) = Plug::claimed();
    let (table, ben) = (Table::new(), Person::new());
    let (png, svg) = (table.file("code.png"), table.file("code.svg"));
    let invited = owner.json_at(
        &plug,
        &["user", "add", "--name", "Ben", "--role", "operator", "--png", text(&png), "--svg", text(&svg)],
    );
    assert_eq!((invited["name"].as_str(), invited["role"].as_str()), (Some("Ben"), Some("operator")));
    for file in [&png, &svg] {
        assert_eq!(fs::metadata(file).expect("written").permissions().mode() & 0o777, 0o600);
    }

    let accepted = ben.json_at(&plug, &["accept", "--image", text(&png), "--alias", "Lamp"]);
    assert_eq!((accepted["user"].as_str(), accepted["role"].as_str()), (Some("Ben"), Some("operator")));
    assert_eq!(ben.json_at(&plug, &["on"])["who"].as_str(), Some("Ben"));
    assert!(plug.outlet_is_on());
    // By discovery too, without an address.
    assert_eq!(ben.sect(&["--local", "status"]).code, 0);

    let denied = ben.sect_at(&plug, &["user", "add", "--name", "Eve"]);
    assert_eq!((denied.code, denied.stdout.as_str()), (4, ""), "{}", denied.stderr);
    assert!(denied.stderr.contains("only an owner of Lamp may do that"), "{}", denied.stderr);
    let seen = ben.json_at(&plug, &["user", "list"]);
    assert_eq!(seen["users"].as_array().map(Vec::len), Some(1), "{seen}");
    assert_eq!((seen["users"][0]["name"].as_str(), seen["users"][0]["you"].as_bool()), (Some("Ben"), Some(true)));
    let all = owner.json_at(&plug, &["user", "list"]);
    assert_eq!(all["users"].as_array().map(Vec::len), Some(2), "{all}");

    let mut watch = ben.watch(&plug);
    assert_eq!(watch.line()["state"].as_str(), Some("on"));
    assert_eq!(owner.json_at(&plug, &["user", "remove", "ben", "--yes"])["removed"]["name"].as_str(), Some("Ben"));
    assert_eq!(watch.line()["event"].as_str(), Some("lost"), "the live session ended");
    drop(watch);
    let out = ben.sect_at(&plug, &["off"]);
    assert_eq!(out.code, 6, "{}", out.stderr);
    assert!(out.stderr.contains("does not know you any more"), "{}", out.stderr);
    assert!(plug.outlet_is_on());
    let all = owner.json_at(&plug, &["user", "list"]);
    assert_eq!(all["users"].as_array().map(Vec::len), Some(1), "{all}");
}

#[test]
fn an_invitation_works_once_and_by_the_pasted_text_too() {
    let (plug, owner) = Plug::claimed();
    let (ben, eve) = (Person::new(), Person::new());
    let invitation = invite(&owner, &plug, &["--name", "Ben", "--role", "viewer", "--for", "2d"]);
    join(&ben, &plug, &format!(" {}\n{}\n", &invitation[..40], &invitation[40..]));
    let me = &ben.json_at(&plug, &["user", "list"])["users"][0];
    assert_eq!(me["role"].as_str(), Some("viewer"));
    assert!(me["left_s"].as_u64().is_some_and(|left| (172_700..=172_800).contains(&left)), "{me}");
    assert_eq!(ben.sect_at(&plug, &["on"]).code, 4, "a viewer looks");

    let late = with_stdin(&eve, &plug, &["accept", "-", "--alias", "Lamp", "--timeout", "5"], &invitation);
    assert_eq!((late.code, late.stdout.as_str()), (6, ""), "{}", late.stderr);
    assert!(late.stderr.contains("does not take this invitation any more\n  somebody has used it"), "{}", late.stderr);
    assert_eq!(eve.sect(&["--json", "list"]).stdout, "[]\n");
    let users = owner.json_at(&plug, &["user", "list"])["users"].clone();
    let tried: Vec<_> = users.as_array().expect("a list").iter().map(|user| (&user["name"], &user["reused"])).collect();
    assert_eq!(tried, [(&"Ana".into(), &false.into()), (&"Ben".into(), &true.into())], "{users}");
    assert!(owner.sect_at(&plug, &["user", "list"]).stdout.contains("invitation used twice"));
}

#[test]
fn roles_and_names_change_and_a_plug_keeps_an_owner() {
    let (plug, owner) = Plug::claimed();
    let ben = Person::new();
    join(&ben, &plug, &invite(&owner, &plug, &["--name", "Ben", "--role", "viewer"]));
    assert_eq!(owner.json_at(&plug, &["user", "set-role", "Ben", "operator"])["changed"]["role"], "operator");
    assert_eq!(ben.sect_at(&plug, &["on"]).code, 0);
    assert_eq!(ben.json_at(&plug, &["user", "rename", "Ben", "Benjamin"])["changed"]["name"], "Benjamin");
    let listed = ben.sect(&["list"]);
    assert!(listed.stdout.contains("Benjamin"), "{}", listed.stdout);

    let last = owner.sect_at(&plug, &["user", "set-role", "Ana", "viewer", "--yes"]);
    assert_eq!(last.code, 4, "{}", last.stderr);
    assert!(last.stderr.contains("that would leave Lamp without an owner"), "{}", last.stderr);
    let last = owner.sect_at(&plug, &["user", "remove", "Ana", "--yes"]);
    assert_eq!(last.code, 4, "{}", last.stderr);

    // Without a person at a terminal nobody says yes.
    let unasked = owner.sect_at(&plug, &["user", "set-role", "Benjamin", "owner"]);
    assert_eq!(unasked.code, 2, "{}", unasked.stderr);
    assert_eq!(owner.sect_at(&plug, &["user", "set-role", "Benjamin", "owner", "--yes"]).code, 0);
    let left = owner.sect_at(&plug, &["user", "remove", "Ana", "--yes"]);
    assert_eq!(left.code, 0, "{}", left.stderr);
    assert_eq!(owner.sect(&["--json", "list"]).stdout, "[]\n", "keys that open nothing are gone");
    assert_eq!(ben.json_at(&plug, &["user", "list"])["users"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_second_computer_of_mine_has_my_name_and_my_role() {
    let (plug, owner) = Plug::claimed();
    let laptop = Person::new();
    join(&laptop, &plug, &invite(&owner, &plug, &["--for-me", "--yes"]));
    let users = laptop.json_at(&plug, &["user", "list"])["users"].clone();
    let users = users.as_array().expect("a list");
    assert!(users.iter().all(|user| user["name"] == "Ana" && user["role"] == "owner"), "{users:?}");
    assert_eq!(users.len(), 2);
    let ambiguous = laptop.sect_at(&plug, &["user", "remove", "Ana", "--yes"]);
    assert_eq!(ambiguous.code, 2, "{}", ambiguous.stderr);
    assert!(ambiguous.stderr.contains("2 users are called Ana\n  say which by the id: "), "{}", ambiguous.stderr);
    let other = users.iter().find(|user| user["you"] == false).and_then(|user| user["id"].as_str()).expect("an id");
    assert_eq!(laptop.sect_at(&plug, &["user", "remove", other, "--yes"]).code, 0);
    assert_eq!(owner.sect_at(&plug, &["on"]).code, 6);
}

#[test]
fn a_controller_that_dies_after_its_keys_are_on_disk_knows_what_became_of_it() {
    let (plug, owner) = Plug::claimed();
    let ben = Person::new();
    let invitation = invite(&owner, &plug, &["--name", "Ben", "--role", "operator"]);
    let mut child = ben
        .command()
        .env("SECT_CRASH_AT", "keyring.renamed")
        .args(["--address", &plug.home().to_string(), "accept", "-", "--alias", "Lamp"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sect starts");
    child.stdin.take().expect("piped").write_all(invitation.as_bytes()).expect("given");
    assert!(!child.wait().expect("ended").success());
    // M8 has not gone out: the plug does not know the keys, and the invitation is as good as before.
    assert_eq!(ben.sect_at(&plug, &["status"]).code, 6);
    join(&ben, &plug, &invitation);
    assert_eq!(ben.sect_at(&plug, &["on"]).code, 0);
}

#[test]
fn a_plug_that_dies_at_the_last_step_knows_its_new_user_or_can_invite_anew() {
    for (point, known) in [("save.committed", true), ("save.before", false)] {
        let (mut plug, owner) = Plug::claimed();
        plug.terminate();
        plug.power_on_until(point);
        plug.wait_until_online();
        let ben = Person::new();
        let invitation = invite(&owner, &plug, &["--name", "Ben", "--role", "operator"]);
        let cut = with_stdin(&ben, &plug, &["--timeout", "2", "accept", "-", "--alias", "Lamp"], &invitation);
        assert_eq!(cut.stdout, "", "{point}");
        assert!(cut.stderr.contains("the plug did not confirm the last step"), "{point}: {}", cut.stderr);
        assert!(cut.stderr.contains("Lamp may know you, or not"), "{point}: {}", cut.stderr);
        assert!(ben.sect(&["list"]).stdout.contains("not confirmed yet"), "{point}");
        plug.wait_for_power_cut();
        plug.power_on();
        plug.wait_until_online();
        if known {
            assert_eq!(ben.json_at(&plug, &["on"])["who"].as_str(), Some("Ben"));
            assert!(!ben.sect(&["list"]).stdout.contains("not confirmed yet"));
        } else {
            assert_eq!(ben.sect_at(&plug, &["status"]).code, 6);
            // The keys that nobody knows give way to those of the next invitation.
            join(&ben, &plug, &invite(&owner, &plug, &["--name", "Ben", "--role", "operator"]));
            assert_eq!(ben.sect_at(&plug, &["on"]).code, 0);
        }
        assert_eq!(owner.json_at(&plug, &["user", "list"])["users"].as_array().map(Vec::len), Some(2), "{point}");
    }
}

#[test]
fn among_several_plugs_the_one_that_invited_is_found() {
    let (other, _stranger) = Plug::claimed();
    let (plug, owner) = Plug::claimed();
    let ben = Person::new();
    let invitation = invite(&owner, &plug, &["--name", "Ben"]);
    let mut child = ben
        .command()
        .args(["accept", "-", "--alias", "Lamp", "--timeout", "20", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sect starts");
    child.stdin.take().expect("piped").write_all(invitation.as_bytes()).expect("given");
    let output = child.wait_with_output().expect("sect ends");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(ben.json_at(&plug, &["on"])["who"].as_str(), Some("Ben"));
    assert!(plug.outlet_is_on() && !other.outlet_is_on());
}

#[test]
fn a_backup_brings_the_keys_to_another_computer() {
    let (plug, owner) = Plug::claimed();
    let (table, laptop) = (Table::new(), Person::new());
    let file = table.file("sect.backup");
    let passphrase = "passphrase=correct horse battery\n";
    for _ in 0..2 {
        let done = with_stdin(&owner, &plug, &["backup", text(&file), "--secrets", "-"], passphrase);
        assert_eq!(done.code, 0, "{}", done.stderr);
    }
    assert_eq!(fs::metadata(&file).expect("written").permissions().mode() & 0o777, 0o600);

    let wrong = with_stdin(&laptop, &plug, &["restore", text(&file), "--secrets", "-"], "passphrase=wrong horse\n");
    assert_eq!((wrong.code, wrong.stdout.as_str()), (6, ""), "{}", wrong.stderr);
    let restored = with_stdin(&laptop, &plug, &["restore", text(&file), "--secrets", "-"], passphrase);
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    assert!(restored.stderr.contains("use these keys here alone"), "{}", restored.stderr);
    assert_eq!(laptop.json_at(&plug, &["on"])["who"].as_str(), Some("Ana"));

    let again = with_stdin(&laptop, &plug, &["--json", "restore", text(&file), "--secrets", "-"], passphrase);
    assert!(again.stdout.contains("\"outcome\":\"same\""), "{}", again.stdout);
    let other = table.file("holiday.jpg");
    fs::write(&other, "a photograph").expect("written");
    assert_eq!(with_stdin(&owner, &plug, &["backup", text(&other), "--secrets", "-"], passphrase).code, 2);
    assert_eq!(fs::read(&other).expect("read"), b"a photograph");
}

#[test]
fn two_people_do_not_have_one_name_and_nobody_has_one_that_cannot_be_read() {
    let (plug, owner) = Plug::claimed();
    let ben = Person::new();
    join(&ben, &plug, &invite(&owner, &plug, &["--name", "Ben", "--role", "operator"]));
    let again = owner.sect_at(&plug, &["user", "add", "--name", "ben"]);
    assert_eq!(again.code, 4, "{}{}", again.stdout, again.stderr);
    assert!(again.stderr.contains("a user called ben already"), "{}", again.stderr);
    assert!(again.stderr.contains("--for-me"), "{}", again.stderr);
    let renamed = ben.sect_at(&plug, &["user", "rename", "Ben", "Ana"]);
    assert_eq!(renamed.code, 4, "{}{}", renamed.stdout, renamed.stderr);
    for name in ["Be\u{200b}n", "Ben ", "\u{202e}neB"] {
        for arguments in [["user", "add", "--name", name], ["user", "rename", "Ben", name]] {
            let refused = owner.sect_at(&plug, &arguments);
            assert_eq!(refused.code, 2, "{name:?}: {}{}", refused.stdout, refused.stderr);
            assert!(refused.stderr.contains("no invisible characters"), "{}", refused.stderr);
        }
    }
    // Her own second computer has her name.
    let second = Person::new();
    join(&second, &plug, &invite(&owner, &plug, &["--for-me", "--yes"]));
    assert_eq!(second.sect_at(&plug, &["on"]).code, 0);
}
