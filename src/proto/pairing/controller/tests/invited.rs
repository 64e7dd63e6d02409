//! The run of an invited controller (protocol section 9).

use super::*;
use crate::proto::secret::Secret;

/// A run, its thing, and the invitation of the one to the other.
struct Guest {
    pair: Pair,
    invitation: Invitation,
}

impl Guest {
    fn new() -> Self {
        let mut thing = Thing::new(CODE);
        let mut rng = Counter::new(1);
        let invitation = Invitation::random(&thing.identity.ca(), &mut rng);
        thing.code = PairingCode::of_invitation(&invitation.secret);
        let run = Run::invited(invitation.clone(), name(), &mut rng);
        Self { pair: Pair { run, thing, rng }, invitation }
    }

    /// M1 to M4; gives M3.
    fn until_topic(&mut self) -> Vec<u8> {
        let confirm = self.pair.until_confirm();
        self.pair.thing.confirm(&confirm);
        let topic = self.pair.thing.topic();
        self.pair.give(&topic);
        assert_eq!(steps(&mut self.pair.run), [Step::TellUser(Progress::CodeProved)]);
        confirm
    }

    /// M1 to M7; gives the binding.
    fn until_persist(&mut self) -> Binding {
        self.until_topic();
        let (cred, psk) = (self.pair.thing.cred(), self.pair.thing.psk());
        self.pair.give(&cred);
        self.pair.give(&psk);
        let [
            Step::TellUser(Progress::Certified),
            Step::TellUser(Progress::PskAgreed { identity }),
            Step::Persist(binding),
        ] = &steps(&mut self.pair.run)[..]
        else {
            panic!("M6 and M7 make the shell persist")
        };
        assert_eq!(*identity, binding.psk().0);
        assert_eq!(sent(&mut self.pair.run), [] as [Vec<u8>; 0], "M8 waits for the disk");
        (**binding).clone()
    }
}

#[test]
fn an_invited_run_binds_without_a_home_network_and_without_a_recovery_key() {
    let mut guest = Guest::new();
    let binding = guest.until_persist();
    let pair = &mut guest.pair;
    assert_eq!((binding.thing, binding.ca), (guest.invitation.thing, pair.thing.identity.ca()));
    assert_eq!((&binding.master, binding.confirmed), (&pair.thing.keys().master, false));
    pair.run.persisted(&mut pair.rng);
    assert_eq!(steps(&mut pair.run), [Step::TellUser(Progress::Committing)]);
    let commit = sent_one(&mut pair.run);
    assert_eq!(pair.thing.opened::<BindCommit>(&commit).rec, None);
    let done = pair.thing.done();
    pair.give(&done);
    assert_eq!(steps(&mut pair.run), [Step::Done(Box::new(Binding { confirmed: true, ..binding }))]);
    assert_eq!((pair.run.poll_timeout(), pair.run.ignored()), (None, 0));
}

#[test]
fn m3_is_repeated_until_its_last_answer_has_come() {
    let mut guest = Guest::new();
    let confirm = guest.until_topic();
    assert_eq!(sent(&mut guest.pair.run), [] as [Vec<u8>; 0], "there is no M5");
    guest.pair.run.handle_timeout(NOW.after(RESEND_AFTER));
    assert_eq!(sent(&mut guest.pair.run), std::slice::from_ref(&confirm));
    let cred = guest.pair.thing.cred();
    guest.pair.give(&cred);
    assert_eq!(steps(&mut guest.pair.run), [Step::TellUser(Progress::Certified)]);
    // The first repeat was one of the five.
    let (again, _) = guest.pair.wait();
    assert_eq!(again, vec![confirm; 4]);
    guest.pair.expect_failed(PairingError::Interrupted);
}

#[test]
fn another_thing_than_the_one_that_invites_gets_no_m3() {
    let mut guest = Guest::new();
    let hello = sent_one(&mut guest.pair.run);
    // It knows the secret, from a photograph perhaps, and has a CA of its own.
    let mut other = Thing::new(CODE);
    other.identity = ThingIdentity::create(&mut Counter::new(200));
    other.code = PairingCode::of_invitation(&guest.invitation.secret);
    let accept: Accept = json::read(&other.accept).expect("M2");
    other.accept = json::encode(&Accept { id: other.identity.id(), ca: other.identity.ca(), ..accept });
    let accept = other.accept(&hello);
    guest.pair.give(&accept);
    guest.pair.expect_failed(PairingError::OtherThing);
}

#[test]
fn a_ca_with_the_thing_s_id_and_another_hash_is_another_thing() {
    for place in [8, 15] {
        let mut guest = Guest::new();
        sent_one(&mut guest.pair.run);
        let accept: Accept = json::read(&guest.pair.thing.accept).expect("M2");
        let mut ca = *accept.ca.as_bytes();
        ca[place] ^= 1;
        let forged = Accept { ca: SpkiHash::new(ca), ..accept };
        assert_eq!(ThingId::of(&forged.ca), forged.id, "the id alone does not tell");
        guest.pair.give(&json::encode(&forged));
        guest.pair.expect_failed(PairingError::OtherThing);
    }
}

