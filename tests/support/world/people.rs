//! The apps' shells: keyring, sessions, pairing runs, and what their controllers say.

use sect::proto::action::{Press, Screen, SessionId};
use sect::proto::controller::{Controller, ControllerEvent, Path, RequestHandle};
use sect::proto::keys::{PairingCode, TlsPsk, pairing_psk};
use sect::proto::message::ReturnCode;
use sect::proto::operation::Operation;
use sect::proto::pairing::PAIR_IDENTITY;
use sect::proto::pairing::binding::Binding;
use sect::proto::pairing::controller::{Recovering, Run, Step};
use sect::proto::recovery::RecoveryCode;

use super::home::Session;
use super::judge::{End, WishId};
use super::person::{App, Link, Pairing, PairingWay};
use super::plug::Side;
use super::weather::{SECOND, Time};
use super::{Happening, Mutation, World};

/// With what a person's app knocks at the plug.
pub struct Call {
    pub identity: String,
    pub psk: TlsPsk,
    pub login: Option<(String, String)>,
    pub access_point: Option<String>,
}

impl World {
    pub(super) fn start_app(&mut self, person: usize) {
        if self.people[person].app.is_some() {
            return;
        }
        self.people[person].start_app();
        self.note(|world| format!("{}'s app starts, {}", world.people[person].name, world.keyring(person)));
        self.redial(person, 0);
    }

    /// The app dies: only the keyring stays.
    pub(super) fn app_dies(&mut self, person: usize, when: &str) {
        let Some(app) = self.people[person].app.take() else { return };
        self.steps.tale.deaths += 1;
        self.note(|world| format!("{}'s app dies {when}", world.people[person].name));
        self.people[person].attempt += 1;
        if let Link::Up(session) = app.link {
            self.hang_up(session);
        }
        let wait = self.dice.between(SECOND, 20 * SECOND);
        self.plan(wait, Happening::AppHasPower(person));
    }

    /// The app's side of a session is gone; the plug learns it later.
    pub(super) fn hang_up(&mut self, session: SessionId) {
        if let Some(ended) = self.sessions.get_mut(&session) {
            ended.app_believes = false;
            let wait = self.dice.between(1000, 30 * SECOND);
            self.plan(wait, Happening::PlugLoses(session));
        }
    }

    /// Dials once more, after a while. Nothing of an earlier attempt counts.
    pub(super) fn redial(&mut self, person: usize, wait: Time) {
        let known = &mut self.people[person];
        known.attempt += 1;
        let attempt = known.attempt;
        if let Some(app) = &mut known.app {
            app.link = Link::Down;
            self.plan(wait, Happening::Dial { person, attempt });
        }
    }

    /// What the app would open a session with, if it wants one.
    pub(super) fn call_of(&self, person: usize) -> Option<Call> {
        let known = &self.people[person];
        let app = known.app.as_ref()?;
        if let Some(Pairing { way, .. }) = &app.pairing {
            let PairingWay { identity, psk, access_point } = way.clone();
            return Some(Call { identity, psk, login: None, access_point });
        }
        // The newest key and login first, then the others: one pair of them is the thing's.
        let binding = known.keyring.as_ref()?;
        let guises = binding.guises();
        let guise = &guises[usize::try_from(known.knocks).unwrap_or(0) % guises.len()];
        let ((identity, psk), credentials) = (guise.psk(), &guise.credentials);
        let login = (credentials.user.expose().to_owned(), credentials.password.expose().to_owned());
        Some(Call { identity: identity.to_string(), psk, login: Some(login), access_point: app.at.clone() })
    }

    pub(super) fn dial(&mut self, person: usize, attempt: u64) {
        if self.people[person].attempt != attempt || self.call_of(person).is_none() {
            return;
        }
        if let Some(app) = &mut self.people[person].app {
            app.link = Link::Dialling;
        }
        let wait = self.dice.between(1000, self.weather.delay.max(2000));
        self.plan(wait, Happening::Knock { person, attempt });
    }

