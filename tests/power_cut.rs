//! Power cuts at every point where pairing persists something, on either side: afterwards the thing is
//! unclaimed with a new passcode, or claimed with a controller that works; never between
//! (protocol section 7).

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::{HOME_PASSPHRASE, Person, Plug};

/// Where the thing persists something while it is paired, with what a cut there leaves.
const THING: [(&str, Left); 8] = [
    ("", Left::Claimed),
    ("claim.begin", Left::Unclaimed),
    ("claim.written", Left::Unclaimed),
    ("claim.committed", Left::Claimed),
    ("claim.marked", Left::Claimed),
    ("save.before", Left::Claimed),
    ("save.committed", Left::Claimed),
    ("save.after", Left::Claimed),
];

/// Where the controller does: at M7, before it sends M8, and after M9.
const CONTROLLER: [(&str, bool); 7] = [
    ("", true),
    ("keyring.before", false),
    ("keyring.written", false),
    ("keyring.renamed", false),
    ("keyring.before:2", true),
    ("keyring.written:2", true),
    ("keyring.renamed:2", true),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Unclaimed,
    Claimed,
}

/// What a plug shows once it has power again.
fn outcome(plug: &Plug) -> Left {
    plug.wait_for_display("a passcode or being online", |[first, second]| {
        if matches!(second.trim(), "on" | "off") {
            Some(Left::Claimed)
        } else {
            (first.starts_with("SecT-") && second.len() == 16 && second.trim() != "pairing").then_some(Left::Unclaimed)
        }
    })
}

/// One cell of the matrix: both power cuts, then the same person tries to use the plug.
fn cut(thing_point: &str, thing_leaves: Left, controller_point: &str, m8_leaves: bool) {
    let cell = format!("thing {thing_point:?}, controller {controller_point:?}");
    let (mut plug, ana) = (Plug::new(), Person::new());
    plug.power_on_until(thing_point);
    let (ssid, passcode) = plug.wait_for_passcode();
    let paired = ana.pair_with(&plug, &ssid, &passcode, HOME_PASSPHRASE, controller_point);
    // A controller that had its power cut at M9 or before has no exit code.
    assert_eq!(
        paired.code == -1,
        !controller_point.is_empty() && thing_reaches(thing_point, controller_point),
        "{cell}: {}{}",
        paired.stdout,
        paired.stderr
    );
    if !thing_point.is_empty() && m8_leaves {
        plug.wait_for_power_cut();
    } else {
        plug.power_cut();
    }

    plug.power_on();
    let expected = if m8_leaves { thing_leaves } else { Left::Unclaimed };
    assert_eq!(outcome(&plug), expected, "{cell}");
    if expected == Left::Unclaimed {
        assert_ne!(plug.wait_for_passcode().1, passcode, "{cell}: the old passcode is back");
        let again = ana.pair(&plug);
        assert_eq!(again.code, 0, "{cell}: {}{}", again.stdout, again.stderr);
        plug.wait_until_online();
    }
    let on = ana.sect_at(&plug, &["on"]);
    assert_eq!(on.code, 0, "{cell}: {}{}", on.stdout, on.stderr);
    assert!(plug.outlet_is_on(), "{cell}");
    // And the thing remembers it.
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    let off = ana.sect_at(&plug, &["off"]);
    assert_eq!(off.code, 0, "{cell}: {}{}", off.stdout, off.stderr);
    assert!(!plug.outlet_is_on(), "{cell}");
}

/// Whether the controller comes to its second save, or to its first.
fn thing_reaches(thing_point: &str, controller_point: &str) -> bool {
    let sends_m9 = !thing_point.starts_with("claim.");
    !controller_point.ends_with(":2") || sends_m9
}

#[test]
fn after_every_pair_of_power_cuts_the_plug_is_unclaimed_or_works_for_its_owner() {
    let cells: Vec<_> =
        THING.iter().flat_map(|thing| CONTROLLER.iter().map(move |controller| (thing, controller))).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(((thing_point, left), (controller_point, m8))) =
                    cells.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    cut(thing_point, *left, controller_point, *m8);
                }
            });
        }
    });
    assert!(next.into_inner() >= cells.len());
}

#[test]
fn a_power_cut_at_the_very_first_start_leaves_a_thing_that_can_be_claimed() {
    for point in ["identity.before", "identity.after"] {
        let (mut plug, ana) = (Plug::new(), Person::new());
        plug.power_on_until(point);
        plug.wait_for_power_cut();
        plug.power_on();
        let paired = ana.pair(&plug);
        assert_eq!(paired.code, 0, "{point}: {}{}", paired.stdout, paired.stderr);
        plug.wait_until_online();
        assert_eq!(ana.sect_at(&plug, &["on"]).code, 0, "{point}");
    }
}

#[test]
fn every_crash_point_of_claim_save_and_keyring_is_in_the_matrix() {
    let reached = |file: &str| -> BTreeSet<String> {
        let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("the source");
        let names = source.split("crash_point!(\"").skip(1).filter_map(|rest| rest.split('"').next());
        names
            .filter(|name| ["claim.", "save.", "keyring."].iter().any(|of| name.starts_with(of)))
            .map(str::to_owned)
            .collect()
    };
    let cut = |points: &[&str]| -> BTreeSet<String> {
        points.iter().filter(|point| !point.is_empty()).map(|point| point.trim_end_matches(":2").to_owned()).collect()
    };
    assert_eq!(reached("src/thing/store/mod.rs"), cut(&THING.map(|(point, _)| point)));
    assert_eq!(reached("src/controller/keyring/file.rs"), cut(&CONTROLLER.map(|(point, _)| point)));
}
