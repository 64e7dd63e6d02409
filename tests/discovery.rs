//! Discovery on loopback: a hint, which only the key makes more of (SecT STEP 10, 11).

mod support;

use support::{Person, Plug};

#[test]
fn a_plug_is_found_without_an_address_and_switched_among_others() {
    let (lamp, ana) = Plug::claimed();
    // Somebody else's plug answers on the same network.
    let (other, _bo) = Plug::claimed();
    // No address is remembered: it must be discovered.
    let status = ana.sect(&["--json", "on"]);
    assert_eq!(status.code, 0, "{}", status.stderr);
    assert!(lamp.outlet_is_on() && !other.outlet_is_on());
}

#[test]
fn discover_recognises_the_own_plug_and_no_other() {
    let (lamp, ana) = Plug::claimed();
    let (other, _bo) = Plug::claimed();
    let done = ana.sect(&["discover", "--json"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    let found: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    let at = |plug: &Plug| {
        let address = plug.home().to_string();
        let rows = found.as_array().expect("a list").iter();
        let mut rows = rows.filter(|row| {
            row["addresses"].as_array().is_some_and(|all| all.iter().any(|one| one.as_str() == Some(&address)))
        });
        rows.next().cloned().unwrap_or_else(|| panic!("{address} is not in {found}"))
    };
    assert_eq!(at(&lamp)["name"].as_str(), Some("Lamp"));
    assert!(at(&other)["name"].is_null(), "another one's plug has no name here");
}

#[test]
fn an_unclaimed_plug_is_not_announced() {
    let plug = Plug::unclaimed();
    let done = Person::new().sect(&["discover", "--json", "--timeout", "1.5"]);
    assert!(!done.stdout.contains(&format!(":{}", plug.home().port())), "{}", done.stdout);
}
