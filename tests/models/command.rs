//! Command acceptance as a model: one wish of the user, its bytes again and again, a network that keeps
//! everything and gives it back when it likes, and a thing that restarts (protocol sections 6.2 and 6.3).
//!
//! Time moves in steps of 5 s, half the wait for an answer. A message that was sent once may arrive at any time
//! from then on, any number of times or never.

use stateright::{Checker, Model, Property};

/// Seconds in one step.
const TICK: u8 = 5;
/// How long an answer counts.
const PATIENCE: u8 = 10;
/// How far a command may lie behind thing time.
const BEHIND: u8 = 30;
/// How long the model watches.
const HORIZON: u8 = 8;

/// Where the two sides may be naive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    /// As the protocol says.
    AsSpecified,
    /// The thing judges by a wall clock instead of its own start, and has forgotten at a restart what it ran.
    WallClock,
    /// The thing keeps no answers: a repetition is STALE.
    NoAnswerCache,
    /// The controller takes any STALE for leave to send the wish again.
    AnyStaleIsVoid,
    /// The thing accepts a command of whatever age.
    NoAge,
}

/// A command as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Command {
    /// The start that it is meant for.
    boot: u8,
    /// When it was made, in the time that the variant goes by.
    ts: u8,
    /// When it was sent first, in true time.
    sent_at: u8,
}

/// What comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Answer {
    Done { to: Command },
    Stale { to: Command, boot: u8, ts: u8 },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// True time in steps.
    now: u8,
    boot: u8,
    /// When this start of the thing was.
    booted_at: u8,
    last_accepted: Option<u8>,
    cache: Vec<Command>,
    /// How often the wish has run, and whether ever later than it may.
    runs: u8,
    late: bool,
    /// Which start the controller knows of, and when that was.
    known: (u8, u8),
    /// The command that waits for its answer.
    waits_for: Option<Command>,
    /// How often the wish was sent as a new message.
    messages: u8,
    commands: Vec<Command>,
    /// Those that would count: to the command that waits.
    answers: Vec<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The user wishes.
    Wish,
    /// 5 s pass, and the controller gives up what has waited for 10 s.
    Wait,
    Arrive(Command),
    Return(Answer),
    /// The thing loses its power.
    Restart,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Acceptance {
    pub(crate) variant: Variant,
}

fn insert<T: Ord>(list: &mut Vec<T>, item: T) {
    if let Err(place) = list.binary_search(&item) {
        list.insert(place, item);
    }
}

impl Acceptance {
    /// Thing time, or what a naive thing takes for it.
    fn thing_time(self, state: &State) -> u8 {
        let since = if self.variant == Variant::WallClock { 0 } else { state.booted_at };
        (state.now - since) * TICK
    }

    fn send(self, state: &mut State) {
        let (boot, booted_at) = if self.variant == Variant::WallClock { (0, 0) } else { state.known };
        let estimate = (state.now - booted_at) * TICK;
        let last = state.commands.iter().filter(|sent| sent.boot == boot).map(|sent| sent.ts).max();
        let ts = estimate.max(last.map_or(0, |last| last + 1));
        let command = Command { boot, ts, sent_at: state.now };
        state.waits_for = Some(command);
        state.answers.clear();
        state.messages += 1;
        insert(&mut state.commands, command);
    }

    fn arrive(self, state: &mut State, command: Command) {
        if state.cache.contains(&command) {
            return Self::answer(state, Answer::Done { to: command });
        }
        let now = self.thing_time(state);
        let boot = if self.variant == Variant::WallClock { 0 } else { state.boot };
        let young = self.variant == Variant::NoAge || now.saturating_sub(command.ts) <= BEHIND;
        let newer = state.last_accepted.is_none_or(|last| command.ts > last);
        if command.boot != boot || !newer || !young {
            return Self::answer(state, Answer::Stale { to: command, boot, ts: now });
        }
        state.last_accepted = Some(command.ts);
        state.runs += 1;
        state.late |= (state.now - command.sent_at) * TICK > BEHIND;
        if self.variant != Variant::NoAnswerCache {
            insert(&mut state.cache, command);
        }
        Self::answer(state, Answer::Done { to: command });
    }

