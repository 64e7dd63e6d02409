//! Key update, the controller's side (SecT STEP 6 again; protocol section 8).
//!
//! It is a further request of the one that may be unanswered: never replaced by a newer wish, and sent
//! first. Before the thing can commit the next master key, the shell has made it durable; until the thing
//! has said something under it, the present one stays. So a crash of either side, at whatever moment, finds
//! both with one key in common.

use rand_core::CryptoRng;

use super::{Command, Controller, ControllerEvent, Path, RequestHandle, Verdict, What, Wish};
use crate::proto::id::{Cid, ThingId};
use crate::proto::keys::{EpochKeys, MasterKey};
use crate::proto::message::ReturnCode;
use crate::proto::rekey::Accept;
use crate::proto::time::Micros;

/// The master keys that a controller has at one thing: one, and a second while nobody knows whether the
/// thing has taken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keychain {
    /// The thing.
    pub thing: ThingId,
    /// What the thing calls this controller.
    pub cid: Cid,
    /// The epoch of the present key.
    pub epoch: u32,
    /// The present master key.
    pub master: MasterKey,
    /// The one of the epoch that follows, durable before the thing could commit it.
    pub candidate: Option<MasterKey>,
}

impl Keychain {
    /// The keys of the present epoch.
    #[must_use]
    pub fn keys(&self) -> EpochKeys {
        self.master.epoch(&self.thing, &self.cid, self.epoch)
    }

    /// The keys of the epoch that may follow.
    #[must_use]
    pub fn candidate_keys(&self) -> Option<EpochKeys> {
        let epoch = self.epoch.checked_add(1)?;
        self.candidate.as_ref().map(|master| master.epoch(&self.thing, &self.cid, epoch))
    }
}

/// How far an update has come.
#[derive(Debug)]
pub(super) struct Update {
    handle: RequestHandle,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// `rk.init` waits for its turn or for its answer.
    Init,
    /// The shell makes the candidate durable.
    Persisting(MasterKey),
    /// `rk.com` waits for its turn or for its answer.
    Commit,
    /// `rk.com` got no answer: the one to this `status` tells which epoch the thing has.
    Asking(RequestHandle),
}

impl Controller {
    /// Updates the master key; one update at a time, so another call joins the one under way.
    ///
    /// [`ControllerEvent::Persist`] follows, and then one of [`ControllerEvent::KeysUpdated`],
    /// [`ControllerEvent::UpdateRefused`], [`ControllerEvent::UpdateUnanswered`] and
    /// [`ControllerEvent::NotSent`].
    pub fn update_keys(&mut self, now: Micros, rng: &mut dyn CryptoRng) -> RequestHandle {
        self.handle_timeout(now, rng);
        if let Some(update) = &self.update {
            return update.handle;
        }
        let handle = self.draw_handle();
        self.update = Some(Update { handle, step: Step::Init });
        self.urgent = Some(Wish::new(handle, What::Init, now));
        self.send_waiting(now, rng);
        handle
    }

    /// What [`ControllerEvent::Persist`] asked for is durable: now the thing may take it.
    pub fn persisted(&mut self, now: Micros, rng: &mut dyn CryptoRng) {
        let Some(Update { handle, step }) = &mut self.update else { return };
        let Step::Persisting(master) = step else { return };
        self.chain.candidate = Some(master.clone());
        self.urgent = Some(Wish::new(*handle, What::Commit, now));
        *step = Step::Commit;
        self.candidate = self.chain.candidate_keys();
        self.present_answers = false;
        self.send_waiting(now, rng);
    }

    /// What [`ControllerEvent::Persist`] asked for could not be kept, so the thing is not told.
    pub fn not_persisted(&mut self, now: Micros, rng: &mut dyn CryptoRng) {
        if let Some(update) = self.update.take_if(|update| matches!(update.step, Step::Persisting(_))) {
            self.events.push_back(ControllerEvent::NotSent { handle: update.handle });
        }
        self.send_waiting(now, rng);
    }

    /// The master keys as they are now.
    #[must_use]
    pub fn keychain(&self) -> &Keychain {
        &self.chain
    }

    /// Whether nothing may be sent: the candidate is on its way to the disk.
    pub(super) fn is_persisting(&self) -> bool {
        matches!(&self.update, Some(Update { step: Step::Persisting(_), .. }))
    }

