//! A lost phone: who holds the button, reads the display and has the recovery code becomes the owner in the
//! place of all earlier ones (protocol section 9). Two of the three do nothing.

use super::HouseholdState;
use super::home::Place;
use crate::proto::action::SessionId;
use crate::proto::pairing::thing::{Bound, Ending};
use crate::proto::port::Ports;
use crate::proto::thing::registrar::Registrar;
use crate::proto::thing::verdict::{Dropped, Verdict};
use crate::proto::thing::window::{Life, Taken, Window};
use crate::proto::thing::{Core, Incoming};
use crate::proto::time::Micros;
use crate::proto::user::Role;

impl HouseholdState {
    /// Whether a session came in with the passcode of the maintenance's access point.
    pub(in crate::proto::thing) fn is_nearby(&self, session: SessionId) -> bool {
        matches!(&self.home.place, Place::Maintenance(window) if window.has_session(session))
    }

    pub(super) fn handle_nearby(&mut self, session: SessionId) {
        if let Place::Maintenance(window) = &mut self.home.place {
            window.handle_session_opened(session);
        }
    }

    pub(super) fn handle_nearby_closed(&mut self, core: &mut Core, session: SessionId, now: Micros) {
        if let Place::Maintenance(window) = &mut self.home.place {
            let life = window.handle_session_closed(core, session, now);
            self.follow(core, life, now);
        }
    }

    /// A window with too many bad runs is over.
    fn follow(&mut self, core: &mut Core, life: Life, now: Micros) {
        if life == Life::IsOver {
            self.go_home(core, now);
        }
    }

    /// A message of a recovery; gives the window, in which M9 is on its way, once it is persisted.
    pub(in crate::proto::thing) fn handle_recovery(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        incoming: Incoming<'_, SessionId>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> (Verdict, Option<Window>) {
        let session = incoming.from;
        let Place::Maintenance(window) = &mut self.home.place else {
            return (Verdict::Dropped(Dropped::ForeignTopic), None);
        };
        let bound = match window.handle_publish(core, registrar, incoming, now, ports.rng) {
            Taken::Judged(verdict, life) => {
                self.follow(core, life, now);
                return (verdict, None);
            }
            Taken::Commit(bound) => bound,
        };
        if let Err(why) = self.recover(core, registrar, *bound, now, ports) {
            if let Place::Maintenance(window) = &mut self.home.place {
                let life = window.end_run(core, session, now);
                self.follow(core, life, now);
            }
            return (Verdict::Dropped(why), None);
        }
        let Place::Maintenance(mut window) = std::mem::replace(&mut self.home.place, Place::Online) else {
            return (Verdict::Paired, None);
        };
        window.committed(core, session, now, ports.rng);
        (Verdict::Paired, Some(*window))
    }

    /// M8's transaction: the earlier owners go, and with them, if that is wanted, everybody else.
    fn recover(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        bound: Bound,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<(), Dropped> {
        // No run of this window has another purpose.
        let Bound::Recovered { controller, network, keep, recovery } = bound else {
            return Err(Dropped::Run(Ending::Aborted));
        };
        let (cid, name) = (controller.cid, controller.name.clone());
        let moves = network.is_some();
        let staged = self.persist(registrar, ports, |household| {
            household.controllers.retain(|one| keep && one.role != Role::Owner);
            household.controllers.push(controller);
            household.recovery = Some(recovery);
            if let Some(network) = network {
                (household.network, household.joined_once) = (network, false);
            }
        });
        self.adopt(core, registrar, staged.map_err(|_| Dropped::Store)?, now);
        if moves {
            self.home.forget_home();
        }
        core.note(Some((cid, name)), "recovered the plug", now, ports.vault);
        Ok(())
    }
}
