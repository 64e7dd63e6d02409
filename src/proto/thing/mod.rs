//! The thing's machine: from the factory state through pairing to switching the load
//! (SecT STEP 1-7, 12, 13; protocol sections 4, 6, 7).
//!
//! The shell tells it what happened ([`Thing::handle_publish`] and its kin), lends it the
//! [`Ports`] for what must be answered at once, then takes what it asks for with
//! [`Thing::poll_action`] and wakes it when [`Thing::poll_timeout`] says so. It has no thread, no
//! clock and no socket, and what a stranger sends can only move a counter.

mod access_point;
mod farewell;
mod household;
mod registrar;
mod verdict;
mod window;

use std::collections::VecDeque;

use access_point::AccessPoint;
use farewell::Farewell;
use household::HouseholdState;
use registrar::{Answered, Registrar};
use window::Window;

use super::action::{Action, CloudFailure, Fault, Path, Press, Screen, ServerId, SessionId, WifiEvent};
use super::calendar::{ClockSource, UnixMs, WallClock};
use super::certificate::{CertificateError, ThingIdentity};
use super::id::{Boot, ThingId};
use super::message::{OutletState, SwitchedBy};
use super::operation::argument::PowerOn;
use super::pairing::message::CloudServer;
use super::port::{Outlet, OutletFault, Ports};
use super::record::Stored;
use super::time::Micros;
use super::user::Name;

pub use registrar::CloudState;
pub use verdict::{Counters, Dropped, Verdict};

/// The thing.
pub struct Thing {
    core: Core,
    registrar: Registrar,
    phase: Phase,
}

/// What every phase needs.
struct Core {
    identity: ThingIdentity,
    boot: Boot,
    outlet: Switched,
    /// The time of day, once somebody told it.
    wall: Option<WallClock>,
    actions: VecDeque<Action>,
    counters: Counters,
}

/// One message as it came in.
struct Incoming<'a, From> {
    from: From,
    topic: &'a str,
    payload: &'a [u8],
}

/// What the load has, and who gave it.
struct Switched {
    state: OutletState,
    by: SwitchedBy,
    who: Option<Name>,
    since: Micros,
    /// The outlet failed since: the load may have the other state as well.
    in_doubt: bool,
}

enum Phase {
    /// Nobody's: who reads the passcode becomes the owner.
    Unclaimed(AccessPoint),
    /// Somebody's; `handover` is the access point whose last message is still on its way.
    Claimed { household: Box<HouseholdState>, handover: Option<Window> },
    /// Given up by its owner, and about to be nobody's.
    Wiping(Farewell),
}

/// What a start of the daemon brings along.
pub struct Start {
    /// What the store gave.
    pub stored: Stored,
    /// A fresh nonce.
    pub boot: Boot,
    /// What the load has now.
    pub outlet: OutletState,
    /// Why the daemon starts; after a restart the load is left as it is.
    pub cause: StartCause,
    /// Where the thing registers.
    pub clouds: Vec<CloudServer>,
}

/// Why the daemon starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartCause {
    /// The machine has got its power.
    PowerUp,
    /// The daemon was stopped, updated or crashed, and the load has kept its power.
    Restart,
}

/// Whether there is something to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum News {
    Yes,
    #[default]
    No,
}

impl Switched {
    /// The household is gone, and with it who switched.
    fn forget_who(&mut self) {
        (self.by, self.who, self.since) = (SwitchedBy::Boot, None, Micros::ZERO);
    }
}

impl Core {
    /// The household is gone, and with it what it told: the time of day that its owner's controller gave would
    /// stand in the next one's audit log. What the machine's own clock says stays.
    fn forget_household(&mut self) {
        self.outlet.forget_who();
        self.wall = self.wall.filter(|wall| wall.source == ClockSource::System);
    }