    pub(super) fn refused(&mut self, person: usize, attempt: u64) {
        if self.people[person].attempt != attempt {
            return;
        }
        if self.people[person].app.as_ref().is_some_and(|app| app.pairing.is_some()) {
            // The code on the display is another one by now: the person reads it again.
            self.end_pairing(person, "refused");
        } else {
            // A second key or login is tried at once; then less and less often, as phones do: in vain for an hour
            // is in vain for a while longer.
            let known = &mut self.people[person];
            known.knocks += 1;
            let guises = known.keyring.as_ref().map_or(1, |binding| binding.guises().len());
            let mut wait = SECOND;
            if known.knocks.is_multiple_of(guises as u64) {
                known.tries = (known.tries + 1).min(6);
                wait = SECOND << known.tries;
                if let Some(app) = &mut known.app {
                    app.at = None;
                }
            }
            let wait = self.dice.between(SECOND, wait);
            self.redial(person, wait);
        }
    }

    pub(super) fn welcomed(&mut self, person: usize, attempt: u64, session: SessionId) {
        let is_wanted = self.people[person].attempt == attempt && self.people[person].app.is_some();
        if !is_wanted {
            self.hang_up(session);
            return;
        }
        if !self.sessions.get(&session).is_some_and(|session| session.app_believes) {
            // It broke before it was there.
            self.refused(person, attempt);
            return;
        }
        self.people[person].tries = 0;
        if let Some(app) = &mut self.people[person].app {
            app.link = Link::Up(session);
        }
        self.settle_app(person);
    }

    pub(super) fn app_loses(&mut self, session: SessionId) {
        let Some(Session { person, app_believes, .. }) = self.sessions.get_mut(&session) else { return };
        let (person, believed) = (*person, std::mem::take(app_believes));
        self.bury(session);
        let is_its_own = self.people[person].app.as_ref().is_some_and(|app| app.link == Link::Up(session));
        if !believed || !is_its_own {
            return;
        }
        self.note(|world| format!("{} sees {session:?} end", world.people[person].name));
        if let Some(app) = &mut self.people[person].app {
            (app.link, app.at) = (Link::Down, None);
            if let Some(pairing) = &mut app.pairing {
                pairing.run.handle_session_end();
            }
        }
        let wait = self.dice.between(10_000, 3 * SECOND);
        self.redial(person, wait);
        self.settle_app(person);
    }

    /// Somebody reads the display and begins to pair; false when there is nothing to read.
    pub(super) fn begin_pairing(&mut self, person: usize) -> bool {
        let Screen::AccessPoint { ssid, passcode, .. } = self.plug.screen.clone() else { return false };
        let code = PairingCode::of_passcode(&passcode);
        let name = self.people[person].name.clone();
        let paper = RecoveryCode::random(&mut self.rng);
        self.papers.push(paper.clone());
        let run = Run::new(code, self.air[0].clone(), name, Some(paper), &mut self.rng);
        let way =
            PairingWay { identity: PAIR_IDENTITY.to_owned(), psk: pairing_psk(&passcode), access_point: Some(ssid) };
        self.note(|world| format!("{} pairs", world.people[person].name));
        self.set_out(person, Pairing { run, way, invitation: None, recovers: false })
    }

    /// Somebody holds the button, reads the display and has the paper: then he is the owner.
    pub(super) fn recover(&mut self, person: usize) -> bool {
        let Screen::Maintenance { ssid, passcode, .. } = self.plug.screen.clone() else {
            let is_held = self.plug.disk.household.is_some() && self.dice.chance(300);
            if is_held {
                self.with_thing(|thing, now, ports| thing.handle_press(Press::Long, now, ports));
            }
            return is_held;
        };
        let held = self.plug.disk.household.as_ref().and_then(|household| household.recovery);
        let paper = self.papers.iter().find(|paper| Some(paper.key(&self.thing).spki()) == held).cloned();
        let Some(code) = paper.filter(|_| !self.is_member(person)) else { return false };
        let next = RecoveryCode::random(&mut self.rng);
        self.papers.push(next.clone());
        let recovering = Recovering { code, next, keep: self.dice.coin(), network: None };
        let name = self.people[person].name.clone();
        let run = Run::recovering(PairingCode::of_passcode(&passcode), recovering, name, &mut self.rng);
        let (identity, psk) = (PAIR_IDENTITY.to_owned(), pairing_psk(&passcode));
        let way = PairingWay { identity, psk, access_point: Some(ssid) };
        self.note(|world| format!("{} recovers the plug", world.people[person].name));
        self.set_out(person, Pairing { run, way, invitation: None, recovers: true })
    }

