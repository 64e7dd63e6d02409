//! The plug's shell: power, radio, the local server and its sessions.

use std::cell::Cell;

use sect::proto::action::{self, Action, Admission, JoinFailure, NewSessions, Screen, SessionId, WifiEvent};
use sect::proto::id::Boot;
use sect::proto::message::OutletState;
use sect::proto::operation::result::NetworkItem;
use sect::proto::port::Ports;
use sect::proto::record::Stored;
use sect::proto::thing::{Start, StartCause, Thing};
use sect::proto::time::Micros;
use sect::proto::topic::{PAIR_C2T, PAIR_T2C};
use sect::proto::wifi::HomeNetwork;

use super::plug::{AirPort, Fate, Mains, OutletPort, Radio, VaultPort};
use super::weather::{SECOND, Time};
use super::{Happening, Mutation, World};

/// What the radio reports.
pub type Report = WifiEvent;

/// One connection to the local server. Both sides believe in it until they learn better.
#[derive(Debug)]
pub struct Session {
    pub person: usize,
    pub grant: Admission,
    pub plug_believes: bool,
    pub app_believes: bool,
    /// In a session nothing overtakes at QoS 1: when its last message arrives on either side.
    pub to_plug: Time,
    pub to_app: Time,
    /// Messages at QoS 1 that the plug has sent.
    pub sent: u64,
    /// Those of them that have arrived.
    pub received: u64,
}

impl Session {
    pub fn is_pairing(&self) -> bool {
        self.grant.publish == PAIR_C2T
    }
}

