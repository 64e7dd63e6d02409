//! proof of the key schedule and the envelope: what the code derives, seals and signs is what
//! `vectors/sect-v1.json` says, to the byte, and no member of that file goes unused.

use std::cell::RefCell;
use std::collections::BTreeSet;

use base64ct::{Base64UrlUnpadded, Encoding};
use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use sect::proto::credential::CtlrPassword;
use sect::proto::envelope::{EnvelopeKey, Sealed, request_id};
use sect::proto::id::{Boot, Cid, PskId, Signature, SpkiHash, ThingId};
use sect::proto::invitation::Invitation;
use sect::proto::json::{self, Body};
use sect::proto::keys::{
    Ephemeral, EpochKeys, MasterKey, PairingCode, PairingKeys, cloud_password, pairing_psk, recovery_key,
};
use sect::proto::passcode::Passcode;
use sect::proto::rekey::{Accept, Commit, Init};
use sect::proto::secret::Secret;
use sect::proto::signature::{self, SigningKey, Spki};
use sect::proto::time::Micros;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256, Sha512};

/// The file, which remembers the members that were asked for.
struct Vectors {
    json: Value,
    read: RefCell<BTreeSet<String>>,
}

impl Vectors {
    fn load() -> Self {
        let json = serde_json::from_str(include_str!("vectors/sect-v1.json")).expect("the vectors are JSON");
        Self { json, read: RefCell::default() }
    }

    /// The member at a path like `epoch0/psk`.
    fn text(&self, path: &str) -> &str {
        self.read.borrow_mut().insert(format!("/{path}"));
        self.json.pointer(&format!("/{path}")).and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {path}"))
    }

    fn hex<const N: usize>(&self, path: &str) -> [u8; N] {
        let bytes = HEXLOWER.decode(self.text(path).as_bytes()).expect("hex");
        bytes.try_into().unwrap_or_else(|b: Vec<u8>| panic!("{path} has {} bytes, not {N}", b.len()))
    }

    fn secret<const N: usize>(&self, path: &str) -> Secret<N> {
        Secret::new(self.hex(path))
    }

    fn thing(&self) -> ThingId {
        self.text("thing_id").parse().expect("a thing id")
    }

    fn cid(&self) -> Cid {
        self.text("cid").parse().expect("a controller id")
    }

    fn passcode(&self) -> Passcode {
        self.text("passcode").parse().expect("a passcode")
    }

    /// The X25519 result, as each side has it.
    fn shared(&self) -> Secret<32> {
        agreed(self, "controller_x25519_private", "thing_x25519_private")
    }

    fn pairing(&self) -> PairingKeys {
        self.pairing_with(&PairingCode::of_passcode(&self.passcode()))
    }

    fn pairing_with(&self, code: &PairingCode) -> PairingKeys {
        PairingKeys::derive(self.text("M1").as_bytes(), self.text("M2").as_bytes(), &self.shared(), code)
    }

    fn epoch(&self, epoch: u32) -> EpochKeys {
        let master = match epoch {
            0 => self.secret("pairing/master"),
            1 => self.secret("MK1"),
            other => panic!("no vectors for epoch {other}"),
        };
        MasterKey::from_stored(master).epoch(&self.thing(), &self.cid(), epoch)
    }
}

