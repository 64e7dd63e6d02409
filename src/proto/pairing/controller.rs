//! The controller's side of pairing and binding: one run from M1 to M9 (SecT STEP 2, 6, 3, 4, 5, 7;
//! protocol section 7). With an invitation in the place of the passcode it is a further user's run
//! (STEP 16; protocol section 9): it tells no home network, and takes no other thing than the one that invites.
//!
//! The shell opens a session as `pair` or with the invitation's identity, then calls [`Run::poll_transmit`] and [`Run::poll_step`] until
//! each gives `None`, sleeps until [`Run::poll_timeout`], and passes on what the session receives. No
//! M8 leaves before the shell has persisted the [`Binding`] that [`Step::Persist`] gives it.

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::CryptoRng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::binding::Binding;
use super::message::{
    Accept, BindCommit, BindCred, BindDone, BindPsk, BindTopic, BindWifi, Confirm, Hello, MAX_CLOUDS, Number,
    RebindWifi, Recover,
};
use crate::proto::certificate::{CertificateError, check_issued};
use crate::proto::credential::CtlrCredentials;
use crate::proto::envelope::{EnvelopeKey, Sealed};
use crate::proto::id::{Nonce, PskId, SpkiHash, ThingId};
use crate::proto::invitation::Invitation;
use crate::proto::json::{self, Body};
use crate::proto::keys::{Ephemeral, PairingCode, PairingKeys};
use crate::proto::recovery::RecoveryCode;
use crate::proto::signature::{POP, RECOVER, SigningKey};
use crate::proto::time::Micros;
use crate::proto::user::Name;
use crate::proto::wifi::HomeNetwork;

/// After this long without an answer the same bytes go out again.
pub const RESEND_AFTER: Duration = Duration::from_secs(2);
/// So often they do.
pub const RESENDS: u32 = 5;

/// One pairing run.
pub struct Run {
    phase: Phase,
    own: Own,
    outgoing: Option<Outgoing>,
    steps: VecDeque<Step>,
    ignored: u64,
}

/// What this controller brings along.
struct Own {
    code: PairingCode,
    key: SigningKey,
    name: Name,
    errand: Errand,
}

/// What somebody brings along who recovers a thing.
#[derive(Debug, Clone)]
pub struct Recovering {
    /// What stands on the paper.
    pub code: RecoveryCode,
    /// What replaces it, once the thing has it.
    pub next: RecoveryCode,
    /// Whether the users who are no owners stay.
    pub keep: bool,
    /// Another home network; without one the thing keeps its own.
    pub network: Option<HomeNetwork>,
}

/// What the run is for.
enum Errand {
    /// To own a thing that belongs to nobody.
    Claim { network: HomeNetwork, recovery: Option<RecoveryCode> },
    /// To own a thing whose owners' controllers are lost.
    Recover(Recovering),
    /// To become a user of the thing that invites.
    Join(Invitation),
}

/// The last message sent; it is sent again until its answer comes.
struct Outgoing {
    payload: Vec<u8>,
    /// Unsent at first.
    sent_at: Option<Micros>,
    resends_left: u32,
    due: bool,
}

/// What the run waits for; each phase holds what the messages so far have given.
enum Phase {
    /// M2.
    Accept { hello: Vec<u8>, ephemeral: Ephemeral },
    /// M4.
    Topic { thing: ThingId, ca: SpkiHash, keys: Box<PairingKeys> },
    /// M6.
    Cred { thing: ThingId, ca: SpkiHash, keys: Box<PairingKeys>, topic: BindTopic },
    /// M7; the binding lacks its cloud servers.
    Psk { keys: Box<PairingKeys>, binding: Box<Binding> },
    /// The shell's word that the binding is persisted.
    Persisting { keys: Box<PairingKeys>, binding: Box<Binding> },
    /// M9.
    Done { keys: Box<PairingKeys>, binding: Box<Binding> },
    /// Nothing.
    Over,
}

