//! Cloud servers that controllers and things must refuse, each by its own rule, as their owners see it:
//! `sect status`, `sect doctor`, and what the server got to hear (protocol sections 10.1, 10.2, 10.5).

mod support;

use std::thread::sleep;
use std::time::Duration;

use openssl::ssl::SslVersion;
use serde_json::Value;
use support::cloud::{Cloud, HOST};
use support::impostor::Impostor;
use support::{Person, Plug, wait_for};

fn json(person: &Person, arguments: &[&str]) -> (i32, Value, Value) {
    let done = person.sect(&[&["--json", "--timeout", "3"], arguments].concat());
    let read = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    (done.code, read(&done.stdout), read(&done.stderr))
}

/// A plug that has registered, its owner, and where it is at home.
fn registered(cloud: &Cloud) -> (Plug, Person, String) {
    let (plug, ana) = Plug::claimed_with(cloud);
    wait_for("the registration", || (json(&ana, &["--remote", "status"]).0 == 0).then_some(()));
    let home = plug.home().to_string();
    (plug, ana, home)
}

/// Waits until the plug says that it stands like this with its server.
fn wait_for_state(ana: &Person, home: &str, state: &str) {
    wait_for(state, || {
        let (code, status, _) = json(ana, &["--local", "--address", home, "status"]);
        let holds = (code == 0 && status["clouds"][0]["state"] == state).then_some(());
        if holds.is_none() {
            // The plug takes 20 connections a second from one address, and the next command is one, too.
            sleep(Duration::from_millis(100));
        }
        holds
    });
}

/// The checks of a doctor's report that failed.
fn failed(report: &Value) -> Vec<&Value> {
    report["checks"].as_array().into_iter().flatten().filter(|check| check["ok"] == false).collect()
}

/// `problem` by the cloud server is all that the controller says, with something to do; home goes on.
fn expect_refused_by_the_controller(plug: &Plug, ana: &Person, home: &str, problem: &str) {
    let (code, _, complaint) = json(ana, &["--remote", "status"]);
    assert_eq!(code, 6, "{complaint}");
    let error = &complaint["error"];
    assert!(error["message"].as_str().is_some_and(|message| message.ends_with(problem)), "{error}");
    assert!(error["next"].is_string(), "{error}");

    let (code, report, _) = json(ana, &["--remote", "doctor"]);
    let bad = failed(&report);
    assert_eq!((code, bad.len()), (6, 1), "{report}");
    assert!(bad[0]["check"].as_str().is_some_and(|check| check.ends_with(" certificate")), "{report}");
    assert!(bad[0]["problem"].as_str().is_some_and(|said| said.ends_with(problem)), "{report}");
    assert!(bad[0]["next"].is_string(), "{report}");

    for (wish, on) in [("on", true), ("off", false)] {
        let (code, _, complaint) = json(ana, &["--address", home, wish]);
        assert_eq!(code, 0, "{complaint}");
        assert_eq!(plug.outlet_is_on(), on);
    }
    let (code, status, complaint) = json(ana, &["--address", home, "status"]);
    assert_eq!((code, &status["paths"][0]["answered"]), (0, &true.into()), "{complaint}");
    assert!(status["paths"][1]["problem"].as_str().is_some_and(|said| said.ends_with(problem)), "{status}");
}

#[test]
fn a_server_without_tls_1_3_is_refused_by_both_and_learns_nothing() {
    let mut cloud = Cloud::running();
    let (plug, ana, home) = registered(&cloud);
    cloud.power_cut();
    let server = cloud.pki.server(&[HOST]);
    let at = |address| Impostor::at(address, &server, SslVersion::TLS1_2);
    let (for_things, for_controllers) = (at(cloud.for_things()), at(cloud.for_controllers()));

    wait_for_state(&ana, &home, "tls");
    expect_refused_by_the_controller(&plug, &ana, &home, "the server does not speak TLS 1.3");
    // What the plug itself cannot do, it tells at home.
    let (code, report, _) = json(&ana, &["--local", "--address", &home, "doctor"]);
    let bad = failed(&report);
    assert_eq!((code, bad.len()), (6, 1), "{report}");
    assert_eq!(bad[0]["problem"], "its TLS handshake with the server fails", "{report}");
    assert!(bad[0]["next"].is_string(), "{report}");

    for impostor in [for_things, for_controllers] {
        let seen = impostor.seen();
        assert!(seen.connections > 0);
        assert_eq!((seen.handshakes, seen.said), (0, Vec::new()));
    }
}

#[test]
fn a_server_whose_certificate_has_expired_is_refused_by_the_controller_alone_and_learns_nothing_from_it() {
    let mut cloud = Cloud::running();
    let (plug, ana, home) = registered(&cloud);
    cloud.power_cut();
    let expired = cloud.pki.expired_server(&[HOST]);
    let impostor = Impostor::at(cloud.for_controllers(), &expired, SslVersion::TLS1_3);
    expect_refused_by_the_controller(&plug, &ana, &home, "the server's certificate has expired");
    let seen = impostor.seen();
    assert!(seen.connections > 0);
    assert_eq!((seen.handshakes, seen.said), (0, Vec::new()));
    drop(impostor);

    // The plug may believe that it is 1970: name and authority are right, so it registers.
    cloud.install(&expired);
    cloud.start();
    wait_for_state(&ana, &home, "registered");
    expect_refused_by_the_controller(&plug, &ana, &home, "the server's certificate has expired");

    // Renewed, it serves both; nobody had to touch the plug.
    cloud.power_cut();
    cloud.install(&cloud.pki.server(&[HOST]));
    cloud.start();
    wait_for_state(&ana, &home, "registered");
    wait_for("the second path", || (json(&ana, &["--remote", "status"]).0 == 0).then_some(()));
}

#[test]
fn a_server_that_proves_itself_gets_the_login_which_shows_that_the_others_would_have_been_heard() {
    let mut cloud = Cloud::running();
    let (_plug, ana, _) = registered(&cloud);
    cloud.power_cut();
    let impostor = Impostor::at(cloud.for_controllers(), &cloud.pki.server(&[HOST]), SslVersion::TLS1_3);
    assert_ne!(json(&ana, &["--remote", "status"]).0, 0, "it does not answer");
    let said = wait_for("the login", || Some(impostor.seen()).filter(|seen| seen.handshakes > 0)).said;
    assert_eq!(said.first(), Some(&0x10), "CONNECT");
}