fn agreed(vectors: &Vectors, controller: &str, thing: &str) -> Secret<32> {
    let controller = Ephemeral::from_secret(&vectors.secret(controller));
    let thing = Ephemeral::from_secret(&vectors.secret(thing));
    let shared = controller.agree(&thing.public()).expect("contributory");
    assert_eq!(thing.agree(&controller.public()), Ok(shared.clone()), "both sides agree");
    shared
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// All that prove some member; the last test runs each and looks for members that none has read.
const PROOFS: [fn(&Vectors); 9] = [
    hellos_carry_the_public_keys,
    pairing_derives,
    pairing_keys_follow_from_the_extracted_key,
    epoch_keys_derive,
    envelopes_seal_and_open,
    key_update_derives,
    invitation_reads_and_derives,
    signatures_are_deterministic,
    cloud_password_derives,
];

fn hellos_carry_the_public_keys(vectors: &Vectors) {
    for (message, member, private) in [("M1", "x", "controller_x25519_private"), ("M2", "y", "thing_x25519_private")] {
        let public = Ephemeral::from_secret(&vectors.secret(private)).public();
        assert_eq!(value(vectors.text(message))[member], public.to_string(), "{message}");
    }
    assert_eq!(value(vectors.text("M2"))["id"], vectors.thing().to_string());
}

fn pairing_derives(vectors: &Vectors) {
    let keys = vectors.pairing();
    assert_eq!(vectors.shared(), vectors.secret("dh"));
    assert_eq!(keys.transcript, vectors.hex("th"));
    assert_eq!(keys.c2t.expose(), &vectors.hex::<64>("pairing/c2t"));
    assert_eq!(keys.t2c.expose(), &vectors.hex::<64>("pairing/t2c"));
    assert_eq!(keys.c2t.kid().to_string(), vectors.text("pairing/kid_c2t"));
    assert_eq!(keys.t2c.kid().to_string(), vectors.text("pairing/kid_t2c"));
    assert_eq!(keys.master.expose(), &vectors.hex::<64>("pairing/master"));
    assert_eq!(pairing_psk(&vectors.passcode()), vectors.secret("pairing/psk"));
}

fn pairing_keys_follow_from_the_extracted_key(vectors: &Vectors) {
    prove_extracted(vectors, vectors.passcode().expose().as_bytes(), "prk", &vectors.pairing());
}

/// The extracted keys never leave the key schedule: here one is made from the text of protocol
/// sections 2 and 7 alone, and must lead to the same keys.
fn prove_extracted(vectors: &Vectors, code: &[u8], prk: &str, keys: &PairingKeys) {
    let salt = Sha512::digest([b"SecT-v1/code\0", code].concat());
    let (extracted, expander) = Hkdf::<Sha512>::extract(Some(&salt), &vectors.hex::<32>("dh"));
    assert_eq!(extracted.as_slice(), vectors.hex::<64>(prk));

    let (kid_c2t, kid_t2c) = (keys.c2t.kid(), keys.t2c.kid());
    let derived: [(&str, &[u8]); 5] = [
        ("pair-c2t", keys.c2t.expose()),
        ("pair-t2c", keys.t2c.expose()),
        ("master", keys.master.expose()),
        ("pair-kid-c2t", kid_c2t.as_bytes()),
        ("pair-kid-t2c", kid_t2c.as_bytes()),
    ];
    for (label, key) in derived {
        let info = [b"SecT-v1/", label.as_bytes(), b"\0", &vectors.hex::<64>("th")].concat();
        let mut okm = vec![0; key.len()];
        expander.expand(&info, &mut okm).expect("short enough");
        assert_eq!(okm, key, "{label}");
    }
}

fn epoch_keys_derive(vectors: &Vectors) {
    for epoch in [0, 1] {
        let keys = vectors.epoch(epoch);
        let member = |name: &str| format!("epoch{epoch}/{name}");
        assert_eq!(keys.c2t.expose(), &vectors.hex::<64>(&member("c2t")));
        assert_eq!(keys.t2c.expose(), &vectors.hex::<64>(&member("t2c")));
        assert_eq!(keys.c2t.kid().to_string(), vectors.text(&member("kid_c2t")));
        assert_eq!(keys.t2c.kid().to_string(), vectors.text(&member("kid_t2c")));
        assert_eq!(keys.psk, vectors.secret(&member("psk")));
        assert_eq!(Ok(keys.psk_id), vectors.text(&member("psk_id")).parse::<PskId>());
    }
}

/// Seals `plain` under the vectors' IV to exactly `jwe`, and opens `jwe` to `plain` and its padding.
fn prove_envelope(vectors: &Vectors, key: &EnvelopeKey, plain: &str, jwe: &str) {
    let sealed = key.seal_with_iv(plain.as_bytes(), &vectors.hex("iv")).expect("short enough");
    assert_eq!(String::from_utf8(sealed).expect("ASCII"), jwe);
    let opened = open(key, jwe);
    assert_eq!(opened, format!("{plain:191}"), "padded with spaces to 191 bytes");
}

fn open(key: &EnvelopeKey, jwe: &str) -> String {
    let opened = Sealed::parse(jwe.as_bytes()).and_then(|sealed| sealed.open(key)).expect("authentic");
    String::from_utf8(opened.bytes().to_vec()).expect("UTF-8")
}

fn envelopes_seal_and_open(vectors: &Vectors) {
    let keys = vectors.epoch(0);
    for (name, key) in [("status", &keys.c2t), ("cmd", &keys.c2t), ("rsp", &keys.t2c)] {
        let (plain, jwe) = (vectors.text(&format!("{name}_plain")), vectors.text(&format!("{name}_jwe")));
        assert_eq!(value(plain)["t"], name);
        prove_envelope(vectors, key, plain, jwe);
    }
    // The answer refers to the command by the hash of its envelope.
    let command = vectors.text("cmd_jwe").as_bytes();
    assert_eq!(value(vectors.text("rsp_plain"))["re"], request_id(command).to_string());
    assert_eq!(Sealed::parse(command).expect("well formed").request_id(), request_id(command));
}

fn written<B: Body + Serialize>(body: &B) -> String {
    String::from_utf8(json::encode(body)).expect("UTF-8")
}

fn key_update_derives(vectors: &Vectors) {
    let keys = vectors.epoch(0);
    let (init, acc) = (vectors.text("rk_init_jwe"), vectors.text("rk_acc_jwe"));
    let (controller, thing) = ("rekey_controller_x25519_private", "rekey_thing_x25519_private");
    for (key, jwe, t, member, private) in
        [(&keys.c2t, init, "rk.init", "x", controller), (&keys.t2c, acc, "rk.acc", "y", thing)]
    {
        let padded = open(key, jwe);
        let plain = padded.trim_end_matches(' ');
        prove_envelope(vectors, key, plain, jwe);
        let message = value(plain);
        assert_eq!(message["t"], t);
        assert_eq!(message["ep"], 1);
        let public = Ephemeral::from_secret(&vectors.secret(private)).public();
        assert_eq!(message[member], public.to_string());
        if t == "rk.acc" {
            assert_eq!(message["re"], request_id(init.as_bytes()).to_string());
        }
    }
    // The message types write these very bytes, and read them back.
    let boot = Boot::new([3; 16]);
    let public = |private| Ephemeral::from_secret(&vectors.secret(private)).public();
    let first = Init { boot, ts: Micros::new(1_300_000_000), epoch: 1, x: public(controller) };
    prove_envelope(vectors, &keys.c2t, &written(&first), init);
    assert_eq!(json::read(open(&keys.c2t, init).as_bytes()), Ok(first));
    let re = request_id(init.as_bytes());
    let second = Accept { re, boot, ts: Micros::new(1_300_000_100), epoch: 1, y: public(thing) };
    prove_envelope(vectors, &keys.t2c, &written(&second), acc);
    assert_eq!(json::read(open(&keys.t2c, acc).as_bytes()), Ok(second));
    let third = Commit { boot, ts: Micros::new(1_300_000_200), epoch: 1 };
    assert_eq!(written(&third), r#"{"v":1,"t":"rk.com","boot":"AwMDAwMDAwMDAwMDAwMDAw","ts":1300000200,"ep":1}"#);

    let shared = agreed(vectors, controller, thing);
    let master = MasterKey::from_stored(vectors.secret("pairing/master"));
    let next = master.next(init.as_bytes(), acc.as_bytes(), &shared);
    assert_eq!(next.expose(), &vectors.hex::<64>("MK1"));
}

fn invitation_reads_and_derives(vectors: &Vectors) {
    let text = vectors.text("invitation/text");
    let invitation: Invitation = text.parse().expect("an invitation");
    assert_eq!(invitation.text().expose(), text);
    assert_eq!(invitation.thing, vectors.thing());
    let ca = value(vectors.text("M2"))["ca"].as_str().expect("text").parse().expect("an SPKI hash");
    assert!(invitation.pins(&ca), "the invitation is of the thing of M2");
    assert_eq!(Invitation::of(&ca, invitation.id, invitation.secret.clone()), invitation);

    assert_eq!(invitation.psk_identity(), vectors.text("invitation/psk_id"));
    assert_eq!(invitation.psk(), vectors.secret("invitation/psk"));
    // Its pairing run, over the same hellos: the raw secret stands in for the passcode.
    let keys = vectors.pairing_with(&PairingCode::of_invitation(&invitation.secret));
    prove_extracted(vectors, invitation.secret.expose(), "invitation/prk", &keys);
}

/// Signs with RFC 6979, so that the bytes are known; and verifies, for who does not.
fn prove_signature(vectors: &Vectors, key: &SigningKey, name: &str, section: &str, public: &str) {
    // The vectors write the zero byte as two characters.
    let message = format!("{} || th", name.replace('\0', "\\0"));
    assert_eq!(vectors.text(&format!("{section}/message")), message);
    let transcript = vectors.hex::<64>("th");

    let spki: Spki = vectors.text(&format!("{section}/{public}")).parse().expect("a public key");
    assert_eq!(key.spki(), spki);
    assert_eq!(spki.to_string(), vectors.text(&format!("{section}/{public}")));
    let der = Base64UrlUnpadded::decode_vec(vectors.text(&format!("{section}/{public}"))).expect("base64url");
    assert_eq!(spki.hash(), SpkiHash::new(Sha256::digest(der).into()));

    let signature: Signature = vectors.text(&format!("{section}/signature")).parse().expect("a signature");
    assert_eq!(key.sign(name, &transcript), signature);
    assert_eq!(spki.verify(name, &transcript, &signature), Ok(()));
    let mut forged = transcript;
    forged[0] ^= 1;
    assert!(spki.verify(name, &forged, &signature).is_err());
}

fn signatures_are_deterministic(vectors: &Vectors) {
    // Written without its leading zeros.
    let scalar = format!("{:0>64}", vectors.text("pop/controller_p256_scalar"));
    let scalar = HEXLOWER.decode(scalar.as_bytes()).expect("hex").try_into().expect("32 bytes");
    let controller = SigningKey::from_scalar(&Secret::new(scalar)).expect("a scalar");
    prove_signature(vectors, &controller, signature::POP, "pop", "spki");

    let recovery = recovery_key(&vectors.secret("recovery/code"), &vectors.thing());
    assert_eq!(recovery.scalar(), vectors.secret("recovery/scalar"));
    prove_signature(vectors, &recovery, signature::RECOVER, "recovery", "rec");
}

fn cloud_password_derives(vectors: &Vectors) {
    let password: CtlrPassword = vectors.text("cloud/ctlr_password").parse().expect("a password");
    let server_ca = SpkiHash::new(vectors.hex("cloud/server_ca_spki_sha256"));
    let derived = cloud_password(&password, &vectors.thing(), &server_ca);
    let shown = Base64UrlUnpadded::encode_string(derived.expose());
    assert_eq!(shown, vectors.text("cloud/cloud_password"));
    // The server keeps the hash of the 22 characters that a controller sends.
    let verifier = Base64UrlUnpadded::encode_string(&Sha256::digest(shown));
    assert_eq!(verifier, vectors.text("cloud/verifier"));
}

macro_rules! tests {
    ($($test:ident: $proof:ident;)*) => {
        $(#[test]
        fn $test() {
            $proof(&Vectors::load());
        })*
    };
}

tests! {
    the_hellos_carry_the_public_keys_of_the_vectors: hellos_carry_the_public_keys;
    a_pairing_run_derives_the_keys_of_the_vectors: pairing_derives;
    the_pairing_keys_follow_from_the_extracted_key: pairing_keys_follow_from_the_extracted_key;
    both_epochs_derive_the_keys_of_the_vectors: epoch_keys_derive;
    messages_are_sealed_to_the_bytes_of_the_vectors_and_open_again: envelopes_seal_and_open;
    a_key_update_derives_the_next_master_key: key_update_derives;
    an_invitation_reads_prints_and_opens_its_pairing_run: invitation_reads_and_derives;
    proof_of_possession_and_recovery_sign_to_the_bytes_of_the_vectors: signatures_are_deterministic;
    a_server_knows_the_cloud_password_of_the_vectors: cloud_password_derives;
}

fn members(path: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                members(&format!("{path}/{name}"), value, into);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            into.insert(path.to_owned());
        }
    }
}

#[test]
fn every_member_of_the_vectors_is_used() {
    let vectors = Vectors::load();
    for proof in PROOFS {
        proof(&vectors);
    }
    let mut all = BTreeSet::new();
    members("", &vectors.json, &mut all);
    assert!(all.len() >= 50, "the file holds {} members", all.len());
    assert_eq!(*vectors.read.borrow(), all);
}
