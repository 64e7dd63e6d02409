//! A mistyped password, a new router, a router that is away: the plug's owner puts it right, and nobody
//! becomes its owner by it (SecT STEP 19; protocol sections 7.6 and 9).

mod support;

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use serde_json::Value;
use support::{Done, HOME_PASSPHRASE, Person, Plug};

/// The network of the new router.
const NEW_SSID: &str = "new home";
/// What opens it.
const NEW_PASSPHRASE: &str = "battery staple";
/// The plug's address there.
const NEW_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// A plug without power that has a second network in reach.
fn plug_with_two_networks() -> Plug {
    let plug = Plug::new();
    let mut settings = fs::OpenOptions::new().append(true).open(plug.config()).expect("settings");
    write!(
        settings,
        "\n[[wifi.networks]]\nssid = \"{NEW_SSID}\"\npassphrase = \"{NEW_PASSPHRASE}\"\naddress = \"{NEW_ADDRESS}\"\n"
    )
    .expect("written");
    plug
}

/// The same, at home, with its owner.
fn claimed() -> (Plug, Person) {
    let (mut plug, ana) = (plug_with_two_networks(), Person::new());
    plug.power_on();
    let paired = ana.pair(&plug);
    assert_eq!(paired.code, 0, "{}{}", paired.stdout, paired.stderr);
    plug.wait_until_online();
    (plug, ana)
}

fn new_home(plug: &Plug) -> SocketAddr {
    (NEW_ADDRESS, plug.home().port()).into()
}

