//! `sect` by both paths at once: the home network and a cloud server, each a process of its own
//! (SecT STEP 10 to 15).

mod support;

use std::process::Stdio;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::cloud::Cloud;
use support::{Person, Plug, Watch, wait_for};

/// Nobody listens there: who looks for a plug at this address alone is not at home.
const ELSEWHERE: [&str; 2] = ["--address", "127.0.0.1:1"];

fn json(person: &Person, arguments: &[&str]) -> (i32, Value, String) {
    let done = person.sect(&[&["--json"], arguments].concat());
    (done.code, serde_json::from_str(&done.stdout).unwrap_or(Value::Null), done.stderr)
}

/// A plug that has registered, and its owner.
fn registered(cloud: &Cloud) -> (Plug, Person) {
    let (plug, ana) = Plug::claimed_with(cloud);
    wait_for("the registration", || (ana.sect(&["--remote", "--timeout", "2", "status"]).code == 0).then_some(()));
    (plug, ana)
}

#[test]
fn status_shows_both_paths_and_two_identical_answers() {
    let cloud = Cloud::running();
    let (plug, ana) = registered(&cloud);
    let home = plug.home().to_string();
    let (code, status, complaint) = json(&ana, &["--address", &home, "status"]);
    assert_eq!(code, 0, "{complaint}");
    let paths = status["paths"].as_array().expect("paths");
    let server = cloud.for_controllers().to_string().replace("127.0.0.1", "localhost");
    for (row, (path, at)) in paths.iter().zip([("local", home.as_str()), ("cloud", server.as_str())]) {
        assert_eq!((&row["path"], &row["at"], &row["answered"]), (&path.into(), &at.into(), &true.into()), "{status}");
        assert!(row["round_trip_ms"].as_f64().is_some_and(|time| time > 0.0), "{status}");
    }
    assert_eq!(paths.len(), 2);
    assert_eq!(status["clouds"][0]["state"], "registered");

    let done = ana.sect(&["--address", &home, "status"]);
    assert!(done.stdout.contains("identical answers: all paths work"), "{}", done.stdout);
    let (_, local, _) = json(&ana, &["--local", "--address", &home, "status"]);
    assert_eq!(local["paths"].as_array().map(Vec::len), Some(1), "{local}");
}

#[test]
fn away_from_home_it_just_works() {
    let cloud = Cloud::running();
    let (plug, ana) = registered(&cloud);
    for (arguments, on) in [
        (&["--remote", "on"][..], true),
        (&["--address", ELSEWHERE[1], "off"], false),
        (&["--address", ELSEWHERE[1], "toggle"], true),
    ] {
        let (code, answer, complaint) = json(&ana, arguments);
        assert_eq!(code, 0, "{arguments:?}: {complaint}");
        assert_eq!(answer["path"], "cloud", "{answer}");
        assert_eq!(plug.outlet_is_on(), on, "{arguments:?}");
    }
    // Both ways are named where one does not do.
    let (code, status, _) = json(&ana, &[ELSEWHERE[0], ELSEWHERE[1], "status"]);
    assert_eq!((code, &status["paths"][0]["answered"]), (0, &false.into()), "{status}");
    assert!(status["paths"][0]["problem"].as_str().is_some_and(|why| why.contains("127.0.0.1:1")), "{status}");
    assert_eq!(json(&ana, &["--local", ELSEWHERE[0], ELSEWHERE[1], "status"]).0, 3, "and not by the other way");
}

#[test]
fn at_home_a_cloud_server_that_is_away_is_not_waited_for() {
    let mut cloud = Cloud::running();
    let (plug, ana) = registered(&cloud);
    let home = plug.home().to_string();
    cloud.power_cut();
    let (code, answer, _) = json(&ana, &["--address", &home, "on"]);
    assert_eq!((code, &answer["path"]), (0, &"local".into()));
    assert!(plug.outlet_is_on());

    let (code, status, _) = json(&ana, &["--address", &home, "status"]);
    assert_eq!((code, &status["paths"][1]["answered"]), (0, &false.into()), "{status}");
    assert!(status["paths"][1]["problem"].as_str().is_some_and(|why| why.contains("could not reach")), "{status}");
    let done = ana.sect(&["--remote", "off"]);
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(plug.outlet_is_on());
}

