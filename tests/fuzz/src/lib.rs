//! What holds for every input of every parser that a stranger, a network or a person reaches: it
//! never panics, and what is read prints back identically.
//!
//! [`PARSERS`] is the whole list. `tests/parsers.rs` runs it over mutated seeds with each `cargo test`;
//! the fuzz targets run one row each, for hours. A new parser gets a property, seeds, a row here and
//! a target of the same name.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use sect::proto::credential::{CtlrPassword, CtlrUser};
use sect::proto::envelope::{BUCKETS, EnvelopeKey, MAX_JWE_BYTES, MAX_PLAINTEXT_BYTES, Sealed, TooLong};
use sect::proto::id::{Boot, Cid, InviteId, Kid, Nonce, PskId, RequestId, Signature, SpkiHash, ThingId, X25519Public};
use sect::proto::invitation::Invitation;
use sect::proto::json::{self, Body};
use sect::proto::message::{Request, Status};
use sect::proto::operation::Requested;
use sect::proto::pairing::message::{
    Accept, BindCommit, BindCred, BindDone, BindPsk, BindTopic, BindWifi, Confirm, Hello,
};
use sect::proto::passcode::Passcode;
use sect::proto::rekey;
use sect::proto::secret::Secret;
use sect::proto::signature::{SigningKey, Spki};
use sect::proto::topic::TToken;
use sect::proto::user::{Name, Role};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One parser, as the tests know it.
pub struct Parser {
    /// The name of its fuzz target.
    pub name: &'static str,
    /// Panics where the parser breaks its word; says whether anything was read.
    pub property: fn(&[u8]) -> bool,
    /// Inputs that it reads.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Every parser.
pub const PARSERS: [Parser; 9] = [
    Parser { name: "sealed", property: sealed, seeds: sealed_seeds },
    Parser { name: "plaintext", property: plaintext, seeds: plaintext_seeds },
    Parser { name: "ids", property: ids, seeds: id_seeds },
    Parser { name: "tokens", property: tokens, seeds: token_seeds },
    Parser { name: "spki", property: spki, seeds: spki_seeds },
    Parser { name: "passcode", property: passcode, seeds: passcode_seeds },
    Parser { name: "invitation", property: invitation, seeds: invitation_seeds },
    Parser { name: "json", property: strict_json, seeds: message_seeds },
    Parser { name: "messages", property: messages, seeds: message_seeds },
];

fn envelope_key() -> EnvelopeKey {
    EnvelopeKey::new(Kid::new([7; 8]), Secret::new([9; 64]))
}

/// An envelope from the network, under a key that is known here: shape, MAC, plaintext.
pub fn sealed(jwe: &[u8]) -> bool {
    let Ok(sealed) = Sealed::parse(jwe) else { return false };
    assert!(jwe.len() <= MAX_JWE_BYTES);
    let key = envelope_key();
    let Ok(opened) = sealed.open(&key) else { return false };
    assert_eq!(opened.request_id(), sealed.request_id());
    // Only sealing makes what opens, so that sealing again must give the same bytes.
    assert!(BUCKETS.contains(&opened.bytes().len()));
    let iv = jwe.split(|&c| c == b'.').nth(2).expect("five parts");
    let iv: Nonce = std::str::from_utf8(iv).expect("base64url is ASCII").parse().expect("16 bytes, as a nonce has");
    assert_eq!(key.seal_with_iv(opened.bytes(), iv.as_bytes()).as_deref(), Ok(jwe));
    true
}

fn sealed_seeds() -> Vec<Vec<u8>> {
    let seal = |json: &[u8]| envelope_key().seal_with_iv(json, &[5; 16]).expect("short enough");
    plaintext_seeds().iter().map(|json| seal(json)).collect()
}

/// Whatever is sealed opens to itself and its padding, at every length.
pub fn plaintext(json: &[u8]) -> bool {
    let key = envelope_key();
    let jwe = match key.seal_with_iv(json, &[5; 16]) {
        Ok(jwe) => jwe,
        Err(TooLong(length)) => {
            assert!(length == json.len() && length > MAX_PLAINTEXT_BYTES);
            return false;
        }
    };
    let opened = Sealed::parse(&jwe).and_then(|sealed| sealed.open(&key)).expect("authentic");
    let (text, padding) = opened.bytes().split_at(json.len());
    assert_eq!(text, json);
    assert!(padding.iter().all(|&c| c == b' '));
    true
}

fn plaintext_seeds() -> Vec<Vec<u8>> {
    let mut seeds = message_seeds();
    seeds.push(Vec::new());
    seeds.extend(BUCKETS.map(|bucket| vec![b'x'; bucket]));
    seeds
}

/// Text of one strict form, alone and as a JSON string.
fn prints_back<T>(input: &[u8]) -> bool
where
    T: FromStr + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Ok(value) = text.parse::<T>() else { return false };
    assert_eq!(value.to_string(), text);
    reads_from_json(&value, text);
    true
}

