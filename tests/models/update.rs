//! Key update as a model: every order of every message, lost, doubled or late, and a crash of either side
//! between any two steps (protocol section 8).
//!
//! A message that was sent once may arrive at any time from then on, any number of times or never, so that
//! loss, repetition and reordering need no steps of their own. Keys are numbers: what two parties derive from
//! the same two messages is the same key.

use stateright::{Checker, Model, Property};

/// A master key; a fresh agreement gives a key that was never there before.
type Key = u8;

/// Where the two sides may be naive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Variant {
    /// As the protocol says.
    AsSpecified,
    /// The controller sends `rk.com` before it has persisted the candidate.
    CandidateInRamAlone,
    /// The controller forgets the present key as soon as it has the candidate.
    PresentKeyForgotten,
    /// The thing answers `rk.com` before its transaction.
    AnswerBeforeTransaction,
    /// The thing commits when it answers `rk.init`.
    CommitAtInit,
}

/// What travels; each under the key that seals it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Message {
    /// The controller's half, numbered.
    Init { under: Key, number: u8 },
    /// The thing's half: both lead to `next`.
    Accept { under: Key, number: u8, next: Key },
    /// Proof of the next key.
    Commit { under: Key },
    /// A question under some key.
    Status { under: Key },
    /// An answer to anything but `rk.init`.
    Answer { under: Key },
}

/// The thing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Thing {
    /// On the disk.
    pub(crate) key: Key,
    /// In RAM: what a naive one has promised to write.
    unwritten: Option<Key>,
    /// In RAM.
    pub(crate) pending: Option<Key>,
    /// In RAM: which `rk.init` was answered with which key.
    accepted: Option<(u8, Key)>,
}

/// The controller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Controller {
    /// On the disk.
    pub(crate) key: Key,
    /// On the disk.
    pub(crate) candidate: Option<Key>,
    /// In RAM: the candidate of a naive one.
    in_ram: Option<Key>,
    /// In RAM: the last `rk.init`, until it is answered.
    asked: Option<u8>,
    /// In RAM: what `rk.acc` led to, until it is persisted.
    pub(crate) to_persist: Option<Key>,
    /// In RAM: whether the thing has answered under the present key since the candidate was persisted.
    present_answers: bool,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) thing: Thing,
    pub(crate) controller: Controller,
    /// Sorted: all that was ever sent.
    pub(crate) sent: Vec<Message>,
    next_key: Key,
    next_number: u8,
    thing_crashes: u8,
    controller_crashes: u8,
}

/// What may happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The controller begins an update.
    Begin,
    /// It asks `status` under each key that it holds.
    Ask,
    /// It makes the candidate durable, and sends `rk.com`.
    Persist,
    /// It no longer waits for `rk.acc`.
    GiveUp,
    /// This message arrives.
    Arrive(Message),
    /// The naive thing's write, at last.
    Write,
    ThingCrashes,
    ControllerCrashes,
}

/// The model, bounded: so many updates, and crashes of each side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update {
    pub(crate) variant: Variant,
    pub(crate) updates: u8,
    pub(crate) crashes: u8,
}

impl State {
    fn send(&mut self, message: Message) {
        if let Err(place) = self.sent.binary_search(&message) {
            self.sent.insert(place, message);
        }
    }

    /// The thing hears something. `pending` is committed by whatever is under it, before the answer.
    fn thing_hears(&mut self, variant: Variant, message: Message) {
        let (Message::Init { under, .. } | Message::Commit { under } | Message::Status { under }) = message else {
            return;
        };
        let in_force = self.thing.unwritten.unwrap_or(self.thing.key);
        if self.thing.pending == Some(under) {
            self.thing.pending = None;
            self.thing.accepted = None;
            if variant == Variant::AnswerBeforeTransaction {
                self.thing.unwritten = Some(under);
            } else {
                self.thing.key = under;
            }
        } else if in_force != under {
            return;
        }
        let Message::Init { number, .. } = message else { return self.send(Message::Answer { under }) };
        // The answer cache, and the paper's replay rule: an older one is stale.
        let next = match self.thing.accepted {
            Some((known, next)) if known == number => next,
            Some((known, _)) if known > number => return,
            _ => {
                self.next_key += 1;
                self.thing.accepted = Some((number, self.next_key));
                if variant == Variant::CommitAtInit {
                    self.thing.key = self.next_key;
                } else {
                    self.thing.pending = Some(self.next_key);
                }
                self.next_key
            }
        };
        self.send(Message::Accept { under, number, next });
    }

    fn controller_hears(&mut self, variant: Variant, message: Message) {
        let controller = &mut self.controller;
        match message {
            Message::Accept { under, number, next } if controller.key == under && controller.asked == Some(number) => {
                controller.asked = None;
                if variant == Variant::CandidateInRamAlone {
                    controller.in_ram = Some(next);
                    self.send(Message::Commit { under: next });
                } else {
                    controller.to_persist = Some(next);
                }
            }
            Message::Answer { under } if controller.candidate == Some(under) || controller.in_ram == Some(under) => {
                (controller.key, controller.candidate, controller.in_ram) = (under, None, None);
                (controller.asked, controller.to_persist, controller.present_answers) = (None, None, false);
            }
            Message::Answer { under } if controller.key == under => controller.present_answers = true,
            _ => {}
        }
    }

    fn begin(&mut self) {
        self.controller.asked = Some(self.next_number);
        self.send(Message::Init { under: self.controller.key, number: self.next_number });
        self.next_number += 1;
    }

    fn ask(&mut self) {
        let Controller { key, candidate, in_ram, .. } = self.controller;
        for under in [candidate, in_ram, Some(key)].into_iter().flatten() {
            self.send(Message::Status { under });
        }
    }

