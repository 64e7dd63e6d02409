//! Moving out: the plug forgets its household, whenever the power is cut, and the next owner finds it as it
//! came from the factory (SecT STEP 20; protocol section 9).

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use support::{Done, HOME_PASSPHRASE, Person, Plug, files};

fn unpair(who: &Person, plug: &Plug) -> Done {
    who.sect_at(plug, &["--device", "Lamp", "unpair", "--yes"])
}

/// Whether any file of the plug's state folder holds this text.
fn holds(plug: &Plug, text: &str) -> bool {
    let holds = |bytes: Vec<u8>| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    files(&plug.state()).into_iter().filter_map(|path| std::fs::read(path).ok()).any(holds)
}

/// The next owner claims and uses it, and nobody else does.
fn expect_next_owner(plug: &Plug, before: &Person) {
    let ben = Person::new();
    let paired = ben.pair(plug);
    assert_eq!(paired.code, 0, "{}{}", paired.stdout, paired.stderr);
    plug.wait_until_online();
    assert_eq!(ben.sect_at(plug, &["on"]).code, 0);
    let refused = before.sect_at(plug, &["off"]);
    assert!(matches!(refused.code, 3 | 6), "{}: {}{}", refused.code, refused.stdout, refused.stderr);
    assert!(plug.outlet_is_on());
}

#[test]
fn an_owner_gives_the_plug_up_and_the_next_one_finds_it_new() {
    let (mut plug, ana) = Plug::claimed();
    assert!(holds(&plug, HOME_PASSPHRASE), "the search would find it");
    let without_name = ana.sect_at(&plug, &["unpair", "--yes"]);
    assert_eq!(without_name.code, 2, "{}", without_name.stderr);
    let given_up = unpair(&ana, &plug);
    assert_eq!(given_up.code, 0, "{}{}", given_up.stdout, given_up.stderr);
    assert_eq!(ana.sect(&["list", "--json"]).stdout.trim(), "[]", "her keys are gone");
    let (_, passcode) = plug.wait_for_passcode();
    assert!(!holds(&plug, HOME_PASSPHRASE) && !plug.state().join("claimed").exists());
    // It stays nobody's, and a power cut changes nothing but the code.
    plug.power_cut();
    plug.power_on();
    assert_ne!(plug.wait_for_passcode().1, passcode);
    expect_next_owner(&plug, &ana);
}

#[test]
fn wherever_the_power_is_cut_the_plug_goes_on_forgetting() {
    let points = ["wipe.begin", "wipe.rows", "wipe.journal", "wipe.mark", "wipe.done"];
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (mut plug, ana) = (Plug::new(), Person::new());
                    plug.power_on_until(point);
                    let paired = ana.pair(&plug);
                    assert_eq!(paired.code, 0, "{point}: {}{}", paired.stdout, paired.stderr);
                    plug.wait_until_online();
                    let given_up = unpair(&ana, &plug);
                    // Before the answer went out, nobody knows; afterwards everybody does.
                    let known = if *point == "wipe.begin" { 5 } else { 0 };
                    assert_eq!(given_up.code, known, "{point}: {}{}", given_up.stdout, given_up.stderr);
                    plug.wait_for_power_cut();
                    // Cut once more, in the middle of going on.
                    plug.power_on_until("wipe.rows");
                    if *point != "wipe.done" {
                        plug.wait_for_power_cut();
                    } else {
                        plug.wait_for_passcode();
                        plug.power_cut();
                    }
                    plug.power_on();
                    plug.wait_for_passcode();
                    assert!(!holds(&plug, HOME_PASSPHRASE), "{point}");
                    if known == 5 {
                        assert_eq!(ana.sect(&["--device", "Lamp", "forget", "--yes"]).code, 0);
                    }
                    expect_next_owner(&plug, &ana);
                }
            });
        }
    });
}
