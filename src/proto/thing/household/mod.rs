//! The thing at home: requests from those who may, answers to each, events to all
//! (SecT STEP 8, 12, 13; protocol sections 4 and 6).
//!
//! The way of one command, each step a type that the next one needs:
//! `Sealed -> Opened -> Request -> Fresh -> Authorized -> answer`.

mod act;
mod change;
mod controller;
mod expiry;
mod history;
mod home;
mod invitation;
mod maintenance;
mod page;
mod recovery;
mod rekey;
mod renewal;
mod schedule;
mod tell;
mod timers;
mod unpair;
mod users;
mod wifi;
mod writes;

use std::sync::Arc;

use rand_core::CryptoRng;
use serde::Serialize;
use serde_json::value::RawValue;
use zeroize::Zeroize;

use self::act::Done;
use self::controller::{Controller, Waiting};
use self::home::Home;
use self::invitation::Invitations;
use self::rekey::Overdue;
use self::schedule::Plan;
use self::tell::Told;
use self::timers::Timers;
use self::wifi::WifiStatus;
use super::registrar::Registrar;
use super::verdict::{Dropped, Verdict};
use super::{Core, Incoming, News};
use crate::proto::action::{Action, Path, SessionId};
use crate::proto::credential::CtlrCredentials;
use crate::proto::envelope::{MAX_JWE_BYTES, Opened, OpeningRoom, Sealed};
use crate::proto::id::{RequestId, ThingId};
use crate::proto::message::{Request, Response, ReturnCode, State};
use crate::proto::operation::Requested;
use crate::proto::operation::result::Countdown;
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::pairing::message::CloudServer;
use crate::proto::port::Ports;
use crate::proto::record::{ControllerRecord, Household, NextTopic};
use crate::proto::registration::Entry;
use crate::proto::rekey::{Commit, Init};
use crate::proto::time::Micros;

/// Sessions of one controller at a time: a phone, a terminal that watches, one that is closing.
pub(super) const MAX_CONTROLLER_SESSIONS: usize = 4;
/// A claimed thing's people and its way home.
pub(super) struct HouseholdState {
    /// What is durable.
    household: Household,
    /// What follows from it, controller by controller in the same order.
    controllers: Vec<Controller>,
    invitations: Invitations,
    home: Home,
    /// What the clock said last.
    latest: Micros,
    /// When the ages of keys were persisted last.
    ages_saved_at: Micros,
    /// When they are next, where they were used enough since.
    save_ages_at: Option<Micros>,
    timers: Timers,
    plan: Plan,
    /// By which way its owner has given the thing up, if he has.
    given_up: Option<Path>,
    /// What was sealed last: room that the next message uses again.
    jwe: Vec<u8>,
    /// Where each message is opened.
    room: OpeningRoom,
}

/// Who asks, and by which way.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    index: usize,
    path: Path,
    /// On which of its topics.
    topic: Waiting,
}

/// What a fresh message asks for.
enum Asked {
    Command(Requested),
    Init(Init),
    Commit(Commit),
}

/// What an answer says.
#[derive(Clone, Copy)]
struct Reply<'a> {
    re: RequestId,
    rc: ReturnCode,
    result: Option<&'a RawValue>,
}

/// What a status tells beyond the state.
#[derive(Serialize)]
struct StatusResult<'a> {
    /// Where the thing stands with its cloud servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    clouds: Vec<CloudStatus<'a>>,
    /// What became of another home network.
    #[serde(skip_serializing_if = "Option::is_none")]
    wifi: Option<WifiStatus<'a>>,
    /// The countdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    timer: Option<Countdown>,
}

#[derive(Serialize)]
struct CloudStatus<'a> {
    host: &'a str,
    state: &'a str,
}

impl HouseholdState {
    pub(super) fn new(core: &Core, household: Household) -> Self {
        let thing = core.identity.id();
        let mut state = Self {
            controllers: household.controllers.iter().map(|record| Controller::new(&thing, record)).collect(),
            household,
            invitations: Invitations::default(),
            home: Home::new(),
            latest: Micros::ZERO,
            ages_saved_at: Micros::ZERO,
            save_ages_at: None,
            timers: Timers::default(),
            plan: Plan::default(),
            given_up: None,
            jwe: Vec::with_capacity(MAX_JWE_BYTES),
            room: OpeningRoom::new(),
        };
        let ids: Vec<u64> = state.household.schedules.iter().map(|stored| stored.id).collect();
        ids.into_iter().for_each(|id| state.plan_from(id, Micros::ZERO));
        state.plan_day(core, Micros::ZERO);
        state
    }

    /// What is durable of it.
    pub(super) fn record(&self) -> &Household {
        &self.household
    }