/// What the shell is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Tell the user how far the run is.
    TellUser(Progress),
    /// Make this durable, then call [`Run::persisted`]. It is unconfirmed.
    Persist(Box<Binding>),
    /// The thing has made its side durable too: persist this confirmed binding. The run is over.
    Done(Box<Binding>),
    /// The run is over. After [`PairingError::Unconfirmed`] the persisted binding stays, otherwise
    /// nothing of the run does.
    Failed(PairingError),
}

/// How far the run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The thing answered; it has not proved anything yet.
    Found {
        /// Who it says it is.
        thing: ThingId,
    },
    /// Thing and controller know the same code: both hold the master key, and the thing has given its
    /// topic (SecT STEP 6, 3).
    CodeProved,
    /// The home network is on its way to the thing (SecT STEP 4).
    NetworkGiven,
    /// Credentials and a certificate that holds have come (SecT STEP 5).
    Certified,
    /// Both derive the same PSK for the local server (SecT STEP 7).
    PskAgreed {
        /// The identity that goes with it.
        identity: PskId,
    },
    /// The binding is durable here, and the thing is told to make it durable there.
    Committing,
}

/// Why a run ended without a confirmed binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PairingError {
    /// Nothing answered M1.
    #[error("the plug does not answer: stand closer to it and see whether its display still shows a code")]
    Silent,
    /// The thing never proved that it knows the code.
    #[error("the code does not fit: read it again from the display, it may have changed")]
    WrongCode,
    /// The thing that knew the invitation in the TLS handshake does not want its run.
    #[error("the plug does not take this invitation any more")]
    InvitationOver,
    /// What answers is not the thing that the invitation names.
    #[error("what answers is not the plug that invites you: somebody may be in between")]
    OtherThing,
    /// The thing did not take the recovery code, or the passcode beside it.
    #[error("the plug does not take these two codes: compare both, the one on paper and the one on the display")]
    NotRecovered,
    /// The thing fell silent after the code was proved.
    #[error("the plug stopped answering halfway: nothing was changed, start again")]
    Interrupted,
    /// The id in M2 is not that of the CA that it names, or M7's identity is not the derived one.
    #[error("this is not the plug that it says it is: somebody may be in between")]
    Impostor,
    /// M6's certificates are not from the CA that M2 promised, for this controller's key.
    #[error("the plug's certificate does not fit ({0}): somebody may be in between")]
    Certificate(#[from] CertificateError),
    /// The thing proved the code and then said what this version does not understand.
    #[error("the plug speaks another version of the protocol: update one of the two")]
    Incomprehensible,
    /// M8 went out and M9 did not come: both sides may be bound.
    #[error("the plug did not confirm the last step: it may be ready all the same, ask for its status")]
    Unconfirmed,
}

/// Why a message gives no next one.
enum Unread {
    /// It was taken already, is out of order, or does not open: nothing changes.
    Ignored,
    /// The thing sealed it, and it is not what this version takes.
    Incomprehensible,
}

impl Run {
    /// Begins a run with the first owner's code, and with a recovery code, where the user made one.
    #[must_use]
    pub fn new(
        code: PairingCode,
        network: HomeNetwork,
        name: Name,
        recovery: Option<RecoveryCode>,
        rng: &mut dyn CryptoRng,
    ) -> Self {
        Self::begin(code, name, Errand::Claim { network, recovery }, rng)
    }

    /// Begins the run of an invited controller. The thing knows the user's name already and ignores `name`;
    /// it is what the binding calls the user until the thing is asked.
    #[must_use]
    pub fn invited(invitation: Invitation, name: Name, rng: &mut dyn CryptoRng) -> Self {
        Self::begin(PairingCode::of_invitation(&invitation.secret), name, Errand::Join(invitation), rng)
    }

    /// Begins a run at a thing whose owners' controllers are lost, with the code on its display.
    #[must_use]
    pub fn recovering(code: PairingCode, recovering: Recovering, name: Name, rng: &mut dyn CryptoRng) -> Self {
        Self::begin(code, name, Errand::Recover(recovering), rng)
    }

