//! Invitations: who comes in by one, and what a second holder of the QR code gets.

use base64ct::{Base64UrlUnpadded, Encoding as _};

use super::pairing::Pairing;
use super::*;
use crate::proto::action::{Admission, NewSessions};
use crate::proto::invitation::Invitation;
use crate::proto::keys::PairingCode;
use crate::proto::operation::argument::{Bounded, UserAdd, UserDel, UserRole};
use crate::proto::pairing::message::*;
use crate::proto::pairing::thing::Ending;
use crate::proto::qr;
use crate::proto::signature::Spki;
use crate::proto::topic::{PAIR_C2T, PAIR_T2C};

/// The session of whoever holds an invitation.
const GUEST: SessionId = SessionId(50);
/// That of another one.
const THIEF: SessionId = SessionId(60);

pub(super) fn user_add(name: &str, role: Role, ttl_s: Option<u32>) -> Operation {
    let ttl_s = ttl_s.map(|ttl_s| Bounded::new(ttl_s).expect("in range"));
    Operation::UserAdd(UserAdd { name: name.parse().expect("a name"), role, ttl_s })
}

/// What is admitted from now on.
fn admitted(actions: &[Action]) -> Vec<Admission> {
    let mut admits = actions.iter().filter_map(|action| match action {
        Action::Admit(admissions) => Some(admissions.clone()),
        _ => None,
    });
    admits.next_back().expect("a list of admissions")
}

fn invitation_of(answer: &serde_json::Value) -> Invitation {
    answer["inv"].as_str().expect("text").parse().expect("an invitation")
}

impl Hand {
    pub(super) fn invites(&mut self, bench: &mut Bench, name: &str, role: Role, ttl_s: Option<u32>) -> Invitation {
        let (rc, answer, _) = self.asks(bench, &user_add(name, role, ttl_s));
        assert_eq!(rc, 0);
        invitation_of(&answer)
    }
}

/// Sends one message of a run; what came back on the pairing topic, and all else.
fn say(bench: &mut Bench, session: SessionId, message: &[u8]) -> (Vec<Vec<u8>>, Vec<Action>) {
    let verdict = bench.publish(session, PAIR_C2T, message);
    assert!(matches!(verdict, Verdict::Paired | Verdict::Repeated), "{verdict:?}");
    let (mut replies, mut rest) = (Vec::new(), Vec::new());
    for action in bench.actions() {
        match action {
            Action::SendPairing { session: to, payload } => {
                assert_eq!(to, session);
                replies.push(payload);
            }
            other => rest.push(other),
        }
    }
    (replies, rest)
}

/// A run up to M7.
fn told(bench: &mut Bench, session: SessionId, invitation: &Invitation) -> (Pairing, Vec<Vec<u8>>) {
    bench.thing.handle_session_opened(session, &invitation.psk_identity());
    let mut run = Pairing::drawn_from(9000 + session.0);
    let accept = say(bench, session, &run.hello.clone()).0.remove(0);
    run.accept_by(&accept, &PairingCode::of_invitation(&invitation.secret));
    let confirm = run.confirm();
    let (replies, rest) = say(bench, session, &confirm);
    assert_eq!((replies.len(), rest), (3, Vec::new()), "M4, M6 and M7");
    (run, replies)
}

fn open<B: json::Body + serde::de::DeserializeOwned>(run: &Pairing, message: &[u8]) -> B {
    let opened = Sealed::parse(message).expect("shape").open(&run.keys().t2c).expect("authentic");
    json::read(opened.bytes()).expect("the message")
}

/// Somebody comes in by an invitation; the actions of his M8.
pub(super) fn join(bench: &mut Bench, session: SessionId, invitation: &Invitation) -> Vec<Action> {
    let (mut run, _) = told(bench, session, invitation);
    let commit = run.commit();
    let (done, rest) = say(bench, session, &commit);
    assert_eq!(open::<BindDone>(&run, &done[0]), BindDone { n: Number });
    assert_eq!(done.len(), 1);
    rest
}

/// The events in a list of actions that somebody can read: kind and what they say.
pub(super) fn events(hand: &Hand, actions: &[Action]) -> Vec<(String, serde_json::Value)> {
    let read = actions.iter().filter_map(|action| match action {
        Action::Publish { topic, payload, path: Path::Local } if **topic == *hand.record.topic.t2c() => {
            let event = hand.open(payload);
            Some((event["k"].as_str()?.to_owned(), event["d"].clone()))
        }
        _ => None,
    });
    read.collect()
}

