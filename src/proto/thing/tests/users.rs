//! The household's people: who is listed, renamed, given another role, removed, and whose time is over.

use super::invitation::{events, join};
use super::*;
use crate::proto::id::Cid;
use crate::proto::operation::argument::{From, UserDel, UserName, UserRole};
use crate::proto::registration::{RegOk, RegSet};

const LIST: Operation = Operation::UserList(From { from: 0 });

fn del(cid: Cid) -> Operation {
    Operation::UserDel(UserDel { cid })
}

fn role(cid: Cid, role: Role) -> Operation {
    Operation::UserRole(UserRole { cid, role })
}

fn rename(cid: Cid, name: &str) -> Operation {
    Operation::UserName(UserName { cid, name: name.parse().expect("a name") })
}

/// Ana and Cleo are owners, Bo is an operator; their sessions are 1, 2 and 3.
fn household() -> (Bench, [Hand; 3]) {
    let people = [record(7, "Ana", Role::Owner), record(400, "Cleo", Role::Owner), record(900, "Bo", Role::Operator)];
    let bench = Bench::at_home(people.to_vec());
    let hands = people.each_ref().map(|person| Hand::of(&bench, person));
    (bench, hands)
}

fn identities(actions: &[Action]) -> Vec<Vec<String>> {
    let admits = actions.iter().filter_map(|action| match action {
        Action::Admit(admissions) => Some(admissions.iter().map(|one| one.psk_identity.clone()).collect()),
        _ => None,
    });
    admits.collect()
}

/// Topics on which something was published, without those of a cloud server.
fn addressees(actions: &[Action]) -> Vec<String> {
    let topics = actions.iter().filter_map(|action| match action {
        Action::Publish { topic, .. } => Some(topic.to_string()),
        _ => None,
    });
    topics.collect()
}

#[test]
fn a_removed_user_is_out_in_one_transaction_and_nobody_else_is_disturbed() {
    let (mut bench, [mut ana, cleo, mut bo]) = household();
    let (rc, _, rest) = ana.asks(&mut bench, &del(bo.record.cid));
    assert_eq!(rc, 0);
    let [(stored, 8)] = &bench.vault.saves[..] else { panic!("one transaction with a new generation") };
    let left: Vec<_> = stored.controllers.iter().map(|one| one.cid).collect();
    assert_eq!(left, [ana.record.cid, cleo.record.cid]);

    let [Action::Admit(_), Action::EndSession(SessionId(3)), Action::Publish { .. }] = &rest[..] else {
        panic!("{rest:?}")
    };
    assert_eq!(identities(&rest), [[ana.psk_identity(), cleo.psk_identity()]]);
    let says = serde_json::json!({"cid": bo.record.cid.to_string()});
    assert_eq!(events(&cleo, &rest), [("left".to_owned(), says)]);
    assert_eq!(events(&ana, &rest), [], "her answer has told her");

    // What he sends means nothing, by whatever way, and he hears nothing more.
    let command = bo.command(true, bench.now);
    assert_eq!(bench.publish(SessionId(3), &bo.topic(), &command), Verdict::Dropped(Dropped::ForeignTopic));
    bench.thing.handle_session_opened(SessionId(9), &bo.psk_identity());
    assert_eq!(bench.publish(SessionId(9), &bo.topic(), &command), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.actions(), []);
    bench.press(Press::Short);
    assert_eq!(addressees(&bench.actions()), [ana.record.topic.t2c(), cleo.record.topic.t2c()]);

    // After a restart he is as unknown.
    let mut bench = Bench::new(Some(bench.household().clone()));
    let actions = bench.actions();
    assert!(identities(&actions).iter().all(|one| !one.contains(&bo.psk_identity())));
}