    fn begin(code: PairingCode, name: Name, errand: Errand, rng: &mut dyn CryptoRng) -> Self {
        let ephemeral = Ephemeral::random(rng);
        let hello = json::encode(&Hello { x: ephemeral.public(), nc: Nonce::random(rng) });
        let own = Own { code, key: SigningKey::random(rng), name, errand };
        let outgoing = Some(Outgoing::new(hello.clone()));
        Self { phase: Phase::Accept { hello, ephemeral }, own, outgoing, steps: VecDeque::new(), ignored: 0 }
    }

    /// Takes what came on `sect/pair/t`.
    ///
    /// What the run has taken already or cannot open changes nothing.
    pub fn handle_message(&mut self, payload: &[u8], rng: &mut dyn CryptoRng) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Accept { hello, ephemeral } => self.take_accept(hello, ephemeral, payload, rng),
            Phase::Topic { thing, ca, keys } => self.take_topic(thing, ca, keys, payload, rng),
            Phase::Cred { thing, ca, keys, topic } => self.take_cred(thing, ca, keys, topic, payload),
            Phase::Psk { keys, binding } => self.take_psk(keys, binding, payload),
            Phase::Done { keys, binding } => self.take_done(keys, binding, payload),
            idle @ (Phase::Persisting { .. } | Phase::Over) => self.ignore(idle),
        };
    }

    /// The binding of [`Step::Persist`] is durable: M8 may go out.
    pub fn persisted(&mut self, rng: &mut dyn CryptoRng) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Persisting { keys, binding } => {
                let rec = match &self.own.errand {
                    Errand::Claim { recovery, .. } => recovery.as_ref().map(|code| code.key(&binding.thing).spki()),
                    Errand::Recover(recovering) => Some(recovering.next.key(&binding.thing).spki()),
                    Errand::Join(_) => None,
                };
                self.send_sealed(&keys.c2t, &BindCommit { n: Number, rec }, rng);
                self.tell(Progress::Committing);
                Phase::Done { keys, binding }
            }
            other => other,
        };
    }

    /// The session is gone, and the run with it.
    pub fn handle_session_end(&mut self) {
        self.phase = match &self.phase {
            Phase::Over => Phase::Over,
            phase => {
                let error = phase.error_of_silence(&self.own.errand);
                self.fail(error)
            }
        };
    }

    /// What to publish on `sect/pair/c` now, QoS 1; the wait for its answer begins.
    pub fn poll_transmit(&mut self, now: Micros) -> Option<Vec<u8>> {
        let outgoing = self.outgoing.as_mut().filter(|outgoing| outgoing.due)?;
        outgoing.due = false;
        outgoing.sent_at = Some(now);
        Some(outgoing.payload.clone())
    }

    /// What to do next, until `None`.
    pub fn poll_step(&mut self) -> Option<Step> {
        self.steps.pop_front()
    }

    /// When to call [`Run::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Micros> {
        let outgoing = self.outgoing.as_ref().filter(|outgoing| !outgoing.due)?;
        outgoing.sent_at.map(|sent_at| sent_at.after(RESEND_AFTER))
    }

    /// Time has passed: the same bytes again, or the end.
    pub fn handle_timeout(&mut self, now: Micros) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        match &mut self.outgoing {
            Some(outgoing) if outgoing.resends_left > 0 => {
                outgoing.resends_left -= 1;
                outgoing.due = true;
            }
            _ => self.phase = self.fail(self.phase.error_of_silence(&self.own.errand)),
        }
    }

    /// How many messages changed nothing.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// M2: the thing's half of the key agreement; M3 answers it (SecT STEP 6).
    fn take_accept(&mut self, hello: Vec<u8>, ephemeral: Ephemeral, payload: &[u8], rng: &mut dyn CryptoRng) -> Phase {
        // It is clear text: what does not read may be anybody's.
        let Ok(accept) = json::read::<Accept>(payload) else {
            return self.ignore(Phase::Accept { hello, ephemeral });
        };
        if ThingId::of(&accept.ca) != accept.id {
            return self.fail(PairingError::Impostor);
        }
        // M6 must prove this very CA, so that what the invitation pins holds there too.
        if let Errand::Join(invitation) = &self.own.errand
            && !invitation.pins(&accept.ca)
        {
            return self.fail(PairingError::OtherThing);
        }
        let Ok(shared) = ephemeral.agree(&accept.y) else { return self.fail(PairingError::Impostor) };
        let keys = Box::new(PairingKeys::derive(&hello, payload, &shared, &self.own.code));
        let pop = self.own.key.sign(POP, &keys.transcript);
        let (spki, name) = (self.own.key.spki(), self.own.name.clone());
        if let Errand::Recover(Recovering { code, keep, .. }) = &self.own.errand {
            let sig = code.key(&accept.id).sign(RECOVER, &keys.transcript);
            self.send_sealed(&keys.c2t, &Recover { n: Number, spki, pop, name, sig, keep: *keep }, rng);
        } else {
            self.send_sealed(&keys.c2t, &Confirm { n: Number, spki, pop, name }, rng);
        }
        self.tell(Progress::Found { thing: accept.id });
        Phase::Topic { thing: accept.id, ca: accept.ca, keys }
    }

    /// M4: the thing knows the code too (SecT STEP 3); only now M5 tells it the home network (STEP 4).
    /// An invited controller has none to tell: M6 and M7 answer its M3, which it goes on repeating.
    fn take_topic(
        &mut self,
        thing: ThingId,
        ca: SpkiHash,
        keys: Box<PairingKeys>,
        payload: &[u8],
        rng: &mut dyn CryptoRng,
    ) -> Phase {
        let topic = match open::<BindTopic>(&keys.t2c, payload) {
            Ok(topic) => topic,
            Err(unread) => return self.refuse(&unread, Phase::Topic { thing, ca, keys }),
        };
        self.tell(Progress::CodeProved);
        match &self.own.errand {
            Errand::Claim { network, .. } => {
                let HomeNetwork { ssid, psk } = network.clone();
                self.send_sealed(&keys.c2t, &BindWifi { n: Number, ssid, key: psk }, rng);
                self.tell(Progress::NetworkGiven);
            }
            Errand::Recover(Recovering { network, .. }) => {
                let (ssid, key) = network.clone().map(|network| (network.ssid, network.psk)).unzip();
                self.send_sealed(&keys.c2t, &RebindWifi { n: Number, ssid, key }, rng);
            }
            Errand::Join(_) => {}
        }
        Phase::Cred { thing, ca, keys, topic }
    }

    /// M6: credentials, and a certificate that must hold (SecT STEP 5).
    fn take_cred(
        &mut self,
        thing: ThingId,
        ca: SpkiHash,
        keys: Box<PairingKeys>,
        topic: BindTopic,
        payload: &[u8],
    ) -> Phase {
        let cred = match open::<BindCred>(&keys.t2c, payload) {
            Ok(cred) => cred,
            Err(unread) => return self.refuse(&unread, Phase::Cred { thing, ca, keys, topic }),
        };
        if let Err(error) = check_issued(&cred.crt.0, &cred.ca.0, &ca, &self.own.key.spki()) {
            return self.fail(error.into());
        }
        self.tell(Progress::Certified);
        let binding = Box::new(Binding {
            thing,
            ca,
            cid: topic.cid,
            topic: topic.topic,
            credentials: CtlrCredentials { user: cred.user, password: cred.pass },
            epoch: 0,
            master: keys.master.clone(),
            candidate: None,
            since_day: None,
            next: None,
            key: self.own.key.scalar(),
            certificate: cred.crt.0,
            ca_certificate: cred.ca.0,
            clouds: Vec::new(),
            name: self.own.name.clone(),
            confirmed: false,
        });
        Phase::Psk { keys, binding }
    }

    /// M7: the PSK's identity must be the derived one (SecT STEP 7); then the shell persists.
    fn take_psk(&mut self, keys: Box<PairingKeys>, mut binding: Box<Binding>, payload: &[u8]) -> Phase {
        let psk = match open::<BindPsk>(&keys.t2c, payload) {
            Ok(psk) => psk,
            Err(unread) => return self.refuse(&unread, Phase::Psk { keys, binding }),
        };
        if psk.clouds.len() > MAX_CLOUDS {
            return self.fail(PairingError::Incomprehensible);
        }
        let (identity, _) = binding.psk();
        if psk.id != identity {
            return self.fail(PairingError::Impostor);
        }
        binding.clouds = psk.clouds;
        self.outgoing = None;
        self.tell(Progress::PskAgreed { identity });
        self.steps.push_back(Step::Persist(binding.clone()));
        Phase::Persisting { keys, binding }
    }

    /// M9: both sides are durable.
    fn take_done(&mut self, keys: Box<PairingKeys>, mut binding: Box<Binding>, payload: &[u8]) -> Phase {
        if let Err(unread) = open::<BindDone>(&keys.t2c, payload) {
            return self.refuse(&unread, Phase::Done { keys, binding });
        }
        self.outgoing = None;
        binding.confirmed = true;
        self.steps.push_back(Step::Done(binding));
        Phase::Over
    }

    fn send_sealed<B: Body + Serialize>(&mut self, key: &EnvelopeKey, body: &B, rng: &mut dyn CryptoRng) {
        let payload =
            key.seal_message(body, rng).expect("names, keys and network names have limits far below 1983 bytes");
        self.outgoing = Some(Outgoing::new(payload));
    }

    fn tell(&mut self, progress: Progress) {
        self.steps.push_back(Step::TellUser(progress));
    }

    fn ignore(&mut self, phase: Phase) -> Phase {
        self.ignored = self.ignored.saturating_add(1);
        phase
    }

    fn refuse(&mut self, unread: &Unread, phase: Phase) -> Phase {
        match unread {
            Unread::Ignored => self.ignore(phase),
            // Once M8 is out, only silence ends the run: the thing may have committed.
            Unread::Incomprehensible if matches!(phase, Phase::Done { .. }) => self.ignore(phase),
            Unread::Incomprehensible => self.fail(PairingError::Incomprehensible),
        }
    }

    fn fail(&mut self, error: PairingError) -> Phase {
        self.outgoing = None;
        self.steps.push_back(Step::Failed(error));
        Phase::Over
    }
}

