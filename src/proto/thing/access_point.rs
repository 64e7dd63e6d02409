//! The Thing-AP of a thing that nobody owns: one window after the other, then sleep (SecT STEP 1, 2).

use rand_core::CryptoRng;

use super::registrar::Registrar;
use super::verdict::{Dropped, Verdict};
use super::window::{Life, Purpose, Taken, Window};
use super::{Core, Incoming};
use crate::proto::action::{Action, Fault, Screen, SessionId, WifiEvent};
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::pairing::thing::{Bound, Ending};
use crate::proto::port::Ports;
use crate::proto::record::Household;
use crate::proto::time::Micros;

/// Windows without a claim, after which the access point sleeps until the button or a restart.
pub(super) const MAX_WINDOWS: u32 = 6;

/// The access point of a thing that nobody owns.
pub(super) struct AccessPoint {
    /// Windows that passed without a claim.
    passed: u32,
    window: Option<Window>,
}

impl AccessPoint {
    /// Opens the first window.
    pub(super) fn open(core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) -> Self {
        let mut access_point = Self::asleep();
        access_point.open_window(core, now, rng);
        access_point
    }

    /// One that nobody has opened.
    pub(super) const fn asleep() -> Self {
        Self { passed: 0, window: None }
    }

    /// Whether all windows have passed.
    pub(super) fn is_asleep(&self) -> bool {
        self.window.is_none()
    }

    /// Starts again with the first window.
    pub(super) fn wake(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        self.passed = 0;
        self.open_window(core, now, rng);
    }

    fn open_window(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        let window = self.window.insert(Window::new(Purpose::Claim, now, rng));
        core.actions.push_back(Action::Admit(window.admission().into_iter().collect()));
        window.go_on_air(core, now);
    }

    /// The next window, once this one is over.
    fn follow(&mut self, core: &mut Core, life: Life, now: Micros, rng: &mut dyn CryptoRng) {
        if life == Life::GoesOn {
            return;
        }
        self.passed += 1;
        if let Some(window) = self.window.take() {
            window.close(core);
        }
        if self.passed < MAX_WINDOWS {
            self.open_window(core, now, rng);
        } else {
            core.actions.push_back(Action::Admit(Vec::new()));
            core.actions.push_back(Action::CloseAccessPoint);
            core.actions.push_back(Action::Show(Screen::AccessPointOff));
        }
    }

    pub(super) fn handle_session_opened(&mut self, session: SessionId, psk_identity: &str) {
        if let Some(window) = &mut self.window
            && psk_identity == PAIR_IDENTITY
        {
            window.handle_session_opened(session);
        }
    }

    pub(super) fn handle_session_closed(
        &mut self,
        core: &mut Core,
        session: SessionId,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        let Some(window) = &mut self.window else { return };
        let life = window.handle_session_closed(core, session, now);
        self.follow(core, life, now, rng);
    }

    /// A message of a run; gives the household, and the window that it was founded in, once it is persisted.
    pub(super) fn handle_publish(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        incoming: Incoming<'_, SessionId>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> (Verdict, Option<(Household, Window)>) {
        let session = incoming.from;
        let Some(window) = &mut self.window else { return (Verdict::Dropped(Dropped::ForeignTopic), None) };
        match window.handle_publish(core, registrar, incoming, now, ports.rng) {
            Taken::Judged(verdict, life) => {
                self.follow(core, life, now, ports.rng);
                (verdict, None)
            }
            Taken::Commit(bound) => {
                let Bound::Owner { controller, network, recovery } = *bound else {
                    // No run of this window has another purpose.
                    let life = window.end_run(core, session, now);
                    self.follow(core, life, now, ports.rng);
                    return (Verdict::Dropped(Dropped::Run(Ending::Aborted)), None);
                };
                let household = Household::founded(controller, network, recovery);
                if ports.vault.claim(&household, registrar.next_generation()).is_err() {
                    let life = window.end_run(core, session, now);
                    self.follow(core, life, now, ports.rng);
                    return (Verdict::Dropped(Dropped::Store), None);
                }
                // Nobody else may go on: the thing has its owner.
                window.committed(core, session, now, ports.rng);
                (Verdict::Paired, self.window.take().map(|window| (household, window)))
            }
        }
    }

    pub(super) fn handle_wifi(&mut self, core: &mut Core, event: WifiEvent, now: Micros) {
        match event {
            WifiEvent::AccessPointUp => {
                if let Some(window) = &mut self.window {
                    window.handle_up(core, now);
                }
            }
            WifiEvent::AccessPointFailed => core.actions.push_back(Action::Show(Screen::Fault(Fault::Radio))),
            WifiEvent::Joined | WifiEvent::JoinFailed(_) | WifiEvent::Lost => {}
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Micros> {
        self.window.as_ref().and_then(Window::poll_timeout)
    }

    pub(super) fn handle_timeout(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        let Some(window) = &mut self.window else { return };
        let life = window.handle_timeout(core, now);
        self.follow(core, life, now, rng);
    }
}
