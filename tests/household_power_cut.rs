//! Power cuts at every point where a change of the household is persisted: afterwards it has happened or not,
//! everybody who belongs to it uses the plug without help, and what was taken from it is nowhere on the disk
//! (SecT STEP 6, 16 to 20; protocol sections 8 and 9).

mod support;

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::Value;
use support::{HOME_PASSPHRASE, Person, Plug, files};

/// Where the thing replaces its household, with whether the change is there after a cut.
const SAVE: [(&str, bool); 3] = [("save.before", false), ("save.committed", true), ("save.after", true)];

/// Where a controller keeps what it has agreed on: before M8 goes out, and after M9.
const KEYRING: [(&str, bool); 5] = [
    ("keyring.before", false),
    ("keyring.written", false),
    ("keyring.renamed", false),
    ("keyring.before:2", true),
    ("keyring.renamed:2", true),
];

/// The network of the new router.
const NEW_SSID: &str = "new home";
const NEW_PASSPHRASE: &str = "battery staple";
const NEW_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// A claimed plug that has just started again, and cuts its power at its first `point`.
fn claimed_until(point: &str) -> (Plug, Person) {
    let (mut plug, ana) = Plug::claimed();
    plug.power_cut();
    plug.power_on_until(point);
    plug.wait_until_online();
    (plug, ana)
}

/// Power is back.
fn restart(plug: &mut Plug) {
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
}

fn invite(owner: &Person, plug: &Plug) -> String {
    let invited = owner.json_at(plug, &["user", "add", "--name", "Ben", "--role", "operator"]);
    invited["invitation"].as_str().expect("the text").to_owned()
}

/// `sect accept`, under way; `crash_point` may cut the controller's power.
fn accept(who: &Person, plug: &Plug, invitation: &str, crash_point: &str) -> Child {
    let mut child = who
        .command()
        .env("SECT_CRASH_AT", crash_point)
        .args(["--address", &plug.home().to_string(), "--timeout", "8", "accept", "-", "--alias", "Lamp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sect starts");
    child.stdin.take().expect("piped").write_all(invitation.as_bytes()).expect("it reads its invitation first");
    child
}

fn join(who: &Person, plug: &Plug, invitation: &str) {
    let ended = accept(who, plug, invitation, "").wait().expect("its own child");
    assert!(ended.success(), "{ended}");
}

/// Both ways, so that neither is what the load had before.
fn expect_works(who: &Person, plug: &Plug, cell: &str) {
    for (wish, on) in [("on", true), ("off", false)] {
        let done = who.sect_at(plug, &[wish]);
        assert_eq!(done.code, 0, "{cell}: {}{}", done.stdout, done.stderr);
        assert_eq!(plug.outlet_is_on(), on, "{cell}");
    }
}

/// The plug does not know the keys.
fn expect_unknown(who: &Person, plug: &Plug, cell: &str) {
    let refused = who.sect_at(plug, &["on"]);
    assert_eq!(refused.code, 6, "{cell}: {}{}", refused.stdout, refused.stderr);
    assert!(!plug.outlet_is_on(), "{cell}");
}

fn users(owner: &Person, plug: &Plug) -> usize {
    owner.json_at(plug, &["user", "list"])["users"].as_array().map_or(0, Vec::len)
}

/// What only this person and the plug know, as bytes that would stand in the plug's files.
struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    fn of(person: &Person) -> Self {
        let is_entry = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "json");
        let path = files(&person.keyring()).into_iter().find(is_entry).expect("an entry in the keyring");
        let entry: Value = serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON");
        let text = |name: &str| entry["binding"][name].as_str().expect("a text").to_owned();
        let master = Base64UrlUnpadded::decode_vec(&text("master")).expect("base64url");
        assert_eq!(master.len(), 64);
        Self(vec![
            ("topic", text("topic").into_bytes()),
            ("password", text("pass").into_bytes()),
            ("user name", text("user").into_bytes()),
            ("master key", master),
        ])
    }

    /// Those that stand somewhere in the plug's files: database, journal, free pages and all.
    fn found(&self, plug: &Plug) -> Vec<&'static str> {
        let contents: Vec<_> = files(&plug.state()).into_iter().map(|path| fs::read(path).expect("readable")).collect();
        let stands =
            |secret: &[u8]| contents.iter().any(|bytes| bytes.windows(secret.len()).any(|part| part == secret));
        self.0.iter().filter(|(_, secret)| stands(secret)).map(|(name, _)| *name).collect()
    }
}

