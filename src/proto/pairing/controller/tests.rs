//! The controller's run against a thing made of the same primitives.

mod invited;

use super::*;
use crate::proto::certificate::ThingIdentity;
use crate::proto::credential::{CtlrPassword, CtlrUser};
use crate::proto::id::{Cid, X25519Public};
use crate::proto::pairing::message::{CloudServer, Der};
use crate::proto::passcode::Passcode;
use crate::proto::signature::Spki;
use crate::proto::testing::Counter;
use crate::proto::topic::TToken;

const CID: Cid = Cid::new([5; 8]);
const NOW: Micros = Micros::new(1_000_000);

/// The thing of a run: each of its messages is made when the test asks for it.
struct Thing {
    identity: ThingIdentity,
    code: PairingCode,
    ephemeral: Ephemeral,
    rng: Counter,
    accept: Vec<u8>,
    keys: Option<PairingKeys>,
    spki: Option<Spki>,
}

impl Thing {
    fn new(code: &str) -> Self {
        let mut rng = Counter::new(100);
        let identity = ThingIdentity::create(&mut rng);
        let ephemeral = Ephemeral::random(&mut rng);
        let accept =
            Accept { id: identity.id(), y: ephemeral.public(), nt: Nonce::random(&mut rng), ca: identity.ca() };
        let accept = json::encode(&accept);
        Self { identity, code: code_of(code), ephemeral, rng, accept, keys: None, spki: None }
    }

    fn accept(&mut self, hello: &[u8]) -> Vec<u8> {
        let peer = json::read::<Hello>(hello).expect("M1").x;
        let shared = self.ephemeral.agree(&peer).expect("a fresh key");
        self.keys = Some(PairingKeys::derive(hello, &self.accept, &shared, &self.code));
        self.accept.clone()
    }

    fn keys(&self) -> &PairingKeys {
        self.keys.as_ref().expect("M1 has come")
    }

    fn opened<B: Body + DeserializeOwned>(&self, payload: &[u8]) -> B {
        let opened = Sealed::parse(payload).expect("well formed").open(&self.keys().c2t).expect("authentic");
        json::read(opened.bytes()).expect("the message that was expected")
    }

    fn confirm(&mut self, payload: &[u8]) {
        let confirm: Confirm = self.opened(payload);
        assert_eq!(confirm.spki.verify(POP, &self.keys().transcript, &confirm.pop), Ok(()));
        assert_eq!(confirm.name, name());
        self.spki = Some(confirm.spki);
    }

    fn seal<B: Body + Serialize>(&mut self, body: &B) -> Vec<u8> {
        let key = self.keys().t2c.clone();
        key.seal(&json::encode(body), &mut self.rng).expect("short enough")
    }

    fn topic(&mut self) -> Vec<u8> {
        self.seal(&BindTopic { n: Number, cid: CID, topic: token() })
    }

    fn cred(&mut self) -> Vec<u8> {
        let subject = self.spki.expect("M3 has come");
        let crt = self.identity.certify(&CID, &subject, &mut self.rng);
        let ca = self.identity.certificate().to_vec();
        self.cred_with(crt, ca)
    }

    fn cred_with(&mut self, crt: Vec<u8>, ca: Vec<u8>) -> Vec<u8> {
        let CtlrCredentials { user, password } = credentials();
        self.seal(&BindCred { n: Number, user, pass: password, crt: Der(crt), ca: Der(ca) })
    }

    fn psk(&mut self) -> Vec<u8> {
        let id = self.keys().master.epoch(&self.identity.id(), &CID, 0).psk_id;
        self.seal(&BindPsk { n: Number, id, clouds: vec![cloud()] })
    }

    fn done(&mut self) -> Vec<u8> {
        self.seal(&BindDone { n: Number })
    }
}

fn code_of(typed: &str) -> PairingCode {
    PairingCode::of_passcode(&typed.parse::<Passcode>().expect("valid"))
}

fn name() -> Name {
    "Ada".parse().expect("valid")
}

fn token() -> TToken {
    "0123456789ABCDEFGHIJKLMNO".parse().expect("valid")
}