#[test]
fn an_owner_gets_an_invitation_and_its_drawing() {
    let (mut bench, mut ana) = one_owner();
    let (rc, answer, rest) = ana.asks(&mut bench, &user_add("Ben", Role::Operator, Some(172_800)));
    assert_eq!(rc, 0);
    let invitation = invitation_of(&answer);
    assert!(invitation.pins(&bench.thing.core.identity.ca()));
    let drawing = Base64UrlUnpadded::decode_vec(answer["qr"].as_str().expect("text")).expect("base64url");
    assert_eq!(drawing, qr::draw(&invitation));
    assert_eq!(answer.as_object().map(serde_json::Map::len), Some(2));
    let [Action::Admit(admissions)] = &rest[..] else { panic!("{rest:?}") };
    let [_, guest] = &admissions[..] else { panic!("{admissions:?}") };
    let expected = Admission {
        psk_identity: invitation.psk_identity(),
        psk: invitation.psk(),
        login: None,
        publish: PAIR_C2T.into(),
        subscribe: PAIR_T2C.into(),
        max_sessions: 2,
        new_sessions: NewSessions::Open,
    };
    assert_eq!(*guest, expected);
    assert!(bench.vault.saves.is_empty(), "an invitation is in memory alone");
}

#[test]
fn who_is_invited_joins_with_the_name_and_the_role_that_the_owner_gave() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Operator, None);
    let (mut run, replies) = told(&mut bench, GUEST, &invitation);
    assert!(bench.vault.saves.is_empty(), "nothing is persisted before M8");
    let topic: BindTopic = open(&run, &replies[0]);
    let credentials: BindCred = open(&run, &replies[1]);
    let psk: BindPsk = open(&run, &replies[2]);
    assert_eq!(psk.clouds, [cloud()]);

    let commit = run.commit();
    let (done, rest) = say(&mut bench, GUEST, &commit);
    assert_eq!(open::<BindDone>(&run, &done[0]), BindDone { n: Number });
    let [(stored, generation)] = &bench.vault.saves[..] else { panic!("one transaction") };
    assert_eq!(*generation, 8);
    let [first, ben] = &stored.controllers[..] else { panic!("two controllers") };
    assert_eq!(*first, ControllerRecord { key_age: first.key_age, ..ana.record.clone() });
    // M3 called itself something else.
    assert_eq!((ben.name.as_str(), ben.role, ben.left_s), ("Ben", Role::Operator, None));
    assert_eq!((ben.cid, &ben.topic), (topic.cid, &topic.topic));
    assert_eq!((&ben.credentials.user, &ben.credentials.password), (&credentials.user, &credentials.pass));
    assert_eq!((ben.epoch, &ben.master), (0, &run.keys().master));

    let [Action::Admit(admissions), Action::Publish { .. }] = &rest[..] else { panic!("{rest:?}") };
    let identities: Vec<_> = admissions.iter().map(|one| (one.psk_identity.clone(), one.new_sessions)).collect();
    let expected = [
        (ana.psk_identity(), NewSessions::Open),
        (psk.id.to_string(), NewSessions::Open),
        (invitation.psk_identity(), NewSessions::Watched),
    ];
    assert_eq!(identities, expected);
    let joined = serde_json::json!({"cid": ben.cid.to_string(), "name": "Ben"});
    assert_eq!(events(&ana, &rest), [("joined".to_owned(), joined)]);

    // The guest goes on with keys of his own.
    let ben = ben.clone();
    bench.thing.handle_acknowledged(GUEST, bench.now);
    assert_eq!(bench.actions(), [Action::EndSession(GUEST)]);
    let mut ben = Hand::of(&bench, &ben);
    assert_eq!(ben.asks(&mut bench, &Operation::outlet(true)).0, 0);
}

#[test]
fn the_cloud_servers_learn_of_the_guest_at_once() {
    let (mut bench, mut ana) = one_owner();
    bench.confirm_registration();
    let invitation = ana.invites(&mut bench, "Ben", Role::Viewer, None);
    let rest = join(&mut bench, GUEST, &invitation);
    let lists = rest.iter().filter_map(|action| match action {
        Action::Register { payload, .. } => {
            let list: serde_json::Value = serde_json::from_slice(payload).expect("JSON");
            Some((list["gen"].as_u64(), list["acl"].as_array().map(Vec::len)))
        }
        _ => None,
    });
    assert_eq!(lists.collect::<Vec<_>>(), [(Some(8), Some(2))]);
    // While the next list is on its way the earlier one is in force: an owner who is away hears of it.
    let away = rest.iter().filter(|action| {
        matches!(action, Action::Publish { path: Path::Cloud(_), topic, .. } if **topic == *ana.record.topic.t2c())
    });
    assert_eq!(away.count(), 1);
}

