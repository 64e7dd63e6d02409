//! Another home network: answered, then tried, then kept or undone (SecT STEP 19; protocol section 9).
//!
//! Nothing is written before the other network was joined, so a power cut during the trial ends it, and
//! the thing comes back where it was.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use rand_core::CryptoRng;
use serde::Serialize;

use super::HouseholdState;
use super::home::{Place, Trial};
use crate::proto::action::{Action, JoinFailure, Path, Screen, ServerId, SessionId, WifiEvent};
use crate::proto::id::Cid;
use crate::proto::message::{EVENT_WIFI, Event};
use crate::proto::operation::result::{NetworkItem, Networks};
use crate::proto::port::{Air, Ports};
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::time::Micros;
use crate::proto::user::Role;
use crate::proto::wifi::{HomeNetwork, Ssid};

/// How long the answer may take to arrive, and to be asked for once more, before the radio leaves.
const LAST_WORD: Duration = Duration::from_secs(2);
/// How long another network is tried.
const TRIAL: Duration = Duration::from_secs(60);
/// How long the thing waits before it tries it once more.
const AGAIN: Duration = Duration::from_secs(5);
/// How long what became of it is news: for so long an owner who comes back is told.
const NEWS: Duration = Duration::from_secs(600);
/// Networks in an answer: as many as fit its 1983 bytes whatever their names.
const MAX_SEEN: usize = 16;

/// Where a trial leads that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    /// To the network that was there before.
    Home,
    /// To the access point at which it was asked for.
    Maintenance,
}

/// What became of another network, for `status` and the event `wifi`; it ends with this start.
pub(super) struct Tried {
    ssid: Ssid,
    state: TriedState,
    since: Micros,
    /// Who was told, by which way.
    told: BTreeSet<(Cid, Path)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum TriedState {
    Trying,
    Kept,
    WrongPassword,
    NotFound,
    Failed,
}

/// `wifi` in the answer to an owner's `status`.
#[derive(Serialize)]
pub(super) struct WifiStatus<'a> {
    ssid: &'a Ssid,
    state: TriedState,
}

/// `d` of the event `wifi`.
#[derive(Serialize)]
struct WifiNews {
    ok: bool,
}

/// The strongest of each name first.
pub(super) fn seen(air: &dyn Air) -> Networks {
    let mut items = air.seen();
    items.sort_by_key(|item| Reverse(item.signal));
    let mut names = BTreeSet::new();
    items.retain(|NetworkItem { ssid, .. }| names.insert(ssid.as_bytes().to_vec()));
    items.truncate(MAX_SEEN);
    Networks { items }
}

impl HouseholdState {
    /// The answer to `wifi.set` is on its way.
    pub(super) fn begin_trial(&mut self, core: &mut Core, network: HomeNetwork, now: Micros) {
        let tried = Tried { ssid: network.ssid.clone(), state: TriedState::Trying, since: now, told: BTreeSet::new() };
        self.home.tried = Some(tried);
        let leaving = |back| Place::Leaving { until: now.after(LAST_WORD), network, back };
        match &self.home.place {
            Place::Maintenance(_) => {
                if let Place::Maintenance(window) = std::mem::replace(&mut self.home.place, leaving(Back::Maintenance))
                {
                    window.close(core);
                }
            }
            _ => self.home.place = leaving(Back::Home),
        }
    }

    /// The answer has had its time: off to the other network.
    pub(super) fn try_network(&mut self, core: &mut Core, now: Micros) {
        self.hang_up(core);
        let Place::Leaving { network, back, .. } = std::mem::replace(&mut self.home.place, Place::Online) else {
            return;
        };
        core.actions.push_back(Action::Show(Screen::Joining { ssid: network.ssid.clone() }));
        core.actions.push_back(Action::JoinNetwork(network.clone()));
        let (until, reason) = (now.after(TRIAL), JoinFailure::NotFound);
        self.home.place = Place::Trying(Box::new(Trial { network, until, again: None, reason, back }));
    }

