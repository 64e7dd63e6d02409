//! The operator and the registrations of a server that is stopped: `list`, `forget`, `unmark`.

use sect::proto::json::MAX_INTEGER;

use super::isolation::{A, B, entry, token, user};
use super::registration::{ok, stale};
use super::server::Server;

/// Exit status, answer and complaint of `sect-cloud` with these arguments.
fn asked(server: &Server, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = server.command().args(arguments).output().expect("runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_thing_that_was_locked_out_registers_again_once_it_is_forgotten() {
    let mut server = Server::new();
    assert_eq!(server.thing(A).register(&A, 3, &[entry(0), entry(1)]), ok(3, &[]));
    assert_eq!(server.thing(B).register(&B, 1, &[entry(2)]), ok(1, &[]));
    // Whoever has stolen its certificate takes the highest number, after which there is none.
    assert_eq!(server.thing(A).register(&A, MAX_INTEGER, &[]), ok(MAX_INTEGER, &[]));
    assert_eq!(server.thing(A).register(&A, 3, &[entry(0), entry(1)]), stale(MAX_INTEGER, 3));

    let (id, other) = (A.to_string(), B.to_string());
    for arguments in [&["list"][..], &["forget", &id], &["unmark", &id]] {
        let (code, said, complaint) = asked(&server, arguments);
        assert_eq!((code, said.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(complaint.contains("stop it first"), "{complaint}");
    }
    server.kill();
    let list = || asked(&server, &["list", "--json"]);
    let of_b = format!(r#"{{"thing":"{other}","generation":1,"accounts":1,"refused":0,"reserved":0,"cloned":false}}"#);
    let of_a =
        format!(r#"{{"thing":"{id}","generation":{MAX_INTEGER},"accounts":0,"refused":0,"reserved":2,"cloned":true}}"#);
    assert_eq!(list(), (Some(0), format!("{of_a}\n{of_b}\n"), String::new()));
    let (code, said, _) = asked(&server, &["list"]);
    assert_eq!(code, Some(0));
    for secret in [token(2), user(2)] {
        assert!(said.contains(&id) && !said.contains(&secret), "{said}");
    }

    assert_eq!(asked(&server, &["forget", &id]).0, Some(0));
    assert_eq!(list().1, format!("{of_b}\n"));
    let (code, _, complaint) = asked(&server, &["forget", &id]);
    assert_eq!((code, complaint.contains("sect-cloud list")), (Some(1), true), "{complaint}");
    assert_eq!(asked(&server, &["forget", "nobody"]).0, Some(2));

    server.start(&[]);
    assert_eq!(server.thing(A).register(&A, 3, &[entry(0), entry(1)]), ok(3, &[]), "its own list, its own number");
    server.controller("x", &user(0), &token(0)).ping();
    server.controller("x", &user(2), &token(2)).ping();
}

#[test]
fn the_mark_of_a_clone_is_taken_away_and_nothing_else() {
    let mut server = Server::new();
    let mut a = server.thing(A);
    assert_eq!(a.register(&A, 3, &[entry(0)]), ok(3, &[]));
    assert_eq!(a.register(&A, 2, &[]), stale(3, 2));
    server.kill();
    let id = A.to_string();
    assert!(asked(&server, &["list"]).1.ends_with(", cloned\n"));
    assert_eq!(asked(&server, &["unmark", &id]).1, format!("{id} is not marked as cloned any more\n"));
    assert_eq!(asked(&server, &["unmark", &id]).1, format!("{id} was not marked\n"));
    assert_eq!(asked(&server, &["list"]).1, format!("{id}  generation 3, accounts 1, refused 0, reserved 0\n"));
    server.start(&[]);
    server.controller("x", &user(0), &token(0)).ping();
    assert_eq!(server.thing(A).register(&A, 3, &[entry(0)]), ok(3, &[]));
}

#[test]
fn who_looks_for_registrations_where_none_are_makes_nothing() {
    let mut server = Server::new();
    server.kill();
    let state = server.path("state");
    std::fs::remove_dir_all(&state).expect("removed");
    let (code, _, complaint) = asked(&server, &["list"]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("cannot use"), "{complaint}");
    assert!(!state.exists());
}
