//! Each operation as it stands on the wire.

use serde_json::value::RawValue;

use super::*;
use crate::proto::json::JsonError;

fn read(op: &str, arguments: &str) -> Result<Requested, JsonError> {
    let arguments: Box<RawValue> = serde_json::from_str(arguments).expect("JSON");
    Operation::read(op, &arguments)
}

/// Every operation of this version, with arguments in the one form in which they are written.
const FORMS: [(&str, &str, Role); 21] = [
    ("outlet.set", r#"{"on":true}"#, Role::Operator),
    ("timer.set", r#"{"on":false,"in_s":86400}"#, Role::Operator),
    ("timer.clear", "{}", Role::Operator),
    ("schedule.set", r#"{"days":127,"at":1439,"on":true}"#, Role::Supervisor),
    ("schedule.list", r#"{"from":0}"#, Role::Supervisor),
    ("schedule.clear", r#"{"id":3}"#, Role::Supervisor),
    ("boot.set", r#"{"state":"last"}"#, Role::Owner),
    ("name.set", r#"{"name":"Küche"}"#, Role::Owner),
    ("history.list", r#"{"from":9,"cid":"AAECAwQFBgc"}"#, Role::Supervisor),
    ("user.add", r#"{"name":"Ben","role":"operator","ttl_s":172800}"#, Role::Owner),
    ("user.list", r#"{"from":0}"#, Role::Viewer),
    ("user.role", r#"{"cid":"AAECAwQFBgc","role":"viewer"}"#, Role::Owner),
    ("user.name", r#"{"cid":"AAECAwQFBgc","name":"Ben"}"#, Role::Viewer),
    ("user.del", r#"{"cid":"AAECAwQFBgc"}"#, Role::Viewer),
    ("wifi.scan", "{}", Role::Owner),
    ("wifi.set", r#"{"ssid":"S8O8Y2hl","key":"correct horse battery"}"#, Role::Owner),
    ("token.renew", "{}", Role::Viewer),
    ("token.use", r#"{"topic":"ABCDEFGHIJKLMNOPQRSTUVWXY"}"#, Role::Viewer),
    (
        "recovery.set",
        r#"{"rec":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpV1DBGnvF8aaVufMfsNs_DPHpYRkudxdkpcZDDj_uI0SPGt8qXXQ3fdEXonGjbIgERe1dJA2SlKIhe8UL4mBYg"}"#,
        Role::Owner,
    ),
    ("time.set", r#"{"unix_ms":1700000000000,"zone":"CET-1CEST,M3.5.0,M10.5.0/3"}"#, Role::Owner),
    ("unpair", r#"{"confirm":"UNPAIR"}"#, Role::Owner),
];

#[test]
fn every_operation_reads_and_writes_its_one_form() {
    for (op, arguments, role) in FORMS {
        let Ok(Requested::Known(operation)) = read(op, arguments) else { panic!("{op} is not read") };
        assert_eq!(operation.op(), op);
        assert_eq!(operation.least_role(), role, "{op}");
        let command = operation.command(Boot::new([3; 16]), Micros::new(5));
        let expected =
            format!(r#"{{"v":1,"t":"cmd","boot":"AwMDAwMDAwMDAwMDAwMDAw","ts":5,"op":"{op}","a":{arguments}}}"#);
        assert_eq!(String::from_utf8(command).expect("UTF-8"), expected);
    }
}

#[test]
fn arguments_out_of_range_or_of_another_form_are_refused() {
    for (op, arguments) in [
        ("timer.set", r#"{"on":true,"in_s":0}"#),
        ("timer.set", r#"{"on":true,"in_s":86401}"#),
        ("timer.clear", r#"{"x":1}"#),
        ("schedule.set", r#"{"days":0,"at":0,"on":true}"#),
        ("schedule.set", r#"{"days":128,"at":0,"on":true}"#),
        ("schedule.set", r#"{"days":1,"at":1440,"on":true}"#),
        ("boot.set", r#"{"state":"maybe"}"#),
        ("name.set", r#"{"name":""}"#),
        ("user.add", r#"{"name":"Ben","role":"king"}"#),
        ("user.add", r#"{"name":"Ben","role":"viewer","ttl_s":59}"#),
        ("user.del", r#"{"cid":"AAECAwQFBgd"}"#),
        ("wifi.set", r#"{"ssid":"S8O8Y2hl","key":"short"}"#),
        ("token.use", r#"{"topic":"short"}"#),
        ("unpair", r#"{"confirm":"yes"}"#),
        ("unpair", "{}"),
        ("outlet.dim", "5"),
    ] {
        assert_eq!(read(op, arguments), Err(JsonError), "{op} {arguments}");
    }
    assert_eq!(read("outlet.dim", r#"{"to":5}"#), Ok(Requested::Unknown));
}