    /// From now on who is welcome where the thing is, and nobody else, may open a session.
    fn admit(&self, core: &mut Core) {
        core.actions.push_back(Action::Admit(self.admissions()));
    }

    pub(super) fn handle_session_opened(&mut self, session: SessionId, psk_identity: &str) {
        match self.controllers.iter_mut().find(|one| one.is_known_as(psk_identity)) {
            Some(controller) => {
                controller.sessions.insert(session);
            }
            None if psk_identity == PAIR_IDENTITY => self.handle_nearby(session),
            None => self.invitations.handle_session_opened(session, psk_identity),
        }
    }

    pub(super) fn handle_session_closed(&mut self, core: &mut Core, session: SessionId, now: Micros) {
        self.handle_nearby_closed(core, session, now);
        for controller in &mut self.controllers {
            controller.sessions.remove(&session);
        }
        self.handle_run_closed(core, session);
    }

    /// Whether a session is that of an invited controller.
    pub(super) fn has_run(&self, session: SessionId) -> bool {
        self.invitations.has_run(session)
    }

    /// One message from a controller: the order of receiving of protocol section 4.
    pub(super) fn handle_publish(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        Incoming { from: path, topic, payload }: Incoming<'_, Path>,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Verdict {
        self.notice_time(now);
        let hears = |(index, one): (usize, &Controller)| Some(Asker { index, path, topic: one.hears(topic)? });
        let Some(asker) = self.controllers.iter().enumerate().find_map(hears) else {
            return Verdict::Dropped(Dropped::ForeignTopic);
        };
        let opened = Sealed::parse(payload).map_err(Dropped::Unopened).and_then(|sealed| {
            let opened = self.open(core, registrar, asker.index, &sealed, now, ports)?;
            Ok((sealed, opened))
        });
        match opened {
            Ok((sealed, opened)) => {
                let verdict = self.handle_opened(core, registrar, asker, (&sealed, &opened), now, ports);
                opened.leave(&mut self.room);
                verdict
            }
            Err(reason) => Verdict::Dropped(reason),
        }
    }

