//! A day in the house with a real plug: countdown, schedules, power cuts, and who did what.

mod support;

use std::fs;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::{Done, Person, Plug, files, wait_for};

const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
/// Friday 2026-11-20, 07:00 in Berlin.
const FRIDAY_7: u64 = 1_795_154_400_000;

/// Runs `sect` for the plug in Berlin.
fn in_berlin(person: &Person, plug: &Plug, arguments: &[&str]) -> Done {
    let mut command = person.command();
    command.env("TZ", BERLIN).args(["--address", &plug.home().to_string()]).args(arguments);
    let output = command.output().expect("sect runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Done { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn whats(history: &Value) -> Vec<&str> {
    history.as_array().expect("lines").iter().map(|line| line["what"].as_str().expect("what")).collect()
}

#[test]
fn a_countdown_switches_the_load_and_a_restart_forgets_it() {
    let (mut plug, ana) = Plug::claimed();
    let mut watch = ana.watch(&plug);
    assert_eq!(watch.line()["state"], "off");
    assert_eq!(ana.json_at(&plug, &["timer", "on", "--in", "2s"])["in_s"], 2);
    let told = ana.sect_at(&plug, &["status"]);
    assert!(told.stdout.contains("Lamp is off") && told.stdout.contains("; on in "), "{}", told.stdout);
    let line = watch.line();
    assert_eq!((&line["state"], &line["by"]), (&json!("on"), &json!("timer")));
    assert!(plug.outlet_is_on());
    assert_eq!(ana.json_at(&plug, &["timer", "show"])["timer"], Value::Null);

    ana.json_at(&plug, &["timer", "off", "--in", "2s"]);
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    assert_eq!(ana.json_at(&plug, &["timer", "show"])["timer"], Value::Null);
    sleep(Duration::from_secs(2));
    assert!(plug.outlet_is_on(), "the restart has forgotten it, and has left the load alone");

    ana.json_at(&plug, &["timer", "off", "--in", "1h"]);
    assert_eq!(ana.json_at(&plug, &["status"])["timer"], "off");
    assert_eq!(ana.sect_at(&plug, &["timer", "clear"]).code, 0);
    assert_eq!(ana.sect_at(&plug, &["timer", "show"]).stdout.trim(), "Lamp has no countdown");
}

#[test]
fn a_schedule_waits_for_the_time_and_runs_by_it() {
    let (mut plug, ana) = Plug::claimed();
    let added = in_berlin(&ana, &plug, &["--json", "schedule", "add", "mon-fri", "07:30", "on"]);
    assert_eq!((added.code, added.stdout.trim()), (0, r#"{"id":1,"clock":true}"#), "{}", added.stderr);
    let listed: Value =
        serde_json::from_str(&in_berlin(&ana, &plug, &["--json", "schedule", "list"]).stdout).expect("JSON");
    let expected = json!({"id": 1, "days": "mon-fri", "at": "07:30", "state": "on"});
    assert_eq!(listed, json!({"schedules": [expected], "clock": true, "zone": BERLIN}));

    // It outlives a restart; the time does not, and is told again by whoever looks.
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    let listed = in_berlin(&ana, &plug, &["schedule", "list"]);
    assert!(listed.stderr.contains("was told"), "{}", listed.stderr);
    let again = in_berlin(&ana, &plug, &["schedule", "list"]);
    assert!(!again.stderr.contains("was told"), "{}", again.stderr);

    // Then a time server is heard.
    plug.clock_says(FRIDAY_7 + 30 * 60_000 - 700);
    wait_for("the schedule", || plug.outlet_is_on().then_some(()));
    assert_eq!(ana.json_at(&plug, &["status"])["by"], "schedule");
    assert_eq!(ana.sect_at(&plug, &["off"]).code, 0);
    // Set back, and half past seven once more.
    plug.clock_says(FRIDAY_7 + 30 * 60_000 - 500);
    sleep(Duration::from_millis(1500));
    assert!(!plug.outlet_is_on(), "nothing runs twice");

    let history = in_berlin(&ana, &plug, &["history", "--limit", "2"]);
    let lines: Vec<&str> = history.stdout.lines().skip(1).collect();
    assert!(lines[0].starts_with("2026-11-20 07:30:0") && lines[0].contains("Ana  off"), "{lines:?}");
    assert!(lines[1].starts_with("2026-11-20 07:30:00") && lines[1].contains("on by schedule"), "{lines:?}");

    assert_eq!(ana.sect_at(&plug, &["schedule", "remove", "1"]).code, 0);
    assert_eq!(ana.sect_at(&plug, &["schedule", "remove", "1"]).code, 3);
    assert_eq!(ana.sect_at(&plug, &["schedule", "add", "mon", "25:00", "on"]).code, 2);
    assert_eq!(ana.sect_at(&plug, &["schedule", "zone", "Mars/Olympus"]).code, 2);
    assert_eq!(ana.sect_at(&plug, &["schedule", "zone", "<-03>3"]).code, 0);
    assert_eq!(ana.json_at(&plug, &["schedule", "list"]), json!({"schedules": [], "clock": true, "zone": "<-03>3"}));
    assert_eq!(ana.json_at(&plug, &["schedule", "add", "daily 1:00 on"])["id"], 2, "no number is used twice");
}

#[test]
fn a_plug_that_has_no_room_for_a_schedule_says_so() {
    let (plug, ana) = Plug::claimed();
    for minute in 0..32 {
        let done = ana.sect_at(&plug, &["schedule", "add", "daily", &format!("6:{minute:02}"), "on"]);
        assert_eq!(done.code, 0, "{}", done.stderr);
    }
    let listed = ana.json_at(&plug, &["schedule", "list"]);
    assert_eq!(listed["schedules"].as_array().map(Vec::len), Some(32), "more than one page");
    let refused = ana.sect_at(&plug, &["schedule", "add", "daily", "7:00", "on"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("no room for one more schedule"), "{}", refused.stderr);
}

#[test]
fn after_a_power_cut_the_load_is_as_its_owner_chose_and_after_a_crash_as_it_was() {
    let (mut plug, ana) = Plug::claimed();
    let switch = |plug: &Plug, on: bool| {
        let done = ana.sect_at(plug, &[if on { "on" } else { "off" }]);
        assert_eq!(done.code, 0, "{}", done.stderr);
    };
    // Nobody has chosen: off.
    switch(&plug, true);
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    assert!(plug.outlet_is_on(), "killed, and left alone");
    assert!(plug.terminate().0.success());
    plug.power_on();
    plug.wait_until_online();
    assert!(plug.outlet_is_on(), "stopped and started, and left alone");
    plug.lose_power();
    plug.power_on();
    plug.wait_until_online();
    assert!(!plug.outlet_is_on());
    assert_eq!(ana.json_at(&plug, &["status"])["by"], "boot");

    for (choice, had, gets) in
        [("on", false, true), ("off", true, false), ("last", true, true), ("last", false, false), ("last", true, true)]
    {
        assert_eq!(ana.json_at(&plug, &["power-on", choice])["power_on"], choice);
        switch(&plug, had);
        if choice == "last" {
            sleep(Duration::from_millis(2500));
        }
        plug.lose_power();
        plug.power_on();
        plug.wait_until_online();
        assert_eq!(plug.outlet_is_on(), gets, "{choice}, and it was {had}");
    }
    assert_eq!(ana.sect_at(&plug, &["power-on", "perhaps"]).code, 2);
    let history = ana.json_at(&plug, &["history", "--limit", "1"]);
    assert_eq!(whats(&history), ["power is back: on"]);
}

#[test]
fn the_audit_log_outlives_a_restart_and_says_who_it_was() {
    let (mut plug, ana) = Plug::claimed();
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
    plug.press("short");
    wait_for("the button", || (!plug.outlet_is_on()).then_some(()));
    assert_eq!(ana.json_at(&plug, &["status"])["by"], "button");
    let named = ana.json_at(&plug, &["name", "Kitchen lamp"]);
    assert_eq!((&named["name"], &named["thing_name"]), (&json!("Lamp"), &json!("Kitchen lamp")));
    let expected = ["named it Kitchen lamp", "off by button", "on", "claimed it"];
    assert_eq!(whats(&ana.json_at(&plug, &["history"])), expected);

    assert!(plug.terminate().0.success());
    plug.power_on();
    plug.wait_until_online();
    let history = ana.json_at(&plug, &["history"]);
    assert_eq!(whats(&history), [&["restarted"], &expected[..]].concat());
    assert_eq!((&history[3]["who"], &history[2]["who"]), (&json!("Ana"), &Value::Null));
    assert!(history[3]["up"].is_u64(), "the plug did not know the time: {history}");
    let of_ana = ana.json_at(&plug, &["history", "--user", "ana", "--limit", "2"]);
    assert_eq!(whats(&of_ana), ["named it Kitchen lamp", "on"]);
    // A power cut loses what was not written down yet, and nothing else.
    assert_eq!(ana.sect_at(&plug, &["on"]).code, 0);
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    assert_eq!(whats(&ana.json_at(&plug, &["history"])), [&["restarted"], &expected[..]].concat());
}

#[test]
fn switching_writes_nothing_to_the_disk() {
    let (plug, ana) = Plug::claimed();
    assert_eq!(ana.sect_at(&plug, &["power-on", "last"]).code, 0);
    let look = || -> Vec<(std::path::PathBuf, u64, SystemTime)> {
        let look = |path: std::path::PathBuf| {
            let found = fs::metadata(&path).expect("there");
            (path, found.len(), found.modified().expect("a time"))
        };
        files(&plug.state()).into_iter().map(look).collect()
    };
    let before = look();
    for wish in ["on", "off", "on", "off", "on"] {
        assert_eq!(ana.sect_at(&plug, &[wish]).code, 0);
    }
    assert_eq!(look(), before);
    // At rest it is remembered, once.
    wait_for("the store", || (look() != before).then_some(()));
}
