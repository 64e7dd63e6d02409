//! The way home: the radio joins the home network, and tries again when it does not (SecT STEP 8).
//!
//! A home network that was never joined may be a mistyped one: then its owner is let in to correct it.
//! One that was joined once and is away may come back, and nothing opens for that alone (protocol
//! section 7.6).

use std::time::Duration;

use rand_core::CryptoRng;

use super::HouseholdState;
use super::wifi::{Back, Tried};
use crate::proto::action::{Action, Fault, JoinFailure, Screen, WifiEvent};
use crate::proto::port::Ports;
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::thing::window::{Life, Window};
use crate::proto::time::Micros;
use crate::proto::wifi::HomeNetwork;

/// The first wait before the home network is tried again; it doubles up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(5);
/// The longest such wait.
const MAX_RETRY: Duration = Duration::from_secs(60);
/// How long a home network that was never joined is looked for, before its owner is let in.
const NEVER_JOINED: Duration = Duration::from_secs(90);

/// The radio, as the household sees it.
pub(super) struct Home {
    pub(super) place: Place,
    /// Since when the home network has been looked for.
    looking_since: Micros,
    /// Whether it was joined since this start, be it that the store did not take that down.
    been_there: bool,
    /// What became of the last other network.
    pub(super) tried: Option<Tried>,
}

/// Where the radio stands.
pub(super) enum Place {
    /// On the way.
    Joining { retry: Duration },
    /// Waits before it tries again.
    Waiting { until: Micros, retry: Duration },
    /// There.
    Online,
    /// The answer to `wifi.set` is on its way; then the other network is tried.
    Leaving { until: Micros, network: HomeNetwork, back: Back },
    /// Another network is tried.
    Trying(Box<Trial>),
    /// An access point for the owners.
    Maintenance(Box<Window>),
}

/// Another network, on trial.
pub(super) struct Trial {
    pub(super) network: HomeNetwork,
    /// When it is given up.
    pub(super) until: Micros,
    /// When it is joined once more.
    pub(super) again: Option<Micros>,
    /// Why it was not joined so far.
    pub(super) reason: JoinFailure,
    pub(super) back: Back,
}

impl Home {
    pub(super) const fn new() -> Self {
        let place = Place::Joining { retry: FIRST_RETRY };
        Self { place, looking_since: Micros::ZERO, been_there: false, tried: None }
    }

    /// The home network is another one, which nobody has joined yet: it may be mistyped.
    pub(super) const fn forget_home(&mut self) {
        self.been_there = false;
    }

    /// Whether another network is being tried, or is about to be.
    pub(super) const fn is_trying(&self) -> bool {
        matches!(self.place, Place::Leaving { .. } | Place::Trying(_))
    }
}

impl HouseholdState {
    /// Admits the household's controllers and nobody else, and joins the home network.
    pub(in crate::proto::thing) fn go_home(&mut self, core: &mut Core, now: Micros) {
        self.hang_up(core);
        self.home.looking_since = now;
        self.admit(core);
        self.join(core, FIRST_RETRY);
    }

    fn join(&mut self, core: &mut Core, retry: Duration) {
        self.home.place = Place::Joining { retry };
        core.actions.push_back(Action::Show(Screen::Joining { ssid: self.household.network.ssid.clone() }));
        core.actions.push_back(Action::JoinNetwork(self.household.network.clone()));
    }

    /// Whether who speaks to the thing does so at the access point of its maintenance.
    pub(super) const fn is_in_maintenance(&self) -> bool {
        matches!(self.home.place, Place::Maintenance(_) | Place::Leaving { back: Back::Maintenance, .. })
    }

    /// The radio leaves where it is, and takes its connections along.
    pub(super) fn hang_up(&mut self, core: &mut Core) {
        for controller in &mut self.controllers {
            core.actions.extend(std::mem::take(&mut controller.sessions).into_iter().map(Action::EndSession));
        }
        if let Place::Maintenance(_) = self.home.place
            && let Place::Maintenance(window) = std::mem::replace(&mut self.home.place, Place::Online)
        {
            window.close(core);
        }
    }