    /// `rk.acc`: it counts for the last `rk.init` alone.
    pub(super) fn handle_accept(
        &mut self,
        path: Path,
        (accept, jwe): (&Accept, &[u8]),
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) -> Verdict {
        let Some(command) = self.command.take_if(|command| command.exchange.re == accept.re) else {
            return self.handle_further_answer(path, accept.re, now);
        };
        let Command { exchange, wish, ephemeral, .. } = command;
        self.clock.learn(accept.boot, accept.ts, now);
        let shared = ephemeral.and_then(|ephemeral| ephemeral.agree(&accept.y).ok());
        let expected = self.chain.epoch.checked_add(1) == Some(accept.epoch);
        match (shared.filter(|_| expected), &mut self.update) {
            (Some(shared), Some(update)) => {
                self.present_answers = true;
                let master = self.chain.master.next(exchange.payload(), jwe, &shared);
                update.step = Step::Persisting(master.clone());
                self.events.push_back(ControllerEvent::Persist { handle: update.handle, candidate: master });
            }
            // The thing breaks the protocol: nothing follows from that.
            _ => self.end_update(wish.handle, ReturnCode::BadRequest),
        }
        self.remember(exchange.answered(path));
        self.send_waiting(now, rng);
        Verdict::Answer
    }

    /// The thing answers `rk.init` with a plain answer, which is a refusal.
    pub(super) fn end_update(&mut self, handle: RequestHandle, rc: ReturnCode) {
        self.update = None;
        self.events.push_back(ControllerEvent::UpdateRefused { handle, rc });
    }

    /// The thing has said something under the candidate, which it does after its transaction alone: the past
    /// key is not needed any more.
    pub(super) fn promote(&mut self) {
        let Some((keys, master)) = self.candidate.take().zip(self.chain.candidate.take()) else { return };
        self.keys = keys;
        (self.chain.epoch, self.chain.master) = (self.chain.epoch.saturating_add(1), master);
        let waits = self.command.as_ref().is_none_or(|command| !matches!(command.wish.what, What::Init));
        let done = self.update.take_if(|update| match update.step {
            Step::Init => waits,
            Step::Commit | Step::Asking(_) => true,
            Step::Persisting(_) => false,
        });
        if done.is_some() {
            self.urgent = None;
        }
        let handle = done.map(|update| update.handle);
        self.events.push_back(ControllerEvent::KeysUpdated { handle, epoch: self.chain.epoch });
    }

    /// Another message has shown what `rk.com` was to show.
    pub(super) fn forget_commit(&mut self) {
        let committed = self.candidate.is_none();
        self.command.take_if(|command| committed && matches!(command.wish.what, What::Commit));
    }

    /// An answer to an own question or command came under the present epoch.
    pub(super) fn note_present(&mut self, answered: RequestHandle) {
        self.present_answers = true;
        let asked = |update: &mut Update| matches!(update.step, Step::Asking(question) if question == answered);
        if let Some(update) = self.update.take_if(asked) {
            self.events.push_back(ControllerEvent::UpdateUnanswered { handle: update.handle });
        }
    }

    /// No answer to a step of the update came in time.
    pub(super) fn end_unanswered(&mut self, what: &What, now: Micros, rng: &mut dyn CryptoRng) {
        let question = matches!(what, What::Commit).then(|| self.ask(now, rng));
        match (&mut self.update, question) {
            (Some(update), Some(question)) => update.step = Step::Asking(question),
            _ => {
                if let Some(update) = self.update.take() {
                    self.events.push_back(ControllerEvent::UpdateUnanswered { handle: update.handle });
                }
            }
        }
    }

    /// Not even a `status` was answered.
    pub(super) fn end_silent(&mut self, question: RequestHandle) {
        let asked = |update: &mut Update| matches!(update.step, Step::Asking(asked) if asked == question);
        if let Some(update) = self.update.take_if(asked) {
            self.events.push_back(ControllerEvent::UpdateUnanswered { handle: update.handle });
        }
    }

    /// The update could not even begin.
    pub(super) fn end_unsent(&mut self, handle: RequestHandle) {
        self.update = None;
        self.events.push_back(ControllerEvent::NotSent { handle });
    }
}