#[test]
fn whoever_joins_while_the_plug_loses_its_power_is_in_or_comes_in_by_another_invitation() {
    for (point, is_in) in SAVE {
        let (mut plug, ana) = claimed_until(point);
        let ben = Person::new();
        let mut accepting = accept(&ben, &plug, &invite(&ana, &plug), "");
        plug.wait_for_power_cut();
        restart(&mut plug);
        accepting.wait().expect("its own child");
        if !is_in {
            expect_unknown(&ben, &plug, point);
            join(&ben, &plug, &invite(&ana, &plug));
        }
        expect_works(&ben, &plug, point);
        expect_works(&ana, &plug, point);
        assert_eq!(users(&ana, &plug), 2, "{point}");
        restart(&mut plug);
        expect_works(&ben, &plug, point);
    }
}

#[test]
fn whoever_joins_while_his_own_computer_dies_is_in_or_comes_in_by_the_same_invitation() {
    let (plug, ana) = Plug::claimed();
    for (point, is_in) in KEYRING {
        let ben = Person::new();
        let invitation = invite(&ana, &plug);
        let ended = accept(&ben, &plug, &invitation, point).wait().expect("its own child");
        assert_eq!(ended.code(), None, "{point}: its power was cut");
        if !is_in {
            assert_eq!(users(&ana, &plug), 1, "{point}");
            join(&ben, &plug, &invitation);
        }
        expect_works(&ben, &plug, point);
        let removed = ben.sect_at(&plug, &["user", "remove", "Ben", "--yes"]);
        assert_eq!(removed.code, 0, "{point}: {}", removed.stderr);
        assert_eq!(users(&ana, &plug), 1, "{point}");
    }
}

#[test]
fn a_removal_over_which_the_power_is_cut_holds_or_is_made_again_and_leaves_no_byte() {
    for (point, is_out) in SAVE {
        let (mut plug, ana) = Plug::claimed();
        let ben = Person::new();
        join(&ben, &plug, &invite(&ana, &plug));
        expect_works(&ben, &plug, point);
        let (owners, bens) = (Secrets::of(&ana), Secrets::of(&ben));
        assert_eq!(bens.found(&plug).len(), 4, "{point}: the search finds what is there");
        plug.power_cut();
        plug.power_on_until(point);
        plug.wait_until_online();
        let removed = ana.sect_at(&plug, &["--timeout", "4", "user", "remove", "Ben", "--yes"]);
        assert_ne!(removed.code, 0, "{point}: the plug had no power to answer");
        plug.wait_for_power_cut();
        restart(&mut plug);
        if !is_out {
            expect_works(&ben, &plug, point);
            let again = ana.sect_at(&plug, &["user", "remove", "Ben", "--yes"]);
            assert_eq!(again.code, 0, "{point}: {}", again.stderr);
        }
        expect_unknown(&ben, &plug, point);
        assert_eq!(users(&ana, &plug), 1, "{point}");
        expect_works(&ana, &plug, point);
        assert_eq!(bens.found(&plug), [""; 0], "{point}");
        plug.power_cut();
        assert_eq!(bens.found(&plug), [""; 0], "{point}: nor without power");
        assert_eq!(owners.found(&plug).len(), 4, "{point}");
    }
}