impl World {
    /// Lets the thing's machine handle something, with what may go wrong meanwhile, and does what it asks for.
    pub(super) fn with_thing(&mut self, call: impl FnOnce(&mut Thing, Micros, &mut Ports<'_>)) {
        let Some(mut thing) = self.plug.machine.take() else { return };
        let now = self.thing_time();
        let fate = Fate::draw(&self.weather, &mut self.dice);
        let mains = Mains::new(fate);
        self.earlier = self.plug.disk.household.clone();
        self.lend(&mains, |ports| call(&mut thing, now, ports));
        self.after_call(thing, mains);
    }

    fn lend<T>(&mut self, mains: &Mains, call: impl FnOnce(&mut Ports<'_>) -> T) -> T {
        let plug = &mut self.plug;
        let mut outlet = OutletPort { load: &mut plug.load, mains };
        let mut vault = VaultPort { disk: &mut plug.disk, before: &mut plug.before, mains, now: self.now };
        let air = AirPort(self.air.iter().map(|net| NetworkItem { ssid: net.ssid.clone(), signal: 50 }).collect());
        call(&mut Ports { outlet: &mut outlet, vault: &mut vault, air: &air, rng: &mut self.rng })
    }

    /// The power may have gone during the call, or goes while its actions are done.
    fn after_call(&mut self, mut thing: Thing, mains: Mains) {
        if let Some(what) = mains.wrong.take() {
            self.accuse(what);
        }
        self.account_for(&mains.clicks.take());
        if mains.writes.get() > 0 {
            self.note(|world| format!("the store is written: {}", world.household()));
            self.expect_changes_have_their_cause();
            self.expect_everybody_holds_a_key();
            self.expect_its_word_holds();
            if self.dice.chance(self.weather.power_after_write) {
                let wait = self.dice.between(0, 6 * SECOND);
                self.plan(wait, Happening::PowerCut);
            }
        }
        if !mains.has_power.get() {
            self.plug_dies("while it wrote or switched");
            return;
        }
        let mut left = mains.fate.power_at_action;
        while let Some(action) = thing.poll_action() {
            if left == Some(0) {
                self.plug_dies("before an answer left");
                return;
            }
            left = left.map(|left| left - 1);
            self.perform(action);
        }
        if thing.is_claimed() != self.plug.disk.household.is_some() {
            self.accuse(format!("the thing believes claimed = {}, its store another", thing.is_claimed()));
        }
        self.plug.machine = Some(thing);
    }

    pub(super) fn thing_time(&self) -> Micros {
        match self.mutation {
            Mutation::BootNeverChanges => Micros::new(self.now + 3600 * SECOND),
            _ => Micros::new(self.now - self.plug.booted_at),
        }
    }

    /// When the machine wants to be woken.
    pub(super) fn plug_alarm(&self) -> Option<Time> {
        let at = self.plug.machine.as_ref()?.poll_timeout()?.get();
        Some(match self.mutation {
            Mutation::BootNeverChanges => at.saturating_sub(3600 * SECOND),
            _ => at + self.plug.booted_at,
        })
    }

    /// Power is back: the daemon starts from what is durable.
    pub(super) fn power_on(&mut self) {
        if self.plug.machine.is_some() {
            return;
        }
        self.plug.booted_at = self.now;
        let drawn = Boot::random(&mut self.rng);
        let boot = if self.mutation == Mutation::BootNeverChanges { Boot::new([1; 16]) } else { drawn };
        self.expect_its_word_holds();
        if self.plug.disk.wiping {
            // The store goes on with a wipe before anything else.
            self.earlier = self.plug.disk.household.clone();
            self.plug.disk.forget_all();
            self.expect_changes_have_their_cause();
        }
        let disk = self.plug.disk.clone();
        let stored = Stored {
            identity: disk.identity,
            generation: disk.generation,
            household: disk.household,
            wiping: false,
            outlet: disk.outlet,
        };
        let (outlet, clouds) = (self.plug.load, vec![self.server.clone()]);
        let start = Start { stored, boot, outlet, cause: StartCause::PowerUp, clouds };
        self.note(|_| format!("the plug starts as {boot}"));
        let mains = Mains::new(Fate::draw(&self.weather, &mut self.dice));
        self.earlier = self.plug.disk.household.clone();
        let now = self.thing_time();
        match self.lend(&mains, |ports| Thing::start(start, now, ports)) {
            Ok(thing) => self.after_call(thing, mains),
            Err(error) => self.accuse(format!("the thing does not start: {error}")),
        }
    }

    /// The power goes: what is not on the disk is gone, and people notice sooner or later.
    pub(super) fn plug_dies(&mut self, when: &str) {
        if self.agenda.values().any(|happening| matches!(happening, Happening::PlugHasPower)) {
            return;
        }
        self.note(|_| format!("the plug loses its power {when}"));
        self.steps.tale.power_cuts += 1;
        let forgets = if self.mutation == Mutation::StoreForgets { 60 * SECOND } else { 0 };
        if let Some((earlier, at)) = self.plug.before.take()
            && self.now - at < forgets
        {
            self.plug.disk = earlier;
        }
        self.plug.machine = None;
        self.plug.load = OutletState::Off;
        self.plug.admissions.clear();
        self.plug.screen = Screen::Starting;
        // Nobody is left on this side to notice how sessions end.
        self.sessions.values_mut().for_each(|session| session.plug_believes = false);
        self.radio_leaves();
        self.plug.radio = Radio::Off;
        let wait = self.dice.between(SECOND, 20 * SECOND);
        self.plan(wait, Happening::PlugHasPower);
    }

    /// Every session ends, on each side when it notices; the cloud server's too.
    pub(super) fn radio_leaves(&mut self) {
        self.plug.order += 1;
        self.link_ends();
        let mut sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        sessions.retain(|session| self.sessions[session].plug_believes || self.sessions[session].app_believes);
        for session in sessions {
            self.break_session(session);
        }
    }

    /// A connection breaks: either side learns it later.
    pub(super) fn break_session(&mut self, session: SessionId) {
        for happening in [Happening::PlugLoses(session), Happening::AppLoses(session)] {
            let wait = self.dice.between(1000, 20 * SECOND);
            self.plan(wait, happening);
        }
        // What is on its way does not arrive.
        self.agenda.retain(|_, happening| match happening {
            Happening::ToPlug { session: of, .. }
            | Happening::ToApp { session: of, .. }
            | Happening::Acknowledged { session: of, .. } => *of != session,
            _ => true,
        });
        if let Some(session) = self.sessions.get_mut(&session) {
            // Until they notice, both sides speak into the void.
            (session.to_plug, session.to_app) = (Time::MAX, Time::MAX);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Show(screen) => self.show(screen),
            Action::OpenAccessPoint { ssid, .. } => {
                self.note(|_| format!("the access point {ssid} opens"));
                self.radio_leaves();
                self.plug.radio = Radio::AccessPoint { ssid, is_up: false };
                self.plan_report(3 * SECOND, WifiEvent::AccessPointUp);
            }
            Action::CloseAccessPoint => {
                self.radio_leaves();
                self.plug.radio = Radio::Off;
            }
            Action::JoinNetwork(network) => {
                self.radio_leaves();
                let event = self.outcome_of_joining(&network);
                self.note(|_| format!("the plug joins {}: {event:?}", network.ssid));
                self.plug.radio = Radio::Home { network, is_joined: false };
                self.plan_report(8 * SECOND, event);
            }
            Action::Admit(admissions) => self.admit(admissions),
            Action::SendPairing { session, payload } => self.send_pairing_to_app(session, payload),
            Action::Publish { path: action::Path::Local, topic, payload } => {
                self.expect_may_receive(&topic);
                let sessions: Vec<SessionId> = self
                    .sessions
                    .iter()
                    .filter(|(_, session)| session.plug_believes && session.grant.subscribe == *topic)
                    .map(|(&id, _)| id)
                    .collect();
                for session in sessions {
                    self.send_in(session, |_| Happening::ToApp { session, payload: payload.to_vec() });
                }
            }
            Action::Publish { path: action::Path::Cloud(_), topic, payload } => {
                self.expect_may_receive(&topic);
                self.cloud_carries_to_apps(&topic, &payload);
            }
            Action::EndSession(session) => self.end_session(session),
            Action::SubscribeCloud { topic, .. } => self.cloud_subscribes(topic),
            Action::Register { payload, .. } => self.cloud_is_told(payload),
        }
    }

    fn outcome_of_joining(&self, network: &HomeNetwork) -> WifiEvent {
        let on_air = self.air.iter().find(|there| there.ssid == network.ssid);
        match on_air.filter(|_| self.router_is_up) {
            None => WifiEvent::JoinFailed(JoinFailure::NotFound),
            Some(there) if there.psk != network.psk => WifiEvent::JoinFailed(JoinFailure::WrongPassword),
            Some(_) => WifiEvent::Joined,
        }
    }

    pub(super) fn plan_report(&mut self, most: Time, report: Report) {
        let wait = self.dice.between(100_000, most);
        let order = self.plug.order;
        self.plan(wait, Happening::Radio { order, report });
    }

    pub(super) fn radio_reports(&mut self, order: u64, report: Report) {
        if order != self.plug.order || self.plug.machine.is_none() {
            return;
        }
        let mut report = report;
        match &mut self.plug.radio {
            Radio::AccessPoint { is_up, .. } => *is_up = true,
            Radio::Home { network, is_joined } => {
                let network = network.clone();
                // The router may have gone since.
                *is_joined = report == WifiEvent::Joined && self.router_is_up;
                if report == WifiEvent::Joined && !*is_joined {
                    report = self.outcome_of_joining(&network);
                }
            }
            Radio::Off => return,
        }
        self.note(|_| format!("radio: {report:?}"));
        if report == WifiEvent::Joined {
            self.reach_out();
        }
        self.with_thing(|thing, now, ports| thing.handle_wifi(report, now, ports));
    }

    /// The router goes, for a while.
    pub(super) fn router_goes(&mut self) {
        self.router_is_up = false;
        if let Radio::Home { is_joined, .. } = &mut self.plug.radio
            && std::mem::take(is_joined)
        {
            self.radio_leaves();
            self.plan_report(2 * SECOND, WifiEvent::Lost);
        }
        let wait = self.dice.between(5 * SECOND, 400 * SECOND);
        self.plan(wait, Happening::RouterIsBack);
    }

    pub(super) fn router_comes_back(&mut self) {
        if self.router_is_up {
            return;
        }
        self.router_is_up = true;
        self.note(|_| "the router is back".into());
        // A radio that was home keeps trying by itself.
        if let Radio::Home { network, is_joined: false } = &self.plug.radio {
            let network = network.clone();
            if self.outcome_of_joining(&network) == WifiEvent::Joined && self.plug.machine.is_some() {
                self.plan_report(5 * SECOND, WifiEvent::Joined);
            }
        }
    }

    fn admit(&mut self, admissions: Vec<Admission>) {
        self.plug.admissions = admissions;
        let gone: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| {
                session.plug_believes && !self.plug.admissions.iter().any(|one| grants(one, session))
            })
            .map(|(&id, _)| id)
            .collect();
        for session in gone {
            self.end_session(session);
        }
    }

    /// The plug ends a session: what is on its way to the app still arrives.
    pub(super) fn end_session(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.plug_believes) else { return };
        let arrived = session.to_app;
        session.to_plug = Time::MAX;
        self.plan(0, Happening::PlugLoses(id));
        let wait = if arrived == Time::MAX { SECOND } else { arrived.saturating_sub(self.now) + 1000 };
        self.plan(wait, Happening::AppLoses(id));
    }

