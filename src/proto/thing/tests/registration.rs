//! The cloud servers: registration, and what they may carry.

use super::*;
use crate::proto::freshness::Stale;
use crate::proto::id::Nonce;
use crate::proto::message::Status;
use crate::proto::registration::{self, Entry, RegErr, RegOk, RegSet};
use crate::proto::topic::PAIR_C2T;

const SERVER: ServerId = ServerId(0);

pub(super) fn down(bench: &Bench) -> String {
    registration::down_topic(&bench.thing.id())
}

impl Bench {
    pub(super) fn hear_cloud(&mut self, topic: &str, payload: &[u8]) -> Verdict {
        self.thing.handle_cloud_message(SERVER, topic, payload, self.now, ports!(self))
    }

    /// The one registration that is asked for, read.
    pub(super) fn registered(&mut self) -> RegSet {
        let actions = self.actions();
        self.registered_in(actions)
    }

    fn registered_in(&self, actions: Vec<Action>) -> RegSet {
        let up = registration::up_topic(&self.thing.id());
        let sets: Vec<_> = actions
            .into_iter()
            .filter_map(|action| match action {
                Action::Register { server: SERVER, topic, payload } => {
                    assert_eq!(topic, up);
                    Some(json::read(&payload).expect("a registration"))
                }
                Action::SubscribeCloud { server: SERVER, .. } => None,
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        <[RegSet; 1]>::try_from(sets).map(|[set]| set).expect("one registration")
    }

    /// The kind of the event that an owner at home hears, and the generation of the registration after it.
    fn told_and_registered(&mut self, owner: &Hand) -> (String, u64) {
        let mut actions = self.actions();
        let Action::Publish { path: Path::Local, payload, .. } = actions.remove(0) else { panic!("nobody is told") };
        (owner.event(&payload).0, self.registered_in(actions).generation)
    }

    /// A link comes up, and the thing hears the server.
    pub(super) fn link_up(&mut self) {
        self.thing.handle_cloud_up(SERVER);
        let topic = down(self);
        self.thing.handle_cloud_subscribed(SERVER, &topic, self.now);
    }

    pub(super) fn confirm_registration(&mut self) {
        self.link_up();
        let generation = self.registered().generation;
        let ok = json::encode(&RegOk { generation, refused: Vec::new() });
        assert_eq!(self.hear_cloud(&down(self), &ok), Verdict::Registered);
        self.actions();
    }

    fn cloud_state(&self) -> CloudState {
        self.thing.cloud_states().next().expect("one server").1
    }
}

#[test]
fn a_link_that_comes_up_gets_the_whole_list_and_only_then_the_topics() {
    let (mut bench, hand) = one_owner();
    bench.thing.handle_cloud_up(SERVER);
    // An answer must not come before the thing listens.
    let topic = down(&bench);
    assert_eq!(bench.actions(), [Action::SubscribeCloud { server: SERVER, topic: topic.clone() }]);
    bench.thing.handle_cloud_subscribed(SERVER, &topic, bench.now);
    let actions = bench.actions();
    let [Action::Register { payload, .. }] = &actions[..] else { panic!("{actions:?}") };
    let set: RegSet = json::read(payload).expect("a registration");
    let entry = Entry::of(&hand.record.topic, &hand.record.credentials, &bench.thing.id(), &cloud().pin);
    assert_eq!(set, RegSet { generation: 7, acl: vec![entry] });
    assert_eq!(bench.cloud_state(), CloudState::Registering);

    let ok = json::encode(&RegOk { generation: 7, refused: Vec::new() });
    assert_eq!(bench.hear_cloud(&down(&bench), &ok), Verdict::Registered);
    assert_eq!(bench.actions(), [Action::SubscribeCloud { server: SERVER, topic: hand.topic() }]);
    assert_eq!(bench.cloud_state(), CloudState::Registered);
}

#[test]
fn a_command_by_the_cloud_is_answered_there_and_its_event_goes_everywhere() {
    let (mut bench, mut hand) = one_owner();
    bench.confirm_registration();
    let command = hand.command(true, bench.now);
    assert_eq!(bench.hear_cloud(&hand.topic(), &command), Verdict::Answered(ReturnCode::Ok));
    assert_eq!(bench.outlet.switched, [OutletState::On]);
    let ways: Vec<_> = bench
        .actions()
        .into_iter()
        .filter_map(|action| match action {
            Action::Publish { path, payload, .. } => Some((path, payload.to_vec())),
            _ => None,
        })
        .collect();
    let [(Path::Cloud(SERVER), answer), (Path::Local, local), (Path::Cloud(SERVER), remote)] = &ways[..] else {
        panic!("{ways:?}")
    };
    assert_eq!(hand.answer(answer).1, ReturnCode::Ok);
    assert_eq!(local, remote, "the same bytes on every path");

    // The same bytes by the other path: acted on once, the kept answer on both (protocol section 6).
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Repeated);
    let [(_, again)] = &bench.published()[..] else { panic!("one answer") };
    assert_eq!(again, answer);
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn a_hostile_cloud_server_moves_nothing_but_the_registration() {
    let (mut bench, mut hand) = one_owner();
    bench.confirm_registration();
    let command = hand.command(true, bench.now);
    let mut forged = command.clone();
    forged[300] ^= 1;
    assert!(matches!(bench.hear_cloud(&hand.topic(), &forged), Verdict::Dropped(Dropped::Unopened(_))));
    for topic in ["s/x/c", PAIR_C2T, &hand.record.topic.t2c()] {
        assert_eq!(bench.hear_cloud(topic, &command), Verdict::Dropped(Dropped::ForeignTopic), "{topic}");
    }
    for garbage in [&b""[..], b"{}", b"garbage", br#"{"v":1,"t":"reg.ok","gen":7,"refused":["x"]}"#] {
        assert_eq!(bench.hear_cloud(&down(&bench), garbage), Verdict::Registered);
    }
    // Held back for half a minute, it is worth nothing.
    bench.wait(31_000_000);
    assert_eq!(bench.hear_cloud(&hand.topic(), &command), Verdict::Stale(Stale::TooOld));
    assert!(bench.outlet.switched.is_empty() && bench.vault.generations().is_empty());
}

#[test]
fn an_answer_to_an_earlier_list_says_nothing() {
    let (mut bench, _) = one_owner();
    bench.link_up();
    bench.actions();
    let old_ok = json::encode(&RegOk { generation: 6, refused: Vec::new() });
    let old_error = json::encode(&RegErr { generation: 9, of: 6, rc: ReturnCode::Stale });
    for answer in [old_ok, old_error] {
        let _ = bench.hear_cloud(&down(&bench), &answer);
        assert_eq!(bench.actions(), []);
        assert_eq!(bench.cloud_state(), CloudState::Registering);
    }
}

#[test]
fn a_thing_that_was_cloned_says_so_and_goes_beyond_its_clone_once_an_hour() {
    let (mut bench, hand) = one_owner();
    bench.confirm_registration();
    let error = |of| json::encode(&RegErr { generation: 40, of, rc: ReturnCode::Stale });
    // What comes unasked changes nothing.
    let _ = bench.hear_cloud(&down(&bench), &error(7));
    assert_eq!((bench.cloud_state(), bench.actions()), (CloudState::Registered, Vec::new()));
    bench.link_up();
    bench.actions();
    let _ = bench.hear_cloud(&down(&bench), &error(7));
    assert_eq!(bench.vault.generations(), [41]);
    assert_eq!(bench.told_and_registered(&hand), ("clone".to_owned(), 41));
    let _ = bench.hear_cloud(&down(&bench), &error(41));
    assert_eq!((bench.cloud_state(), bench.actions()), (CloudState::Clone, Vec::new()));
    // No link needs to break for it: the hour is waited for.
    let before = bench.now;
    bench.next_timeout();
    assert_eq!(bench.now.since(before).as_secs(), 3600);
    assert_eq!(bench.registered().generation, 41);
    let _ = bench.hear_cloud(&down(&bench), &error(41));
    assert_eq!(bench.vault.generations(), [41, 42]);
    assert_eq!(bench.told_and_registered(&hand), ("clone".to_owned(), 42));
}

#[test]
fn a_server_cannot_use_up_the_generations() {
    let (mut bench, _) = one_owner();
    bench.link_up();
    bench.actions();
    let error = RegErr { generation: json::MAX_INTEGER - 1, of: 7, rc: ReturnCode::Stale };
    let _ = bench.hear_cloud(&down(&bench), &json::encode(&error));
    assert_eq!(bench.actions(), []);
    assert!(bench.vault.generations().is_empty());
}

#[test]
fn a_list_that_gets_no_answer_is_declared_again_and_an_answered_one_is_not() {
    let (mut bench, _) = one_owner();
    bench.link_up();
    assert_eq!(bench.registered().generation, 7);
    let before = bench.now;
    bench.next_timeout();
    assert_eq!((bench.now.since(before).as_secs(), bench.registered().generation), (60, 7));
    let ok = json::encode(&RegOk { generation: 7, refused: Vec::new() });
    let _ = bench.hear_cloud(&down(&bench), &ok);
    assert_eq!(bench.thing.poll_timeout(), None);
}

#[test]
fn a_list_that_is_called_none_is_no_sign_of_a_clone() {
    let (mut bench, _) = one_owner();
    bench.link_up();
    bench.actions();
    let error = json::encode(&RegErr { generation: 0, of: 7, rc: ReturnCode::BadRequest });
    let _ = bench.hear_cloud(&down(&bench), &error);
    assert_eq!(bench.cloud_state(), CloudState::Down(CloudFailure::Refused));
    assert!(bench.vault.generations().is_empty());
}

#[test]
fn a_status_tells_where_the_thing_stands_with_its_cloud_servers() {
    let (mut bench, mut hand) = one_owner();
    bench.thing.handle_cloud_down(SERVER, CloudFailure::WrongAuthority);
    let status = hand.seal(&json::encode(&Status { id: Nonce::new([1; 16]) }));
    let _ = bench.publish(SESSION, &hand.topic(), &status);
    let published = bench.published();
    let opened = Sealed::parse(&published[0].1).expect("shape").open(&hand.t2c).expect("authentic");
    let response = json::read::<Response<'_>>(opened.bytes()).expect("a response");
    let result = response.r.expect("a result").get();
    assert_eq!(result, r#"{"clouds":[{"host":"cloud.example","state":"wrong-authority"}]}"#);
}

#[test]
fn a_thing_that_nobody_owns_registers_nothing() {
    let mut bench = Bench::new(None);
    bench.actions();
    bench.link_up();
    assert_eq!(bench.hear_cloud("s/x/c", b"x"), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_cloud_server_that_is_away_for_a_day_moves_nothing_at_home() {
    let (mut bench, mut hand) = one_owner();
    bench.confirm_registration();
    // One attempt for each two and a half minutes.
    for attempt in 0..576_u32 {
        bench.wait(150_000_000);
        bench.thing.handle_cloud_down(SERVER, CloudFailure::Unreachable);
        assert_eq!(
            (bench.actions(), bench.thing.poll_timeout()),
            (Vec::new(), None),
            "nothing to do, nothing to wait for"
        );
        if attempt % 24 == 0 {
            let on = attempt % 48 == 0;
            let command = hand.command(on, bench.now);
            assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Ok));
            assert_eq!(bench.published().len(), 1, "the answer at home alone");
            // The age of a key that is used goes to the disk, a minute later and once an hour.
            let before = bench.vault.saves.len();
            if attempt > 0 {
                bench.next_timeout();
            }
            let written = bench.vault.saves.len() - before;
            assert_eq!((bench.actions(), written), (Vec::new(), usize::from(attempt > 0)));
        }
    }
    // Switched 24 times, each time because somebody said so.
    assert_eq!(bench.outlet.switched.len(), 24);
    assert_eq!(bench.cloud_state(), CloudState::Down(CloudFailure::Unreachable));
    bench.confirm_registration();
    assert_eq!(bench.cloud_state(), CloudState::Registered);
}
