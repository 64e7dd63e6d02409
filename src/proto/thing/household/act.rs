//! What each operation does. An operation is accepted, allowed, done, answered, and then what the answer
//! must not wait for, or must come before, follows.

use rand_core::CryptoRng;
use serde::Serialize;
use serde_json::value::RawValue;

use super::change::Staged;
use super::tell::Told;
use super::wifi::seen;
use super::{Asker, HouseholdState};
use crate::proto::freshness::Fresh;
use crate::proto::id::Cid;
use crate::proto::message::{EVENT_LEFT, Left, ReturnCode, SwitchedBy};
use crate::proto::operation::Operation;
use crate::proto::operation::argument::WifiSet;
use crate::proto::port::{OutletFault, Ports, VaultFault};
use crate::proto::thing::registrar::Registrar;
use crate::proto::thing::{Core, News};
use crate::proto::time::Micros;
use crate::proto::user::Role;
use crate::proto::wifi::HomeNetwork;

/// A command that its sender's role allows; only [`authorize`] makes one.
#[must_use]
pub(super) struct Authorized(Operation);

/// Who may do what (protocol section 9). Takes the proof of freshness, so that the order holds.
pub(super) fn authorize(_: Fresh, operation: Operation, role: Role) -> Result<Authorized, ReturnCode> {
    if role >= operation.least_role() { Ok(Authorized(operation)) } else { Err(ReturnCode::Forbidden) }
}

/// What an operation came to.
#[derive(Default)]
pub(super) struct Done {
    /// What the answer gives back.
    pub(super) result: Option<Box<RawValue>>,
    /// Whether everybody is told the new state, once the answer is out.
    pub(super) news: News,
    /// What follows the answer, in this order.
    pub(super) after: Vec<After>,
}

/// What follows an answer.
pub(super) enum After {
    /// What was persisted takes effect, after an answer to somebody who is not in it any more.
    Adopt(Box<Staged>),
    /// The owners hear that somebody is gone.
    Left(Cid),
    /// Another home network is tried (SecT STEP 19).
    Try(HomeNetwork),
    /// The thing is given up, by the controller at this place (SecT STEP 20).
    Leave(usize),
}

impl Done {
    /// With something to give back.
    pub(super) fn with(result: &impl Serialize) -> Self {
        let result = serde_json::value::to_raw_value(result).expect("results are maps with string keys");
        Self { result: Some(result), ..Self::default() }
    }
}

impl HouseholdState {
    /// Does what a command asks for.
    pub(super) fn act(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        asker: Asker,
        Authorized(operation): Authorized,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        match operation {
            Operation::OutletSet(wanted) => self
                .switch(core, wanted.state(), SwitchedBy::User, Some(asker.index), now, ports)
                .map(|news| Done { news, ..Done::default() })
                .map_err(|OutletFault| ReturnCode::Storage),
            Operation::NameSet(wanted) => {
                let staged = self.persist(registrar, ports, |household| household.name = wanted.name)?;
                self.adopt(core, registrar, staged, now);
                Ok(Done { news: News::Yes, ..Done::default() })
            }
            Operation::UserAdd(wanted) => self.invite(core, asker, wanted, now, ports),
            Operation::UserList(from) => Ok(self.list_users(asker, from, now)),
            Operation::UserRole(wanted) => self.set_role(core, registrar, wanted, now, ports),
            Operation::UserName(wanted) => self.rename_user(core, registrar, asker, wanted, now, ports),
            Operation::UserDel(whom) => self.remove_user(registrar, asker, whom, ports),
            Operation::Unpair(_) => {
                let generation = registrar.next_generation();
                ports.vault.begin_wipe(generation).map_err(|VaultFault| ReturnCode::Storage)?;
                Ok(Done { after: vec![After::Leave(asker.index)], ..Done::default() })
            }
            Operation::RecoverySet(wanted) => {
                let staged = self.persist(registrar, ports, |household| household.recovery = Some(wanted.rec))?;
                self.adopt(core, registrar, staged, now);
                Ok(Done::default())
            }
            Operation::WifiScan => Ok(Done::with(&seen(ports.air))),
            Operation::WifiSet(_) if self.home.is_trying() => Err(ReturnCode::Busy),
            Operation::WifiSet(WifiSet { ssid, key }) => {
                Ok(Done { after: vec![After::Try(HomeNetwork { ssid, psk: key })], ..Done::default() })
            }
            Operation::TokenRenew => self.renew_token(core, registrar, asker.index, now, ports),
            Operation::TokenUse(wanted) => self.use_token(registrar, asker.index, &wanted.topic, ports),
            Operation::TimerSet(wanted) => Ok(self.set_timer(&wanted, now)),
            Operation::TimerClear => Ok(self.clear_timer()),
            Operation::ScheduleSet(wanted) => self.set_schedule(core, registrar, wanted, now, ports),
            Operation::ScheduleList(from) => Ok(self.list_schedules(core, from)),
            Operation::ScheduleClear(wanted) => self.clear_schedule(core, registrar, &wanted, now, ports),
            Operation::BootSet(wanted) => self.set_power_on(core, registrar, &wanted, now, ports),
            Operation::TimeSet(told) => self.set_time(core, registrar, &told, now, ports),
            Operation::HistoryList(wanted) => self.list_history(&wanted, ports),
        }
    }

    /// What was left to do once the answer is out.
    pub(super) fn finish(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        after: Vec<After>,
        told: Told,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        for after in after {
            match after {
                After::Adopt(staged) => self.adopt(core, registrar, *staged, now),
                After::Left(cid) => {
                    self.tell_owners(core, registrar, (EVENT_LEFT, &Left { cid }), Some(told), now, rng);
                }
                After::Try(network) => self.begin_trial(core, network, now),
                After::Leave(by) => self.give_up(core, by, told.path),
            }
        }
    }
}