    fn handle_opened(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        asker: Asker,
        (sealed, opened): (&Sealed<'_>, &Opened),
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Verdict {
        let re = opened.request_id();
        let reply = |rc| Reply { re, rc, result: None };
        let Asker { index, path, topic } = asker;
        let controller = &mut self.controllers[index];
        if let Some(answer) = controller.freshness.answer_to(&re, now) {
            let (topic, payload) = (controller.answers_on(topic).clone(), answer.clone());
            core.actions.push_back(Action::Publish { path, topic, payload });
            return Verdict::Repeated;
        }
        let (boot, ts, asked) = match Request::read(opened.bytes()) {
            Err(_) => return self.answer(core, asker, reply(ReturnCode::BadRequest), now, ports.rng),
            Ok(Request::Status) => {
                let told = self.status_result(registrar, index);
                let reply = Reply { result: told.as_deref(), ..reply(ReturnCode::Ok) };
                return self.answer(core, asker, reply, now, ports.rng);
            }
            Ok(Request::Command { boot, ts, requested }) => (boot, ts, Asked::Command(requested)),
            Ok(Request::RekeyInit(init)) => (init.boot, init.ts, Asked::Init(init)),
            Ok(Request::RekeyCommit(commit)) => (commit.boot, commit.ts, Asked::Commit(commit)),
        };
        let fresh = match controller.freshness.accept(core.boot, now, boot, ts) {
            Ok(fresh) => fresh,
            Err(stale) => {
                let _ = self.answer(core, asker, reply(ReturnCode::Stale), now, ports.rng);
                return Verdict::Stale(stale);
            }
        };
        // From here the message is accepted: exactly one answer, kept whatever it says.
        let Overdue(overdue) = self.count_accepted(index, now);
        let outcome = match asked {
            Asked::Init(_) if !self.may_write(index, now) => Err(ReturnCode::Busy),
            Asked::Init(init) => match self.agree(core, asker, fresh, (&init, sealed), now, ports.rng) {
                Ok(answer) => {
                    let answer = self.controllers[index].freshness.keep_answer(re, now, &answer);
                    self.publish(core, asker, answer);
                    return Verdict::Answered(ReturnCode::Ok);
                }
                Err(code) => Err(code),
            },
            Asked::Commit(commit) => self.confirm(asker, fresh, &commit).map(|()| Done::default()),
            Asked::Command(Requested::Unknown) if !self.is_allowed_here(None) => Err(ReturnCode::Forbidden),
            Asked::Command(Requested::Known(operation)) if !self.is_allowed_here(Some(&operation)) => {
                Err(ReturnCode::Forbidden)
            }
            Asked::Command(_) if overdue => Err(ReturnCode::Epoch),
            Asked::Command(Requested::Unknown) => Err(ReturnCode::Unsupported),
            Asked::Command(Requested::Known(operation)) => {
                self.act_and_note(core, registrar, asker, (fresh, operation), now, ports)
            }
        };
        let (code, Done { result, news, after }) = match outcome {
            Ok(done) => (ReturnCode::Ok, done),
            Err(code) => (code, Done::default()),
        };
        let reply = Reply { result: result.as_deref(), ..reply(code) };
        self.seal_answer(core, index, reply, now, ports.rng);
        // It may be a password.
        result.map(Box::<str>::from).map(String::from).zeroize();
        let answer = self.controllers[index].freshness.keep_answer(re, now, &self.jwe);
        self.publish(core, asker, answer);
        let told = Told { cid: self.controllers[index].cid, path };
        self.finish(core, registrar, after, told, now, ports.rng);
        if news == News::Yes {
            self.tell_everybody(core, registrar, Some(asker), now, ports.rng);
            self.show(core);
        }
        self.look_at_ages(core, registrar, index, now, ports.rng);
        Verdict::Answered(code)
    }

    /// An answer that is made afresh each time.
    fn answer(
        &mut self,
        core: &mut Core,
        asker: Asker,
        reply: Reply<'_>,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) -> Verdict {
        self.seal_answer(core, asker.index, reply, now, rng);
        self.publish(core, asker, Arc::from(self.jwe.as_slice()));
        Verdict::Answered(reply.rc)
    }

    /// Seals an answer into `jwe`.
    fn seal_answer(
        &mut self,
        core: &Core,
        index: usize,
        Reply { re, rc, result }: Reply<'_>,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        let st = self.state(core);
        let controller = &mut self.controllers[index];
        let ts = controller.freshness.stamp(now);
        let response = Response { re, rc, boot: core.boot, ts, st, r: result };
        controller
            .keys
            .t2c
            .seal_message_into(&response, rng, &mut self.jwe)
            .expect("an answer is far below 1983 bytes");
    }

    fn publish(&self, core: &mut Core, Asker { index, path, topic }: Asker, payload: Arc<[u8]>) {
        let topic = self.controllers[index].answers_on(topic).clone();
        core.actions.push_back(Action::Publish { path, topic, payload });
    }

    /// What the server at `cloud` must know of each controller (SecT STEP 9).
    pub(super) fn entries(&self, thing: &ThingId, cloud: &CloudServer) -> Vec<Entry> {
        let current = |one: &ControllerRecord| Entry::of(&one.topic, &one.credentials, thing, &cloud.pin);
        let next = |one: &ControllerRecord| {
            let NextTopic { topic, password } = one.next.as_ref()?;
            let credentials = CtlrCredentials { user: one.credentials.user.clone(), password: password.clone() };
            Some(Entry::of(topic, &credentials, thing, &cloud.pin))
        };
        let controllers = self.household.controllers.iter();
        controllers.flat_map(|one| std::iter::once(current(one)).chain(next(one))).collect()
    }

    /// The topics that controllers publish to.
    pub(super) fn topics(&self) -> impl Iterator<Item = String> + '_ {
        let topics = |one: &Controller| [Some(one.c2t.clone()), one.next.as_ref().map(|next| next.c2t.clone())];
        self.controllers.iter().flat_map(topics).flatten()
    }

    /// When to call [`Self::handle_timeout`], if nothing happens before.
    pub(super) fn poll_timeout(&self) -> Option<Micros> {
        let parts = [self.poll_home(), self.poll_invitations(), self.poll_expiry()];
        parts.into_iter().flatten().min()
    }

    /// Each part looks whether its own time has come.
    pub(super) fn handle_timeout(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        now: Micros,
        ports: &mut Ports<'_>,
    ) {
        self.handle_home_timeout(core, now, ports.rng);
        self.handle_invitation_timeout(core, now);
        self.handle_expiry(core, registrar, now, ports);
    }

    fn status_result(&self, registrar: &Registrar, index: usize) -> Option<Box<RawValue>> {
        let states = registrar.states().map(|(cloud, state)| CloudStatus { host: &cloud.host, state: state.as_str() });
        let (clouds, wifi): (Vec<_>, _) = (states.collect(), self.wifi_status(index));
        let timer = self.timers.countdown();
        if clouds.is_empty() && wifi.is_none() && timer.is_none() {
            return None;
        }
        Some(serde_json::value::to_raw_value(&StatusResult { clouds, wifi, timer }).expect("a map with string keys"))
    }

    fn state(&self, core: &Core) -> State {
        State {
            on: core.outlet.state.is_on(),
            by: core.outlet.by,
            who: core.outlet.who.clone(),
            since: core.outlet.since,
            name: self.household.name.clone(),
        }
    }
}