fn credentials() -> CtlrCredentials {
    let user: CtlrUser = "abcdefghijklmnop".parse().expect("valid");
    let password: CtlrPassword = "ABCDEFGHIJKLMNOPQRSTUVWXY".parse().expect("valid");
    CtlrCredentials { user, password }
}

fn cloud() -> CloudServer {
    CloudServer { host: "cloud.example".into(), port: 8884, pin: SpkiHash::new([6; 32]) }
}

fn network() -> HomeNetwork {
    HomeNetwork { ssid: "home".parse().expect("valid"), psk: "correct horse".parse().expect("valid") }
}

fn recovery() -> RecoveryCode {
    RecoveryCode::random(&mut Counter::new(77))
}

fn steps(run: &mut Run) -> Vec<Step> {
    std::iter::from_fn(|| run.poll_step()).collect()
}

/// Everything that goes out now; most often one message.
fn sent(run: &mut Run) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| run.poll_transmit(NOW)).collect()
}

fn sent_one(run: &mut Run) -> Vec<u8> {
    let [payload] = <[_; 1]>::try_from(sent(run)).expect("one message");
    payload
}

/// A run and its thing, as far as a test wants them.
struct Pair {
    run: Run,
    thing: Thing,
    rng: Counter,
}

const CODE: &str = "7K3QX9M2B4TVHC8D";

impl Pair {
    fn new() -> Self {
        Self::with_code_on_display(CODE)
    }

    fn with_code_on_display(code: &str) -> Self {
        let mut rng = Counter::new(1);
        let run = Run::new(code_of(CODE), network(), name(), Some(recovery()), &mut rng);
        Self { run, thing: Thing::new(code), rng }
    }

    fn give(&mut self, payload: &[u8]) {
        self.run.handle_message(payload, &mut self.rng);
    }

    /// M1 and M2; gives M3.
    fn until_confirm(&mut self) -> Vec<u8> {
        let hello = sent_one(&mut self.run);
        let accept = self.thing.accept(&hello);
        self.give(&accept);
        let found = Progress::Found { thing: self.thing.identity.id() };
        assert_eq!(steps(&mut self.run), [Step::TellUser(found)]);
        sent_one(&mut self.run)
    }

    /// M1 to M4; gives M5.
    fn until_wifi(&mut self) -> Vec<u8> {
        let confirm = self.until_confirm();
        self.thing.confirm(&confirm);
        let topic = self.thing.topic();
        self.give(&topic);
        let told = [Progress::CodeProved, Progress::NetworkGiven].map(Step::TellUser);
        assert_eq!(steps(&mut self.run), told);
        sent_one(&mut self.run)
    }

    /// M1 to M6.
    fn until_cred(&mut self) {
        self.until_wifi();
        let cred = self.thing.cred();
        self.give(&cred);
        assert_eq!(steps(&mut self.run), [Step::TellUser(Progress::Certified)]);
    }

    /// M1 to M7; gives the binding.
    fn until_persist(&mut self) -> Binding {
        self.until_cred();
        let psk = self.thing.psk();
        self.give(&psk);
        let [Step::TellUser(Progress::PskAgreed { identity }), Step::Persist(binding)] = &steps(&mut self.run)[..]
        else {
            panic!("M7 makes the shell persist")
        };
        assert_eq!(*identity, binding.psk().0);
        (**binding).clone()
    }

    /// M1 to M8; gives the binding and M8.
    fn until_commit(&mut self) -> (Binding, Vec<u8>) {
        let binding = self.until_persist();
        self.run.persisted(&mut self.rng);
        assert_eq!(steps(&mut self.run), [Step::TellUser(Progress::Committing)]);
        (binding, sent_one(&mut self.run))
    }

    /// Nothing came of it: no step, no message.
    fn expect_nothing(&mut self) {
        assert_eq!((steps(&mut self.run), sent(&mut self.run)), (vec![], vec![]));
    }