    fn persist(&mut self, variant: Variant) {
        if let Some(next) = self.controller.to_persist.take() {
            self.controller.candidate = Some(next);
            self.controller.present_answers = false;
            if variant == Variant::PresentKeyForgotten {
                (self.controller.key, self.controller.candidate) = (next, None);
            }
            self.send(Message::Commit { under: next });
        }
    }

    /// Whether an update may begin: with a candidate, only once the thing has answered under the present key.
    fn may_begin(&self) -> bool {
        let controller = &self.controller;
        let idle = controller.asked.is_none() && controller.to_persist.is_none() && controller.in_ram.is_none();
        idle && (controller.candidate.is_none() || controller.present_answers)
    }

    /// Whether the thing can be reached: its key is on the controller's disk.
    pub(crate) fn has_common_key(&self) -> bool {
        let Controller { key, candidate, .. } = self.controller;
        key == self.thing.key || candidate == Some(self.thing.key)
    }

    /// What becomes of it when the weather clears: nothing is lost from now on, and nothing crashes. True when
    /// both have one key then.
    pub(crate) fn recovers(&self, variant: Variant) -> bool {
        let mut state = self.clone();
        for _ in 0..2 {
            state.persist(variant);
            state.controller.asked = None;
            // What is new since then arrives, in order, until nothing is new.
            let old = state.sent.clone();
            // A question that was asked before is asked anew, and so is its answer.
            state.sent.clear();
            state.ask();
            state.deliver(variant);
            if state.controller.candidate.is_some() && state.may_begin() {
                state.begin();
                state.deliver(variant);
                state.persist(variant);
                state.deliver(variant);
            }
            state.sent = old;
        }
        state.controller.candidate.is_none() && state.controller.key == state.thing.key
    }

    fn deliver(&mut self, variant: Variant) {
        let mut delivered: Vec<Message> = Vec::new();
        while let Some(&message) = self.sent.iter().find(|message| !delivered.contains(message)) {
            delivered.push(message);
            self.thing_hears(variant, message);
            if let Some(key) = self.thing.unwritten.take() {
                self.thing.key = key;
            }
            self.controller_hears(variant, message);
        }
    }
}

impl Model for Update {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let thing = Thing { key: 0, unwritten: None, pending: None, accepted: None };
        let controller =
            Controller { key: 0, candidate: None, in_ram: None, asked: None, to_persist: None, present_answers: false };
        let sent = Vec::new();
        vec![State { thing, controller, sent, next_key: 0, next_number: 0, thing_crashes: 0, controller_crashes: 0 }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.next_number < self.updates && state.may_begin() {
            steps.push(Step::Begin);
        }
        if state.controller.candidate.is_some() || state.controller.in_ram.is_some() {
            steps.push(Step::Ask);
        }
        if state.controller.to_persist.is_some() {
            steps.push(Step::Persist);
        }
        if state.controller.asked.is_some() {
            steps.push(Step::GiveUp);
        }
        steps.extend(state.sent.iter().map(|message| Step::Arrive(*message)));
        if state.thing.unwritten.is_some() {
            steps.push(Step::Write);
        }
        if state.thing_crashes < self.crashes {
            steps.push(Step::ThingCrashes);
        }
        if state.controller_crashes < self.crashes {
            steps.push(Step::ControllerCrashes);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Begin => state.begin(),
            Step::Ask => state.ask(),
            Step::Persist => state.persist(self.variant),
            Step::GiveUp => (state.controller.asked, state.controller.present_answers) = (None, false),
            Step::Arrive(message) => {
                state.thing_hears(self.variant, message);
                state.controller_hears(self.variant, message);
            }
            Step::Write => {
                if let Some(key) = state.thing.unwritten.take() {
                    state.thing.key = key;
                }
            }
            Step::ThingCrashes => {
                state.thing_crashes += 1;
                // A new boot: nothing that was meant for the one before is fresh.
                state.sent.retain(|message| !matches!(message, Message::Init { .. }));
                state.thing = Thing { key: state.thing.key, unwritten: None, pending: None, accepted: None };
            }
            Step::ControllerCrashes => {
                state.controller_crashes += 1;
                let Controller { key, candidate, .. } = state.controller;
                state.controller =
                    Controller { key, candidate, in_ram: None, asked: None, to_persist: None, present_answers: false };
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a common key", |_, state: &State| state.has_common_key()),
            Property::always("one key once the weather clears", |model: &Self, state: &State| {
                state.recovers(model.variant)
            }),
            Property::sometimes("an update", |_, state: &State| {
                state.thing.key != 0 && state.controller.key == state.thing.key
            }),
            Property::sometimes("two updates", |_, state: &State| {
                state.thing.key > 1 && state.controller.key == state.thing.key && state.controller.candidate.is_none()
            }),
        ]
    }
}

#[test]
fn a_key_update_never_locks_anybody_out() {
    let checker =
        Update { variant: Variant::AsSpecified, updates: 2, crashes: 1 }.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    assert!(checker.unique_state_count() > 1000, "{} states", checker.unique_state_count());
}

#[test]
fn each_shortcut_of_a_key_update_locks_somebody_out() {
    for variant in [
        Variant::CandidateInRamAlone,
        Variant::PresentKeyForgotten,
        Variant::AnswerBeforeTransaction,
        Variant::CommitAtInit,
    ] {
        let checker = Update { variant, updates: 2, crashes: 1 }.checker().spawn_bfs().join();
        let path = checker.discovery("a common key").or_else(|| checker.discovery("one key once the weather clears"));
        let path = path.unwrap_or_else(|| panic!("{variant:?} is not seen to fail"));
        let state = path.last_state();
        assert!(!state.has_common_key() || !state.recovers(variant), "{variant:?}");
    }
}
