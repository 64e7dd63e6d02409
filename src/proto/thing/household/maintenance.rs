//! Maintenance: an access point of a claimed thing, at which its owners correct the home network
//! (protocol section 7.6).
//!
//! Its passcode opens the radio and proves nothing: who gets in there holds an owner's keys, or the recovery
//! code. So it is never the access point of a thing that nobody owns.

use rand_core::CryptoRng;

use super::HouseholdState;
use super::home::Place;
use crate::proto::action::Admission;
use crate::proto::operation::Operation;
use crate::proto::record::ControllerRecord;
use crate::proto::signature::Spki;
use crate::proto::thing::Core;
use crate::proto::thing::window::{Purpose, Window};
use crate::proto::time::Micros;
use crate::proto::user::Role;

impl HouseholdState {
    /// Somebody holds the button: leaves wherever the radio is, and opens a window with a passcode of its
    /// own, at which the household can be recovered too.
    pub(in crate::proto::thing) fn open_by_button(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        self.open_maintenance(core, self.household.recovery, now, rng);
    }

    /// The home network cannot be joined. Nobody has to stand before the thing for this window, so it is for
    /// its owners alone.
    pub(super) fn open_for_owners(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        self.open_maintenance(core, None, now, rng);
    }

    fn open_maintenance(&mut self, core: &mut Core, recovery: Option<Spki>, now: Micros, rng: &mut dyn CryptoRng) {
        self.give_trial_up(now);
        self.hang_up(core);
        self.home.place = Place::Maintenance(Box::new(Window::new(Purpose::Maintenance(recovery), now, rng)));
        self.admit(core);
        if let Place::Maintenance(window) = &mut self.home.place {
            window.go_on_air(core, now);
        }
    }

    /// Whether an operation may be asked for where the thing is: in maintenance the home network is put
    /// right, and nothing else.
    pub(super) fn is_allowed_here(&self, operation: Option<&Operation>) -> bool {
        !self.is_in_maintenance() || matches!(operation, Some(Operation::WifiSet(_)))
    }

    /// Who may open a session where the thing is.
    pub(super) fn admissions(&self) -> Vec<Admission> {
        let window = match &self.home.place {
            Place::Maintenance(window) => Some(window),
            _ => None,
        };
        let pairs = self.controllers.iter().zip(&self.household.controllers);
        let owners_only = self.is_in_maintenance();
        let is_welcome = |record: &ControllerRecord| !owners_only || record.role == Role::Owner;
        let welcome = pairs.filter(|(one, record)| is_welcome(record) && !one.stay.is_over());
        let controllers = welcome.flat_map(|(controller, record)| controller.admissions(record));
        let guests = self.invitations.admissions().filter(|_| !owners_only);
        controllers.chain(guests).chain(window.and_then(|window| window.admission())).collect()
    }
}