    fn expect_failed(&mut self, error: PairingError) {
        assert_eq!((steps(&mut self.run), sent(&mut self.run)), (vec![Step::Failed(error)], vec![]));
        assert_eq!(self.run.poll_timeout(), None);
    }

    /// Lets time pass until the run gives up; gives what was sent meanwhile and how long it took.
    fn wait(&mut self) -> (Vec<Vec<u8>>, Duration) {
        let (mut now, mut payloads) = (NOW, Vec::new());
        while let Some(at) = self.run.poll_timeout() {
            now = at;
            self.run.handle_timeout(now);
            payloads.extend(std::iter::from_fn(|| self.run.poll_transmit(now)));
        }
        (payloads, now.since(NOW))
    }
}

#[test]
fn a_run_binds_thing_and_controller() {
    let mut pair = Pair::new();
    let wifi = pair.until_wifi();
    let BindWifi { ssid, key, .. } = pair.thing.opened(&wifi);
    assert_eq!(HomeNetwork { ssid, psk: key }, network());

    let mut pair = Pair::new();
    let (binding, commit) = pair.until_commit();
    assert_eq!(pair.thing.opened::<BindCommit>(&commit).rec, Some(recovery().key(&binding.thing).spki()));
    assert_eq!(binding.thing, pair.thing.identity.id());
    assert_eq!(binding.ca, pair.thing.identity.ca());
    assert_eq!((binding.cid, binding.epoch, binding.confirmed), (CID, 0, false));
    assert_eq!((&binding.topic, &binding.credentials), (&token(), &credentials()));
    assert_eq!((&binding.master, &binding.name), (&pair.thing.keys().master, &name()));
    assert_eq!(binding.clouds, [cloud()]);
    let own = SigningKey::from_scalar(&binding.key).expect("a scalar").spki();
    assert_eq!(Some(own), pair.thing.spki);
    assert_eq!(check_issued(&binding.certificate, &binding.ca_certificate, &binding.ca, &own), Ok(()));

    let done = pair.thing.done();
    pair.give(&done);
    let confirmed = Box::new(Binding { confirmed: true, ..binding });
    assert_eq!((steps(&mut pair.run), sent(&mut pair.run)), (vec![Step::Done(confirmed)], vec![]));
    assert_eq!((pair.run.poll_timeout(), pair.run.ignored()), (None, 0));
}

#[test]
fn commit_waits_until_the_binding_is_persisted() {
    let mut pair = Pair::new();
    pair.until_persist();
    assert_eq!(pair.wait(), (vec![], Duration::ZERO));
    let done = pair.thing.done();
    pair.give(&done);
    pair.expect_nothing();
}

#[test]
fn persisted_at_another_time_sends_nothing() {
    let mut pair = Pair::new();
    pair.until_cred();
    pair.run.persisted(&mut pair.rng);
    pair.expect_nothing();
}

#[test]
fn without_an_answer_the_same_bytes_go_out_five_times_more() {
    let mut pair = Pair::new();
    let hello = sent_one(&mut pair.run);
    assert_eq!(pair.run.poll_timeout(), Some(NOW.after(RESEND_AFTER)));
    pair.run.handle_timeout(Micros::new(2_999_999));
    pair.expect_nothing();
    assert_eq!(pair.wait(), (vec![hello; 5], Duration::from_secs(12)));
    pair.expect_failed(PairingError::Silent);
}

#[test]
fn each_message_is_resent_and_each_silence_has_its_name() {
    let mut pair = Pair::new();
    let confirm = pair.until_confirm();
    assert_eq!(pair.wait(), (vec![confirm; 5], Duration::from_secs(12)));
    pair.expect_failed(PairingError::WrongCode);

    let mut pair = Pair::new();
    let wifi = pair.until_wifi();
    assert_eq!(pair.wait(), (vec![wifi; 5], Duration::from_secs(12)));
    pair.expect_failed(PairingError::Interrupted);

    let mut pair = Pair::new();
    let (_, commit) = pair.until_commit();
    assert_eq!(pair.wait(), (vec![commit; 5], Duration::from_secs(12)));
    pair.expect_failed(PairingError::Unconfirmed);
}