impl Phase {
    /// What it means that the thing says no more.
    const fn error_of_silence(&self, errand: &Errand) -> PairingError {
        match (self, errand) {
            (Self::Accept { .. }, _) => PairingError::Silent,
            (Self::Topic { .. }, Errand::Claim { .. }) => PairingError::WrongCode,
            (Self::Topic { .. }, Errand::Recover(_)) => PairingError::NotRecovered,
            (Self::Topic { .. }, Errand::Join(_)) => PairingError::InvitationOver,
            (Self::Cred { .. } | Self::Psk { .. } | Self::Persisting { .. } | Self::Over, _) => {
                PairingError::Interrupted
            }
            (Self::Done { .. }, _) => PairingError::Unconfirmed,
        }
    }
}

impl Outgoing {
    const fn new(payload: Vec<u8>) -> Self {
        Self { payload, sent_at: None, resends_left: RESENDS, due: true }
    }
}

/// Opens what the thing sealed in this run and reads it as the one message that comes next.
fn open<B: Body + DeserializeOwned>(key: &EnvelopeKey, payload: &[u8]) -> Result<B, Unread> {
    let opened = Sealed::parse(payload).and_then(|sealed| sealed.open(key)).map_err(|_| Unread::Ignored)?;
    match json::check(opened.bytes()) {
        Ok(t) if t == B::T => json::decode(opened.bytes()).map_err(|_| Unread::Incomprehensible),
        // An earlier message again, or one ahead of its turn: the thing repeats it when asked again.
        Ok(_) => Err(Unread::Ignored),
        Err(_) => Err(Unread::Incomprehensible),
    }
}

#[cfg(test)]
mod tests;
