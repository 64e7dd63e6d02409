//! The thing's side of one pairing run.
//!
//! A run answers or ends; it never explains itself to who does not know the code. It holds no
//! session, no clock and no store: [`Run::handle_message`] says what to send, or what to persist
//! before [`Run::committed`] gives the last message.

use std::time::Duration;

use rand_core::CryptoRng;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::message::{
    Accept, BindCommit, BindCred, BindDone, BindPsk, BindTopic, BindWifi, CloudServer, Confirm, Der, Hello, Number,
    RebindWifi, Recover,
};
use crate::proto::certificate::ThingIdentity;
use crate::proto::credential::CtlrCredentials;
use crate::proto::envelope::{EnvelopeKey, Sealed};
use crate::proto::id::{Cid, Nonce};
use crate::proto::json::{self, Body};
use crate::proto::keys::{Ephemeral, PairingCode, PairingKeys};
use crate::proto::record::{ControllerRecord, KeyAge};
use crate::proto::signature::{POP, RECOVER, Spki};
use crate::proto::time::Micros;
use crate::proto::topic::TToken;
use crate::proto::user::{Name, Role};
use crate::proto::wifi::HomeNetwork;

/// From M1 until M3 has opened.
pub const HELLO_LIFE: Duration = Duration::from_secs(60);
/// From M3 until M8 has opened.
pub const GRANTED_LIFE: Duration = Duration::from_secs(120);

/// What the run tells about its thing.
pub struct Context<'a> {
    /// Who the thing is.
    pub identity: &'a ThingIdentity,
    /// Where it registers.
    pub clouds: &'a [CloudServer],
}

/// What a run leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Whoever reads the display becomes the first owner (SecT STEP 2).
    Claim,
    /// Somebody whom an owner invited joins the household (SecT STEP 16): without M5, for the thing is at
    /// home already.
    Invitation(Guest),
    /// Who holds the recovery code, of which this is the public half, becomes the owner in the place of all
    /// earlier ones (protocol section 9).
    Recovery(Spki),
}

/// Somebody who is invited. What he calls himself in M3 does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// His name, by who invites him.
    pub name: Name,
    /// What he may do.
    pub role: Role,
    /// Seconds of uptime after which he is removed.
    pub ttl_s: Option<u32>,
    /// No run begins from then on; one that has begun may finish.
    pub until: Micros,
}

/// What a run has agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// The first owner of the thing.
    Owner {
        /// The new controller.
        controller: ControllerRecord,
        /// The home network (SecT STEP 4).
        network: HomeNetwork,
        /// The public half of the recovery code, where its owner made one.
        recovery: Option<Spki>,
    },
    /// One more controller of the household.
    Guest(ControllerRecord),
    /// The owner in the place of all earlier ones.
    Recovered {
        /// The new controller.
        controller: ControllerRecord,
        /// Another home network, where he gave one.
        network: Option<HomeNetwork>,
        /// Whether the users who are no owners stay.
        keep: bool,
        /// The public half of the next recovery code.
        recovery: Spki,
    },
}

/// One run, bound to one session.
pub struct Run {
    code: PairingCode,
    purpose: Purpose,
    state: State,
    last: Option<Exchange>,
}

/// The last message and what it got, so that a byte-identical repeat gets the same.
struct Exchange {
    message: Vec<u8>,
    replies: Vec<Vec<u8>>,
}

enum State {
    /// Waits for M1.
    Idle,
    /// M2 is out: waits for M3.
    Hello { keys: Box<PairingKeys>, until: Micros },
    /// M4 is out: the controller knows the code. Waits for M5.
    Granted(Box<Granted>),
    /// M7 is out: waits for M8.
    Told(Box<Granted>, Terms),
    /// M9 is out: given again while the session lasts.
    Done,
}

struct Granted {
    keys: Box<PairingKeys>,
    controller: ControllerRecord,
    /// Of a recovery: whether the users who are no owners stay.
    keep: bool,
    until: Micros,
}

/// What M8 seals beside the controller itself.
enum Terms {
    Claim(HomeNetwork),
    Invitation,
    Recovery(Option<HomeNetwork>),
}

/// What came of a message.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// Send these, in this order.
    Reply(Vec<Vec<u8>>),
    /// Persist this, then call [`Run::committed`]; or drop the run if that fails.
    Commit(Box<Bound>),
    /// The run is over, its keys are wiped, and nobody gets an answer.
    Over(Ending),
}

/// How a run ended without success. Each counts towards the end of the window, or of the invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Before the code was proved, something did not open or check.
    Failed,
    /// Something else came than what must come next.
    Aborted,
}