/// `sect wifi set` with a password that is handed over.
fn wifi_set(who: &Person, secrets: &str, arguments: &[&str]) -> Done {
    let mut child = who
        .command()
        .args(["--json", "wifi", "set", "--secrets", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("sect starts");
    let _ = child.stdin.take().expect("piped").write_all(secrets.as_bytes());
    let output = child.wait_with_output().expect("sect ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Done { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// From home, heard of at `afterwards`.
fn move_to(who: &Person, plug: &Plug, ssid: &str, passphrase: &str, afterwards: SocketAddr) -> Done {
    let (here, there) = (plug.home().to_string(), afterwards.to_string());
    let arguments = ["--home-ssid", ssid, "--address", &here, "--home-address", &there];
    wifi_set(who, &format!("wifi-password={passphrase}\n"), &arguments)
}

/// From the plug's own network.
fn correct(who: &Person, plug: &Plug, passphrase: &str) -> Done {
    let (ssid, passcode) = wait_for_maintenance(plug);
    let (nearby, home) = (plug.access_point().to_string(), plug.home().to_string());
    let radio = plug.radio();
    let arguments = [
        &["--maintenance", "--ssid", &ssid, "--simulated-radio", radio.to_str().expect("UTF-8")][..],
        &["--home-ssid", "home", "--address", &nearby, "--home-address", &home],
    ];
    wifi_set(who, &format!("passcode={passcode}\nwifi-password={passphrase}\n"), &arguments.concat())
}

/// Name and code of an access point that is not that of a plug without an owner.
fn wait_for_maintenance(plug: &Plug) -> (String, String) {
    plug.wait_for_display("maintenance", |[first, second]| {
        let (ssid, left) = first.split_once(' ').filter(|(ssid, _)| ssid.starts_with("SecT-"))?;
        left.trim().starts_with('M').then(|| (ssid.to_owned(), second.clone()))
    })
}

fn expect_works(who: &Person, at: SocketAddr) {
    let on = who.sect(&["--address", &at.to_string(), "on"]);
    assert_eq!(on.code, 0, "{}{}", on.stdout, on.stderr);
}

#[test]
fn a_mistyped_password_at_pairing_is_corrected_with_the_button() {
    let (plug, ana) = (Plug::unclaimed(), Person::new());
    let (ssid, passcode) = plug.wait_for_passcode();
    let paired = ana.pair_with(&plug, &ssid, &passcode, "correct hrose battery", "");
    assert_eq!(paired.code, 5, "{}{}", paired.stdout, paired.stderr);
    assert!(paired.stderr.contains("sect wifi set --maintenance"), "{}", paired.stderr);
    plug.press("long");
    let set = correct(&ana, &plug, HOME_PASSPHRASE);
    assert_eq!(set.code, 0, "{}{}", set.stdout, set.stderr);
    let told: Value = serde_json::from_str(&set.stdout).expect("JSON");
    assert_eq!((&told["wifi"], &told["home_ssid"]), (&Value::from("kept"), &Value::from("home")));
    plug.wait_until_online();
    expect_works(&ana, plug.home());
}

#[test]
fn a_new_router_gets_the_plug_and_keeps_it_over_a_power_cut() {
    let (mut plug, ana) = claimed();
    let moved = move_to(&ana, &plug, NEW_SSID, NEW_PASSPHRASE, new_home(&plug));
    assert_eq!(moved.code, 0, "{}{}", moved.stdout, moved.stderr);
    plug.wait_until_online();
    expect_works(&ana, new_home(&plug));
    assert_eq!(ana.sect_at(&plug, &["status"]).code, 3, "nobody is at the old address");
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    expect_works(&ana, new_home(&plug));
}

#[test]
fn a_network_that_refuses_leaves_everything_as_it_was() {
    let (plug, ana) = claimed();
    let moved = move_to(&ana, &plug, NEW_SSID, "not the password", plug.home());
    assert_eq!(moved.code, 6, "{}{}", moved.stdout, moved.stderr);
    assert!(moved.stderr.contains("does not take this password"), "{}", moved.stderr);
    expect_works(&ana, plug.home());
    // It knows what else is in reach.
    let scan = ana.json_at(&plug, &["wifi", "scan"]);
    let names: Vec<_> = scan.as_array().expect("a list").iter().map(|one| one["ssid"].clone()).collect();
    assert_eq!(names, ["home", NEW_SSID]);
}

#[test]
fn a_power_cut_during_the_trial_brings_the_old_network_back() {
    let (mut plug, ana) = claimed();
    let nobody = SocketAddr::from(([127, 0, 0, 9], 9)).to_string();
    let here = plug.home().to_string();
    let arguments = ["--home-ssid", "nowhere", "--address", &here, "--home-address", &nobody, "--timeout", "2"];
    let asked = wifi_set(&ana, "wifi-password=battery staple\n", &arguments);
    assert_eq!(asked.code, 5, "{}{}", asked.stdout, asked.stderr);
    plug.wait_for_display("the trial", |[first, second]| {
        (first.trim() == "joining Wi-Fi" && second.trim() == "nowhere").then_some(())
    });
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    expect_works(&ana, plug.home());
}

#[test]
fn what_maintenance_shows_claims_nothing_and_goes_with_the_power() {
    let (mut plug, ana) = claimed();
    let thief = Person::new();
    plug.press("long");
    let (ssid, passcode) = wait_for_maintenance(&plug);
    let claimed = thief.pair_with(&plug, &ssid, &passcode, HOME_PASSPHRASE, "");
    assert_eq!(claimed.code, 6, "{}{}", claimed.stdout, claimed.stderr);
    // The owner is let in, for the home network alone.
    let nearby = plug.access_point().to_string();
    let on = ana.sect(&["--address", &nearby, "on"]);
    assert_eq!(on.code, 4, "{}{}", on.stdout, on.stderr);
    assert_eq!(ana.sect(&["--address", &nearby, "status"]).code, 0);
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    expect_works(&ana, plug.home());
    for _ in 0..3 {
        plug.press("long");
        let (_, next) = wait_for_maintenance(&plug);
        assert_ne!(next, passcode);
        plug.power_cut();
        plug.power_on();
        plug.wait_until_online();
    }
}

#[test]
fn who_is_no_owner_is_told_in_maintenance_that_it_takes_owners_alone() {
    let (plug, ana) = claimed();
    let invited = ana.json_at(&plug, &["user", "add", "--name", "Ben", "--role", "supervisor"]);
    let ben = Person::new();
    let invitation = invited["invitation"].as_str().expect("the text");
    let mut accept = ben.command();
    accept.args(["--address", &plug.home().to_string(), "accept", "-", "--alias", "Lamp"]);
    let mut child = accept.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), invitation.as_bytes()).expect("written");
    assert!(child.wait().expect("its own child").success());
    plug.press("long");
    let refused = correct(&ben, &plug, HOME_PASSPHRASE);
    assert_eq!(refused.code, 6, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("does not take your keys in its own network"), "{}", refused.stderr);
    assert!(refused.stderr.contains("its owners alone"), "{}", refused.stderr);
}