#[test]
fn the_end_of_the_session_ends_the_run() {
    let mut pair = Pair::new();
    pair.run.handle_session_end();
    pair.expect_failed(PairingError::Silent);
    pair.run.handle_session_end();
    pair.expect_nothing();

    let mut pair = Pair::new();
    pair.until_confirm();
    pair.run.handle_session_end();
    pair.expect_failed(PairingError::WrongCode);

    let mut pair = Pair::new();
    pair.until_persist();
    pair.run.handle_session_end();
    pair.expect_failed(PairingError::Interrupted);

    let mut pair = Pair::new();
    pair.until_commit();
    pair.run.handle_session_end();
    pair.expect_failed(PairingError::Unconfirmed);
}

#[test]
fn a_thing_that_shows_another_code_learns_no_home_network() {
    let mut pair = Pair::with_code_on_display("7K3QX9M2B4TVHC8E");
    pair.until_confirm();
    let topic = pair.thing.topic();
    pair.give(&topic);
    pair.expect_nothing();
    assert_eq!(pair.run.ignored(), 1);
    pair.wait();
    pair.expect_failed(PairingError::WrongCode);
}

#[test]
fn what_was_taken_and_what_does_not_open_change_nothing() {
    let mut pair = Pair::new();
    let confirm = pair.until_confirm();
    pair.thing.confirm(&confirm);
    let accept = pair.thing.accept.clone();
    let topic = pair.thing.topic();
    let mut forged = topic.clone();
    forged[250] ^= 1;
    // M2 again, the own M3 thrown back, a flipped bit, garbage, M9 ahead of its turn.
    let done = pair.thing.done();
    for payload in [&accept[..], &confirm, &forged, b"", b"{}", &[b'A'; 5000], &done] {
        pair.give(payload);
        pair.expect_nothing();
    }
    assert_eq!(pair.run.ignored(), 7);

    pair.give(&topic);
    let wifi = sent_one(&mut pair.run);
    steps(&mut pair.run);
    for payload in [&topic[..], &accept, &wifi, &done] {
        pair.give(payload);
        pair.expect_nothing();
    }
}

#[test]
fn credentials_that_arrive_twice_or_late_do_not_disturb() {
    let mut pair = Pair::new();
    pair.until_wifi();
    let (cred, psk) = (pair.thing.cred(), pair.thing.psk());
    pair.give(&psk);
    pair.expect_nothing();
    pair.give(&cred);
    assert_eq!(steps(&mut pair.run), [Step::TellUser(Progress::Certified)]);
    pair.give(&cred);
    pair.expect_nothing();
    // M7 was ahead of its turn: M5 goes out again and the thing repeats M6 and M7.
    pair.run.handle_timeout(NOW.after(RESEND_AFTER));
    assert_eq!(sent(&mut pair.run).len(), 1);
    pair.give(&cred);
    pair.give(&psk);
    assert_eq!(steps(&mut pair.run).len(), 2);
}

#[test]
fn an_unreadable_first_answer_is_nobodys() {
    let mut pair = Pair::new();
    let hello = sent_one(&mut pair.run);
    let accept = pair.thing.accept(&hello);
    for payload in [&hello[..], b"{}", b"", &accept[1..]] {
        pair.give(payload);
        pair.expect_nothing();
    }
    pair.give(&accept);
    assert_eq!((steps(&mut pair.run).len(), sent(&mut pair.run).len()), (1, 1));
}

#[test]
fn an_id_that_is_not_the_cas_ends_the_run() {
    let mut pair = Pair::new();
    sent_one(&mut pair.run);
    let accept: Accept = json::read(&pair.thing.accept).expect("M2");
    pair.give(&json::encode(&Accept { ca: SpkiHash::new([1; 32]), ..accept }));
    pair.expect_failed(PairingError::Impostor);
}

#[test]
fn a_key_that_contributes_nothing_ends_the_run() {
    let mut pair = Pair::new();
    sent_one(&mut pair.run);
    let accept: Accept = json::read(&pair.thing.accept).expect("M2");
    pair.give(&json::encode(&Accept { y: X25519Public::new([0; 32]), ..accept }));
    pair.expect_failed(PairingError::Impostor);
}

