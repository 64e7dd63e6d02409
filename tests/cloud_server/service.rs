//! `sect-cloud` as its operator and the service manager see it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use super::isolation::{A, entry, t, token, user};
use super::server::{SOON, Server};

#[test]
fn it_says_that_it_is_ready_and_stops_gracefully() {
    let mut server = Server::new();
    server.kill();
    let socket = server.path("notify");
    let manager = UnixDatagram::bind(&socket).expect("binds");
    manager.set_read_timeout(Some(SOON)).expect("set");
    server.start(&[("NOTIFY_SOCKET", socket.to_str().expect("UTF-8"))]);
    let mut buffer = [0; 256];
    let mut hear = || {
        let count = manager.recv(&mut buffer).expect("a notification");
        String::from_utf8(buffer[..count].to_vec()).expect("UTF-8")
    };
    assert_eq!(hear().trim(), "READY=1");
    let mut a = server.thing(A);
    a.register(&A, 1, &[entry(0)]);
    let start = Instant::now();
    rustix::process::kill_process(server.pid(), rustix::process::Signal::TERM).expect("a child");
    assert_eq!(hear().trim(), "STOPPING=1");
    assert!(a.is_ended_within(SOON));
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
    assert!(start.elapsed() < SOON / 2);
    server.start(&[]);
    server.controller("x", &user(0), &token(0)).ping();
}

#[test]
fn it_keeps_its_state_to_itself_and_runs_once() {
    let server = Server::new();
    let state = server.path("state");
    assert_eq!(fs::metadata(&state).expect("a folder").mode() & 0o777, 0o700);
    for file in fs::read_dir(&state).expect("a folder") {
        let file = file.expect("a file");
        assert_eq!(file.metadata().expect("a file").mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
    let second = server.command().arg("run").output().expect("runs");
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("is sect-cloud running already?"));
}

#[test]
fn check_config_finds_what_is_wrong() {
    let server = Server::new();
    let check = || {
        let output = server.command().arg("check-config").output().expect("runs");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("UTF-8") + &String::from_utf8_lossy(&output.stderr),
        )
    };
    assert_eq!(check(), (Some(0), "ok\n".to_owned()));
    let good = fs::read_to_string(server.path("server.pem")).expect("a file");
    let expired = server.pki.expired_server(&["localhost"]);
    let (leaf, authority) = good.split_at(good.match_indices("-----BEGIN").nth(1).expect("two certificates").0);
    let swapped = [authority, leaf].concat();
    let manufacturer = server.pki.manufacturer.certificate().to_pem();
    for (file, text, expected) in [
        ("server.pem", leaf, "there must be two certificates in it"),
        ("server.pem", swapped.as_str(), "server.pem: "),
        ("server.pem", expired.certificate.as_str(), "KeyMismatch"),
        ("server.pem", "nothing", "there must be two certificates in it"),
        ("server.key", "nothing", "this is not the PEM file that belongs here"),
        ("manufacturer.pem", authority, "manufacturer.pem: "),
        ("manufacturer.pem", "", "there is no manufacturer CA in it"),
    ] {
        let before = fs::read(server.path(file)).expect("a file");
        fs::write(server.path(file), text).expect("written");
        let (code, message) = check();
        assert_eq!(code, Some(2), "{file}: {message}");
        assert!(message.contains(expected), "{file}: {message}");
        fs::write(server.path(file), before).expect("written");
    }
    fs::write(server.path("manufacturer.pem"), manufacturer).expect("written");
    fs::write(server.path("server.pem"), &expired.certificate).expect("written");
    fs::write(server.path("server.key"), expired.key.expose()).expect("written");
    let (code, message) = check();
    assert_eq!(code, Some(2));
    assert!(message.contains("does not hold now"), "{message}");
    fs::write(server.path("sect-cloud.toml"), "[limits]\nconections = 1\n").expect("written");
    assert_eq!(check().0, Some(2));
}

#[test]
fn neither_log_nor_numbers_hold_a_topic_a_user_or_a_password() {
    let server = Server::new();
    let mut a = server.thing(A);
    a.register(&A, 1, &[entry(0)]);
    let mut controller = server.controller("a telling name", &user(0), &token(0));
    assert_eq!(controller.subscribe(&[&t(0)]), [1]);
    controller.publish(&t(0), b"denied");
    controller.publish("sect/cloud/x/up", b"denied");
    controller.ping();
    a.register(&A, 0, &[]);
    a.register(&A, 2, &[]);
    assert!(controller.is_ended_within(SOON));
    server.eventually("the end is logged", |server| server.log().contains("a connection is over"));
    let shown = server.log() + &server.get("/metrics");
    assert!(shown.contains(&A.to_string()), "the thing's id may be there");
    for secret in [token(0), user(0), "a telling name".to_owned(), "sect/cloud".to_owned(), "s/0".to_owned()] {
        assert!(!shown.contains(&secret), "{secret} is in\n{shown}");
    }
}

#[test]
fn the_numbers_are_served_on_loopback_in_prometheus_text() {
    let server = Server::new();
    let text = server.get("/metrics");
    let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    assert!(server.get("/").starts_with("HTTP/1.1 404 "));
}