    pub(in crate::proto::thing) fn handle_wifi(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        event: WifiEvent,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        self.notice_time(now);
        match (&mut self.home.place, event) {
            (Place::Maintenance(window), WifiEvent::AccessPointUp) => window.handle_up(core, now),
            (_, WifiEvent::AccessPointUp) => {}
            (_, WifiEvent::AccessPointFailed) => core.actions.push_back(Action::Show(Screen::Fault(Fault::Radio))),
            // What the radio says of a network that it has been told to leave.
            (Place::Maintenance(_) | Place::Leaving { .. }, _) => {}
            (Place::Trying(_), event) => self.handle_trial(core, registrar, event, now, ports),
            (_, WifiEvent::Joined) => self.arrive(core, registrar, ports),
            (place, WifiEvent::JoinFailed(reason)) => {
                let retry = match place {
                    Place::Joining { retry } | Place::Waiting { retry, .. } => *retry,
                    _ => FIRST_RETRY,
                };
                *place = Place::Waiting { until: now.after(retry), retry: (retry * 2).min(MAX_RETRY) };
                let ssid = self.household.network.ssid.clone();
                core.actions.push_back(Action::Show(Screen::JoinFailed { ssid, reason }));
            }
            (place, WifiEvent::Lost) => {
                *place = Place::Joining { retry: FIRST_RETRY };
                core.actions.push_back(Action::Show(Screen::Joining { ssid: self.household.network.ssid.clone() }));
            }
        }
    }

    fn arrive(&mut self, core: &mut Core, registrar: &Registrar, ports: &mut Ports<'_>) {
        if !self.household.joined_once {
            self.household.joined_once = true;
            // A store that fails here costs nothing: the next join tries again.
            if ports.vault.save(&self.household, registrar.generation).is_err() {
                self.household.joined_once = false;
            }
        }
        self.stay(core);
    }

    /// The thing is at home.
    pub(super) fn stay(&mut self, core: &mut Core) {
        self.home.place = Place::Online;
        self.home.been_there = true;
        self.show(core);
    }

    /// When an owner is let in who may have mistyped the home network; never once it was joined.
    fn lets_in(&self) -> Option<Micros> {
        let looks = matches!(self.home.place, Place::Joining { .. } | Place::Waiting { .. });
        let never_joined = !self.household.joined_once && !self.home.been_there;
        (looks && never_joined).then(|| self.home.looking_since.after(NEVER_JOINED))
    }

    /// When something of it is due.
    pub(super) fn poll_home(&self) -> Option<Micros> {
        let place = match &self.home.place {
            Place::Waiting { until, .. } | Place::Leaving { until, .. } => Some(*until),
            Place::Trying(trial) => Some(trial.again.unwrap_or(trial.until).min(trial.until)),
            Place::Maintenance(window) => window.poll_timeout(),
            Place::Joining { .. } | Place::Online => None,
        };
        place.into_iter().chain(self.lets_in()).chain(self.past_sessions_until()).min()
    }

    pub(super) fn handle_home_timeout(&mut self, core: &mut Core, now: Micros, rng: &mut dyn CryptoRng) {
        self.notice_time(now);
        self.end_past_sessions(core, now);
        if self.lets_in().is_some_and(|at| now >= at) {
            self.open_for_owners(core, now, rng);
            return;
        }
        if let Place::Maintenance(window) = &mut self.home.place
            && window.handle_timeout(core, now) == Life::IsOver
        {
            // The household may have had a power cut, after which its router takes longer to start.
            self.go_home(core, now);
            return;
        }
        match &mut self.home.place {
            Place::Waiting { until, retry } if now >= *until => {
                let retry = *retry;
                self.join(core, retry);
            }
            Place::Leaving { until, .. } if now >= *until => self.try_network(core, now),
            Place::Trying(trial) if now >= trial.until => {
                let reason = trial.reason;
                self.undo_trial(core, reason, now, rng);
            }
            Place::Trying(trial) if trial.again.is_some_and(|at| now >= at) => {
                trial.again = None;
                core.actions.push_back(Action::JoinNetwork(trial.network.clone()));
            }
            _ => {}
        }
    }

    pub(in crate::proto::thing) fn show(&self, core: &mut Core) {
        if let Place::Online = self.home.place {
            let screen = Screen::Online { name: self.household.name.clone(), outlet: core.outlet.state };
            core.actions.push_back(Action::Show(screen));
        }
    }
}