#[test]
fn byte_identical_repeats_get_the_same_answers_and_m8_until_m9_is_acknowledged() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Viewer, None);
    bench.thing.handle_session_opened(GUEST, &invitation.psk_identity());
    let mut run = Pairing::new();
    let accept = say(&mut bench, GUEST, &run.hello.clone()).0;
    assert_eq!(say(&mut bench, GUEST, &run.hello.clone()).0, accept);
    run.accept_by(&accept[0], &PairingCode::of_invitation(&invitation.secret));
    for message in [Pairing::confirm, Pairing::commit] {
        let message = message(&mut run);
        let (replies, _) = say(&mut bench, GUEST, &message);
        assert_eq!(say(&mut bench, GUEST, &message), (replies, Vec::new()));
    }
    assert_eq!(bench.vault.saves.len(), 1);
    let commit = run.commit();
    bench.thing.handle_acknowledged(GUEST, bench.now);
    assert_eq!(bench.actions(), [Action::EndSession(GUEST)]);
    assert_eq!(bench.publish(GUEST, PAIR_C2T, &commit), Verdict::Dropped(Dropped::ForeignTopic));
}

#[test]
fn the_session_of_a_guest_ends_after_5_s_when_m9_is_not_acknowledged() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Viewer, None);
    join(&mut bench, GUEST, &invitation);
    let before = bench.now;
    bench.next_timeout();
    assert_eq!(bench.now.since(before).as_secs(), 5);
    assert_eq!(bench.actions(), [Action::EndSession(GUEST)]);
}

#[test]
fn a_guest_has_no_say_in_network_and_recovery() {
    let wifi = |run: &mut Pairing| run.wifi();
    let recovery = |run: &mut Pairing| {
        let rec: Spki = SigningKey::random(&mut Counter::new(3)).spki();
        run.seal(&BindCommit { n: Number, rec: Some(rec) })
    };
    for message in [&wifi as &dyn Fn(&mut Pairing) -> Vec<u8>, &recovery] {
        let (mut bench, mut ana) = one_owner();
        let invitation = ana.invites(&mut bench, "Ben", Role::Owner, None);
        let (mut run, _) = told(&mut bench, GUEST, &invitation);
        let message = message(&mut run);
        let verdict = bench.publish(GUEST, PAIR_C2T, &message);
        assert_eq!(verdict, Verdict::Dropped(Dropped::Run(Ending::Aborted)));
        assert_eq!(bench.actions(), [Action::EndSession(GUEST)]);
        assert!(bench.vault.saves.is_empty());
    }
}

#[test]
fn an_invited_session_is_no_controller_and_a_controller_no_invited_session() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Viewer, None);
    bench.thing.handle_session_opened(GUEST, &invitation.psk_identity());
    let command = ana.command(true, bench.now);
    assert_eq!(bench.publish(GUEST, &ana.topic(), &command), Verdict::Dropped(Dropped::ForeignTopic));
    let hello = Pairing::new().hello;
    assert_eq!(bench.publish(SESSION, PAIR_C2T, &hello), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.actions(), []);
    assert!(bench.outlet.switched.is_empty());
}

#[test]
fn three_failed_runs_end_an_invitation() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Viewer, None);
    // A run that fails, one whose session goes in the middle, one that takes too long.
    bench.thing.handle_session_opened(SessionId(51), &invitation.psk_identity());
    say(&mut bench, SessionId(51), &Pairing::new().hello);
    let verdict = bench.publish(SessionId(51), PAIR_C2T, b"garbage");
    assert_eq!(verdict, Verdict::Dropped(Dropped::Run(Ending::Failed)));
    assert_eq!(bench.actions(), [Action::EndSession(SessionId(51))]);

    told(&mut bench, SessionId(52), &invitation);
    bench.thing.handle_session_closed(SessionId(52), bench.now, ports!(bench));
    assert_eq!(bench.actions(), []);
    // One that never began does not count.
    bench.thing.handle_session_opened(SessionId(53), &invitation.psk_identity());
    bench.thing.handle_session_closed(SessionId(53), bench.now, ports!(bench));
    assert_eq!(bench.actions(), []);

    bench.thing.handle_session_opened(SessionId(54), &invitation.psk_identity());
    told(&mut bench, SessionId(55), &invitation);
    let before = bench.now;
    bench.next_timeout();
    assert_eq!(bench.now.since(before).as_secs(), 120);
    let actions = bench.actions();
    let [Action::EndSession(SessionId(55)), Action::EndSession(SessionId(54)), Action::Admit(admissions)] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(admissions.len(), 1);
    assert_eq!(bench.thing.poll_timeout(), None);
}

