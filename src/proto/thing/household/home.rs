//! The way home: the radio joins the home network, and tries again when it does not (SecT STEP 8).

use std::time::Duration;

use super::HouseholdState;
use crate::proto::action::{Action, Fault, Screen, WifiEvent};
use crate::proto::port::Ports;
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::time::Micros;

/// The first wait before the home network is tried again; it doubles up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The longest such wait.
const MAX_RETRY: Duration = Duration::from_secs(60);

/// Where the radio stands.
pub(super) enum Home {
    /// On the way.
    Joining { retry: Duration },
    /// Waits before it tries again.
    Waiting { until: Micros, retry: Duration },
    /// There.
    Online,
}

impl Home {
    pub(super) const fn new() -> Self {
        Self::Joining { retry: FIRST_RETRY }
    }
}

impl HouseholdState {
    /// Admits the household's controllers and nobody else, and joins the home network.
    pub(in crate::proto::thing) fn go_home(&mut self, core: &mut Core) {
        self.admit(core);
        self.join(core, FIRST_RETRY);
    }

    fn join(&mut self, core: &mut Core, retry: Duration) {
        self.home = Home::Joining { retry };
        core.actions.push_back(Action::Show(Screen::Joining { ssid: self.household.network.ssid.clone() }));
        core.actions.push_back(Action::JoinNetwork(self.household.network.clone()));
    }

    pub(in crate::proto::thing) fn handle_wifi(
        &mut self,
        core: &mut Core,
        registrar: &Registrar,
        event: WifiEvent,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        match event {
            WifiEvent::Joined => {
                if !self.household.joined_once {
                    self.household.joined_once = true;
                    // A store that fails here costs nothing: the next join tries again.
                    if ports.vault.save(&self.household, registrar.generation).is_err() {
                        self.household.joined_once = false;
                    }
                }
                self.home = Home::Online;
                self.show(core);
            }
            WifiEvent::JoinFailed(reason) => {
                let retry = match self.home {
                    Home::Joining { retry } | Home::Waiting { retry, .. } => retry,
                    Home::Online => FIRST_RETRY,
                };
                self.home = Home::Waiting { until: now.after(retry), retry: (retry * 2).min(MAX_RETRY) };
                let ssid = self.household.network.ssid.clone();
                core.actions.push_back(Action::Show(Screen::JoinFailed { ssid, reason }));
            }
            WifiEvent::Lost => {
                self.home = Home::Joining { retry: FIRST_RETRY };
                core.actions.push_back(Action::Show(Screen::Joining { ssid: self.household.network.ssid.clone() }));
            }
            WifiEvent::AccessPointFailed => core.actions.push_back(Action::Show(Screen::Fault(Fault::Radio))),
            WifiEvent::AccessPointUp => {}
        }
    }

    pub(in crate::proto::thing) fn poll_timeout(&self) -> Option<Micros> {
        match self.home {
            Home::Waiting { until, .. } => Some(until),
            Home::Joining { .. } | Home::Online => None,
        }
    }

    pub(in crate::proto::thing) fn handle_timeout(&mut self, core: &mut Core, now: Micros) {
        if let Home::Waiting { until, retry } = self.home
            && now >= until
        {
            self.join(core, retry);
        }
    }

    pub(in crate::proto::thing) fn show(&self, core: &mut Core) {
        if let Home::Online = self.home {
            let screen = Screen::Online { name: self.household.name.clone(), outlet: core.outlet.state };
            core.actions.push_back(Action::Show(screen));
        }
    }
}