    /// Begins a run, unless one is under way.
    pub(super) fn set_out(&mut self, person: usize, pairing: Pairing) -> bool {
        let Some(app) = self.people[person].app.as_ref().filter(|app| app.pairing.is_none()) else { return false };
        if let Link::Up(session) = app.link {
            self.hang_up(session);
        }
        if let Some(app) = &mut self.people[person].app {
            // What it asked of the plug that was its own is nobody's question any more.
            *app = App { pairing: Some(pairing), ..App::default() };
        }
        self.redial(person, 10_000);
        true
    }

    /// The run is over, however it ended; what the keyring holds counts.
    fn end_pairing(&mut self, person: usize, how: &str) {
        self.note(|world| format!("{}'s pairing ended: {how}; {}", world.people[person].name, world.keyring(person)));
        let link = self.people[person].app.as_ref().map(|app| app.link);
        if let Some(Link::Up(session)) = link {
            self.hang_up(session);
        }
        let known = &mut self.people[person];
        if let Some(app) = &mut known.app {
            let controller = known.keyring.as_ref().map(|binding| Controller::new(binding.keychain()));
            *app = App { controller, ..App::default() };
        }
        self.redial(person, SECOND);
    }

    /// Makes a binding durable; false when the app died over it.
    pub(super) fn keep(&mut self, person: usize, binding: &Binding) -> bool {
        let side = self.dice.chance(self.weather.death_at_write).then(|| Side::draw(&mut self.dice));
        if side == Some(Side::Before) {
            self.app_dies(person, "before it wrote its keyring");
            return false;
        }
        if self.mutation != Mutation::KeyringForgets {
            let known = &mut self.people[person];
            known.keyring = Some(binding.clone());
            if let Some(pairing) = known.app.as_ref().and_then(|app| app.pairing.as_ref()) {
                (known.joins_by, known.recovers) = (pairing.invitation, pairing.recovers);
            }
        }
        self.note(|world| format!("{} keeps {}", world.people[person].name, world.keyring(person)));
        self.expect_everybody_holds_a_key();
        if side == Some(Side::After) {
            self.app_dies(person, "after it wrote its keyring");
            return false;
        }
        true
    }

    /// When the app wants to be woken.
    pub(super) fn app_alarm(&self, person: usize) -> Option<Time> {
        let known = &self.people[person];
        let app = known.app.as_ref()?;
        let pairing = app.pairing.as_ref().and_then(|pairing| pairing.run.poll_timeout());
        let controller = app.controller.as_ref().and_then(Controller::poll_timeout);
        pairing.into_iter().chain(controller).min().map(|at| known.clock.moment(at))
    }

    pub(super) fn wake_app(&mut self, person: usize) {
        let now = self.people[person].clock.reads(self.now);
        if let Some(app) = &mut self.people[person].app {
            if let Some(pairing) = &mut app.pairing {
                pairing.run.handle_timeout(now);
            }
            if let Some(controller) = &mut app.controller {
                controller.handle_timeout(now, &mut self.rng);
            }
        }
        self.settle_app(person);
    }