fn reads_from_json<T: Debug + PartialEq + Serialize + DeserializeOwned>(value: &T, text: &str) {
    let string = serde_json::to_string(text).expect("a string");
    assert_eq!(serde_json::to_string(value).expect("a string"), string);
    assert_eq!(serde_json::from_str::<T>(&string).as_ref().ok(), Some(value));
}

/// The identifiers: base64url of a fixed size, a thing's hex, names and roles.
pub fn ids(input: &[u8]) -> bool {
    let read = [
        prints_back::<Cid>(input),
        prints_back::<Kid>(input),
        prints_back::<InviteId>(input),
        prints_back::<Boot>(input),
        prints_back::<RequestId>(input),
        prints_back::<Nonce>(input),
        prints_back::<PskId>(input),
        prints_back::<X25519Public>(input),
        prints_back::<SpkiHash>(input),
        prints_back::<Signature>(input),
        prints_back::<ThingId>(input),
        prints_back::<Name>(input),
        prints_back::<Role>(input),
    ];
    read.contains(&true)
}

fn id_seeds() -> Vec<Vec<u8>> {
    let seeds = [
        Cid::new([0xfb; 8]).to_string(),
        Boot::new([0xfb; 16]).to_string(),
        X25519Public::new([0xfb; 32]).to_string(),
        Signature::new([0xfb; 64]).to_string(),
        ThingId::new([0xfb; 8]).to_string(),
        "Küche".to_owned(),
        "supervisor".to_owned(),
    ];
    seeds.map(String::into_bytes).into()
}

/// T_token and Ctlr-U/P: secret, so that they have no `Display`.
pub fn tokens(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    if let Ok(user) = text.parse::<CtlrUser>() {
        assert_eq!(user.expose(), text);
        reads_from_json(&user, text);
        return true;
    }
    let (Ok(token), Ok(password)) = (text.parse::<TToken>(), text.parse::<CtlrPassword>()) else {
        assert!(text.parse::<TToken>().is_err() && text.parse::<CtlrPassword>().is_err(), "they have one form");
        return false;
    };
    assert_eq!((token.as_str(), password.expose()), (text, text));
    assert_eq!((token.c2t(), token.t2c()), (format!("s/{text}/c"), format!("s/{text}/t")));
    reads_from_json(&token, text);
    reads_from_json(&password, text);
    true
}

fn token_seeds() -> Vec<Vec<u8>> {
    vec![b"0123456789ABCDEFGHIJKLMNO".to_vec(), b"zyxwvutsrqponmlkjihgfedcb".to_vec(), b"abcdefghij012345".to_vec()]
}

/// A public key, as DER and as text.
pub fn spki(input: &[u8]) -> bool {
    let from_text = prints_back::<Spki>(input);
    let Ok(spki) = Spki::from_der(input) else { return from_text };
    assert_eq!(spki.as_der().as_slice(), input);
    assert!(prints_back::<Spki>(spki.to_string().as_bytes()));
    assert!(spki.verify("", input, &Signature::new([1; 64])).is_err(), "nobody signed this");
    true
}

fn spki_seeds() -> Vec<Vec<u8>> {
    let spki = SigningKey::from_scalar(&Secret::new([3; 32])).expect("a scalar").spki();
    vec![spki.as_der().to_vec(), spki.to_string().into_bytes()]
}

/// A passcode as typed: many spellings, one code.
pub fn passcode(input: &[u8]) -> bool {
    let Ok(typed) = std::str::from_utf8(input) else { return false };
    let Ok(code) = typed.parse::<Passcode>() else { return false };
    let shown = code.expose();
    assert_eq!(shown.len(), Passcode::CHARACTERS);
    assert!(shown.bytes().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase() && !b"ILOU".contains(&c)));
    assert_eq!(shown.parse().as_ref(), Ok(&code));
    true
}

fn passcode_seeds() -> Vec<Vec<u8>> {
    vec![b"7K3QX9M2B4TVHC8D".to_vec(), b"7k3q-x9m2 b4tv-hc8d\n".to_vec(), b"ilILoOoO1l1i0000".to_vec()]
}

/// The text of a QR code.
pub fn invitation(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else { return false };
    let Ok(invitation) = text.parse::<Invitation>() else { return false };
    assert_eq!(invitation.text().expose(), text.to_ascii_uppercase());
    assert_eq!(invitation.text().expose().parse().as_ref(), Ok(&invitation));
    true
}

fn invitation_seeds() -> Vec<Vec<u8>> {
    let invitation = Invitation::of(&SpkiHash::new([0xfb; 32]), InviteId::new([6; 8]), Secret::new([0x5a; 16]));
    let text = invitation.text();
    vec![text.expose().as_bytes().to_vec(), text.expose().to_ascii_lowercase().into_bytes()]
}

