//! The controller at one thing, once they are bound: what it asks, what it believes, what it shows
//! (SecT STEP 12-15; protocol section 6).
//!
//! The shell calls [`Controller::poll_transmit`] and [`Controller::poll_event`] after every other call
//! until each gives `None`, sleeps until [`Controller::poll_timeout`] and then calls
//! [`Controller::handle_timeout`]. Every request ends within bounds that follow from [`WAIT`] alone:
//! answered, unknown, not sent or replaced.

mod clock;
mod event;
mod exchange;
mod outcome;
#[cfg(test)]
mod tests;
mod update;
mod verdict;

use std::collections::VecDeque;
use std::time::Duration;

use rand_core::CryptoRng;

pub use self::exchange::{RESEND_AFTER, WAIT};
pub use self::outcome::{ControllerEvent, Path, RequestHandle, Transmit};
pub use self::update::Keychain;
pub use self::verdict::{Counts, Ignored, Verdict};

use self::clock::ThingClock;
use self::event::EventFilter;
use self::exchange::{Answered, Exchange};
use self::update::Update;
use super::envelope::{Opened, Sealed, Unopened};
use super::id::{Boot, Nonce, RequestId};
use super::json::{self, Body};
use super::keys::{Ephemeral, EpochKeys};
use super::message::{EVENT_STATE, EVENTS_TOLD, Event, Response, ReturnCode, State, Status};
use super::operation::Operation;
use super::rekey::{Accept, Commit, Init};
use super::time::Micros;

/// One thing, seen from its controller.
#[derive(Debug)]
pub struct Controller {
    chain: Keychain,
    /// Those of the present epoch.
    keys: EpochKeys,
    /// Those of the epoch that the thing may have come to by now.
    candidate: Option<EpochKeys>,
    /// Whether the thing has answered under the present one, so that commands may go there while there is a
    /// candidate.
    present_answers: bool,
    update: Option<Update>,
    clock: ThingClock,
    filter: EventFilter,
    /// The one command that is unanswered.
    command: Option<Command>,
    /// A step of the key update that waits for its turn; it has precedence.
    urgent: Option<Wish>,
    /// The one wish that waits for its turn.
    waiting: Option<Wish>,
    questions: Vec<Exchange>,
    answered: VecDeque<Answered>,
    held: Option<Held>,
    shown: Option<Shown>,
    events: VecDeque<ControllerEvent>,
    counts: Counts,
    next_handle: u64,
}

/// What the user wants, not yet sent.
#[derive(Debug)]
struct Wish {
    handle: RequestHandle,
    what: What,
    since: Micros,
    /// Whether it was sent before and refused as stale.
    refused: bool,
    /// The `status` without which it cannot be sent.
    question: Option<RequestHandle>,
}

/// What a wish is about.
#[derive(Debug)]
enum What {
    /// What the user wants.
    Operation(Operation),
    /// The first step of a key update.
    Init,
    /// The second one.
    Commit,
}

impl Wish {
    const fn new(handle: RequestHandle, what: What, now: Micros) -> Self {
        Self { handle, what, since: now, refused: false, question: None }
    }

    const fn is_urgent(&self) -> bool {
        matches!(self.what, What::Init | What::Commit)
    }
}

/// What the user wants, sent.
#[derive(Debug)]
struct Command {
    exchange: Exchange,
    wish: Wish,
    boot: Boot,
    ts: Micros,
    /// What only `rk.init` has.
    ephemeral: Option<Ephemeral>,
}

/// The epoch under which something came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Under {
    Present,
    Candidate,
}

/// An event of an unknown start, until the `status` about it is answered.
#[derive(Debug)]
struct Held {
    question: RequestHandle,
    boot: Boot,
    ts: Micros,
    state: State,
    told: Option<Told>,
}

/// What an event says beyond the state.
#[derive(Debug)]
struct Told {
    k: &'static str,
    d: Option<String>,
}

/// The newest state, and when the thing said it.
#[derive(Debug)]
struct Shown {
    boot: Boot,
    ts: Micros,
    state: State,
}

