//! Renewing topic and password: two live until the controller has kept the next one, then one does.

use super::*;
use crate::proto::operation::argument::TokenUse;
use crate::proto::operation::result::Renewed;
use crate::proto::registration::{RegOk, RegSet, down_topic};
use crate::proto::topic::TToken;

const OK: Verdict = Verdict::Answered(ReturnCode::Ok);

impl Hand {
    fn ask(&mut self, bench: &mut Bench, topic: &str, operation: &Operation) -> (Verdict, Vec<Action>) {
        bench.wait(1);
        let message = self.seal(&operation.command(BOOT, bench.now));
        let verdict = bench.publish(SESSION, topic, &message);
        (verdict, bench.actions())
    }

    fn renew(&mut self, bench: &mut Bench) -> (Renewed, Vec<Action>) {
        let (verdict, actions) = self.ask(bench, &self.topic(), &Operation::TokenRenew);
        assert_eq!(verdict, OK);
        let answer = actions.iter().find_map(|action| match action {
            Action::Publish { payload, .. } => Some(payload.clone()),
            _ => None,
        });
        let answer = answer.expect("an answer");
        let opened = Sealed::parse(&answer).expect("shape").open(&self.t2c).expect("authentic");
        let response = json::read::<Response<'_>>(opened.bytes()).expect("a response");
        (serde_json::from_str(response.r.expect("a result").get()).expect("topic and password"), actions)
    }
}

fn use_of(topic: &TToken) -> Operation {
    Operation::TokenUse(TokenUse { topic: topic.clone() })
}

/// Topic and password of each admission, in order.
fn logins(actions: &[Action]) -> Vec<(String, String)> {
    let list = actions.iter().rev().find_map(|action| match action {
        Action::Admit(list) => Some(list),
        _ => None,
    });
    let login = |one: &Admission| {
        let (_, password) = one.login.as_ref().expect("a login");
        (one.publish.clone(), password.expose().to_owned())
    };
    list.expect("admissions").iter().map(login).collect()
}

use crate::proto::action::Admission;

#[test]
fn both_topics_live_until_the_next_one_is_used() {
    let (mut bench, mut hand) = one_owner();
    let (next, actions) = hand.renew(&mut bench);
    let current = (hand.topic(), hand.record.credentials.password.expose().to_owned());
    let waiting = (next.topic.c2t(), next.pass.expose().to_owned());
    assert_eq!(logins(&actions), [current, waiting.clone()]);
    assert_eq!(bench.vault.generations(), [8], "registered with the cloud servers");
    // Asked again, it answers the same and writes nothing.
    assert_eq!(hand.renew(&mut bench).0, next);
    assert_eq!(bench.vault.saves.len(), 1);

    // Whoever asks on one of them is answered there.
    let switch = Operation::outlet(true);
    for topic in [hand.topic(), next.topic.c2t()] {
        let (verdict, actions) = hand.ask(&mut bench, &topic, &switch);
        let answered = actions.iter().find_map(|action| match action {
            Action::Publish { topic, .. } => Some(topic.to_string()),
            _ => None,
        });
        assert_eq!((verdict, answered), (OK, Some(topic.replace("/c", "/t"))));
    }

    // On the topic that retires: the answer is out before its sessions end.
    let (verdict, actions) = hand.ask(&mut bench, &hand.topic(), &use_of(&next.topic));
    assert_eq!(verdict, OK);
    let [Action::Publish { topic, .. }, Action::Admit(_), ..] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(**topic, hand.record.topic.t2c());
    assert_eq!(logins(&actions), [waiting]);
    let stored = &bench.vault.saves.last().expect("saved").0.controllers[0];
    assert_eq!((&stored.topic, &stored.credentials.password, &stored.next), (&next.topic, &next.pass, &None));
    assert_eq!(bench.vault.generations(), [8, 9]);

    // The old topic is nobody's; using the current one again is no error.
    let (verdict, _) = hand.ask(&mut bench, &hand.topic(), &switch);
    assert_eq!(verdict, Verdict::Dropped(Dropped::ForeignTopic));
    let (verdict, actions) = hand.ask(&mut bench, &next.topic.c2t(), &use_of(&next.topic));
    assert_eq!((verdict, actions.len()), (OK, 1));
}

