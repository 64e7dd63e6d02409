//! Key update and renewal with the real processes: `sect` and `sectd`, their files, and power cuts at every
//! write of either side (protocol sections 6.6 and 8).

mod support;

use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use support::{Person, Plug};

/// What the thing's disk holds: epoch, master key, topic.
fn stored(plug: &Plug) -> (u32, Vec<u8>, String) {
    // The daemon keeps its store locked: a copy is what a thief would have.
    let copy = tempfile::tempdir().expect("a folder");
    for file in support::files(&plug.state()) {
        let name = file.file_name().expect("a name");
        if name.to_string_lossy().starts_with("thing.db") {
            std::fs::copy(&file, copy.path().join(name)).expect("copied");
        }
    }
    let database = Connection::open(copy.path().join("thing.db")).expect("the store");
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
    database.query_row("SELECT epoch, master_key, topic FROM controller", [], row).expect("one controller")
}

fn binding(ana: &Person) -> serde_json::Value {
    let file =
        support::files(&ana.keyring()).into_iter().find(|path| path.extension().is_some_and(|end| end == "json"));
    let text = std::fs::read(file.expect("an entry")).expect("readable");
    serde_json::from_slice(&text).expect("JSON")
}

/// A member of the stored binding, wherever it stands.
fn member<'a>(entry: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    entry.get(name).or_else(|| entry["binding"].get(name)).unwrap_or(&serde_json::Value::Null)
}

fn set_member(ana: &Person, name: &str, to: serde_json::Value) {
    let path: std::path::PathBuf = support::files(&ana.keyring())
        .into_iter()
        .find(|path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "json"))
        .expect("an entry");
    let mut entry = binding(ana);
    let place = if entry.get("binding").is_some() { &mut entry["binding"] } else { &mut entry };
    place[name] = to;
    write(&path, &entry);
}

fn write(path: &Path, entry: &serde_json::Value) {
    std::fs::write(path, entry.to_string()).expect("written in place, with its mode");
}

fn crashing(mut command: Command, point: &str) -> Command {
    command.env("SECT_CRASH_AT", point);
    command
}

#[test]
fn rekey_gives_both_sides_another_key_topic_and_password() {
    let (plug, ana) = Plug::claimed();
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
    let (before, mine) = (stored(&plug), binding(&ana));
    let report = ana.json_at(&plug, &["rekey"]);
    assert_eq!((report["epoch"].clone(), report["topic_renewed"].clone()), (1.into(), true.into()));
    let (after, now) = (stored(&plug), binding(&ana));
    assert_eq!((before.0, after.0), (0, 1));
    assert_ne!(before.1, after.1);
    assert_ne!(before.2, after.2);
    assert_eq!(member(&now, "topic"), &serde_json::Value::from(after.2.clone()));
    for name in ["master", "topic", "pass"] {
        assert_ne!(member(&mine, name), member(&now, name), "{name}");
    }
    for name in ["candidate", "next_topic", "next_pass"] {
        assert!(member(&now, name).is_null(), "{name}");
    }
    assert_eq!(ana.sect_at(&plug, &["off"]).code, 0);
    assert!(!plug.outlet_is_on());
    let again = ana.sect_at(&plug, &["rekey"]);
    assert_eq!(again.code, 0, "{}{}", again.stdout, again.stderr);
    assert_eq!(stored(&plug).0, 2);
}

#[test]
fn a_key_that_is_a_week_old_is_updated_after_the_answer() {
    let (plug, ana) = Plug::claimed();
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
    assert_eq!(stored(&plug).0, 0, "a new key stays");
    let today = member(&binding(&ana), "since_day").as_u64().expect("a day");
    set_member(&ana, "since_day", (today - 7).into());
    let done = ana.sect_at(&plug, &["off"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert_eq!(stored(&plug).0, 1);
    assert_eq!(member(&binding(&ana), "since_day").as_u64(), Some(today));
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
    assert_eq!(stored(&plug).0, 1);
}

#[test]
fn a_key_that_the_thing_calls_too_old_is_updated_before_the_wish() {
    let (mut plug, ana) = Plug::claimed();
    plug.power_cut();
    let database = Connection::open(plug.state().join("thing.db")).expect("the store");
    database.execute("UPDATE controller SET key_accepted = 1048576", []).expect("aged");
    drop(database);
    plug.power_on();
    plug.wait_until_online();
    let done = ana.sect_at(&plug, &["on"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(plug.outlet_is_on());
    assert_eq!(stored(&plug).0, 1);
}

#[test]
fn a_binding_of_version_0_1_0_still_works() {
    let (plug, ana) = Plug::claimed();
    set_member(&ana, "since_day", serde_json::Value::Null);
    let mut entry = binding(&ana);
    let place = if entry.get("binding").is_some() { &mut entry["binding"] } else { &mut entry };
    place.as_object_mut().expect("an object").remove("since_day");
    let path =
        support::files(&ana.keyring()).into_iter().find(|path| path.extension().is_some_and(|end| end == "json"));
    write(&path.expect("an entry"), &entry);
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
    assert_eq!(stored(&plug).0, 0);
    assert!(member(&binding(&ana), "since_day").is_u64(), "its age counts from now");
}

/// Each write of either side during `sect rekey` is cut off, before and after; the next command works, and one
/// more `sect rekey` leaves one key and one topic.
#[test]
fn a_power_cut_at_any_write_of_either_side_locks_nobody_out() {
    let cells: Vec<(Option<String>, Option<String>)> = (1..=3)
        .flat_map(|time| ["save.before", "save.committed", "save.after"].map(|point| (Some(at(point, time)), None)))
        .chain((1..=4).flat_map(|time| {
            ["keyring.before", "keyring.written", "keyring.renamed"].map(|point| (None, Some(at(point, time))))
        }))
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((thing, controller)) = cells.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    cut(thing.as_deref(), controller.as_deref());
                }
            });
        }
    });
}

fn at(point: &str, time: u32) -> String {
    if time == 1 { point.to_owned() } else { format!("{point}:{time}") }
}

fn cut(thing: Option<&str>, controller: Option<&str>) {
    let cell = format!("thing {thing:?}, controller {controller:?}");
    let (mut plug, ana) = Plug::claimed();
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0, "{cell}");
    if let Some(point) = thing {
        plug.power_cut();
        plug.power_on_until(point);
        plug.wait_until_online();
    }
    let mut command = ana.command();
    if let Some(point) = controller {
        command = crashing(command, point);
    }
    let output =
        command.args(["rekey", "--timeout", "4", "--address", &plug.home().to_string()]).output().expect("sect runs");
    if thing.is_some() {
        plug.wait_for_power_cut();
        plug.power_on();
        plug.wait_until_online();
    } else {
        assert_eq!(output.status.code(), None, "{cell}: the controller was not cut off");
    }
    let off = ana.sect_at(&plug, &["off"]);
    assert_eq!(off.code, 0, "{cell}: {}{}", off.stdout, off.stderr);
    assert!(!plug.outlet_is_on(), "{cell}");
    let again = ana.sect_at(&plug, &["rekey"]);
    assert_eq!(again.code, 0, "{cell}: {}{}", again.stdout, again.stderr);
    let (entry, (epoch, _, topic)) = (binding(&ana), stored(&plug));
    assert_eq!(member(&entry, "epoch"), &serde_json::Value::from(epoch), "{cell}");
    assert_eq!(member(&entry, "topic"), &serde_json::Value::from(topic), "{cell}");
    assert!(member(&entry, "candidate").is_null() && member(&entry, "next_topic").is_null(), "{cell}");
}
