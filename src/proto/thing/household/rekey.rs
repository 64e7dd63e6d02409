//! Key update, the thing's side, and when one is due (SecT STEP 6 again; protocol section 8).
//!
//! The next master key waits in RAM until a message proves that the controller holds it. That message
//! commits it, in one transaction and before anything is answered; so whoever has an answer under the next
//! epoch knows that the past one is gone from the disk.

use std::sync::Arc;
use std::time::Duration;

use rand_core::CryptoRng;

use super::controller::Controller;
use super::{Asker, HouseholdState};
use crate::proto::action::{Action, Path};
use crate::proto::envelope::{Opened, Sealed};
use crate::proto::freshness::Fresh;
use crate::proto::keys::{Ephemeral, EpochKeys, MasterKey, TlsPsk};
use crate::proto::message::{EVENT_REKEY_DUE, Event, ReturnCode};
use crate::proto::port::Ports;
use crate::proto::record::{ControllerRecord, KeyAge};
use crate::proto::rekey::{Accept, Commit, Init};
use crate::proto::thing::registrar::Registrar;
use crate::proto::thing::verdict::Dropped;
use crate::proto::thing::{Core, News};
use crate::proto::time::Micros;

/// Sessions that were opened under a past epoch end after this long.
const PAST_SESSIONS: Duration = Duration::from_secs(600);
/// Past epochs whose sessions may be open still; one more ends those of the oldest.
const MAX_PAST: usize = 4;
/// A key that was used for so long, or so often, is to be updated.
const DUE: KeyAge = KeyAge { uptime_s: 7 * DAY_S, accepted: 1 << 16 };
/// A key that was used for so long, or so often, is good for its own update alone.
const OVERDUE: KeyAge = KeyAge { uptime_s: 30 * DAY_S, accepted: 1 << 20 };
const DAY_S: u32 = 86_400;
/// A controller that is due is told so once in this time.
const TOLD_AGAIN: Duration = Duration::from_secs(DAY_S as u64);
/// Ages are persisted with whatever is, and by themselves where this long ago,
const SAVED_AFTER: Duration = Duration::from_secs(3600);
/// or so many messages of one key ago, nothing was.
const SAVED_AFTER_ACCEPTED: u32 = 1024;
/// They wait for that this long, so that no answer and no next command waits for the disk,
const SAVED_WITHIN: Duration = Duration::from_secs(60);
/// unless so many messages of one key wait: no power cut loses more, and that is half of what makes a key due.
const MAX_UNSAVED: u32 = DUE.accepted / 2;

/// The next epoch, agreed on and not in force.
pub(super) struct Pending {
    epoch: u32,
    master: MasterKey,
    keys: EpochKeys,
}

/// A past epoch: what opened the sessions that are open still.
pub(super) struct Retired {
    pub(super) psk_identity: String,
    pub(super) psk: TlsPsk,
    until: Micros,
}

/// How much a key was used beyond what its record says.
#[derive(Default)]
pub(super) struct Age {
    /// Since when uptime is not in the record; nobody has asked for the time yet without.
    since: Option<Micros>,
    accepted: u32,
    /// When the controller was told that an update is due.
    told: Option<Micros>,
}

impl Age {
    /// The whole age of the key of `record`.
    pub(super) fn of(&self, record: &ControllerRecord, now: Micros) -> KeyAge {
        let uptime = self.since.map_or(Duration::ZERO, |since| now.since(since)).as_secs();
        let KeyAge { uptime_s, accepted } = record.key_age;
        KeyAge {
            uptime_s: uptime_s.saturating_add(u32::try_from(uptime).unwrap_or(u32::MAX)),
            accepted: accepted.saturating_add(self.accepted),
        }
    }

    /// What it counted is in the record now.
    pub(super) fn restart(&mut self, now: Micros) {
        (self.since, self.accepted) = (Some(now), 0);
    }
}