#[test]
fn the_certificate_of_another_ca_than_the_pinned_one_is_refused() {
    let mut guest = Guest::new();
    guest.until_topic();
    let stranger = ThingIdentity::create(&mut Counter::new(200));
    let own = guest.pair.thing.spki.expect("M3 has come");
    let crt = stranger.certify(&CID, &own, &mut Counter::new(3));
    let cred = guest.pair.thing.cred_with(crt, stranger.certificate().to_vec());
    guest.pair.give(&cred);
    guest.pair.expect_failed(PairingError::Certificate(CertificateError::ForeignAuthority));
}

#[test]
fn each_silence_of_an_invited_run_has_its_name() {
    let mut guest = Guest::new();
    guest.pair.wait();
    sent_one(&mut guest.pair.run);
    guest.pair.run.handle_session_end();
    guest.pair.expect_failed(PairingError::Silent);

    let mut guest = Guest::new();
    let confirm = guest.pair.until_confirm();
    assert_eq!(guest.pair.wait(), (vec![confirm; 5], Duration::from_secs(12)));
    guest.pair.expect_failed(PairingError::InvitationOver);

    let mut guest = Guest::new();
    guest.until_topic();
    guest.pair.run.handle_session_end();
    guest.pair.expect_failed(PairingError::Interrupted);

    let mut guest = Guest::new();
    guest.until_persist();
    guest.pair.run.persisted(&mut guest.pair.rng);
    steps(&mut guest.pair.run);
    sent_one(&mut guest.pair.run);
    guest.pair.run.handle_session_end();
    guest.pair.expect_failed(PairingError::Unconfirmed);
}

#[test]
fn a_thing_that_does_not_know_the_secret_proves_nothing() {
    let mut guest = Guest::new();
    guest.pair.thing.code = PairingCode::of_invitation(&Secret::new([9; 16]));
    guest.pair.until_confirm();
    let topic = guest.pair.thing.topic();
    guest.pair.give(&topic);
    guest.pair.expect_nothing();
    assert_eq!(guest.pair.run.ignored(), 1);
}

/// Both real machines, message by message.
#[test]
fn thing_and_invited_controller_agree_on_one_record() {
    use crate::proto::pairing::thing;
    use crate::proto::user::Role;

    let rng = &mut Counter::new(1);
    let identity = ThingIdentity::create(rng);
    let invitation = Invitation::random(&identity.ca(), rng);
    let (guest, clouds) = (name(), [cloud()]);
    let context = thing::Context { identity: &identity, clouds: &clouds };
    let purpose = thing::Purpose::Invitation(thing::Guest {
        name: "Ben".parse().expect("valid"),
        role: Role::Viewer,
        ttl_s: Some(60),
        until: NOW.after(Duration::from_secs(600)),
    });
    let mut host = thing::Run::new(PairingCode::of_invitation(&invitation.secret), purpose);
    let mut run = Run::invited(invitation, guest, rng);
    let (mut agreed, mut persisted, mut done) = (None, None, None);
    while done.is_none() {
        let payload = sent_one(&mut run);
        // Each message twice, as QoS 1 may have it.
        for _ in 0..2 {
            let replies = match host.handle_message(&payload, NOW, &context, rng) {
                thing::Outcome::Reply(replies) => replies,
                thing::Outcome::Commit(bound) => {
                    let thing::Bound::Guest(controller) = *bound else { panic!("{bound:?}") };
                    agreed = Some(controller);
                    host.committed(rng).into_iter().collect()
                }
                thing::Outcome::Over(ending) => panic!("{ending:?}"),
            };
            for reply in replies {
                run.handle_message(&reply, rng);
            }
        }
        for step in steps(&mut run) {
            match step {
                Step::Persist(binding) => {
                    persisted = Some(*binding);
                    run.persisted(rng);
                }
                Step::Done(binding) => done = Some(*binding),
                Step::TellUser(_) => {}
                Step::Failed(error) => panic!("{error}"),
            }
        }
    }
    let (record, binding) = (agreed.expect("committed"), done.expect("the loop has ended"));
    assert_eq!(persisted, Some(Binding { confirmed: false, ..binding.clone() }), "before M8");
    assert_eq!((record.cid, &record.topic, &record.master), (binding.cid, &binding.topic, &binding.master));
    assert_eq!((&record.credentials, record.epoch), (&binding.credentials, binding.epoch));
    assert_eq!((record.name.as_str(), record.role, record.left_s), ("Ben", Role::Viewer, Some(60)));
    let own = SigningKey::from_scalar(&binding.key).expect("a scalar").spki();
    assert_eq!(record.spki, own);
    assert_eq!(check_issued(&binding.certificate, &binding.ca_certificate, &identity.ca(), &own), Ok(()));
    assert_eq!(binding.clouds, clouds);
}