#[test]
fn a_wrong_secret_and_a_foreign_proof_fail_without_an_answer() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Viewer, None);
    bench.thing.handle_session_opened(GUEST, &invitation.psk_identity());
    let mut run = Pairing::new();
    let accept = say(&mut bench, GUEST, &run.hello.clone()).0.remove(0);
    run.accept_by(&accept, &PairingCode::of_invitation(&crate::proto::secret::Secret::new([0; 16])));
    let confirm = run.confirm();
    let verdict = bench.publish(GUEST, PAIR_C2T, &confirm);
    assert_eq!(verdict, Verdict::Dropped(Dropped::Run(Ending::Failed)));
    assert_eq!(bench.actions(), [Action::EndSession(GUEST)]);
}

#[test]
fn a_store_that_fails_leaves_no_guest_and_no_answer() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Viewer, None);
    let (mut run, _) = told(&mut bench, GUEST, &invitation);
    bench.vault.broken = true;
    let commit = run.commit();
    assert_eq!(bench.publish(GUEST, PAIR_C2T, &commit), Verdict::Dropped(Dropped::Store));
    assert_eq!(bench.actions(), [Action::EndSession(GUEST)]);
    // The invitation is not used up.
    bench.vault.broken = false;
    join(&mut bench, SessionId(51), &invitation);
    assert_eq!(bench.household().controllers.len(), 2);
}

#[test]
fn a_photographed_qr_code_after_the_rightful_user_is_refused_and_told() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Operator, None);
    let rest = join(&mut bench, GUEST, &invitation);
    let watched = admitted(&rest).pop().expect("the invitation");
    assert_eq!(
        (watched.psk_identity.as_str(), watched.new_sessions),
        (&*invitation.psk_identity(), NewSessions::Watched)
    );
    bench.thing.handle_acknowledged(GUEST, bench.now);
    bench.actions();

    // The handshake of the second holder verifies; the local server lets him no further.
    let refused = |bench: &mut Bench| {
        bench.thing.handle_refused(&invitation.psk_identity(), bench.now, ports!(bench));
        bench.actions()
    };
    let told = [("invite.reuse".to_owned(), serde_json::json!({"name": "Ben"}))];
    assert_eq!(events(&ana, &refused(&mut bench)), told);
    // Whoever hammers is not heard each time, and not forgotten.
    bench.wait(59_000_000);
    assert_eq!(refused(&mut bench), []);
    bench.wait(1_000_000);
    assert_eq!(events(&ana, &refused(&mut bench)), told);
    // A session that slipped through before the invitation was used up gets no run.
    bench.thing.handle_session_opened(THIEF, &invitation.psk_identity());
    assert_eq!(bench.publish(THIEF, PAIR_C2T, &Pairing::new().hello), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.household().controllers.len(), 2);
    assert_eq!(ana.listed(&mut bench), [("Ana".to_owned(), false), ("Ben".to_owned(), true)]);
}

#[test]
fn a_photographed_qr_code_before_the_rightful_user_is_noticed_by_the_owner() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Operator, None);
    let rest = join(&mut bench, THIEF, &invitation);
    assert_eq!(events(&ana, &rest).len(), 1, "joined");
    // Ben comes a minute later, and the owner hears that two hold the code.
    bench.wait(60_000_000);
    bench.thing.handle_refused(&invitation.psk_identity(), bench.now, ports!(bench));
    let told = events(&ana, &bench.actions());
    assert_eq!(told, [("invite.reuse".to_owned(), serde_json::json!({"name": "Ben"}))]);
    assert_eq!(ana.listed(&mut bench), [("Ana".to_owned(), false), ("Ben".to_owned(), true)]);
}