const fn reaches(age: KeyAge, limit: KeyAge) -> bool {
    age.uptime_s >= limit.uptime_s || age.accepted >= limit.accepted
}

impl Controller {
    /// A past key opens no new session; those that it opened end in time.
    pub(super) fn retire(&mut self, psk_identity: String, psk: TlsPsk, now: Micros) {
        if self.retired.len() == MAX_PAST {
            self.retired.pop_front();
        }
        self.retired.push_back(Retired { psk_identity, psk, until: now.after(PAST_SESSIONS) });
    }
}

impl HouseholdState {
    /// Steps 4 to 6 of protocol section 4.3.
    ///
    /// The first tag that verifies under the next epoch commits it, whether the message is fresh or not: it
    /// proves that the controller holds the key, and the controller waits for an answer under it. If the
    /// store fails, nothing is answered and the epoch stays pending.
    pub(super) fn open(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        index: usize,
        sealed: &Sealed<'_>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Opened, Dropped> {
        let controller = &self.controllers[index];
        match &controller.pending {
            Some(pending) if pending.keys.c2t.kid() == sealed.kid() => {
                let opened = sealed.open_in(&mut self.room, &pending.keys.c2t).map_err(Dropped::Unopened)?;
                let (epoch, master) = (pending.epoch, pending.master.clone());
                let committed = self.persist(registrar, ports, |household| {
                    let record = &mut household.controllers[index];
                    (record.epoch, record.master, record.key_age) = (epoch, master, KeyAge::default());
                });
                let staged = committed.map_err(|_| Dropped::Store)?;
                self.adopt(core, registrar, staged, now);
                self.controllers[index].age.told = None;
                // Whoever has copied somebody's keys and renews them locks him out: it is to be seen.
                self.note_of(core, index, "new keys", now, ports);
                Ok(opened)
            }
            _ => sealed.open_in(&mut self.room, &controller.keys.c2t).map_err(Dropped::Unopened),
        }
    }

