//! An honest thing: it opens, judges, runs, answers and remembers as protocol sections 4 and 6 say.

use std::borrow::Cow;
use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

use crate::proto::controller::Keychain;
use crate::proto::envelope::Sealed;
use crate::proto::freshness::Freshness;
use crate::proto::id::{Boot, Cid, RequestId, SpkiHash, ThingId};
use crate::proto::json;
use crate::proto::keys::{EpochKeys, MasterKey};
use crate::proto::message::{EVENT_STATE, Event, Request, Response, ReturnCode, State, SwitchedBy};
use crate::proto::operation::argument::OutletSet;
use crate::proto::operation::{Operation, Requested};
use crate::proto::secret::Secret;
use crate::proto::time::Micros;

/// Predictable randomness without a short period (SplitMix64).
pub(super) struct Mix(u64);

impl Mix {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl TryRng for Mix {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::try_from(self.draw() >> 32).expect("32 bits"))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Mix {}

/// The keys that both sides share.
pub(super) fn keys() -> EpochKeys {
    chain().keys()
}

/// The same as the controller has them.
pub(super) fn chain() -> Keychain {
    let thing = ThingId::of(&SpkiHash::new([2; 32]));
    let master = MasterKey::from_stored(Secret::new([1; 64]));
    Keychain { thing, cid: Cid::new([3; 8]), epoch: 0, master, candidate: None }
}

pub(super) struct Thing {
    keys: EpochKeys,
    rng: Mix,
    pub(super) boot: Boot,
    started_at: u64,
    freshness: Freshness,
    on: bool,
    /// What ran, in order.
    runs: Vec<(RequestId, bool)>,
    pub(super) last_request: Option<RequestId>,
    /// The thing time of the last message.
    pub(super) last_ts: Micros,
}

impl Thing {
    pub(super) fn new() -> Self {
        Self {
            keys: keys(),
            rng: Mix::new(50),
            boot: Boot::new([0; 16]),
            started_at: 0,
            freshness: Freshness::default(),
            on: false,
            runs: Vec::new(),
            last_request: None,
            last_ts: Micros::ZERO,
        }
    }

    /// Starts the daemon: a fresh boot nonce, no memory of anything.
    pub(super) fn boot(&mut self, clock: u64) {
        self.boot = Boot::random(&mut self.rng);
        self.started_at = clock;
        self.freshness = Freshness::default();
    }

    /// Takes a message; gives the answer, if there is one.
    pub(super) fn handle(&mut self, payload: &[u8], clock: u64) -> Option<Vec<u8>> {
        let opened = Sealed::parse(payload).ok()?.open(&self.keys.c2t).ok()?;
        let re = opened.request_id();
        self.last_request = Some(re);
        if let Some(answer) = self.freshness.answer_to(&re, self.time(clock)) {
            return Some(answer.to_vec());
        }
        match Request::read(opened.bytes()) {
            Ok(Request::Status) => Some(self.respond(re, ReturnCode::Ok, clock)),
            Ok(Request::Command { boot, ts, requested }) => {
                let Ok(_fresh) = self.freshness.accept(self.boot, self.time(clock), boot, ts) else {
                    return Some(self.respond(re, ReturnCode::Stale, clock));
                };
                let rc = match requested {
                    Requested::Known(Operation::OutletSet(OutletSet { on })) => {
                        self.on = on;
                        self.runs.push((re, on));
                        ReturnCode::Ok
                    }
                    Requested::Known(_) | Requested::Unknown => ReturnCode::Unsupported,
                };
                let answer = self.respond(re, rc, clock);
                self.freshness.keep_answer(re, self.time(clock), &answer);
                Some(answer)
            }
            Ok(Request::RekeyInit(_) | Request::RekeyCommit(_)) | Err(_) => {
                Some(self.respond(re, ReturnCode::BadRequest, clock))
            }
        }
    }

    /// Switches by the button; gives the event.
    pub(super) fn switch(&mut self, on: bool, clock: u64) -> Vec<u8> {
        self.on = on;
        self.event(EVENT_STATE, clock)
    }

    pub(super) fn event(&mut self, kind: &str, clock: u64) -> Vec<u8> {
        let ts = self.stamp(clock);
        self.seal(&json::encode(&Event { boot: self.boot, ts, k: Cow::Borrowed(kind), st: self.state(), d: None }))
    }

    pub(super) fn respond(&mut self, re: RequestId, rc: ReturnCode, clock: u64) -> Vec<u8> {
        let ts = self.stamp(clock);
        self.respond_at(re, rc, ts, self.on)
    }

    pub(super) fn respond_at(&mut self, re: RequestId, rc: ReturnCode, ts: Micros, on: bool) -> Vec<u8> {
        self.seal(&json::encode(&Response { re, rc, boot: self.boot, ts, st: self.state_with(on), r: None }))
    }

    pub(super) fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        self.keys.t2c.seal(text, &mut self.rng).expect("short enough")
    }

    pub(super) fn state(&self) -> State {
        self.state_with(self.on)
    }

    pub(super) fn state_with(&self, on: bool) -> State {
        State { on, by: SwitchedBy::User, who: None, since: Micros::ZERO, name: "lamp".parse().expect("valid") }
    }

    pub(super) fn executed(&self) -> Vec<bool> {
        self.runs.iter().map(|(_, on)| *on).collect()
    }

    pub(super) fn runs(&self) -> &[(RequestId, bool)] {
        &self.runs
    }

    fn time(&self, clock: u64) -> Micros {
        Micros::new(clock - self.started_at)
    }

    fn stamp(&mut self, clock: u64) -> Micros {
        self.last_ts = self.freshness.stamp(self.time(clock));
        self.last_ts
    }
}