    /// Switches the load. It is news when its state is another one than before, or was in doubt.
    ///
    /// The outlet is asked even for the remembered state: "off" must never be answered from memory
    /// while the load has power.
    fn switch(
        &mut self,
        state: OutletState,
        by: SwitchedBy,
        who: Option<&Name>,
        now: Micros,
        outlet: &mut dyn Outlet,
    ) -> Result<News, OutletFault> {
        if let Err(fault) = outlet.set(state) {
            self.outlet.in_doubt = true;
            self.actions.push_back(Action::Show(Screen::Fault(Fault::Outlet)));
            return Err(fault);
        }
        if state == self.outlet.state && !self.outlet.in_doubt {
            return Ok(News::No);
        }
        self.outlet = Switched { state, by, who: who.cloned(), since: now, in_doubt: false };
        Ok(News::Yes)
    }
}

impl Thing {
    /// Wakes up: opens the access point of an unclaimed thing (SecT STEP 1), joins the home network
    /// of a claimed one (STEP 8).
    ///
    /// # Errors
    ///
    /// [`CertificateError`] when the stored identity is damaged.
    pub fn start(start: Start, now: Micros, ports: &mut Ports<'_>) -> Result<Self, CertificateError> {
        let mut core = Core {
            identity: ThingIdentity::from_stored(&start.stored.identity)?,
            boot: start.boot,
            outlet: Switched {
                state: start.outlet,
                by: SwitchedBy::Boot,
                who: None,
                since: Micros::ZERO,
                in_doubt: false,
            },
            wall: None,
            actions: VecDeque::new(),
            counters: Counters::default(),
        };
        let mut registrar = Registrar::new(start.stored.generation, start.clouds);
        if start.cause == StartCause::PowerUp {
            let power_on = start.stored.household.as_ref().map_or(PowerOn::Off, |household| household.power_on);
            let state = match power_on {
                PowerOn::Off => OutletState::Off,
                PowerOn::On => OutletState::On,
                PowerOn::Last => start.stored.outlet.unwrap_or(OutletState::Off),
            };
            // A fault stands on the display, and the next wish tries again.
            let _ = core.switch(state, SwitchedBy::Boot, None, now, ports.outlet);
        }
        if start.stored.household.is_some() {
            let what = match (start.cause, core.outlet.state) {
                (StartCause::PowerUp, OutletState::On) => "power is back: on",
                (StartCause::PowerUp, OutletState::Off) => "power is back: off",
                (StartCause::Restart, _) => "restarted",
            };
            core.note(None, what, now, ports.vault);
        }
        let phase = match start.stored.household {
            None => Phase::Unclaimed(AccessPoint::open(&mut core, now, ports.rng)),
            Some(household) => {
                let mut household = Box::new(HouseholdState::new(&core, household));
                household.handle_expiry(&mut core, &mut registrar, now, ports);
                household.go_home(&mut core, now);
                if start.stored.outlet != Some(core.outlet.state) {
                    household.remember_soon(now);
                }
                Phase::Claimed { household, handover: None }
            }
        };
        Ok(Self { core, registrar, phase })
    }

    /// Who it is.
    #[must_use]
    pub fn id(&self) -> ThingId {
        self.core.identity.id()
    }