#[test]
fn a_topic_that_was_never_offered_is_not_found() {
    let (mut bench, mut hand) = one_owner();
    let foreign = TToken::random(&mut Counter::new(77));
    assert_eq!(hand.ask(&mut bench, &hand.topic(), &use_of(&foreign)).0, Verdict::Answered(ReturnCode::NotFound));
    hand.renew(&mut bench);
    assert_eq!(hand.ask(&mut bench, &hand.topic(), &use_of(&foreign)).0, Verdict::Answered(ReturnCode::NotFound));
    assert_eq!(hand.ask(&mut bench, &hand.topic(), &use_of(&hand.record.topic.clone())).0, OK);
    assert_eq!(bench.vault.saves.len(), 1);
}

#[test]
fn a_store_that_fails_changes_no_topic() {
    let (mut bench, mut hand) = one_owner();
    bench.vault.broken = true;
    let storage = Verdict::Answered(ReturnCode::Storage);
    assert_eq!(hand.ask(&mut bench, &hand.topic(), &Operation::TokenRenew).0, storage);
    bench.vault.broken = false;
    let (next, _) = hand.renew(&mut bench);
    bench.vault.broken = true;
    assert_eq!(hand.ask(&mut bench, &hand.topic(), &use_of(&next.topic)).0, storage);
    for topic in [hand.topic(), next.topic.c2t()] {
        assert_eq!(hand.ask(&mut bench, &topic, &Operation::outlet(true)).0, OK);
    }
}

#[test]
fn a_next_topic_that_a_cloud_server_refuses_is_drawn_anew() {
    let (mut bench, mut hand) = one_owner();
    let down = down_topic(&bench.thing.id());
    bench.thing.handle_cloud_up(ServerId(0));
    bench.thing.handle_cloud_subscribed(ServerId(0), &down, bench.now);
    bench.actions();
    let answer = |bench: &mut Bench, generation, refused| {
        let ok = json::encode(&RegOk { generation, refused });
        let verdict = bench.thing.handle_cloud_message(ServerId(0), &down, &ok, bench.now, ports!(bench));
        assert_eq!(verdict, Verdict::Registered);
        bench.actions()
    };
    answer(&mut bench, 7, vec![hand.record.topic.clone()]);

    let (next, actions) = hand.renew(&mut bench);
    let declared = actions.iter().find_map(|action| match action {
        Action::Register { payload, .. } => Some(json::read::<RegSet>(payload).expect("reg.set")),
        _ => None,
    });
    let topics: Vec<_> = declared.expect("declared").acl.into_iter().map(|entry| entry.topic).collect();
    assert_eq!(topics, [hand.record.topic.clone(), next.topic.clone()]);
    let subscribed = answer(&mut bench, 8, vec![next.topic.clone()]);
    let heard = |topic: &str| {
        subscribed.iter().any(|action| matches!(action, Action::SubscribeCloud { topic: it, .. } if it == topic))
    };
    assert!(heard(&hand.topic()) && heard(&next.topic.c2t()));

    let (again, _) = hand.renew(&mut bench);
    assert_ne!(again.topic, next.topic);
    assert_eq!(hand.ask(&mut bench, &hand.topic(), &use_of(&next.topic)).0, Verdict::Answered(ReturnCode::NotFound));
    assert_eq!(hand.ask(&mut bench, &hand.topic(), &use_of(&again.topic)).0, OK);
}

#[test]
fn a_restart_keeps_the_next_topic() {
    let (mut bench, mut hand) = one_owner();
    let (next, _) = hand.renew(&mut bench);
    let stored = bench.vault.saves.last().expect("saved").0.controllers.clone();
    let mut bench = Bench::at_home(stored);
    assert_eq!(hand.ask(&mut bench, &next.topic.c2t(), &use_of(&next.topic)).0, OK);
}