/// The strict JSON against the lenient parser: it takes a subset, and sees the same.
pub fn strict_json(text: &[u8]) -> bool {
    let Ok(t) = json::check(text) else { return false };
    let value: Value = serde_json::from_slice(text).expect("strict JSON is JSON");
    assert_eq!((&value["v"], &value["t"]), (&Value::from(1), &Value::from(&*t)));
    assert!(depth(&value) <= json::MAX_DEPTH);
    assert!(!has_foreign(&value), "a float, a null or a large or negative integer");
    true
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn has_foreign(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(has_foreign),
        Value::Array(items) => items.iter().any(has_foreign),
        Value::Number(number) => number.as_u64().is_none_or(|number| number > json::MAX_INTEGER),
        Value::Null => true,
        Value::Bool(_) | Value::String(_) => false,
    }
}

/// A message is read as what it says, member by member.
fn says_the_same<'a, B: Body + Serialize + Deserialize<'a>>(text: &'a [u8]) -> bool {
    let Ok(body) = json::read::<B>(text) else { return false };
    assert_same(text, &json::encode(&body));
    true
}

fn assert_same(read: &[u8], written: &[u8]) {
    let value = |text| serde_json::from_slice::<Value>(text).expect("JSON");
    assert_eq!(value(read), value(written));
}

/// The messages of the protocol; a new one gets a line here and a seed.
pub fn messages(text: &[u8]) -> bool {
    if let Ok(Request::Command { boot, ts, requested: Requested::Known(operation) }) = Request::read(text) {
        assert_same(text, &operation.command(boot, ts));
        return true;
    }
    let read = [
        says_the_same::<Status>(text),
        says_the_same::<rekey::Init>(text),
        says_the_same::<rekey::Accept>(text),
        says_the_same::<rekey::Commit>(text),
        says_the_same::<Hello>(text),
        says_the_same::<Accept>(text),
        says_the_same::<Confirm>(text),
        says_the_same::<BindTopic>(text),
        says_the_same::<BindWifi>(text),
        says_the_same::<BindCred>(text),
        says_the_same::<BindPsk>(text),
        says_the_same::<BindCommit>(text),
        says_the_same::<BindDone>(text),
    ];
    read.contains(&true)
}

fn message_seeds() -> Vec<Vec<u8>> {
    let spki = SigningKey::from_scalar(&Secret::new([3; 32])).expect("a scalar").spki();
    let (short, long) = (Nonce::new([5; 16]), X25519Public::new([9; 32]));
    let seeds = [
        format!(r#"{{"v":1,"t":"status","id":"{short}"}}"#),
        format!(r#"{{"v":1,"t":"rk.init","boot":"{short}","ts":5,"ep":1,"x":"{long}"}}"#),
        format!(r#"{{"v":1,"t":"rk.acc","re":"{short}","boot":"{short}","ts":5,"ep":1,"y":"{long}"}}"#),
        format!(r#"{{"v":1,"t":"rk.com","boot":"{short}","ts":5,"ep":1}}"#),
        format!(r#"{{"v":1,"t":"cmd","boot":"{short}","ts":1234567890,"op":"outlet.set","a":{{"on":true}}}}"#),
        format!(r#"{{"v":1,"t":"pair.hello","x":"{long}","nc":"{short}"}}"#),
        format!(r#"{{"v":1,"t":"pair.accept","id":"0123456789abcdef","y":"{long}","nt":"{short}","ca":"{long}"}}"#),
        format!(
            r#"{{"v":1,"t":"pair.confirm","n":0,"spki":"{spki}","pop":"{}","name":"Küche"}}"#,
            Signature::new([7; 64])
        ),
        r#"{"v":1,"t":"bind.topic","n":0,"cid":"AAECAwQFBgc","topic":"0123456789ABCDEFGHIJKLMNO"}"#.to_owned(),
        r#"{"v":1,"t":"bind.wifi","n":1,"ssid":"aG9tZQ","key":"a passphrase"}"#.to_owned(),
        format!(
            r#"{{"v":1,"t":"bind.cred","n":1,"user":"abcdefghij012345","pass":"{}","crt":"MAA","ca":"MAA"}}"#,
            "0123456789ABCDEFGHIJKLMNO"
        ),
        format!(
            r#"{{"v":1,"t":"bind.psk","n":2,"id":"{short}","clouds":[{{"host":"c.example","port":8884,"pin":"{long}"}}]}}"#
        ),
        format!(r#"{{"v":1,"t":"bind.commit","n":2,"rec":"{spki}"}}"#),
        r#"{"v":1,"t":"bind.commit","n":2}"#.to_owned(),
        r#"{"v":1,"t":"bind.done","n":3}  "#.to_owned(),
    ];
    seeds.map(String::into_bytes).into()
}