#[test]
fn the_answer_goes_out_before_the_sessions_of_who_removes_himself_end() {
    let (mut bench, [mut ana, cleo, mut bo]) = household();
    let message = bo.order(&del(bo.record.cid), bench.now);
    assert_eq!(bench.publish(SessionId(3), &bo.topic(), &message), Verdict::Answered(ReturnCode::Ok));
    let actions = bench.actions();
    let [
        Action::Publish { topic, payload, .. },
        Action::Admit(_),
        Action::EndSession(SessionId(3)),
        Action::Publish { .. },
        Action::Publish { .. },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(**topic, *bo.record.topic.t2c());
    assert_eq!(bo.open(payload)["rc"], 0);
    assert_eq!((events(&ana, &actions).len(), events(&cleo, &actions).len()), (1, 1));
    assert_eq!(ana.asks(&mut bench, &Operation::outlet(true)).0, 0);
}

#[test]
fn the_cloud_servers_are_told_of_a_removal_until_they_acknowledge() {
    let (mut bench, [mut ana, cleo, bo]) = household();
    bench.confirm_registration();
    let declared = |actions: &[Action]| -> Vec<(u64, usize)> {
        let sets = actions.iter().filter_map(|action| match action {
            Action::Register { payload, .. } => Some(json::read::<RegSet>(payload).expect("a registration")),
            _ => None,
        });
        sets.map(|set| (set.generation, set.acl.len())).collect()
    };
    let (_, _, rest) = ana.asks(&mut bench, &del(bo.record.cid));
    assert_eq!(declared(&rest), [(8, 2)]);
    // An owner who is away hears of it, and the one who is gone does not.
    let cloud = rest.iter().filter_map(|action| match action {
        Action::Publish { path: Path::Cloud(_), topic, .. } => Some(topic.to_string()),
        _ => None,
    });
    assert_eq!(cloud.collect::<Vec<_>>(), [ana.record.topic.t2c(), cleo.record.topic.t2c()]);
    // No answer, a lost link, another one: it is declared again each time.
    bench.next_timeout();
    assert_eq!(declared(&bench.actions()), [(8, 2)]);
    bench.thing.handle_cloud_down(ServerId(0), CloudFailure::Lost);
    bench.link_up();
    let set = bench.registered();
    assert_eq!((set.generation, set.acl.len()), (8, 2));
    let ok = json::encode(&RegOk { generation: 8, refused: Vec::new() });
    assert_eq!(bench.hear_cloud(&registration::down(&bench), &ok), Verdict::Registered);
    bench.actions();
    assert_eq!(bench.thing.poll_timeout(), None);
}

#[test]
fn a_removed_user_s_message_through_the_cloud_means_nothing() {
    let (mut bench, [mut ana, _, mut bo]) = household();
    bench.confirm_registration();
    let command = bo.command(true, bench.now);
    ana.asks(&mut bench, &del(bo.record.cid));
    assert_eq!(bench.hear_cloud(&bo.topic(), &command), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.actions(), []);
    assert!(bench.outlet.switched.is_empty());
}

#[test]
fn the_last_owner_stays() {
    let (mut bench, [mut ana, cleo, mut bo]) = household();
    assert_eq!(ana.asks(&mut bench, &role(cleo.record.cid, Role::Supervisor)).0, 0);
    for operation in [del(ana.record.cid), role(ana.record.cid, Role::Operator)] {
        assert_eq!(ana.asks(&mut bench, &operation).0, 6);
    }
    assert_eq!(bench.vault.saves.len(), 1);
    // Another owner makes it possible.
    assert_eq!(ana.asks(&mut bench, &role(bo.record.cid, Role::Owner)).0, 0);
    assert_eq!(ana.asks(&mut bench, &del(ana.record.cid)).0, 0);
    assert_eq!(bo.asks(&mut bench, &del(cleo.record.cid)).0, 0);
    assert_eq!(bench.household().controllers.len(), 1);
    assert_eq!(bo.asks(&mut bench, &del(bo.record.cid)).0, 6);
}

#[test]
fn who_is_not_there_is_not_found_and_others_are_not_one_s_to_touch() {
    let (mut bench, [mut ana, cleo, mut bo]) = household();
    let nobody = Cid::new([0xee; 8]);
    for operation in [del(nobody), role(nobody, Role::Viewer), rename(nobody, "Eve")] {
        assert_eq!(ana.asks(&mut bench, &operation).0, 8, "{}", operation.op());
        assert_eq!(bo.asks(&mut bench, &operation).0, 2, "{}", operation.op());
    }
    for operation in [del(cleo.record.cid), role(bo.record.cid, Role::Owner), rename(cleo.record.cid, "Eve")] {
        assert_eq!(bo.asks(&mut bench, &operation).0, 2, "{}", operation.op());
    }
    assert!(bench.vault.saves.is_empty());
}

#[test]
fn another_role_counts_at_once_and_touches_no_session() {
    let (mut bench, [mut ana, _, mut bo]) = household();
    let (rc, _, rest) = ana.asks(&mut bench, &role(bo.record.cid, Role::Viewer));
    assert_eq!(rc, 0);
    assert!(matches!(&rest[..], [Action::Admit(admissions)] if admissions.len() == 3), "{rest:?}");
    assert_eq!(bench.vault.saves[0].1, 7, "the cloud servers know no roles");
    assert_eq!(bo.asks(&mut bench, &Operation::outlet(true)).0, 2);
    assert_eq!(ana.asks(&mut bench, &role(bo.record.cid, Role::Operator)).0, 0);
    assert_eq!(bo.asks(&mut bench, &Operation::outlet(true)).0, 0);
    // What he is already is not written.
    let saves = bench.vault.saves.len();
    assert_eq!(ana.asks(&mut bench, &role(bo.record.cid, Role::Operator)).0, 0);
    assert_eq!(bench.vault.saves.len(), saves);
}

#[test]
fn a_user_is_renamed_by_himself_or_an_owner() {
    let (mut bench, [mut ana, _, mut bo]) = household();
    assert_eq!(bo.asks(&mut bench, &rename(bo.record.cid, "Bob")).0, 0);
    assert_eq!(bench.household().controllers[2].name.as_str(), "Bob");
    assert_eq!(ana.asks(&mut bench, &rename(bo.record.cid, "Robert")).0, 0);
    assert_eq!(bench.household().controllers[2].name.as_str(), "Robert");
    bo.asks(&mut bench, &Operation::outlet(true));
    bench.thing.handle_session_opened(SessionId(8), &bo.psk_identity());
    bo.asks(&mut bench, &Operation::outlet(false));
    bench.press(Press::Short);
    bench.actions();
    let status = bo.asks(&mut bench, &LIST).1;
    assert_eq!(status["items"][0]["name"], "Robert");
}

#[test]
fn who_changes_his_name_all_day_wears_nothing_out() {
    let people = [record(7, "Ana", Role::Viewer), record(400, "Bo", Role::Owner)];
    let mut bench = Bench::at_home(people.to_vec());
    let mut ana = Hand::of(&bench, &people[0]);
    let codes: Vec<u64> =
        (0..200).map(|n| ana.asks(&mut bench, &rename(people[0].cid, &format!("Ana {n}"))).0).collect();
    assert_eq!(codes.iter().filter(|&&code| code == 0).count(), 60);
    assert!(codes[60..].iter().all(|&code| code == 4), "BUSY");
    assert_eq!(bench.vault.saves.len(), 60);
    bench.wait(60_000_000);
    assert_eq!(ana.asks(&mut bench, &rename(people[0].cid, "Ana")).0, 0);
    // An owner is not counted: whom he lets in is his own affair.
    let mut bench = Bench::at_home(vec![record(7, "Ana", Role::Owner)]);
    let codes = (0..200).map(|n| ana.asks(&mut bench, &rename(people[0].cid, &format!("Ana {n}"))).0);
    assert!(codes.into_iter().all(|code| code == 0));
}

#[test]
fn an_owner_sees_everybody_page_by_page_and_others_see_themselves() {
    let people: Vec<_> = (0..16)
        .map(|n| {
            let role = if n == 0 { Role::Owner } else { Role::Supervisor };
            // The longest names there are: a page must fit one answer.
            record(7 + 400 * n, &format!("{n:032}"), role)
        })
        .collect();
    let mut bench = Bench::at_home(people.clone());
    let mut owner = Hand::of(&bench, &people[0]);
    let mut seen = Vec::new();
    let mut from = Some(0);
    while let Some(place) = from {
        let (rc, users, _) = owner.asks(&mut bench, &Operation::UserList(From { from: place }));
        assert_eq!(rc, 0);
        let items = users["items"].as_array().expect("a list").clone();
        assert_eq!(items.len(), 8);
        seen.extend(items.iter().map(|item| item["cid"].as_str().expect("an id").to_owned()));
        from = users["next"].as_u64();
    }
    assert_eq!(seen, people.iter().map(|one| one.cid.to_string()).collect::<Vec<_>>());
    let beyond = owner.asks(&mut bench, &Operation::UserList(From { from: (1 << 53) - 1 })).1;
    assert_eq!(beyond, serde_json::json!({"items": []}));

    let mut other = Hand::of(&bench, &people[9]);
    let (rc, users, _) = other.asks(&mut bench, &LIST);
    let item = serde_json::json!({
        "cid": people[9].cid.to_string(), "name": people[9].name.as_str(), "role": "supervisor",
    });
    assert_eq!((rc, users), (0, serde_json::json!({"items": [item]})));
}

#[test]
fn a_store_that_fails_changes_nothing() {
    let (mut bench, [mut ana, _, mut bo]) = household();
    bench.vault.broken = true;
    for operation in [del(bo.record.cid), role(bo.record.cid, Role::Viewer), rename(bo.record.cid, "Bob")] {
        let (rc, _, rest) = ana.asks(&mut bench, &operation);
        assert_eq!((rc, rest), (7, Vec::new()), "{}", operation.op());
    }
    assert_eq!(bo.asks(&mut bench, &Operation::outlet(true)).0, 0);
}

/// A guest with so much time, and how much the store says beyond what is paid for.
fn limited(ttl_s: u32) -> (Bench, Hand, Hand) {
    let (mut bench, mut ana) = one_owner();
    let invitation = ana.invites(&mut bench, "Ben", Role::Operator, Some(ttl_s));
    join(&mut bench, SessionId(50), &invitation);
    bench.thing.handle_acknowledged(SessionId(50), bench.now);
    bench.actions();
    let ben = Hand::of(&bench, &bench.household().controllers[1].clone());
    bench.thing.handle_session_opened(SessionId(2), &ben.psk_identity());
    (bench, ana, ben)
}

#[test]
fn a_limited_user_is_out_when_his_uptime_is_over_and_not_before() {
    let (mut bench, ana, mut ben) = limited(3600);
    let joined = bench.now;
    // A tenth is paid for, and the store holds the rest.
    assert_eq!(bench.household().controllers[1].left_s, Some(3240));
    assert_eq!(ben.asks(&mut bench, &LIST).1["items"][0]["left_s"], 3600);
    loop {
        bench.next_timeout();
        let actions = bench.actions();
        if bench.household().controllers.len() == 1 {
            assert_eq!(bench.now.since(joined).as_secs(), 3600);
            assert_eq!(identities(&actions), [[ana.psk_identity()]]);
            assert!(actions.contains(&Action::EndSession(SessionId(2))));
            let says = serde_json::json!({"cid": ben.record.cid.to_string()});
            assert_eq!(events(&ana, &actions), [("left".to_owned(), says)]);
            break;
        }
        let uptime = u32::try_from(bench.now.since(joined).as_secs()).expect("small");
        let left = bench.household().controllers[1].left_s.expect("limited");
        assert!(uptime + left < 3600, "{uptime} {left}");
        let listed = ben.asks(&mut bench, &LIST).1["items"][0]["left_s"].as_u64().expect("limited");
        assert_eq!(listed, u64::from(3600 - uptime));
    }
    let command = ben.command(true, bench.now);
    assert_eq!(bench.publish(SessionId(2), &ben.topic(), &command), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.thing.poll_timeout(), None);
}

#[test]
fn cutting_the_power_never_gives_a_limited_user_time() {
    for ttl_s in [60, 100, 3600, 86_400] {
        for cut_after_s in [1, 30, 59, 61, 1000, 5000] {
            let (bench, _, ben) = limited(ttl_s);
            let mut household = bench.household().clone();
            let mut uptime_s = 0;
            while household.controllers.len() == 2 {
                let mut bench = Bench::new(Some(household.clone()));
                bench.wifi(WifiEvent::Joined);
                let end = Micros::new(cut_after_s * 1_000_000);
                let is_in = |bench: &Bench| bench.household().controllers.iter().any(|one| one.cid == ben.record.cid);
                while is_in(&bench) && bench.thing.poll_timeout().is_some_and(|at| at <= end) {
                    bench.next_timeout();
                }
                uptime_s += if is_in(&bench) { cut_after_s } else { bench.now.get() / 1_000_000 };
                household = bench.household().clone();
                assert!(uptime_s <= u64::from(ttl_s), "{ttl_s} cut each {cut_after_s}: {uptime_s}");
            }
        }
    }
}

#[test]
fn a_limited_user_whose_time_the_store_does_not_take_is_out_until_it_does() {
    let (mut bench, ana, mut ben) = limited(3600);
    bench.vault.broken = true;
    bench.next_timeout();
    let admitted = identities(&bench.actions()).remove(0);
    assert!(admitted.contains(&ana.psk_identity()) && !admitted.contains(&ben.psk_identity()));
    let command = ben.command(true, bench.now);
    assert_eq!(bench.publish(SessionId(2), &ben.topic(), &command), Verdict::Dropped(Dropped::ForeignTopic));
    bench.press(Press::Short);
    assert!(!addressees(&bench.actions()).contains(&ben.record.topic.t2c()));
    bench.vault.broken = false;
    bench.next_timeout();
    assert!(identities(&bench.actions()).remove(0).contains(&ben.psk_identity()));
    assert_eq!(ben.asks(&mut bench, &Operation::outlet(true)).0, 0);
}

#[test]
fn a_limited_user_does_not_become_an_owner() {
    let (mut bench, mut ana, ben) = limited(3600);
    assert_eq!(ana.asks(&mut bench, &role(ben.record.cid, Role::Owner)).0, 6);
    assert_eq!(ana.asks(&mut bench, &role(ben.record.cid, Role::Supervisor)).0, 0);
}

#[test]
fn without_a_limited_user_there_is_no_timer() {
    let (bench, _) = household();
    assert_eq!(bench.thing.poll_timeout(), None);
}

fn said(name: &str) -> Operation {
    super::invitation::user_add(name, Role::Operator, None)
}

#[test]
fn nobody_comes_in_under_a_name_that_another_has_or_that_cannot_be_read() {
    let (mut bench, [mut ana, mut cleo, mut bo]) = household();
    for (name, rc) in [("Bo", 6), ("BO", 6), ("Cleo", 6), ("B\u{200b}o", 3), ("Bo ", 3), ("\u{202e}oB", 3)] {
        assert_eq!(ana.asks(&mut bench, &said(name)).0, rc, "{name:?}");
    }
    // Further computers of hers, and somebody new.
    for name in ["Ana", "Bo 2"] {
        assert_eq!(ana.asks(&mut bench, &said(name)).0, 0, "{name}");
    }
    assert_eq!(bo.asks(&mut bench, &rename(bo.record.cid, "Ana")).0, 6);
    assert_eq!(bo.asks(&mut bench, &rename(bo.record.cid, "A\u{ad}na")).0, 3);
    assert_eq!(cleo.asks(&mut bench, &rename(bo.record.cid, "Ana")).0, 6);
    assert!(bench.vault.saves.is_empty(), "nothing was written");
    // His own name in other letters is his.
    assert_eq!(bo.asks(&mut bench, &rename(bo.record.cid, "BO")).0, 0);
}