    /// Answers to what nobody waits for have no effect.
    fn answer(state: &mut State, answer: Answer) {
        let (Answer::Done { to } | Answer::Stale { to, .. }) = answer;
        if state.waits_for == Some(to) {
            insert(&mut state.answers, answer);
        }
    }

    fn hear(self, state: &mut State, answer: Answer) {
        match answer {
            Answer::Done { to } if state.waits_for == Some(to) => {
                state.waits_for = None;
                state.answers.clear();
            }
            Answer::Stale { to, boot, ts } if state.waits_for == Some(to) => {
                state.waits_for = None;
                state.answers.clear();
                // Received now: the start of the thing was `ts` ago. An old answer is a late one, and sets it back.
                state.known = (boot, state.now - (ts / TICK).min(state.now));
                let passed = (state.now - to.sent_at) * TICK;
                // The second compares two clocks; a unit stands for the second of drift.
                let void = if boot == to.boot { ts >= to.ts } else { ts > passed + 1 };
                if (void || self.variant == Variant::AnyStaleIsVoid) && state.messages == 1 {
                    self.send(state);
                }
            }
            Answer::Done { .. } | Answer::Stale { .. } => {}
        }
    }
}

impl Model for Acceptance {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: 0,
            boot: 0,
            booted_at: 0,
            last_accepted: None,
            cache: Vec::new(),
            runs: 0,
            late: false,
            known: (0, 0),
            waits_for: None,
            messages: 0,
            commands: Vec::new(),
            answers: Vec::new(),
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.messages == 0 {
            steps.push(Step::Wish);
        }
        steps.push(Step::Wait);
        steps.extend(state.commands.iter().map(|command| Step::Arrive(*command)));
        steps.extend(state.answers.iter().map(|answer| Step::Return(*answer)));
        if state.boot < 2 {
            steps.push(Step::Restart);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Wish => self.send(&mut state),
            Step::Wait => {
                state.now += 1;
                if state.waits_for.is_some_and(|command| (state.now - command.sent_at) * TICK >= PATIENCE) {
                    state.waits_for = None;
                    state.answers.clear();
                }
            }
            Step::Arrive(command) => self.arrive(&mut state, command),
            Step::Return(answer) => self.hear(&mut state, answer),
            Step::Restart => {
                state.boot += 1;
                state.booted_at = state.now;
                (state.last_accepted, state.cache) = (None, Vec::new());
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("at most once", |_, state: &State| state.runs <= 1),
            Property::always("never later than 30 s", |_, state: &State| !state.late),
            Property::sometimes("it runs", |_, state: &State| state.runs == 1),
            Property::sometimes("it runs as a second message", |_, state: &State| {
                state.runs == 1 && state.messages == 2
            }),
        ]
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.now <= HORIZON
    }
}

#[test]
fn a_wish_runs_at_most_once_and_never_late() {
    let checker = Acceptance { variant: Variant::AsSpecified }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.unique_state_count() > 1000, "{} states", checker.unique_state_count());
}

#[test]
fn each_shortcut_of_acceptance_runs_a_wish_twice_or_late() {
    for (variant, broken) in [
        (Variant::WallClock, "at most once"),
        (Variant::NoAnswerCache, "at most once"),
        (Variant::AnyStaleIsVoid, "at most once"),
        (Variant::NoAge, "never later than 30 s"),
    ] {
        let checker = Acceptance { variant }.checker().spawn_bfs().join();
        let path = checker.discovery(broken).unwrap_or_else(|| panic!("{variant:?} is not seen to fail"));
        let state = path.last_state();
        assert!(state.runs > 1 || state.late, "{variant:?}");
    }
}