#[test]
fn two_holders_at_once_the_second_is_out_when_the_first_is_in() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Operator, None);
    let (mut thief, _) = told(&mut bench, THIEF, &invitation);
    let rest = join(&mut bench, GUEST, &invitation);
    assert!(rest.contains(&Action::EndSession(THIEF)));
    let commit = thief.commit();
    assert_eq!(bench.publish(THIEF, PAIR_C2T, &commit), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.vault.saves.len(), 1);
}

#[test]
fn a_photographed_qr_code_after_601_s_opens_nothing() {
    for is_used in [false, true] {
        let (mut bench, mut ana) = one_owner();
        let invitation = ana.invites(&mut bench, "Ben", Role::Operator, None);
        let made = bench.now;
        if is_used {
            join(&mut bench, GUEST, &invitation);
            bench.thing.handle_acknowledged(GUEST, bench.now);
            bench.actions();
        }
        // A session that waits without a run ends with the invitation.
        bench.thing.handle_session_opened(THIEF, &invitation.psk_identity());
        bench.next_timeout();
        assert_eq!(bench.now.since(made).as_secs(), 600);
        let actions = bench.actions();
        assert_eq!(actions.contains(&Action::EndSession(THIEF)), !is_used);
        let identities = admitted(&actions).into_iter().map(|one| one.psk_identity);
        assert!(!identities.into_iter().any(|identity| identity == invitation.psk_identity()));
        assert_eq!(bench.thing.poll_timeout(), None);
        // Not even noticed: nobody knows that key any more.
        bench.wait(1_000_000);
        bench.thing.handle_session_opened(THIEF, &invitation.psk_identity());
        assert_eq!(bench.publish(THIEF, PAIR_C2T, &Pairing::new().hello), Verdict::Dropped(Dropped::ForeignTopic));
        bench.thing.handle_refused(&invitation.psk_identity(), bench.now, ports!(bench));
        assert_eq!(bench.actions(), []);
    }
}

#[test]
fn a_photographed_qr_code_after_a_reboot_opens_nothing() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Operator, None);
    let mut bench = Bench::new(Some(bench.household().clone()));
    let admissions = admitted(&bench.actions());
    assert_eq!(admissions.into_iter().map(|one| one.psk_identity).collect::<Vec<_>>(), [ana.psk_identity()]);
    bench.wifi(WifiEvent::Joined);
    bench.actions();
    bench.thing.handle_session_opened(THIEF, &invitation.psk_identity());
    assert_eq!(bench.publish(THIEF, PAIR_C2T, &Pairing::new().hello), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_run_that_began_in_time_may_finish_and_no_other_begins() {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Operator, None);
    bench.wait(599_000_000);
    let (mut run, _) = told(&mut bench, GUEST, &invitation);
    let (other, _) = told(&mut bench, THIEF, &invitation);
    bench.next_timeout();
    let actions = bench.actions();
    let closed = admitted(&actions).pop().expect("the invitation");
    assert_eq!((closed.psk_identity.as_str(), closed.new_sessions), (&*invitation.psk_identity(), NewSessions::Closed));
    // A second M1 would begin anew.
    bench.wait(1_000_000);
    let hello = Pairing::drawn_from(777).hello;
    drop(other);
    assert_eq!(bench.publish(THIEF, PAIR_C2T, &hello), Verdict::Dropped(Dropped::Run(Ending::Aborted)));
    assert_eq!(bench.actions(), [Action::EndSession(THIEF)]);

    let commit = run.commit();
    let (done, _) = say(&mut bench, GUEST, &commit);
    assert_eq!(open::<BindDone>(&run, &done[0]), BindDone { n: Number });
    bench.thing.handle_acknowledged(GUEST, bench.now);
    let actions = bench.actions();
    assert_eq!(actions[0], Action::EndSession(GUEST));
    assert_eq!(admitted(&actions).len(), 2, "both users, and nothing of the invitation");
    assert_eq!(bench.thing.poll_timeout(), None);
}