/// With two epochs, a `status` goes out under the newer one, and this much later under the other as well.
const OTHER_EPOCH: Duration = Duration::from_secs(2);
/// Questions under way at the same time; one more joins the newest.
const MAX_QUESTIONS: usize = 4;
/// How far two clocks may have drifted apart in the 10 s of a command: 10 %, far beyond any quartz.
const DRIFT: Duration = Duration::from_secs(1);
/// Answered requests that are remembered for the answer by the other path.
const MAX_ANSWERED: usize = 16;

impl Controller {
    /// Starts without any knowledge of the thing's time or state.
    #[must_use]
    pub fn new(chain: Keychain) -> Self {
        Self {
            keys: chain.keys(),
            candidate: chain.candidate_keys(),
            chain,
            present_answers: false,
            update: None,
            urgent: None,
            clock: ThingClock::default(),
            filter: EventFilter::default(),
            command: None,
            waiting: None,
            questions: Vec::new(),
            answered: VecDeque::new(),
            held: None,
            shown: None,
            events: VecDeque::new(),
            counts: Counts::default(),
            next_handle: 0,
        }
    }

    /// Asks for the state.
    ///
    /// With four questions under way it joins the newest and gives that one's handle.
    pub fn ask_status(&mut self, now: Micros, rng: &mut dyn CryptoRng) -> RequestHandle {
        self.handle_timeout(now, rng);
        self.ask(now, rng)
    }

    fn ask(&mut self, now: Micros, rng: &mut dyn CryptoRng) -> RequestHandle {
        if let Some(newest) = self.questions.last().filter(|_| self.questions.len() >= MAX_QUESTIONS) {
            return newest.handle;
        }
        let handle = self.draw_handle();
        // The newer epoch first: if the thing waits for a sign that this controller holds it, this is one.
        let keys = self.candidate.iter().chain(std::iter::once(&self.keys));
        for (keys, leaves) in keys.zip([now, now.after(OTHER_EPOCH)]) {
            let text = json::encode(&Status { id: Nonce::random(rng) });
            let payload = keys.c2t.seal(&text, rng).expect("a status has some 60 bytes");
            self.questions.push(Exchange::new(handle, payload, leaves));
        }
        handle
    }

    /// Asks the thing to do something: at once, or when the command before it has ended and thing time
    /// is known. A wish that waits is replaced by this one.
    pub fn request(&mut self, operation: Operation, now: Micros, rng: &mut dyn CryptoRng) -> RequestHandle {
        self.handle_timeout(now, rng);
        let handle = self.draw_handle();
        let wish = Wish::new(handle, What::Operation(operation), now);
        if let Some(older) = self.waiting.replace(wish) {
            self.events.push_back(ControllerEvent::Replaced { handle: older.handle });
        }
        self.send_waiting(now, rng);
        handle
    }

    /// Takes what came on `s/<T_token>/t` by `path`.
    pub fn handle_message(&mut self, path: Path, payload: &[u8], now: Micros, rng: &mut dyn CryptoRng) -> Verdict {
        // An answer that comes after its 10 s must not count because a timer was late.
        self.handle_timeout(now, rng);
        let verdict = match self.open(payload) {
            Ok((opened, epoch)) => {
                if epoch == Under::Candidate {
                    self.promote();
                }
                let verdict = self.handle_opened(path, (&opened, payload), epoch, now, rng);
                self.forget_commit();
                self.send_waiting(now, rng);
                verdict
            }
            Err(unopened) => Verdict::Ignored(unopened.into()),
        };
        self.counts.count(verdict);
        verdict
    }

    /// What to send now, until `None`.
    pub fn poll_transmit(&mut self, now: Micros) -> Option<Transmit> {
        let command = self.command.iter_mut().map(|command| &mut command.exchange);
        command.chain(&mut self.questions).find_map(|exchange| exchange.poll_transmit(now))
    }