    /// Answers `rk.init` with `rk.acc`; the key that follows from both is pending from now on, in place of an
    /// earlier one.
    pub(super) fn agree(
        &mut self,
        core: &Core,
        asker: Asker,
        _: Fresh,
        (init, jwe): (&Init, &Sealed<'_>),
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) -> Result<Arc<[u8]>, ReturnCode> {
        let record = &self.household.controllers[asker.index];
        if record.epoch.checked_add(1) != Some(init.epoch) {
            return Err(ReturnCode::Conflict);
        }
        let ephemeral = Ephemeral::random(rng);
        let shared = ephemeral.agree(&init.x).map_err(|_| ReturnCode::BadRequest)?;
        let controller = &mut self.controllers[asker.index];
        let ts = controller.freshness.stamp(now);
        let accept = Accept { re: jwe.request_id(), boot: core.boot, ts, epoch: init.epoch, y: ephemeral.public() };
        let answer = controller.keys.t2c.seal_message(&accept, rng).expect("rk.acc has some 160 bytes");
        let master = record.master.next(jwe.bytes(), &answer, &shared);
        let keys = master.epoch(&core.identity.id(), &record.cid, init.epoch);
        controller.pending = Some(Pending { epoch: init.epoch, master, keys });
        Ok(answer.into())
    }

    /// What `rk.com` is answered: its tag has done the work.
    pub(super) fn confirm(&self, asker: Asker, _: Fresh, commit: &Commit) -> Result<(), ReturnCode> {
        let in_force = self.household.controllers[asker.index].epoch == commit.epoch;
        if in_force { Ok(()) } else { Err(ReturnCode::Conflict) }
    }

    /// One message more under this key, which may be too old for anything but its own update.
    pub(super) fn count_accepted(&mut self, index: usize, now: Micros) -> Overdue {
        let (record, age) = (&self.household.controllers[index], &mut self.controllers[index].age);
        let overdue = reaches(age.of(record, now), OVERDUE);
        age.accepted = age.accepted.saturating_add(1);
        Overdue(overdue)
    }

    /// What the clock says now; ages count from the first time.
    pub(super) fn notice_time(&mut self, now: Micros) {
        self.latest = now;
        for controller in &mut self.controllers {
            controller.age.since.get_or_insert(now);
        }
    }

    /// Behind the answer in the queue: tells the controller that its key is due, and has the ages written down
    /// once in a while. Nothing is written here: [`Self::handle_ages`] does that.
    ///
    /// A key that nobody uses needs no timer: it does not wear out, and the controller looks at the calendar as
    /// well.
    pub(super) fn look_at_ages(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        index: usize,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        if self.is_given_up() {
            return;
        }
        let Some((record, live)) = self.household.controllers.get(index).zip(self.controllers.get_mut(index)) else {
            return;
        };
        let unsaved = live.age.accepted;
        let due = reaches(live.age.of(record, now), DUE);
        if due && live.age.told.is_none_or(|told| now.since(told) >= TOLD_AGAIN) {
            live.age.told = Some(now);
            self.tell_due(core, registrar, index, now, rng);
        }
        let late = unsaved > 0 && now.since(self.ages_saved_at) >= SAVED_AFTER;
        if late || unsaved >= SAVED_AFTER_ACCEPTED {
            let save_at = self.save_ages_at.get_or_insert(now.after(SAVED_WITHIN));
            // Only here: a store that refuses is not asked again with each message.
            if unsaved == MAX_UNSAVED {
                *save_at = now;
            }
        }
    }

    /// When the ages of keys are to be persisted; nothing while nobody uses one.
    pub(in crate::proto::thing) fn poll_ages(&self) -> Option<Micros> {
        self.save_ages_at
    }

    /// Persists the ages of keys, once their time has come.
    pub(in crate::proto::thing) fn handle_ages(&mut self, registrar: &Registrar, now: Micros, ports: &mut Ports<'_>) {
        if self.save_ages_at.take_if(|at| now >= *at).is_some() {
            // A store that fails costs nothing: the next message has it tried again.
            if let Ok(staged) = self.persist(registrar, ports, |_| {}) {
                self.adopt_ages(staged);
            }
        }
    }

    /// The event `rekey.due`, by every way to this controller.
    fn tell_due(&mut self, core: &mut Core, registrar: &Registrar, index: usize, now: Micros, rng: &mut dyn CryptoRng) {
        let st = self.state(core);
        let controller = &mut self.controllers[index];
        let ts = controller.freshness.stamp(now);
        let event = Event { boot: core.boot, ts, k: EVENT_REKEY_DUE.into(), st, d: None };
        let payload = controller.keys.t2c.seal_message(&event, rng).expect("an event is far below 1983 bytes");
        let payload: Arc<[u8]> = payload.into();
        let local = (!controller.sessions.is_empty()).then_some(Path::Local);
        for path in local.into_iter().chain(registrar.live().map(Path::Cloud)) {
            core.actions.extend(controller.listens_on().map(|topic| Action::Publish {
                path,
                topic: topic.clone(),
                payload: payload.clone(),
            }));
        }
    }

    /// When sessions of a past epoch end.
    pub(super) fn past_sessions_until(&self) -> Option<Micros> {
        self.controllers.iter().flat_map(|controller| &controller.retired).map(|past| past.until).min()
    }

    /// Ends the sessions of past epochs whose time has come.
    pub(super) fn end_past_sessions(&mut self, core: &mut Core, now: Micros) -> News {
        let mut ended = News::No;
        for controller in &mut self.controllers {
            let before = controller.retired.len();
            controller.retired.retain(|past| now < past.until);
            if controller.retired.len() < before {
                ended = News::Yes;
            }
        }
        // A session that is admitted no longer ends.
        if ended == News::Yes {
            self.admit(core);
        }
        ended
    }
}

/// Whether a key is too old for anything but its own update.
#[derive(Clone, Copy)]
pub(super) struct Overdue(pub(super) bool);
