//! The home router goes away and comes back: so does the plug, by itself, and the load notices nothing
//! (SecT STEP 8, 10 to 15; protocol section 7.5).

mod support;

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::cloud::Cloud;
use support::{Person, Plug, SOON, Watch, wait_for};

fn json(person: &Person, arguments: &[&str]) -> (i32, Value, String) {
    let done = person.sect(&[&["--json", "--timeout", "2"], arguments].concat());
    (done.code, serde_json::from_str(&done.stdout).unwrap_or(Value::Null), done.stderr)
}

/// Waits until `sect status` gets an answer by each of two ways, and says how long that took.
fn both_paths(plug: &Plug, ana: &Person) -> Duration {
    let (home, started) = (plug.home().to_string(), Instant::now());
    wait_for("an answer by both paths", || {
        let (code, status, _) = json(ana, &["--address", &home, "status"]);
        let answered = status["paths"].as_array().into_iter().flatten().filter(|path| path["answered"] == true);
        (code == 0 && answered.count() == 2 && status["clouds"][0]["state"] == "registered").then_some(())
    });
    started.elapsed()
}

/// Whether the plug answers to who looks for plugs; others on this machine may.
fn is_announced(plug: &Plug, ana: &Person) -> bool {
    let done = ana.sect(&["--json", "--timeout", "1", "discover"]);
    done.stdout.contains(&format!("\"{}\"", plug.home()))
}

#[test]
fn a_plug_whose_router_goes_away_comes_back_by_itself_on_both_paths() {
    let cloud = Cloud::running();
    let (plug, ana) = Plug::claimed_with(&cloud);
    both_paths(&plug, &ana);
    let home = plug.home().to_string();
    assert_eq!(json(&ana, &["--local", "--address", &home, "on"]).0, 0);
    let switched = std::fs::metadata(plug.runtime().join("outlet")).and_then(|file| file.modified()).expect("a file");
    let mut command = ana.command();
    command.args(["--json", "--local", "--address", &home, "watch"]).stdout(Stdio::piped());
    let mut watch = Watch::start(command);
    assert_eq!(watch.line()["state"], "on");

    plug.router("off");
    plug.wait_for_display("being on the way home", |[first, _]| first.starts_with("joining Wi-Fi").then_some(()));
    assert_eq!(watch.line()["event"], "lost", "nobody keeps a session that leads nowhere");
    // Some seconds, in which nothing answers by any way and nothing else opens.
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        let (code, _, complaint) = json(&ana, &["--local", "--address", &home, "status"]);
        assert_eq!(code, 3, "{complaint}");
        let (code, _, complaint) = json(&ana, &["--address", &home, "status"]);
        assert_eq!(code, 5, "{complaint}");
        for said in
            ["Lamp does not answer: ", "127.0.0.1", "from elsewhere: connected, but the plug does not answer there"]
        {
            assert!(complaint.contains(said), "{said}: {complaint}");
        }
    }
    assert_eq!(json(&ana, &["--remote", "status"]).0, 5, "the server is there, the plug is not");
    assert!(!is_announced(&plug, &ana));
    let [first, second] = plug.display().expect("a display");
    assert!(first.starts_with("joining Wi-Fi"), "no access point: {first} {second}");

    plug.router("on");
    plug.wait_until_online();
    // At home at once; by the cloud server within the first waits.
    let (code, answer, complaint) = json(&ana, &["--local", "--address", &home, "status"]);
    assert_eq!((code, &answer["state"]), (0, &"on".into()), "{complaint}");
    assert!(both_paths(&plug, &ana) < SOON);
    wait_for("the announcement", || is_announced(&plug, &ana).then_some(()));
    let untouched = std::fs::metadata(plug.runtime().join("outlet")).and_then(|file| file.modified()).expect("a file");
    assert_eq!((plug.outlet_is_on(), untouched), (true, switched), "nobody wrote to the outlet");
    for way in [&["--local", "--address", home.as_str(), "off"][..], &["--remote", "on"]] {
        let (code, _, complaint) = json(&ana, way);
        assert_eq!(code, 0, "{complaint}");
    }
    assert!(plug.outlet_is_on());
}
