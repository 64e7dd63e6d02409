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
};
use crate::proto::certificate::ThingIdentity;
use crate::proto::credential::CtlrCredentials;
use crate::proto::envelope::{EnvelopeKey, Sealed};
use crate::proto::id::{Cid, Nonce};
use crate::proto::json::{self, Body};
use crate::proto::keys::{Ephemeral, PairingCode, PairingKeys};
use crate::proto::record::{ControllerRecord, KeyAge};
use crate::proto::signature::{POP, Spki};
use crate::proto::time::Micros;
use crate::proto::topic::TToken;
use crate::proto::user::Role;
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

/// What a run has agreed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// The new controller.
    pub controller: ControllerRecord,
    /// The home network (SecT STEP 4).
    pub network: HomeNetwork,
    /// The public half of the recovery code, where its owner made one.
    pub recovery: Option<Spki>,
}

/// One run, bound to one session.
pub struct Run {
    code: PairingCode,
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
    /// M4 is out: the controller knows the code. Waits for M5, then M8.
    Granted(Box<Granted>),
    /// M9 is out: given again while the session lasts.
    Done,
}

struct Granted {
    keys: Box<PairingKeys>,
    owner: ControllerRecord,
    network: Option<HomeNetwork>,
    until: Micros,
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

/// How a run ended without a claim. Each counts towards the end of the window.
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
    pub fn new(code: PairingCode) -> Self {
        Self { code, state: State::Idle, last: None }
    }

    /// When the run is over by itself; one that waits for M1, or has sent M9, never is.
    #[must_use]
    pub fn deadline(&self) -> Option<Micros> {
        match &self.state {
            State::Idle | State::Done => None,
            State::Hello { until, .. } => Some(*until),
            State::Granted(granted) => Some(granted.until),
        }
    }

    /// Whether a controller is in the middle of it.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        matches!(self.state, State::Hello { .. } | State::Granted(_))
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
            State::Hello { keys, .. } => self.handle_confirm(keys, message, now, rng),
            State::Granted(granted) => match granted.network {
                None => self.handle_wifi(granted, message, context, rng),
                Some(_) => self.handle_commit(granted, message),
            },
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

    /// M3 -> M4 (SecT STEP 6, 3): the controller knows the code and holds its key.
    fn handle_confirm(
        &mut self,
        keys: Box<PairingKeys>,
        message: &[u8],
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) -> Outcome {
        let Some(confirm) = open::<Confirm>(&keys.c2t, message) else { return self.over(Ending::Failed) };
        if confirm.spki.verify(POP, &keys.transcript, &confirm.pop).is_err() {
            return self.over(Ending::Failed);
        }
        let owner = ControllerRecord {
            cid: Cid::random(rng),
            name: confirm.name,
            role: Role::Owner,
            spki: confirm.spki,
            topic: TToken::random(rng),
            credentials: CtlrCredentials::random(rng),
            epoch: 0,
            master: keys.master.clone(),
            key_age: KeyAge::default(),
            next: None,
            left_s: None,
        };
        let topic = seal(&keys.t2c, &BindTopic { n: Number, cid: owner.cid, topic: owner.topic.clone() }, rng);
        self.state = State::Granted(Box::new(Granted { keys, owner, network: None, until: now.after(GRANTED_LIFE) }));
        self.reply(message, vec![topic])
    }

    /// M5 -> M6, M7 (SecT STEP 4, 5, 7).
    fn handle_wifi(
        &mut self,
        mut granted: Box<Granted>,
        message: &[u8],
        context: &Context<'_>,
        rng: &mut dyn CryptoRng,
    ) -> Outcome {
        let Some(wifi) = open::<BindWifi>(&granted.keys.c2t, message) else { return self.over(Ending::Aborted) };
        granted.network = Some(HomeNetwork { ssid: wifi.ssid, psk: wifi.key });

        let owner = &granted.owner;
        let credentials = seal(
            &granted.keys.t2c,
            &BindCred {
                n: Number,
                user: owner.credentials.user.clone(),
                pass: owner.credentials.password.clone(),
                crt: Der(context.identity.certify(&owner.cid, &owner.spki, rng)),
                ca: Der(context.identity.certificate().to_vec()),
            },
            rng,
        );
        let psk_id = owner.master.epoch(&context.identity.id(), &owner.cid, 0).psk_id;
        let psk = seal(&granted.keys.t2c, &BindPsk { n: Number, id: psk_id, clouds: context.clouds.to_vec() }, rng);
        self.state = State::Granted(granted);
        self.reply(message, vec![credentials, psk])
    }

    /// M8: the controller has persisted its side. The caller persists the thing's.
    fn handle_commit(&mut self, granted: Box<Granted>, message: &[u8]) -> Outcome {
        let Some(commit) = open::<BindCommit>(&granted.keys.c2t, message) else { return self.over(Ending::Aborted) };
        let Some(network) = granted.network.clone() else { return self.over(Ending::Aborted) };
        let bound = Bound { controller: granted.owner.clone(), network, recovery: commit.rec };
        self.last = Some(Exchange { message: message.to_vec(), replies: Vec::new() });
        self.state = State::Granted(granted);
        Outcome::Commit(Box::new(bound))
    }

    /// M9, after the transaction of what [`Outcome::Commit`] gave.
    pub fn committed(&mut self, rng: &mut dyn CryptoRng) -> Option<Vec<u8>> {
        let State::Granted(granted) = std::mem::replace(&mut self.state, State::Done) else { return None };
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

fn open<B: Body + DeserializeOwned>(key: &EnvelopeKey, message: &[u8]) -> Option<B> {
    let opened = Sealed::parse(message).ok()?.open(key).ok()?;
    json::read(opened.bytes()).ok()
}

fn seal<B: Body + Serialize>(key: &EnvelopeKey, body: &B, rng: &mut dyn CryptoRng) -> Vec<u8> {
    key.seal_message(body, rng).expect("two P-256 certificates and four cloud servers fit 1983 bytes")
}