    /// A message comes to the app in a session.
    pub(super) fn arrive_at_app(&mut self, id: SessionId, payload: &[u8]) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.app_believes) else { return };
        let person = session.person;
        if !self.people[person].app.as_ref().is_some_and(|app| app.link == Link::Up(id)) {
            return;
        }
        if !session.is_pairing() {
            self.take_message(person, Path::Local, payload);
            return;
        }
        session.received += 1;
        let messages = session.received;
        let wait = self.dice.between(1000, self.weather.delay.max(2000));
        self.plan(wait, Happening::Acknowledged { session: id, messages });
        if let Some(pairing) = self.people[person].app.as_mut().and_then(|app| app.pairing.as_mut()) {
            pairing.run.handle_message(payload, &mut self.rng);
        }
        self.settle_app(person);
    }

    pub(super) fn take_message(&mut self, person: usize, path: Path, payload: &[u8]) {
        if self.dice.chance(self.weather.death) {
            self.app_dies(person, "as a message came");
            return;
        }
        let now = self.people[person].clock.reads(self.now);
        let Some(controller) = self.people[person].app.as_mut().and_then(|app| app.controller.as_mut()) else {
            return;
        };
        let verdict = controller.handle_message(path, payload, now, &mut self.rng);
        self.note(|world| format!("{} takes {} bytes: {verdict:?}", world.people[person].name, payload.len()));
        self.settle_app(person);
    }

    /// Does all that the app's machines ask for.
    pub(super) fn settle_app(&mut self, person: usize) {
        while self.settle_pairing(person) || self.settle_controller(person) {}
    }

    fn settle_pairing(&mut self, person: usize) -> bool {
        let now = self.people[person].clock.reads(self.now);
        let Some(app) = &mut self.people[person].app else { return false };
        let Some(pairing) = &mut app.pairing else { return false };
        if let Some(step) = pairing.run.poll_step() {
            match step {
                Step::TellUser(_) => {}
                Step::Persist(binding) => {
                    if self.keep(person, &binding)
                        && let Some(pairing) = self.people[person].app.as_mut().and_then(|app| app.pairing.as_mut())
                    {
                        pairing.run.persisted(&mut self.rng);
                    }
                }
                Step::Done(binding) => {
                    if self.keep(person, &binding) {
                        self.end_pairing(person, "done");
                    }
                }
                Step::Failed(error) => self.end_pairing(person, &error.to_string()),
            }
            return true;
        }
        let Link::Up(session) = app.link else { return false };
        let Some(payload) = pairing.run.poll_transmit(now) else { return false };
        self.send_in(session, |session| Happening::ToPlug { session, payload: payload.clone() });
        true
    }

    fn settle_controller(&mut self, person: usize) -> bool {
        let now = self.people[person].clock.reads(self.now);
        let Some(app) = &mut self.people[person].app else { return false };
        let Some(controller) = &mut app.controller else { return false };
        if let Some(event) = controller.poll_event() {
            self.take_event(person, event);
            return true;
        }
        let Some(transmit) = controller.poll_transmit(now) else { return false };
        let wish = app.wishes.get(&transmit.handle).copied();
        let link = app.link;
        if self.mutation == Mutation::RepeatsAreNewCommands
            && transmit.attempt > 1
            && let Some(wish) = wish
        {
            self.seal_anew(person, transmit.handle, wish);
            return true;
        }
        if let (Some(wish), Some(cid)) = (wish, self.people[person].cid()) {
            self.judge.sent(&transmit.payload, wish, cid, self.now);
        }
        if let Link::Up(session) = link {
            self.send_in(session, |session| Happening::ToPlug { session, payload: transmit.payload.clone() });
        }
        self.cloud_carries_to_plug(person, &transmit.payload);
        true
    }

    /// The naive controller: it forgets that it asked, and asks again.
    fn seal_anew(&mut self, person: usize, handle: RequestHandle, wish: WishId) {
        let operation = self.judge.wishes[wish].operation.clone();
        let now = self.people[person].clock.reads(self.now);
        let known = &mut self.people[person];
        let Some(keys) = known.keyring.as_ref().map(Binding::keychain) else { return };
        let Some(app) = &mut known.app else { return };
        app.wishes.remove(&handle);
        let mut controller = Controller::new(keys);
        let again = controller.request(operation, now, &mut self.rng);
        app.controller = Some(controller);
        app.wishes.insert(again, wish);
    }

    fn take_event(&mut self, person: usize, event: ControllerEvent) {
        self.note(|world| format!("{} hears {}", world.people[person].name, brief(&event)));
        let (handle, end) = match event {
            ControllerEvent::Answered { handle, rc, result, .. } => {
                let wish = self.people[person].app.as_ref().and_then(|app| app.wishes.get(&handle).copied());
                if let (Some(wish), ReturnCode::Ok) = (wish, rc) {
                    self.invited(wish, result.as_deref());
                }
                self.confirm(person);
                if let Some(wish) = wish {
                    self.follow(person, wish, rc, result.as_deref());
                }
                (handle, End::Answered(rc))
            }
            ControllerEvent::Unknown { handle, .. } => (handle, End::Unknown),
            ControllerEvent::NotSent { handle } => (handle, End::NotSent),
            ControllerEvent::Replaced { handle } => (handle, End::Replaced),
            ControllerEvent::Status { .. } => {
                self.confirm(person);
                return;
            }
            ControllerEvent::Persist { candidate, .. } => {
                self.keep_candidate(person, candidate);
                return;
            }
            ControllerEvent::KeysUpdated { epoch, .. } => {
                self.keep_update(person, epoch);
                return;
            }
            ControllerEvent::UpdateRefused { .. } | ControllerEvent::UpdateUnanswered { .. } => return,
            ControllerEvent::StatusUnanswered { .. }
            | ControllerEvent::BothPaths { .. }
            | ControllerEvent::Told { .. }
            | ControllerEvent::StateChanged { .. } => return,
        };
        // The app may have died over its keyring.
        let wish = self.people[person].app.as_mut().and_then(|app| app.wishes.remove(&handle));
        if let Some(wish) = wish
            && let Err(what) = self.judge.ended(wish, end)
        {
            self.accuse(what);
        }
    }

    /// Any answer shows that the thing kept its side (protocol section 7.5).
    fn confirm(&mut self, person: usize) {
        if let Some(binding) = self.people[person].keyring.clone().filter(|binding| !binding.confirmed) {
            self.keep(person, &Binding { confirmed: true, ..binding });
        }
    }

    /// Somebody wants something of the thing.
    pub(super) fn wish(&mut self, person: usize, operation: Operation) -> Option<WishId> {
        let now = self.people[person].clock.reads(self.now);
        let app = self.people[person].app.as_mut()?;
        let controller = app.controller.as_mut()?;
        let wish = self.judge.wished(person, operation.clone());
        let handle = controller.request(operation, now, &mut self.rng);
        app.wishes.insert(handle, wish);
        self.note(|world| format!("{} wishes {:?}", world.people[person].name, world.judge.wishes[wish].operation));
        self.settle_app(person);
        Some(wish)
    }

    /// Somebody looks at the app.
    pub(super) fn ask(&mut self, person: usize) -> bool {
        let now = self.people[person].clock.reads(self.now);
        let Some(app) = self.people[person].app.as_mut() else { return false };
        let Some(controller) = app.controller.as_mut() else { return false };
        controller.ask_status(now, &mut self.rng);
        self.settle_app(person);
        true
    }

    pub(super) fn keyring(&self, person: usize) -> String {
        match &self.people[person].keyring {
            None => "an empty keyring".into(),
            Some(binding) => format!(
                "{} of epoch {}{}",
                binding.cid,
                binding.epoch,
                if binding.confirmed { "" } else { ", unconfirmed" }
            ),
        }
    }
}

/// An event without the state that it carries.
fn brief(event: &ControllerEvent) -> String {
    match event {
        ControllerEvent::Answered { rc, state, .. } => format!("an answer: {rc:?}, on = {}", state.on),
        ControllerEvent::Status { rc, state, .. } => format!("the state: {rc:?}, on = {}", state.on),
        ControllerEvent::StateChanged { state, .. } => format!("an event: on = {}", state.on),
        other => format!("{other:?}"),
    }
}