    /// Whether it has an owner.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        !matches!(self.phase, Phase::Unclaimed(_))
    }

    /// What was dropped and answered so far, by reason.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// A session was opened under an identity that [`Action::Admit`] named.
    pub fn handle_session_opened(&mut self, session: SessionId, psk_identity: &str) {
        match &mut self.phase {
            Phase::Unclaimed(access_point) => access_point.handle_session_opened(session, psk_identity),
            Phase::Claimed { household, .. } => household.handle_session_opened(session, psk_identity),
            Phase::Wiping(_) => {}
        }
    }

    /// A session ended, for whatever reason.
    pub fn handle_session_closed(&mut self, session: SessionId, now: Micros, ports: &mut Ports<'_>) {
        match &mut self.phase {
            Phase::Unclaimed(access_point) => {
                access_point.handle_session_closed(&mut self.core, session, now, ports.rng);
            }
            Phase::Claimed { household, handover } => {
                household.handle_session_closed(&mut self.core, session, now);
                if handover.as_ref().is_some_and(|window| window.end_handover(session)) {
                    self.finish_handover(now);
                }
            }
            Phase::Wiping(farewell) => farewell.handle_session_closed(session, now),
        }
    }

    /// A session listens to the topic that it may listen to.
    pub fn handle_subscribed(&mut self, session: SessionId, now: Micros, ports: &mut Ports<'_>) {
        if let Phase::Claimed { household, .. } = &mut self.phase {
            household.handle_subscribed(&mut self.core, session, now, ports.rng);
        }
    }

    /// Somebody holds a key that opens nothing any more: an admission with
    /// [`NewSessions::Watched`](super::action::NewSessions::Watched).
    pub fn handle_refused(&mut self, psk_identity: &str, now: Micros, ports: &mut Ports<'_>) {
        if let Phase::Claimed { household, .. } = &mut self.phase {
            household.handle_refused(&mut self.core, &self.registrar, psk_identity, now, ports);
        }
    }

    /// All that was sent to this session has arrived.
    pub fn handle_acknowledged(&mut self, session: SessionId, now: Micros) {
        match &mut self.phase {
            Phase::Unclaimed(_) | Phase::Wiping(_) => {}
            Phase::Claimed { household, handover: None } => household.handle_acknowledged(&mut self.core, session),
            Phase::Claimed { handover: Some(window), .. } => {
                if window.end_handover(session) {
                    self.finish_handover(now);
                }
            }
        }
    }

    /// A message arrived on a topic that its session may publish to.
    pub fn handle_publish(
        &mut self,
        session: SessionId,
        topic: &str,
        payload: &[u8],
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Verdict {
        let verdict = match &mut self.phase {
            Phase::Unclaimed(access_point) => {
                let registrar = &self.registrar;
                let (verdict, founded) = access_point.handle_publish(
                    &mut self.core,
                    registrar,
                    Incoming { from: session, topic, payload },
                    now,
                    ports,
                );
                if let Some((household, window)) = founded {
                    self.registrar.generation = registrar.next_generation();
                    let owner = household.controllers.first().map(|owner| (owner.cid, owner.name.clone()));
                    self.core.note(owner, "claimed it", now, ports.vault);
                    // M9 is out; the access point stays until it has arrived.
                    let household = Box::new(HouseholdState::new(&self.core, household));
                    self.phase = Phase::Claimed { household, handover: Some(window) };
                }
                verdict
            }
            Phase::Claimed { household, handover } => match handover {
                Some(window) if window.has_session(session) => window.handle_repeat(
                    &mut self.core,
                    &self.registrar,
                    Incoming { from: session, topic, payload },
                    now,
                    ports.rng,
                ),
                _ if household.is_nearby(session) => {
                    let incoming = Incoming { from: session, topic, payload };
                    let (verdict, window) =
                        household.handle_recovery(&mut self.core, &mut self.registrar, incoming, now, ports);
                    // M9 is out; the access point stays until it has arrived.
                    *handover = window;
                    verdict
                }
                _ if household.has_run(session) => {
                    let incoming = Incoming { from: session, topic, payload };
                    household.handle_run(&mut self.core, &mut self.registrar, incoming, now, ports)
                }
                _ => {
                    let incoming = Incoming { from: Path::Local, topic, payload };
                    household.handle_publish(&mut self.core, &mut self.registrar, incoming, now, ports)
                }
            },
            Phase::Wiping(farewell) => {
                let incoming = Incoming { from: Path::Local, topic, payload };
                farewell.handle_publish(&mut self.core, incoming, now)
            }
        };
        self.core.counters.count(&verdict);
        self.leave_if_asked_to(now);
        verdict
    }

    /// The link to a cloud server is up: the thing has proved who it is (SecT STEP 8).
    pub fn handle_cloud_up(&mut self, server: ServerId) {
        if let Phase::Claimed { .. } = self.phase {
            self.registrar.handle_up(&mut self.core, server);
        }
    }

    /// A cloud server took a subscription: what [`Action::SubscribeCloud`] asked for.
    ///
    /// With the first one the thing hears the server's answers, and registers (SecT STEP 9).
    pub fn handle_cloud_subscribed(&mut self, server: ServerId, topic: &str, now: Micros) {
        let thing = self.core.identity.id();
        if let Phase::Claimed { household, .. } = &self.phase
            && Registrar::is_answer(&thing, topic)
        {
            self.registrar.declare(&mut self.core, server, now, |cloud| household.entries(&thing, cloud));
        }
    }

    /// The link to a cloud server is down, or did not come up.
    pub fn handle_cloud_down(&mut self, server: ServerId, failure: CloudFailure) {
        self.registrar.handle_down(server, failure);
    }

    /// A message came from a cloud server (SecT STEP 9, 14).
    ///
    /// The server is not trusted: its answers move the registration alone, and what it carries is
    /// judged as if it had come from the home network.
    pub fn handle_cloud_message(
        &mut self,
        server: ServerId,
        topic: &str,
        payload: &[u8],
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Verdict {
        let thing = self.core.identity.id();
        if !Registrar::is_answer(&thing, topic) {
            let incoming = Incoming { from: Path::Cloud(server), topic, payload };
            let verdict = match &mut self.phase {
                Phase::Unclaimed(_) => return Verdict::Dropped(Dropped::ForeignTopic),
                Phase::Claimed { household, .. } => {
                    household.handle_publish(&mut self.core, &mut self.registrar, incoming, now, ports)
                }
                Phase::Wiping(farewell) => farewell.handle_publish(&mut self.core, incoming, now),
            };
            self.core.counters.count(&verdict);
            self.leave_if_asked_to(now);
            return verdict;
        }
        let Phase::Claimed { household, .. } = &mut self.phase else {
            // What matters to a thing that is about to be nobody's is that the server has answered.
            let _ = self.registrar.handle_answer(server, payload, now);
            return Verdict::Registered;
        };
        match self.registrar.handle_answer(server, payload, now) {
            Answered::InForce => {
                for topic in household.topics() {
                    self.core.actions.push_back(Action::SubscribeCloud { server, topic });
                }
                household.handle_registered(&mut self.core, server, now, ports.rng);
            }
            Answered::Renumber { generation } => {
                household.handle_clone(&mut self.core, &self.registrar, server, now, ports);
                // A store that fails here costs nothing: the next hour tries again.
                if ports.vault.save(household.record(), generation).is_ok() {
                    self.registrar.generation = generation;
                    self.registrar.declare_everywhere(&mut self.core, now, |cloud| household.entries(&thing, cloud));
                }
            }
            Answered::Nothing => {}
        }
        Verdict::Registered
    }

    /// Where the thing stands with each of its cloud servers.
    pub fn cloud_states(&self) -> impl Iterator<Item = (&CloudServer, CloudState)> {
        self.registrar.states()
    }

    /// Something happened to the radio.
    pub fn handle_wifi(&mut self, event: WifiEvent, now: Micros, ports: &mut Ports<'_>) {
        match &mut self.phase {
            Phase::Unclaimed(access_point) => access_point.handle_wifi(&mut self.core, event, now),
            Phase::Claimed { household, handover: None } => {
                household.handle_wifi(&mut self.core, &mut self.registrar, event, now, ports);
            }
            // The radio is still ours as an access point.
            Phase::Claimed { handover: Some(_), .. } => {}
            // It is about to leave.
            Phase::Wiping(_) => {}
        }
    }

    /// The machine's own clock, which a time server keeps, says what time of day it is.
    ///
    /// It goes before what an owner's controller has told. Called again whenever that clock was set.
    pub fn handle_wall_clock(&mut self, unix_ms: UnixMs, now: Micros) {
        self.core.wall = WallClock::new(ClockSource::System, unix_ms, now).or(self.core.wall);
        if let Phase::Claimed { household, .. } = &mut self.phase {
            household.plan_day(&self.core, now);
        }
    }

    /// Whether a schedule waits for the time of day.
    #[must_use]
    pub fn wants_clock(&self) -> bool {
        match &self.phase {
            Phase::Unclaimed(_) | Phase::Wiping(_) => false,
            Phase::Claimed { household, .. } => !household.record().schedules.is_empty(),
        }
    }

    /// Somebody pressed the button: it toggles the load, and wakes an access point that went to sleep.
    /// Held for 10 s on a claimed thing, it opens the access point of its maintenance (protocol section 7.6).
    pub fn handle_press(&mut self, press: Press, now: Micros, ports: &mut Ports<'_>) {
        if let Phase::Unclaimed(access_point) = &mut self.phase
            && access_point.is_asleep()
        {
            access_point.wake(&mut self.core, now, ports.rng);
            return;
        }
        match press {
            Press::Short => self.toggle(now, ports),
            Press::Long => {
                // During the handover the access point is open already, and the owner is about to see it.
                if let Phase::Claimed { household, handover: None } = &mut self.phase {
                    household.open_by_button(&mut self.core, now, ports.rng);
                }
            }
        }
    }

    /// The press that follows a failed one tries the same again.
    fn toggle(&mut self, now: Micros, ports: &mut Ports<'_>) {
        let core = &mut self.core;
        let wanted = core.outlet.state.toggled();
        let switched = match &mut self.phase {
            Phase::Unclaimed(_) | Phase::Wiping(_) => core.switch(wanted, SwitchedBy::Button, None, now, ports.outlet),
            Phase::Claimed { household, .. } => household.switch(core, wanted, SwitchedBy::Button, None, now, ports),
        };
        if let Phase::Claimed { household, handover } = &mut self.phase
            && switched == Ok(News::Yes)
        {
            household.tell_everybody(&mut self.core, &self.registrar, None, now, ports.rng);
            if handover.is_none() {
                household.show(&mut self.core);
            }
        }
    }

    /// When to call [`Thing::handle_timeout`], if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Micros> {
        match &self.phase {
            Phase::Unclaimed(access_point) => access_point.poll_timeout(),
            Phase::Claimed { household, handover: Some(window) } => {
                window.poll_timeout().into_iter().chain(household.poll_ages()).min()
            }
            Phase::Claimed { household, handover: None } => {
                let home = household.poll_timeout().into_iter().chain(household.poll_day());
                home.chain(household.poll_ages()).chain(self.registrar.poll_timeout()).min()
            }
            Phase::Wiping(farewell) => Some(farewell.poll_timeout(&self.registrar)),
        }
    }

    /// The time that [`Thing::poll_timeout`] named has come.
    pub fn handle_timeout(&mut self, now: Micros, ports: &mut Ports<'_>) {
        match &mut self.phase {
            Phase::Unclaimed(access_point) => access_point.handle_timeout(&mut self.core, now, ports.rng),
            Phase::Claimed { household, handover: Some(window) } => {
                household.handle_ages(&self.registrar, now, ports);
                if window.is_handover_over(now) {
                    self.finish_handover(now);
                }
            }
            Phase::Claimed { household, handover: None } => {
                household.handle_ages(&self.registrar, now, ports);
                household.handle_timeout(&mut self.core, &mut self.registrar, now, ports);
                household.handle_day(&mut self.core, &self.registrar, now, ports);
                let thing = self.core.identity.id();
                self.registrar.handle_timeout(&mut self.core, now, |cloud| household.entries(&thing, cloud));
            }
            Phase::Wiping(farewell) => {
                if farewell.handle_timeout(&mut self.core, &self.registrar, now, ports) {
                    self.core.forget_household();
                    self.phase = Phase::Unclaimed(AccessPoint::open(&mut self.core, now, ports.rng));
                }
            }
        }
    }

    /// What the shell shall do next; `None` when there is nothing.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.core.actions.pop_front()
    }

    /// An owner has given the thing up: that is durable, and his answer is on its way.
    fn leave_if_asked_to(&mut self, now: Micros) {
        if !matches!(&self.phase, Phase::Claimed { household, .. } if household.is_given_up()) {
            return;
        }
        if let Phase::Claimed { household, .. } =
            std::mem::replace(&mut self.phase, Phase::Unclaimed(AccessPoint::asleep()))
        {
            self.phase = Phase::Wiping(Farewell::begin(household, &mut self.core, &mut self.registrar, now));
        }
    }

    fn finish_handover(&mut self, now: Micros) {
        if let Phase::Claimed { household, handover } = &mut self.phase {
            *handover = None;
            household.go_home(&mut self.core, now);
        }
    }
}

#[cfg(test)]
mod tests;