#[test]
fn a_certificate_that_does_not_fit_ends_the_run() {
    let stranger = ThingIdentity::create(&mut Counter::new(200));
    let certified = |pair: &mut Pair| {
        let own = pair.thing.spki.expect("M3 has come");
        (own, pair.thing.identity.certify(&CID, &own, &mut Counter::new(3)), pair.thing.identity.certificate().to_vec())
    };
    type Forge<'a> = &'a dyn Fn(Spki, Vec<u8>, Vec<u8>) -> (Vec<u8>, Vec<u8>);
    let cases: [(Forge<'_>, CertificateError); 4] = [
        // The whole chain is a stranger's.
        (
            &|own, _, _| (stranger.certify(&CID, &own, &mut Counter::new(3)), stranger.certificate().to_vec()),
            CertificateError::ForeignAuthority,
        ),
        // The certificate alone is.
        (&|own, _, ca| (stranger.certify(&CID, &own, &mut Counter::new(3)), ca), CertificateError::BadSignature),
        (&|_, crt, _| (crt.clone(), crt), CertificateError::ForeignAuthority),
        (&|_, _, ca| (vec![], ca), CertificateError::Malformed),
    ];
    for (forge, error) in cases {
        let mut pair = Pair::new();
        pair.until_wifi();
        let (own, crt, ca) = certified(&mut pair);
        let (crt, ca) = forge(own, crt, ca);
        let cred = pair.thing.cred_with(crt, ca);
        pair.give(&cred);
        pair.expect_failed(PairingError::Certificate(error));
    }

    // Over another key than this controller's.
    let mut pair = Pair::new();
    pair.until_wifi();
    pair.thing.spki = Some(SigningKey::random(&mut Counter::new(77)).spki());
    let cred = pair.thing.cred();
    pair.give(&cred);
    pair.expect_failed(PairingError::Certificate(CertificateError::ForeignSubject));
}

#[test]
fn a_psk_identity_that_is_not_the_derived_one_ends_the_run() {
    let mut pair = Pair::new();
    pair.until_cred();
    let psk = pair.thing.seal(&BindPsk { n: Number, id: PskId::new([1; 16]), clouds: vec![] });
    pair.give(&psk);
    pair.expect_failed(PairingError::Impostor);
}

#[test]
fn what_an_authentic_thing_must_not_say_ends_the_run() {
    let mut pair = Pair::new();
    pair.until_cred();
    let id = pair.thing.keys().master.epoch(&pair.thing.identity.id(), &CID, 0).psk_id;
    let psk = pair.thing.seal(&BindPsk { n: Number, id, clouds: vec![cloud(); 5] });
    pair.give(&psk);
    pair.expect_failed(PairingError::Incomprehensible);

    let mut pair = Pair::new();
    let confirm = pair.until_confirm();
    pair.thing.confirm(&confirm);
    let text = br#"{"v":1,"t":"bind.topic","n":0,"cid":"AAECAwQFBgc","topic":"short"}"#;
    let topic = pair.thing.keys().t2c.seal(text, &mut Counter::new(0)).expect("short enough");
    pair.give(&topic);
    pair.expect_failed(PairingError::Incomprehensible);
}

#[test]
fn after_commit_no_message_but_the_last_ends_the_run() {
    let mut pair = Pair::new();
    let (_, commit) = pair.until_commit();
    let wrong = br#"{"v":1,"t":"bind.done","n":2}"#;
    let wrong = pair.thing.keys().t2c.seal(wrong, &mut Counter::new(0)).expect("short enough");
    let psk = pair.thing.psk();
    for payload in [&wrong, &psk, &commit] {
        pair.give(payload);
        pair.expect_nothing();
    }
    let done = pair.thing.done();
    pair.give(&done);
    assert!(matches!(steps(&mut pair.run)[..], [Step::Done(_)]));
    pair.give(&done);
    pair.expect_nothing();
}