impl Run {
    /// Waits for M1 of somebody who says to know `code`.
    #[must_use]
    pub fn new(code: PairingCode, purpose: Purpose) -> Self {
        Self { code, purpose, state: State::Idle, last: None }
    }

    /// When the run is over by itself; one that waits for M1, or has sent M9, never is.
    #[must_use]
    pub fn deadline(&self) -> Option<Micros> {
        match &self.state {
            State::Idle | State::Done => None,
            State::Hello { until, .. } => Some(*until),
            State::Granted(granted) | State::Told(granted, _) => Some(granted.until),
        }
    }

    /// Whether a controller is in the middle of it.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, State::Hello { .. } | State::Granted(_) | State::Told(..))
    }

    /// Takes a message from the controller.
    pub fn handle_message(
        &mut self,
        message: &[u8],
        now: Micros,
        context: &Context<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Outcome {
        if let Some(last) = &self.last
            && last.message == message
        {
            return Outcome::Reply(last.replies.clone());
        }
        if let State::Done = self.state {
            return Outcome::Over(Ending::Aborted);
        }
        // A new M1 starts afresh.
        if let Ok(hello) = json::read::<Hello>(message) {
            return self.handle_hello(&hello, message, now, context, rng);
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle | State::Done => self.over(Ending::Aborted),
            State::Hello { keys, .. } => self.handle_confirm(keys, message, now, context, rng),
            State::Granted(granted) => self.handle_wifi(granted, message, context, rng),
            State::Told(granted, terms) => self.handle_commit(granted, terms, message),
        }
    }

    /// M1 -> M2.
    fn handle_hello(
        &mut self,
        hello: &Hello,
        message: &[u8],
        now: Micros,
        context: &Context<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Outcome {
        if let Purpose::Invitation(guest) = &self.purpose
            && now >= guest.until
        {
            return self.over(Ending::Aborted);
        }
        let ephemeral = Ephemeral::random(rng);
        let Ok(shared) = ephemeral.agree(&hello.x) else { return self.over(Ending::Failed) };
        let accept = json::encode(&Accept {
            id: context.identity.id(),
            y: ephemeral.public(),
            nt: Nonce::random(rng),
            ca: context.identity.ca(),
        });
        let keys = PairingKeys::derive(message, &accept, &shared, &self.code);
        self.state = State::Hello { keys: Box::new(keys), until: now.after(HELLO_LIFE) };
        self.reply(message, vec![accept])
    }

    /// M3 -> M4 (SecT STEP 6, 3): the controller knows the code and holds its key. A guest is told the rest
    /// at once.
    fn handle_confirm(
        &mut self,
        keys: Box<PairingKeys>,
        message: &[u8],
        now: Micros,
        context: &Context<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Outcome {
        let Some((confirm, keep)) = self.open_confirm(&keys, message) else { return self.over(Ending::Failed) };
        if confirm.spki.verify(POP, &keys.transcript, &confirm.pop).is_err() {
            return self.over(Ending::Failed);
        }
        let (name, role, left_s) = match &self.purpose {
            Purpose::Claim | Purpose::Recovery(_) => (confirm.name, Role::Owner, None),
            Purpose::Invitation(guest) => (guest.name.clone(), guest.role, guest.ttl_s),
        };
        let controller = ControllerRecord {
            cid: Cid::random(rng),
            name,
            role,
            spki: confirm.spki,
            topic: TToken::random(rng),
            credentials: CtlrCredentials::random(rng),
            epoch: 0,
            master: keys.master.clone(),
            key_age: KeyAge::default(),
            next: None,
            left_s,
        };
        let topic = BindTopic { n: Number, cid: controller.cid, topic: controller.topic.clone() };
        let mut replies = vec![seal(&keys.t2c, &topic, rng)];
        let granted = Box::new(Granted { keys, controller, keep, until: now.after(GRANTED_LIFE) });
        self.state = match self.purpose {
            Purpose::Claim | Purpose::Recovery(_) => State::Granted(granted),
            Purpose::Invitation(_) => {
                replies.extend(granted.credentials(context, rng));
                State::Told(granted, Terms::Invitation)
            }
        };
        self.reply(message, replies)
    }

    /// M3 as this run takes it. That of a recovery carries a signature with the recovery key as well.
    fn open_confirm(&self, keys: &PairingKeys, message: &[u8]) -> Option<(Confirm, bool)> {
        let Purpose::Recovery(key) = &self.purpose else {
            return open::<Confirm>(&keys.c2t, message).map(|confirm| (confirm, true));
        };
        let Recover { n, spki, pop, name, sig, keep } = open(&keys.c2t, message)?;
        key.verify(RECOVER, &keys.transcript, &sig).ok()?;
        Some((Confirm { n, spki, pop, name }, keep))
    }

    /// M5 -> M6, M7 (SecT STEP 4, 5, 7).
    fn handle_wifi(
        &mut self,
        granted: Box<Granted>,
        message: &[u8],
        context: &Context<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Outcome {
        let terms = match &self.purpose {
            Purpose::Recovery(_) => {
                open::<RebindWifi>(&granted.keys.c2t, message).and_then(|wifi| match (wifi.ssid, wifi.key) {
                    (Some(ssid), Some(psk)) => Some(Terms::Recovery(Some(HomeNetwork { ssid, psk }))),
                    (None, None) => Some(Terms::Recovery(None)),
                    _ => None,
                })
            }
            Purpose::Claim | Purpose::Invitation(_) => open::<BindWifi>(&granted.keys.c2t, message)
                .map(|wifi| Terms::Claim(HomeNetwork { ssid: wifi.ssid, psk: wifi.key })),
        };
        let Some(terms) = terms else { return self.over(Ending::Aborted) };
        let replies = granted.credentials(context, rng);
        self.state = State::Told(granted, terms);
        self.reply(message, replies.into())
    }

    /// M8: the controller has persisted its side. The caller persists the thing's.
    fn handle_commit(&mut self, granted: Box<Granted>, terms: Terms, message: &[u8]) -> Outcome {
        let Some(commit) = open::<BindCommit>(&granted.keys.c2t, message) else { return self.over(Ending::Aborted) };
        let controller = granted.controller.clone();
        let bound = match (&terms, commit.rec) {
            (Terms::Claim(network), recovery) => Bound::Owner { controller, network: network.clone(), recovery },
            (Terms::Invitation, None) => Bound::Guest(controller),
            (Terms::Recovery(network), Some(recovery)) => {
                Bound::Recovered { controller, network: network.clone(), keep: granted.keep, recovery }
            }
            // Whom somebody invited has no say in how the household is recovered, and a code that was used is
            // replaced.
            (Terms::Invitation, Some(_)) | (Terms::Recovery(_), None) => return self.over(Ending::Aborted),
        };
        self.last = Some(Exchange { message: message.to_vec(), replies: Vec::new() });
        self.state = State::Told(granted, terms);
        Outcome::Commit(Box::new(bound))
    }

    /// M9, after the transaction of what [`Outcome::Commit`] gave.
    pub fn committed(&mut self, rng: &mut dyn CryptoRng) -> Option<Vec<u8>> {
        let State::Told(granted, _) = std::mem::replace(&mut self.state, State::Done) else { return None };
        let done = seal(&granted.keys.t2c, &BindDone { n: Number }, rng);
        if let Some(last) = &mut self.last {
            last.replies = vec![done.clone()];
        }
        Some(done)
    }

    fn reply(&mut self, message: &[u8], replies: Vec<Vec<u8>>) -> Outcome {
        self.last = Some(Exchange { message: message.to_vec(), replies: replies.clone() });
        Outcome::Reply(replies)
    }

    fn over(&mut self, ending: Ending) -> Outcome {
        self.state = State::Idle;
        self.last = None;
        Outcome::Over(ending)
    }
}

impl Granted {
    /// M6 and M7 (SecT STEP 5, 7).
    fn credentials(&self, context: &Context<'_>, rng: &mut dyn CryptoRng) -> [Vec<u8>; 2] {
        let Self { keys, controller, .. } = self;
        let credentials = BindCred {
            n: Number,
            user: controller.credentials.user.clone(),
            pass: controller.credentials.password.clone(),
            crt: Der(context.identity.certify(&controller.cid, &controller.spki, rng)),
            ca: Der(context.identity.certificate().to_vec()),
        };
        let id = controller.master.epoch(&context.identity.id(), &controller.cid, controller.epoch).psk_id;
        let psk = BindPsk { n: Number, id, clouds: context.clouds.to_vec() };
        [seal(&keys.t2c, &credentials, rng), seal(&keys.t2c, &psk, rng)]
    }
}

fn open<B: Body + DeserializeOwned>(key: &EnvelopeKey, message: &[u8]) -> Option<B> {
    let opened = Sealed::parse(message).ok()?.open(key).ok()?;
    json::read(opened.bytes()).ok()
}

fn seal<B: Body + Serialize>(key: &EnvelopeKey, body: &B, rng: &mut dyn CryptoRng) -> Vec<u8> {
    key.seal_message(body, rng).expect("two P-256 certificates and four cloud servers fit 1983 bytes")
}