    pub(super) fn plug_loses(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if std::mem::take(&mut session.plug_believes) {
            self.note(|_| format!("the plug sees {id:?} end"));
            self.with_thing(|thing, now, ports| thing.handle_session_closed(id, now, ports));
        }
        self.bury(id);
    }

    /// A session that nobody believes in any more is forgotten.
    pub(super) fn bury(&mut self, id: SessionId) {
        if self.sessions.get(&id).is_some_and(|session| !session.plug_believes && !session.app_believes) {
            self.sessions.remove(&id);
        }
    }

    /// Somebody's connection reaches the plug, or where it would be.
    pub(super) fn knock(&mut self, person: usize, attempt: u64) {
        let Some(call) = self.call_of(person).filter(|_| self.people[person].attempt == attempt) else { return };
        let is_reached = self.plug.machine.is_some()
            && match (&self.plug.radio, &call.access_point) {
                (Radio::AccessPoint { ssid, is_up: true }, Some(wanted)) => ssid == wanted,
                (Radio::Home { is_joined, .. }, None) => *is_joined,
                _ => false,
            };
        let matching = |one: &&Admission| {
            let login = one.login.as_ref().map(|(user, password)| (user.as_str(), password.expose()));
            one.psk_identity == call.identity
                && one.psk == call.psk
                && login == call.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
        };
        let admission = self.plug.admissions.iter().find(matching).filter(|_| is_reached).cloned();
        let Some(grant) = admission.filter(|one| match one.new_sessions {
            NewSessions::Open => true,
            NewSessions::Closed => false,
            NewSessions::Watched => {
                self.note(|world| format!("{} knocks with a used key", world.people[person].name));
                let identity = call.identity.clone();
                self.with_thing(|thing, now, ports| thing.handle_refused(&identity, now, ports));
                false
            }
        }) else {
            let wait = self.dice.between(10_000, 3 * SECOND);
            self.plan(wait, Happening::Refused { person, attempt });
            return;
        };
        let others: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.plug_believes && session.grant.psk_identity == grant.psk_identity)
            .map(|(&id, _)| id)
            .collect();
        if others.len() >= grant.max_sessions {
            if grant.login.is_none() {
                self.plan(SECOND, Happening::Refused { person, attempt });
                return;
            }
            self.end_session(others[0]);
            self.plug_loses(others[0]);
        }
        self.last_session += 1;
        let id = SessionId(self.last_session);
        let identity = grant.psk_identity.clone();
        self.note(|world| format!("{} opens {id:?} as {identity}", world.people[person].name));
        self.sessions.insert(
            id,
            Session {
                person,
                grant,
                plug_believes: true,
                app_believes: true,
                to_plug: self.now,
                to_app: self.now,
                sent: 0,
                received: 0,
            },
        );
        self.with_thing(|thing, _, _| thing.handle_session_opened(id, &identity));
        self.with_thing(|thing, now, ports| thing.handle_subscribed(id, now, ports));
        let wait = self.delay().min(3 * SECOND);
        self.plan(wait, Happening::Welcome { person, attempt, session: id });
    }

    /// Sends in a session: in order and once or twice while it pairs, else as the weather has it.
    pub(super) fn send_in(&mut self, id: SessionId, happening: impl Fn(SessionId) -> Happening) {
        let to_plug = matches!(happening(id), Happening::ToPlug { .. });
        if self.dice.chance(self.weather.cut) {
            self.note(|_| format!("{id:?} breaks"));
            self.break_session(id);
            return;
        }
        let Some(session) = self.sessions.get(&id) else { return };
        let last = if to_plug { session.to_plug } else { session.to_app };
        if last == Time::MAX {
            return;
        }
        if !session.is_pairing() {
            self.send(|| happening(id));
            return;
        }
        let mut at = last;
        for _ in 0..=u64::from(self.dice.chance(self.weather.doubled)) {
            at = at.max(self.now + self.delay().min(15 * SECOND)) + 1;
            self.plan(at - self.now, happening(id));
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            *(if to_plug { &mut session.to_plug } else { &mut session.to_app }) = at;
        }
    }

    fn send_pairing_to_app(&mut self, id: SessionId, payload: Vec<u8>) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.plug_believes) else { return };
        if session.grant.subscribe != PAIR_T2C {
            self.accuse(format!("a pairing message goes to {id:?}, which is no pairing session"));
            return;
        }
        session.sent += 1;
        self.send_in(id, |session| Happening::ToApp { session, payload: payload.clone() });
    }

    pub(super) fn acknowledged(&mut self, id: SessionId, messages: u64) {
        let Some(session) = self.sessions.get(&id).filter(|session| session.plug_believes) else { return };
        if messages >= session.sent {
            self.with_thing(|thing, now, _| thing.handle_acknowledged(id, now));
        }
    }

    /// A message comes in on the topic that its session may publish to.
    pub(super) fn arrive_at_plug(&mut self, id: SessionId, payload: Vec<u8>) {
        let Some(session) = self.sessions.get(&id).filter(|session| session.plug_believes) else { return };
        let topic = session.grant.publish.clone();
        self.handled = self.judge.carried(&payload);
        self.expect_answer_to(&topic);
        let verdict = Cell::new(None);
        self.with_thing(|thing, now, ports| {
            verdict.set(Some(thing.handle_publish(id, &topic, &payload, now, ports)));
        });
        (self.handled, self.answers_on) = (None, None);
        self.note(|_| format!("the plug takes {} bytes in {id:?}: {:?}", payload.len(), verdict.get()));
    }
}

/// Whether a session may go on under an admission.
fn grants(admission: &Admission, session: &Session) -> bool {
    let Admission { psk_identity, psk, login, publish, subscribe, max_sessions: _, new_sessions: _ } = admission;
    let grant = &session.grant;
    (psk_identity, psk, publish, subscribe) == (&grant.psk_identity, &grant.psk, &grant.publish, &grant.subscribe)
        && login == &grant.login
}