#[test]
fn the_cloud_server_does_not_hear_of_a_controller_whose_command_is_answered_at_home() {
    let cloud = Cloud::running();
    let (plug, ana) = registered(&cloud);
    let home = plug.home().to_string();
    // Each connection ends with a line.
    let connections = || cloud.log_text().matches("visitor=Controller").count();
    let mut unheard = 0;
    for on in [true, false, true, false] {
        let before = connections();
        let (code, answer, complaint) = json(&ana, &["--address", &home, if on { "on" } else { "off" }]);
        assert_eq!((code, &answer["path"]), (0, &"local".into()), "{complaint}");
        std::thread::sleep(Duration::from_millis(100));
        unheard += usize::from(connections() == before);
    }
    // A machine that is busy may not be home in a quarter of a second.
    assert!(unheard >= 2, "{unheard} of 4 commands were no business of the server's");
    // A status asks by both, and where home does not answer at all, nothing is waited for.
    let before = connections();
    assert_eq!(json(&ana, &["--address", &home, "status"]).1["paths"][1]["answered"], true);
    wait_for("the server to have heard", || (connections() > before).then_some(()));
    assert_eq!(json(&ana, &[ELSEWHERE[0], ELSEWHERE[1], "on"]).1["path"], "cloud");
}

#[test]
fn a_watch_goes_on_by_the_path_that_is_left() {
    let mut cloud = Cloud::running();
    let (plug, ana) = registered(&cloud);
    let mut near = ana.watch(&plug);
    assert_eq!(near.line()["state"], "off");
    let mut command = ana.command();
    command.args(["--json", "--remote", "watch"]).stdout(Stdio::piped());
    let mut far = Watch::start(command);
    assert_eq!(far.line()["state"], "off");

    plug.press("short");
    for watch in [&mut near, &mut far] {
        let line = watch.line();
        assert_eq!((&line["event"], &line["state"], &line["by"]), (&"state".into(), &"on".into(), &"button".into()));
    }
    cloud.power_cut();
    assert_eq!(far.line()["event"], "lost", "its only path");
    plug.press("short");
    let line = near.line();
    assert_eq!((&line["event"], &line["state"]), (&"state".into(), &"off".into()), "one path is enough");
}

#[test]
fn a_plug_without_power_is_told_from_a_server_without_one() {
    let cloud = Cloud::running();
    let (mut plug, ana) = registered(&cloud);
    plug.power_cut();
    let done = ana.sect(&["--remote", "--timeout", "1", "status"]);
    assert_eq!(done.code, 5, "the server takes the login, the plug says nothing: {}", done.stderr);
}

#[test]
fn the_doctor_takes_every_step() {
    let mut cloud = Cloud::running();
    let (plug, ana) = registered(&cloud);
    let home = plug.home().to_string();
    let doctor = |arguments: &[&str]| json(&ana, &[&["--address", home.as_str(), "doctor"], arguments].concat());
    let failed = |report: &Value| -> Vec<String> {
        let checks = report["checks"].as_array().expect("checks").iter();
        checks
            .filter(|check| check["ok"] == false)
            .map(|check| check["check"].as_str().expect("a name").to_owned())
            .collect()
    };

    let (code, report, complaint) = doctor(&[]);
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report} {complaint}");
    // The keyring, home, the plug's own link; name, connection, certificate, login and answer of the server.
    assert_eq!(report["checks"].as_array().map(Vec::len), Some(8), "{report}");

    let place = cloud.for_controllers().to_string().replace("127.0.0.1", "localhost");
    cloud.power_cut();
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    cloud.install(&cloud.pki.server_at(&["localhost"], now - 2 * day, now - day));
    cloud.start();
    let (code, report, _) = json(&ana, &["--remote", "doctor"]);
    assert_eq!((code, failed(&report)), (6, vec![format!("{place} certificate")]), "{report}");
    let checks = report["checks"].as_array().expect("checks");
    let last = checks.last().expect("a check");
    assert!(
        last["problem"].as_str().is_some_and(|why| why.ends_with("has expired")) && last["next"].is_string(),
        "{last}"
    );

    // The plug has no clock: for it that certificate holds, and home goes on.
    let status = json(&ana, &["--address", &home, "status"]).1;
    assert!(status["paths"][1]["problem"].as_str().is_some_and(|why| why.ends_with("has expired")), "{status}");

    cloud.power_cut();
    let (code, report, _) = json(&ana, &["--remote", "doctor"]);
    assert_eq!((code, failed(&report)), (3, vec![format!("{place} connection")]), "{report}");
}

#[test]
fn a_plug_without_a_cloud_server_says_so() {
    let (plug, ana) = Plug::claimed();
    assert_eq!(ana.sect(&["--remote", "status"]).code, 2);
    let home = plug.home().to_string();
    let (code, report, _) = json(&ana, &["--address", &home, "doctor"]);
    assert_eq!((code, &report["ok"]), (0, &true.into()), "{report}");
}
