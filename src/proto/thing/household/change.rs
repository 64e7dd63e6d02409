//! Changes of what outlives a power cut: first one transaction, then the memory follows it.
//!
//! The two steps are apart because an answer may have to go out between them, sealed for somebody who is
//! not in the household any more.

use super::HouseholdState;
use super::controller::Controller;
use crate::proto::action::Action;
use crate::proto::credential::CtlrCredentials;
use crate::proto::message::ReturnCode;
use crate::proto::port::Ports;
use crate::proto::record::{ControllerRecord, Household, NextTopic};
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::time::Micros;
use crate::proto::topic::TToken;
use crate::proto::user::Role;

/// A household that is durable and not in effect yet.
#[must_use]
pub(super) struct Staged {
    household: Box<Household>,
    generation: u64,
}

impl HouseholdState {
    /// Makes a changed household durable. [`Self::adopt`] must follow before anything else is asked of it.
    ///
    /// Where the change touches who may use which topic, the registration gets a new generation in the same
    /// transaction (SecT STEP 9).
    pub(super) fn persist(
        &self,
        registrar: &Registrar,
        ports: &mut Ports<'_>,
        change: impl FnOnce(&mut Household),
    ) -> Result<Staged, ReturnCode> {
        self.persist_checked(registrar, ports, |household| {
            change(household);
            Ok(())
        })
    }

    /// The same for a change that must not leave the thing without an owner.
    pub(super) fn persist_with_owner(
        &self,
        registrar: &Registrar,
        ports: &mut Ports<'_>,
        change: impl FnOnce(&mut Household),
    ) -> Result<Staged, ReturnCode> {
        self.persist_checked(registrar, ports, |household| {
            change(household);
            let has_owner = household.controllers.iter().any(|record| record.role == Role::Owner);
            if has_owner { Ok(()) } else { Err(ReturnCode::Conflict) }
        })
    }

    fn persist_checked(
        &self,
        registrar: &Registrar,
        ports: &mut Ports<'_>,
        change: impl FnOnce(&mut Household) -> Result<(), ReturnCode>,
    ) -> Result<Staged, ReturnCode> {
        let mut household = Box::new(self.household.clone());
        for (record, controller) in household.controllers.iter_mut().zip(&self.controllers) {
            record.key_age = controller.age.of(record, self.latest);
        }
        change(&mut household)?;
        let same = accounts(&household.controllers).eq(accounts(&self.household.controllers));
        let generation = if same { registrar.generation } else { registrar.next_generation() };
        ports.vault.save(&household, generation).map_err(|_| ReturnCode::Storage)?;
        Ok(Staged { household, generation })
    }

    /// Brings what is durable into effect: keys, admissions, sessions and registration.
    ///
    /// A place in the list of controllers that was taken before is void.
    pub(super) fn adopt(&mut self, core: &mut Core, registrar: &mut Registrar, staged: Staged, now: Micros) {
        let Staged { household, generation } = staged;
        let thing = core.identity.id();
        let (mut before, mut after) = (std::mem::take(&mut self.controllers), Vec::new());
        for record in &household.controllers {
            let known = before.iter().position(|controller| controller.cid == record.cid);
            after.push(match known.map(|place| before.swap_remove(place)) {
                Some(mut controller) => {
                    let earlier = self.household.controllers.iter().find(|earlier| earlier.cid == record.cid);
                    if earlier != Some(record) {
                        controller.follow(&thing, record, now);
                    }
                    controller
                }
                None => Controller::new(&thing, record),
            });
        }
        (self.controllers, self.household) = (after, *household);
        self.restart_ages();
        // Who is gone, or is no owner any more, takes along the invitations that he made.
        let uninvited = self.invitations.retain_makers(&self.household.controllers);
        self.admit(core);
        let gone = before.into_iter().flat_map(|controller| controller.sessions);
        core.actions.extend(gone.chain(uninvited).map(Action::EndSession));
        if generation != registrar.generation {
            registrar.generation = generation;
            registrar.declare_everywhere(core, now, |cloud| self.entries(&thing, cloud));
        }
    }

    /// Brings into effect a change of nothing but the ages of keys.
    pub(super) fn adopt_ages(&mut self, staged: Staged) {
        self.household = *staged.household;
        self.restart_ages();
    }

    fn restart_ages(&mut self) {
        (self.ages_saved_at, self.save_ages_at) = (self.latest, None);
        for controller in &mut self.controllers {
            controller.age.restart(self.latest);
        }
    }
}

/// What a cloud server knows of each controller.
fn accounts(controllers: &[ControllerRecord]) -> impl Iterator<Item = Account<'_>> {
    controllers.iter().map(|record| (&record.topic, &record.credentials, record.next.as_ref()))
}

type Account<'a> = (&'a TToken, &'a CtlrCredentials, Option<&'a NextTopic>);