    /// What the radio says of the other network.
    pub(super) fn handle_trial(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        event: WifiEvent,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        let Place::Trying(trial) = &mut self.home.place else { return };
        match event {
            WifiEvent::Joined => {
                let network = trial.network.clone();
                let kept = self.persist(registrar, ports, |household| {
                    household.network = network;
                    household.joined_once = true;
                });
                match kept {
                    Ok(staged) => {
                        self.home.place = Place::Online;
                        self.adopt(core, registrar, staged, now);
                        self.end_trial(TriedState::Kept, now);
                        self.stay(core);
                    }
                    // What would not outlive a power cut is not kept.
                    Err(_) => self.undo_trial(core, JoinFailure::Other, now, ports.rng),
                }
            }
            // It is there and says no: waiting would not change its mind.
            WifiEvent::JoinFailed(reason @ JoinFailure::WrongPassword) => {
                self.undo_trial(core, reason, now, ports.rng);
            }
            WifiEvent::JoinFailed(reason) => {
                (trial.reason, trial.again) = (reason, Some(now.after(AGAIN)));
            }
            WifiEvent::AccessPointUp | WifiEvent::AccessPointFailed | WifiEvent::Lost => {}
        }
    }

    /// Back to where the thing was.
    pub(super) fn undo_trial(&mut self, core: &mut Core, reason: JoinFailure, now: Micros, rng: &mut dyn CryptoRng) {
        let Place::Trying(trial) = &self.home.place else { return };
        let back = trial.back;
        self.end_trial(
            match reason {
                JoinFailure::WrongPassword => TriedState::WrongPassword,
                JoinFailure::NotFound => TriedState::NotFound,
                JoinFailure::Other => TriedState::Failed,
            },
            now,
        );
        match back {
            Back::Home => self.go_home(core, now),
            Back::Maintenance => self.open_for_owners(core, now, rng),
        }
    }

    /// The button ends a trial that is under way; one that has ended already keeps its reason.
    pub(super) fn give_trial_up(&mut self, now: Micros) {
        if self.home.tried.as_ref().is_some_and(|tried| tried.state == TriedState::Trying) {
            self.end_trial(TriedState::Failed, now);
        }
    }

    fn end_trial(&mut self, state: TriedState, now: Micros) {
        if let Some(tried) = &mut self.home.tried {
            (tried.state, tried.since) = (state, now);
        }
    }

    /// What an owner's `status` says of the last other network.
    pub(super) fn wifi_status(&self, index: usize) -> Option<WifiStatus<'_>> {
        let is_owner = self.household.controllers[index].role == Role::Owner;
        let tried = self.home.tried.as_ref().filter(|_| is_owner)?;
        Some(WifiStatus { ssid: &tried.ssid, state: tried.state })
    }

    /// A session listens: an owner who was away while the thing moved is told how that went.
    pub(in crate::proto::thing) fn handle_subscribed(
        &mut self,
        core: &mut Core,
        session: SessionId,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        if let Some(index) = self.controllers.iter().position(|one| one.sessions.contains(&session)) {
            self.tell_trial(core, index, Path::Local, now, rng);
        }
    }

    /// A cloud server carries messages again: so are the owners who are connected there.
    pub(in crate::proto::thing) fn handle_registered(
        &mut self,
        core: &mut Core,
        server: ServerId,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        for index in 0..self.controllers.len() {
            self.tell_trial(core, index, Path::Cloud(server), now, rng);
        }
    }

    fn tell_trial(&mut self, core: &mut Core, index: usize, path: Path, now: Micros, rng: &mut dyn CryptoRng) {
        let (record, st) = (&self.household.controllers[index], self.state(core));
        let Some(tried) = self.home.tried.as_mut().filter(|_| record.role == Role::Owner) else { return };
        let is_news = tried.state != TriedState::Trying && now.since(tried.since) < NEWS;
        if !is_news || !tried.told.insert((record.cid, path)) {
            return;
        }
        let news = WifiNews { ok: tried.state == TriedState::Kept };
        let d = serde_json::value::to_raw_value(&news).expect("a map with string keys");
        let controller = &mut self.controllers[index];
        let ts = controller.freshness.stamp(now);
        let event = Event { boot: core.boot, ts, k: EVENT_WIFI.into(), st, d: Some(&d) };
        controller.keys.t2c.seal_message_into(&event, rng, &mut self.jwe).expect("an event is far below 1983 bytes");
        let payload = self.jwe.as_slice().into();
        core.actions.push_back(Action::Publish { path, topic: controller.t2c.clone(), payload });
    }
}