/// A new key, topic and password; the power of either side may be cut over it.
fn rekey(who: &Person, plug: &Plug, crash_point: &str) -> Option<i32> {
    let mut command = who.command();
    command.env("SECT_CRASH_AT", crash_point).args(["--timeout", "4", "--address", &plug.home().to_string(), "rekey"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("sect runs").code()
}

/// One cell: whoever loses his power when, both have one key in common, and nothing of the old is left.
fn cut_over_a_key_update(thing_point: &str, controller_point: &str) {
    let cell = format!("thing {thing_point:?}, controller {controller_point:?}");
    let (mut plug, ana) = claimed_until(thing_point);
    let Secrets(before) = Secrets::of(&ana);
    // The user name stays.
    let before = Secrets(before.into_iter().filter(|(name, _)| *name != "user name").collect());
    assert_eq!(before.found(&plug).len(), 3, "{cell}: the search finds what is there");
    let ended = rekey(&ana, &plug, controller_point);
    if thing_point.is_empty() {
        assert_eq!(ended, None, "{cell}");
    } else {
        // Without a new topic the new key is one all the same.
        assert_eq!(ended == Some(0), thing_point.contains(':'), "{cell}: {ended:?}");
        plug.wait_for_power_cut();
    }
    restart(&mut plug);
    expect_works(&ana, &plug, &cell);
    assert_eq!(rekey(&ana, &plug, ""), Some(0), "{cell}: once more");
    expect_works(&ana, &plug, &cell);
    assert_eq!(before.found(&plug), [""; 0], "{cell}");
    assert_eq!(Secrets::of(&ana).found(&plug).len(), 4, "{cell}: both keep the same");
}

#[test]
fn a_key_update_over_which_either_side_loses_its_power_leaves_one_common_key_and_nothing_of_the_old() {
    // Epoch, next topic, change of topic; and candidate, epoch, next topic, change of topic.
    let nth = |point: &str, time: u32| if time == 1 { point.to_owned() } else { format!("{point}:{time}") };
    let of_thing = (1..=3).flat_map(|time| SAVE.map(|(point, _)| (nth(point, time), String::new())));
    let keyring = ["keyring.before", "keyring.written", "keyring.renamed"];
    let of_controller = (1..=4).flat_map(|time| keyring.map(|point| (String::new(), nth(point, time))));
    let cells: Vec<_> = of_thing.chain(of_controller).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some((thing_point, controller_point)) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
                    cut_over_a_key_update(thing_point, controller_point);
                }
            });
        }
    });
}

#[test]
fn a_plug_that_was_given_up_holds_no_byte_of_its_household() {
    let (mut plug, ana) = Plug::claimed();
    let ben = Person::new();
    join(&ben, &plug, &invite(&ana, &plug));
    let secrets = [Secrets::of(&ana), Secrets::of(&ben)];
    let given_up = ana.sect_at(&plug, &["--device", "Lamp", "unpair", "--yes"]);
    assert_eq!(given_up.code, 0, "{}{}", given_up.stdout, given_up.stderr);
    plug.wait_for_passcode();
    let passphrase = Secrets(vec![("passphrase", HOME_PASSPHRASE.as_bytes().to_vec())]);
    for secrets in secrets.iter().chain([&passphrase]) {
        assert_eq!(secrets.found(&plug), [""; 0]);
    }
    plug.power_cut();
    for secrets in secrets.iter().chain([&passphrase]) {
        assert_eq!(secrets.found(&plug), [""; 0], "nor without power");
    }
}

#[test]
fn a_move_to_another_network_over_which_the_power_is_cut_ends_in_one_of_the_two() {
    for (point, has_moved) in SAVE {
        let (mut plug, ana) = (Plug::new(), Person::new());
        let mut settings = fs::OpenOptions::new().append(true).open(plug.config()).expect("settings");
        let network = format!("ssid = \"{NEW_SSID}\"\npassphrase = \"{NEW_PASSPHRASE}\"\naddress = \"{NEW_ADDRESS}\"");
        writeln!(settings, "\n[[wifi.networks]]\n{network}").expect("written");
        plug.power_on();
        assert_eq!(ana.pair(&plug).code, 0, "{point}");
        plug.wait_until_online();
        plug.power_cut();
        plug.power_on_until(point);
        plug.wait_until_online();

        let (here, there) = (plug.home().to_string(), format!("{NEW_ADDRESS}:{}", plug.home().port()));
        let mut child = ana
            .command()
            .args(["--timeout", "4", "--address", &here, "wifi", "set", "--secrets", "-"])
            .args(["--home-ssid", NEW_SSID, "--home-address", &there])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sect starts");
        let secrets = format!("wifi-password={NEW_PASSPHRASE}\n");
        child.stdin.take().expect("piped").write_all(secrets.as_bytes()).expect("it reads its secrets first");
        plug.wait_for_power_cut();
        child.kill().expect("its own child");
        child.wait().expect("its own child");
        restart(&mut plug);
        let at = if has_moved { &there } else { &here };
        let on = ana.sect(&["--address", at, "on"]);
        assert_eq!(on.code, 0, "{point}: {}{}", on.stdout, on.stderr);
        let kept: Vec<_> = [HOME_PASSPHRASE, NEW_PASSPHRASE]
            .map(|passphrase| Secrets(vec![("passphrase", passphrase.as_bytes().to_vec())]).found(&plug).len())
            .into();
        assert_eq!(kept, if has_moved { [0, 1] } else { [1, 0] }, "{point}: one network's password is on the disk");
    }
}
