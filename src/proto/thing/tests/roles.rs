//! Who may do what: every operation, by every role, on both paths (protocol sections 6.5 and 9).

use super::*;
use crate::proto::id::Cid;
use crate::proto::operation::Requested;

/// Each operation with the least role that may do it to somebody else, and to oneself if that differs.
/// `CID` stands for the id of whom it is done to.
const TABLE: [(&str, &str, Role, Option<Role>); 21] = [
    ("outlet.set", r#"{"on":true}"#, Role::Operator, None),
    ("timer.set", r#"{"on":true,"in_s":60}"#, Role::Operator, None),
    ("timer.clear", "{}", Role::Operator, None),
    ("schedule.set", r#"{"days":127,"at":60,"on":true}"#, Role::Supervisor, None),
    ("schedule.list", r#"{"from":0}"#, Role::Supervisor, None),
    ("schedule.clear", r#"{"id":1}"#, Role::Supervisor, None),
    ("boot.set", r#"{"state":"on"}"#, Role::Owner, None),
    ("name.set", r#"{"name":"Lamp"}"#, Role::Owner, None),
    ("history.list", r#"{"from":0}"#, Role::Supervisor, None),
    ("user.add", r#"{"name":"Eve","role":"viewer"}"#, Role::Owner, None),
    ("user.list", r#"{"from":0}"#, Role::Viewer, None),
    ("user.role", r#"{"cid":"CID","role":"owner"}"#, Role::Owner, Some(Role::Owner)),
    ("user.name", r#"{"cid":"CID","name":"Eve"}"#, Role::Owner, Some(Role::Viewer)),
    ("user.del", r#"{"cid":"CID"}"#, Role::Owner, Some(Role::Viewer)),
    ("wifi.scan", "{}", Role::Owner, None),
    ("wifi.set", r#"{"ssid":"S8O8Y2hl","key":"correct horse battery"}"#, Role::Owner, None),
    ("token.renew", "{}", Role::Viewer, None),
    ("token.use", r#"{"topic":"ABCDEFGHIJKLMNOPQRSTUVWXY"}"#, Role::Viewer, None),
    (
        "recovery.set",
        r#"{"rec":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpV1DBGnvF8aaVufMfsNs_DPHpYRkudxdkpcZDDj_uI0SPGt8qXXQ3fdEXonGjbIgERe1dJA2SlKIhe8UL4mBYg"}"#,
        Role::Owner,
        None,
    ),
    ("time.set", r#"{"unix_ms":1700000000000}"#, Role::Owner, None),
    ("unpair", r#"{"confirm":"UNPAIR"}"#, Role::Owner, None),
];

/// One more operation than the table has does not compile until its row is here.
fn row(operation: &Operation) -> usize {
    match operation {
        Operation::OutletSet(_) => 0,
        Operation::TimerSet(_) => 1,
        Operation::TimerClear => 2,
        Operation::ScheduleSet(_) => 3,
        Operation::ScheduleList(_) => 4,
        Operation::ScheduleClear(_) => 5,
        Operation::BootSet(_) => 6,
        Operation::NameSet(_) => 7,
        Operation::HistoryList(_) => 8,
        Operation::UserAdd(_) => 9,
        Operation::UserList(_) => 10,
        Operation::UserRole(_) => 11,
        Operation::UserName(_) => 12,
        Operation::UserDel(_) => 13,
        Operation::WifiScan => 14,
        Operation::WifiSet(_) => 15,
        Operation::TokenRenew => 16,
        Operation::TokenUse(_) => 17,
        Operation::RecoverySet(_) => 18,
        Operation::TimeSet(_) => 19,
        Operation::Unpair(_) => 20,
    }
}

/// Asks for it, and gives the answer's code and what was persisted or switched.
fn ask(role: Role, operation: (&str, &str), whom: Option<&ControllerRecord>, path: Path) -> (u64, usize) {
    let people = [record(7, "Ana", Role::Owner), record(400, "Bo", role), record(900, "Cleo", Role::Viewer)];
    let mut bench = Bench::at_home(people.to_vec());
    bench.confirm_registration();
    let mut bo = Hand::of(&bench, &people[1]);
    let cid: Cid = whom.unwrap_or(&people[1]).cid;
    let arguments = operation.1.replace("CID", &cid.to_string());
    let text = format!(
        r#"{{"v":1,"t":"cmd","boot":"{BOOT}","ts":{},"op":"{}","a":{arguments}}}"#,
        bench.now.get(),
        operation.0
    );
    let message = bo.seal(text.as_bytes());
    let verdict = match path {
        Path::Local => bench.publish(SessionId(2), &bo.topic(), &message),
        Path::Cloud(_) => bench.hear_cloud(&bo.topic(), &message),
    };
    assert!(matches!(verdict, Verdict::Answered(_)), "{verdict:?}");
    let answer = bench.actions().into_iter().find_map(|action| match action {
        Action::Publish { path: by, topic, payload } if *topic == *bo.record.topic.t2c() => {
            assert_eq!(by, path, "the answer goes the way that the question came");
            bo.open(&payload)["rc"].as_u64()
        }
        _ => None,
    });
    (answer.expect("an answer"), bench.vault.saves.len() + bench.outlet.switched.len())
}

#[test]
fn roles_are_enforced_for_every_operation_on_both_paths() {
    let forbidden = u64::from(u8::from(ReturnCode::Forbidden));
    let other = record(900, "Cleo", Role::Viewer);
    for (place, (op, arguments, least, least_for_oneself)) in TABLE.into_iter().enumerate() {
        let raw = serde_json::value::RawValue::from_string(arguments.replace("CID", "AAECAwQFBgc")).expect("JSON");
        let Ok(Requested::Known(operation)) = Operation::read(op, &raw) else { panic!("{op} is not read") };
        assert_eq!(row(&operation), place, "{op}");
        for role in [Role::Viewer, Role::Operator, Role::Supervisor, Role::Owner] {
            for path in [Path::Local, Path::Cloud(ServerId(0))] {
                let to = |whom, least| {
                    let (rc, changes) = ask(role, (op, arguments), whom, path);
                    assert_eq!(rc != forbidden, role >= least, "{op} by {role} over {path:?}: {rc}");
                    assert!(rc != forbidden || changes == 0, "{op} by {role}");
                };
                to(Some(&other), least);
                if let Some(least) = least_for_oneself {
                    to(None, least);
                }
            }
        }
    }
}

#[test]
fn status_is_for_everybody() {
    for role in [Role::Viewer, Role::Operator, Role::Supervisor, Role::Owner] {
        let people = [record(7, "Ana", Role::Owner), record(400, "Bo", role)];
        let mut bench = Bench::at_home(people.to_vec());
        let mut bo = Hand::of(&bench, &people[1]);
        let status = json::encode(&crate::proto::message::Status { id: crate::proto::id::Nonce::new([1; 16]) });
        let status = bo.seal(&status);
        assert_eq!(bench.publish(SessionId(2), &bo.topic(), &status), Verdict::Answered(ReturnCode::Ok));
    }
}