#[test]
fn who_is_no_owner_any_more_loses_his_invitations_and_their_runs() {
    let people = [record(7, "Ana", Role::Owner), record(400, "Bo", Role::Owner)];
    let (ana_cid, bo_cid) = (people[0].cid, people[1].cid);
    for operation in [
        Operation::UserDel(UserDel { cid: bo_cid }),
        Operation::UserRole(UserRole { cid: bo_cid, role: Role::Supervisor }),
    ] {
        let mut bench = Bench::at_home(people.to_vec());
        let (mut ana, mut bo) = (Hand::of(&bench, &people[0]), Hand::of(&bench, &people[1]));
        let (hers, his) =
            (ana.invites(&mut bench, "Cleo", Role::Viewer, None), bo.invites(&mut bench, "Dan", Role::Owner, None));
        let (mut run, _) = told(&mut bench, GUEST, &his);
        let (rc, _, rest) = ana.asks(&mut bench, &operation);
        assert_eq!(rc, 0);
        assert!(rest.contains(&Action::EndSession(GUEST)), "{rest:?}");
        let identities: Vec<_> = admitted(&rest).into_iter().map(|one| one.psk_identity).collect();
        assert!(identities.contains(&hers.psk_identity()) && !identities.contains(&his.psk_identity()));
        let commit = run.commit();
        assert_eq!(bench.publish(GUEST, PAIR_C2T, &commit), Verdict::Dropped(Dropped::ForeignTopic));
        join(&mut bench, SessionId(51), &hers);
        let household = bench.household();
        assert!(household.controllers.iter().any(|one| one.cid == ana_cid && one.role == Role::Owner));
        assert!(household.controllers.iter().all(|one| one.name.as_str() != "Dan"));
    }
}

#[test]
fn four_invitations_and_sixteen_controllers_are_the_limit() {
    let (mut bench, mut ana) = one_owner();
    let invitations: Vec<_> =
        (0..4).map(|n| ana.invites(&mut bench, &format!("Guest {n}"), Role::Viewer, None)).collect();
    assert_eq!(ana.asks(&mut bench, &user_add("Fifth", Role::Viewer, None)).0, 4);
    // A used one makes room.
    for (session, invitation) in (100..).zip(&invitations) {
        join(&mut bench, SessionId(session), invitation);
    }
    for n in 5..16 {
        let invitation = ana.invites(&mut bench, &format!("Guest {n}"), Role::Viewer, None);
        join(&mut bench, SessionId(100 + n), &invitation);
    }
    assert_eq!(bench.household().controllers.len(), 16);
    assert_eq!(ana.asks(&mut bench, &user_add("Seventeenth", Role::Viewer, None)).0, 4);
    // Each open invitation has its place: two guests never meet at the last one.
    let last = bench.household().controllers[15].cid;
    assert_eq!(ana.asks(&mut bench, &Operation::UserDel(UserDel { cid: last })).0, 0);
    ana.invites(&mut bench, "Last", Role::Viewer, None);
    assert_eq!(ana.asks(&mut bench, &user_add("Too late", Role::Viewer, None)).0, 4);
}

#[test]
fn an_owner_s_time_is_not_limited() {
    let (mut bench, mut ana) = one_owner();
    let (rc, answer, rest) = ana.asks(&mut bench, &user_add("Ben", Role::Owner, Some(3600)));
    assert_eq!((rc, answer, rest), (3, serde_json::Value::Null, Vec::new()));
}

impl Hand {
    /// Who is listed, and whether a second holder of his invitation was seen.
    fn listed(&mut self, bench: &mut Bench) -> Vec<(String, bool)> {
        let (rc, users, _) =
            self.asks(bench, &Operation::UserList(crate::proto::operation::argument::From { from: 0 }));
        assert_eq!(rc, 0);
        let item = |item: &serde_json::Value| {
            (item["name"].as_str().expect("a name").to_owned(), item["reused"].as_bool().unwrap_or(false))
        };
        users["items"].as_array().expect("a list").iter().map(item).collect()
    }
}

#[test]
fn of_two_invitations_to_one_name_the_second_comes_to_nothing() {
    let people = [record(7, "Ana", Role::Owner)];
    let mut bench = Bench::at_home(people.to_vec());
    let mut ana = Hand::of(&bench, &people[0]);
    let first = ana.invites(&mut bench, "Dan", Role::Operator, None);
    let second = ana.invites(&mut bench, "DAN", Role::Operator, None);
    join(&mut bench, GUEST, &first);
    let (mut run, _) = told(&mut bench, THIEF, &second);
    let commit = run.commit();
    let aborted = Verdict::Dropped(Dropped::Run(Ending::Aborted));
    assert_eq!(bench.publish(THIEF, PAIR_C2T, &commit), aborted);
    assert_eq!(bench.household().controllers.len(), 2);
}
