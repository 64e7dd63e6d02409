//! The thing is given up: its answer arrives, its cloud servers hear of it, and then nothing of its household
//! is left (SecT STEP 20; protocol section 9).
//!
//! That it is to be wiped is durable before the answer goes out, so whatever happens from here on, it is
//! wiped: at the latest when it starts again. Until then it is nobody's and cannot be claimed.

use std::time::Duration;

use super::household::HouseholdState;
use super::registrar::Registrar;
use super::verdict::{Dropped, Verdict};
use super::{Core, Incoming};
use crate::proto::action::{Action, Fault, Path, Screen, SessionId};
use crate::proto::port::Ports;
use crate::proto::time::Micros;

/// How long the answer may take to arrive, and to be asked for once more, where nothing says that it has arrived.
const LAST_WORD: Duration = Duration::from_secs(2);
/// How long the cloud servers may take to let the household's topics go. One that takes longer, or is not
/// there, is told by the next owner's registration: the generation has risen.
const LAST_REGISTRATION: Duration = Duration::from_secs(5);
/// A store that fails is asked again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// A thing between its owner's last word and its factory state.
pub(super) struct Farewell {
    household: Box<HouseholdState>,
    /// The earliest moment, once the cloud servers have answered.
    after: Micros,
    /// The latest.
    until: Micros,
}

impl Farewell {
    /// The answer is on its way.
    pub(super) fn begin(
        household: Box<HouseholdState>,
        core: &mut Core,
        registrar: &mut Registrar,
        now: Micros,
    ) -> Self {
        core.actions.push_back(Action::Show(Screen::Wiping));
        registrar.generation = registrar.next_generation();
        registrar.declare_everywhere(core, now, |_| Vec::new());
        Self { household, after: now.after(LAST_WORD), until: now.after(LAST_REGISTRATION) }
    }

    /// Who asks to give the thing up once more is answered once more; nothing else is.
    pub(super) fn handle_publish(&mut self, core: &mut Core, incoming: Incoming<'_, Path>, now: Micros) -> Verdict {
        if self.household.answer_again(core, &incoming, now) {
            Verdict::Repeated
        } else {
            Verdict::Dropped(Dropped::ForeignTopic)
        }
    }

    /// Who has his answer and hangs up is not waited for.
    pub(super) fn handle_session_closed(&mut self, session: SessionId, now: Micros) {
        if self.household.handle_hung_up(session) {
            self.after = self.after.min(now);
        }
    }

    pub(super) fn poll_timeout(&self, registrar: &Registrar) -> Micros {
        if registrar.awaits_nothing() { self.after } else { self.until }
    }

    /// Wipes when the time has come; whether that is done.
    pub(super) fn handle_timeout(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> bool {
        if now < self.poll_timeout(registrar) {
            return false;
        }
        if ports.vault.wipe().is_err() {
            core.actions.push_back(Action::Show(Screen::Fault(Fault::Store)));
            (self.after, self.until) = (now.after(AGAIN), now.after(AGAIN));
            return false;
        }
        true
    }
}