    /// When to call [`Controller::handle_timeout`] and poll again; `None` while nothing is under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Micros> {
        let command = self.command.iter().map(|command| &command.exchange);
        command.chain(&self.questions).map(Exchange::timeout).min()
    }

    /// Ends what has waited for 10 s.
    pub fn handle_timeout(&mut self, now: Micros, rng: &mut dyn CryptoRng) {
        self.answered.retain(|answered| !answered.is_over(now));
        while let Some(place) = self.questions.iter().position(|question| question.is_over(now)) {
            let question = self.questions.remove(place);
            if !self.questions.iter().any(|other| other.handle == question.handle) {
                self.handle_silence(question.handle, now);
            }
        }
        if let Some(command) = self.command.take_if(|command| command.exchange.is_over(now)) {
            // Whatever the thing said before, it may have another epoch now.
            self.present_answers = false;
            match &command.wish.what {
                What::Operation(_) => self.end_unknown(command.wish.handle, now, rng),
                what => self.end_unanswered(what, now, rng),
            }
        }
        self.send_waiting(now, rng);
    }

    /// What happened, until `None`.
    pub fn poll_event(&mut self) -> Option<ControllerEvent> {
        self.events.pop_front()
    }

    /// The newest state known, with its thing time.
    #[must_use]
    pub fn state(&self) -> Option<(&State, Micros)> {
        self.shown.as_ref().map(|shown| (&shown.state, shown.ts))
    }

    /// Thing time by the estimate, while that may be used.
    #[must_use]
    pub fn thing_time(&self, now: Micros) -> Option<Micros> {
        self.clock.estimate(now).map(|(_, time)| time)
    }

    /// How often each verdict was given.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Opens under either epoch.
    fn open(&self, payload: &[u8]) -> Result<(Opened, Under), Unopened> {
        let sealed = Sealed::parse(payload)?;
        match &self.candidate {
            Some(candidate) if candidate.t2c.kid() == sealed.kid() => {
                Ok((sealed.open(&candidate.t2c)?, Under::Candidate))
            }
            _ => Ok((sealed.open(&self.keys.t2c)?, Under::Present)),
        }
    }

    fn handle_opened(
        &mut self,
        path: Path,
        (opened, jwe): (&Opened, &[u8]),
        epoch: Under,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) -> Verdict {
        let text = opened.bytes();
        let read = match json::check(text).as_deref() {
            Ok(Response::T) => json::decode::<Response<'_>>(text)
                .ok()
                .filter(|response| response.r.is_none() || response.rc == ReturnCode::Ok)
                .map(|response| self.handle_response(path, response, epoch, now, rng)),
            Ok(Event::T) => json::decode::<Event<'_>>(text).ok().map(|event| self.handle_event(event, now, rng)),
            Ok(Accept::T) => {
                json::decode::<Accept>(text).ok().map(|accept| self.handle_accept(path, (&accept, jwe), now, rng))
            }
            _ => None,
        };
        read.unwrap_or(Verdict::Ignored(Ignored::Malformed))
    }

    /// An answer counts for an outstanding request alone, and the first one ends it.
    fn handle_response(
        &mut self,
        path: Path,
        response: Response<'_>,
        epoch: Under,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) -> Verdict {
        if let Some(command) = self.command.take_if(|command| command.exchange.re == response.re) {
            let current = self.learn(&response, now);
            if epoch == Under::Present {
                self.note_present(command.wish.handle);
            }
            self.handle_command_response(path, command, response, current, now, rng);
        } else if let Some(place) = self.questions.iter().position(|question| question.re == response.re) {
            let question = self.questions.remove(place);
            // The same question under the other epoch has done its work.
            self.questions.retain(|other| other.handle != question.handle);
            self.learn(&response, now);
            if epoch == Under::Present {
                self.note_present(question.handle);
            }
            self.handle_status_response(path, question, response, now);
        } else {
            return self.handle_further_answer(path, response.re, now);
        }
        self.send_waiting(now, rng);
        Verdict::Answer
    }

    fn handle_command_response(
        &mut self,
        path: Path,
        command: Command,
        response: Response<'_>,
        current: bool,
        now: Micros,
        rng: &mut dyn CryptoRng,
    ) {
        let Command { exchange, mut wish, boot, ts, .. } = command;
        let round_trip = now.since(exchange.sent_at);
        self.remember(exchange.answered(path));
        match wish.what {
            What::Operation(_) => {}
            What::Init if response.rc == ReturnCode::Stale => {}
            What::Init => return self.end_update(wish.handle, response.rc),
            // Whatever the answer says: it is sealed under the next epoch, so that one is in force.
            What::Commit => return,
        }
        if response.rc != ReturnCode::Stale {
            let result = response.r.map(|r| r.get().to_owned());
            let state = self.newest(response.st);
            let handle = wish.handle;
            self.events.push_back(ControllerEvent::Answered {
                handle,
                rc: response.rc,
                state,
                result,
                round_trip,
                path,
            });
            return;
        }
        // It has not run and never can: its time is over in its own boot, or that boot was over when it
        // was sent. The second compares two clocks, hence the margin for their drift.
        let void = if response.boot == boot {
            response.ts >= ts
        } else {
            current && response.ts.since(Micros::ZERO) > round_trip + DRIFT
        };
        if wish.refused || !void {
            match &wish.what {
                What::Operation(_) => self.end_unknown(wish.handle, now, rng),
                what => self.end_unanswered(what, now, rng),
            }
        } else if wish.is_urgent() {
            wish.refused = true;
            self.urgent = Some(wish);
        } else if self.waiting.is_some() {
            self.events.push_back(ControllerEvent::Replaced { handle: wish.handle });
        } else {
            // A new message, once.
            wish.refused = true;
            self.waiting = Some(wish);
        }
    }

    fn handle_status_response(&mut self, path: Path, question: Exchange, response: Response<'_>, now: Micros) {
        let round_trip = now.since(question.sent_at);
        let handle = question.handle;
        self.remember(question.answered(path));
        let held = self.held.take_if(|held| held.question == handle);
        let state = self.newest(response.st);
        let result = response.r.map(|r| r.get().to_owned());
        self.events.push_back(ControllerEvent::Status { handle, rc: response.rc, state, result, round_trip, path });
        if let Some(held) = held {
            let verdict = self.judge(held.boot, held.ts, held.state, held.told, now);
            self.counts.count(verdict);
        }
    }

    /// Not the first answer: by the other path it shows that both work (SecT STEP 15).
    fn handle_further_answer(&mut self, path: Path, re: RequestId, now: Micros) -> Verdict {
        match self.answered.iter_mut().find(|answered| answered.re == re) {
            Some(answered) if answered.path != path && !answered.second_path => {
                answered.second_path = true;
                let round_trip = now.since(answered.sent_at);
                self.events.push_back(ControllerEvent::BothPaths { handle: answered.handle, path, round_trip });
                Verdict::SecondPath
            }
            Some(_) => Verdict::Ignored(Ignored::AnsweredBefore),
            None => Verdict::Ignored(Ignored::NotOutstanding),
        }
    }

    fn handle_event(&mut self, event: Event<'_>, now: Micros, rng: &mut dyn CryptoRng) -> Verdict {
        let told = match EVENTS_TOLD.into_iter().find(|k| *k == event.k) {
            Some(k) => Some(Told { k, d: event.d.map(|d| d.get().to_owned()) }),
            None if event.k == EVENT_STATE => None,
            None => return Verdict::Ignored(Ignored::EventUnknown),
        };
        match self.clock.estimate(now) {
            Some((boot, _)) if boot == event.boot => self.judge(event.boot, event.ts, event.st, told, now),
            _ if self.held.is_some() || self.clock.has_left(event.boot) => Verdict::Ignored(Ignored::EventOfOtherBoot),
            _ => {
                let question = self.ask(now, rng);
                self.held = Some(Held { question, boot: event.boot, ts: event.ts, state: event.st, told });
                Verdict::Held
            }
        }
    }

    /// Judges an event by what is known now.
    fn judge(&mut self, boot: Boot, ts: Micros, state: State, told: Option<Told>, now: Micros) -> Verdict {
        let Some((_, estimate)) = self.clock.estimate(now).filter(|(known, _)| *known == boot) else {
            return Verdict::Ignored(Ignored::EventOfOtherBoot);
        };
        match self.filter.judge(boot, ts, estimate) {
            Ok(()) => {
                let changed = self.shown.as_ref().is_none_or(|shown| shown.state != state);
                // Any event carries the state; only one that tells nothing else is news when that is the same.
                if self.show(boot, ts, &state) && (changed || told.is_none()) {
                    self.events.push_back(ControllerEvent::StateChanged { state, ts });
                }
                if let Some(Told { k, d }) = told {
                    self.events.push_back(ControllerEvent::Told { k, d });
                }
                Verdict::Event
            }
            Err(ignored) => Verdict::Ignored(ignored),
        }
    }

    /// Learns time and state from the first answer; false for an answer of a start that is over.
    fn learn(&mut self, response: &Response<'_>, now: Micros) -> bool {
        let current = self.clock.learn(response.boot, response.ts, now);
        if current {
            self.show(response.boot, response.ts, &response.st);
        }
        current
    }

    /// Keeps the state of the highest time; true when this is it.
    fn show(&mut self, boot: Boot, ts: Micros, state: &State) -> bool {
        let newest = self.shown.as_ref().is_none_or(|shown| shown.boot != boot || shown.ts < ts);
        if newest {
            self.shown = Some(Shown { boot, ts, state: state.clone() });
        }
        newest
    }

    /// What to show beside an answer that says `state`.
    fn newest(&self, state: State) -> State {
        self.shown.as_ref().map_or(state, |shown| shown.state.clone())
    }

    /// A `status` stayed without an answer.
    fn handle_silence(&mut self, question: RequestHandle, now: Micros) {
        if let Some(held) = self.held.take_if(|held| held.question == question) {
            drop(held);
            self.counts.count(Verdict::Ignored(Ignored::EventOfOtherBoot));
        }
        self.events.push_back(ControllerEvent::StatusUnanswered { handle: question });
        // A wish that came late to this question gets one of its own.
        let given_up = |wish: &mut Wish| wish.question == Some(question) && now.since(wish.since) >= WAIT;
        if let Some(wish) = self.waiting.take_if(given_up) {
            self.events.push_back(ControllerEvent::NotSent { handle: wish.handle });
        }
        self.end_silent(question);
        if let Some(wish) = self.urgent.take_if(given_up) {
            self.end_unsent(wish.handle);
        }
    }

    /// Nobody knows what became of a command: the state is asked for.
    fn end_unknown(&mut self, handle: RequestHandle, now: Micros, rng: &mut dyn CryptoRng) {
        let question = self.ask(now, rng);
        self.events.push_back(ControllerEvent::Unknown { handle, question });
    }

    /// Sends the wish that waits, if its turn has come; asks `status` first where thing time is unknown.
    fn send_waiting(&mut self, now: Micros, rng: &mut dyn CryptoRng) {
        if self.command.is_some() || self.is_persisting() {
            return;
        }
        let Some(mut wish) = self.urgent.take().or_else(|| self.waiting.take()) else { return };
        // Only `rk.com` is sent before it is known which epoch the thing has.
        let epoch_known = self.candidate.is_none() || self.present_answers || matches!(wish.what, What::Commit);
        if let Some((boot, ts)) = epoch_known.then(|| self.clock.stamp(now)).flatten() {
            self.command = Some(self.seal(wish, (boot, ts), now, rng));
        } else {
            let waits_for = |question: &Exchange| wish.question == Some(question.handle);
            if !self.questions.iter().any(waits_for) {
                let under_way = self.questions.last().map(|question| question.handle);
                wish.question = Some(under_way.unwrap_or_else(|| self.ask(now, rng)));
            }
            if wish.is_urgent() {
                self.urgent = Some(wish);
            } else {
                self.waiting = Some(wish);
            }
        }
    }

    fn seal(&self, wish: Wish, (boot, ts): (Boot, Micros), now: Micros, rng: &mut dyn CryptoRng) -> Command {
        let epoch = self.chain.epoch.saturating_add(1);
        let (text, keys, ephemeral) = match &wish.what {
            What::Operation(operation) => (operation.command(boot, ts), &self.keys, None),
            What::Init => {
                let ephemeral = Ephemeral::random(rng);
                (json::encode(&Init { boot, ts, epoch, x: ephemeral.public() }), &self.keys, Some(ephemeral))
            }
            What::Commit => {
                (json::encode(&Commit { boot, ts, epoch }), self.candidate.as_ref().unwrap_or(&self.keys), None)
            }
        };
        let payload = keys.c2t.seal(&text, rng).expect("names and limits keep a command below 1983 bytes");
        Command { exchange: Exchange::new(wish.handle, payload, now), wish, boot, ts, ephemeral }
    }

    fn remember(&mut self, answered: Answered) {
        if self.answered.len() == MAX_ANSWERED {
            self.answered.pop_front();
        }
        self.answered.push_back(answered);
    }

    fn draw_handle(&mut self) -> RequestHandle {
        self.next_handle += 1;
        RequestHandle(self.next_handle)
    }
}
