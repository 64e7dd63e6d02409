//! The controller over two bad paths: whatever is lost, doubled, overtaken or withheld, every wish ends
//! in time, runs at most once and never after a newer one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;

use super::super::*;
use super::thing::{Mix, Thing, chain};
use crate::proto::envelope::request_id;
use crate::proto::id::RequestId;

/// A restart may take no time at all.
const RESTART: u64 = 0;

/// What the network and the house do to a run.
#[derive(Debug, Clone)]
struct Weather {
    seed: u64,
    /// Of 100 transmissions.
    lost: u64,
    /// Of 100 that arrive.
    doubled: u64,
    /// Of 100 that arrive: up to 40 s late.
    withheld: u64,
    /// Up to this late otherwise, in microseconds.
    delay: u64,
    /// The controller's clock, in millionths of the thing's.
    rate: u64,
    /// When the user wishes what, in milliseconds.
    wishes: Vec<(u64, bool)>,
    /// When the thing restarts.
    boots: Vec<u64>,
    /// When somebody presses the button.
    presses: Vec<u64>,
}

fn weather() -> impl Strategy<Value = Weather> {
    let moments = |most| proptest::collection::vec(0..90_000_u64, 0..most);
    let wishes = proptest::collection::vec((0..90_000_u64, any::<bool>()), 1..12);
    let numbers = (any::<u64>(), 0..=70_u64, 0..=50_u64, 0..=40_u64, 1..3_000_000_u64, 950_000..=1_050_000_u64);
    (numbers, wishes, moments(5), moments(5)).prop_map(
        |((seed, lost, doubled, withheld, delay, rate), wishes, boots, presses)| Weather {
            seed,
            lost,
            doubled,
            withheld,
            delay,
            rate,
            wishes,
            boots,
            presses,
        },
    )
}

enum Happening {
    Wish(bool),
    Boot,
    Press,
    ToThing(Vec<u8>),
    ToController(Path, Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Answered(ReturnCode),
    Unknown(RequestHandle),
    NotSent,
    Replaced,
}

/// One run, with all that it has seen.
struct Run {
    weather: Weather,
    dice: Mix,
    rng: Mix,
    clock: u64,
    agenda: BTreeMap<(u64, u64), Happening>,
    controller: Controller,
    thing: Thing,
    /// Until then the thing is down and hears nothing.
    up_at: u64,
    begun: BTreeMap<RequestHandle, Micros>,
    ends: BTreeMap<RequestHandle, (End, Micros)>,
    questions: BTreeMap<RequestHandle, Micros>,
    payloads: BTreeMap<RequestHandle, BTreeSet<RequestId>>,
}

impl Run {
    fn new(weather: Weather) -> Self {
        let mut run = Self {
            dice: Mix::new(weather.seed),
            rng: Mix::new(!weather.seed),
            clock: 0,
            agenda: BTreeMap::new(),
            controller: Controller::new(chain()),
            thing: Thing::new(),
            up_at: 0,
            begun: BTreeMap::new(),
            ends: BTreeMap::new(),
            questions: BTreeMap::new(),
            payloads: BTreeMap::new(),
            weather,
        };
        run.thing.boot(0);
        for (at, on) in run.weather.wishes.clone() {
            run.plan(at * 1000, Happening::Wish(on));
        }
        for at in run.weather.boots.clone() {
            run.plan(at * 1000, Happening::Boot);
        }
        for at in run.weather.presses.clone() {
            run.plan(at * 1000, Happening::Press);
        }
        run
    }

    fn now(&self) -> Micros {
        Micros::new(7_000_000 + self.clock * self.weather.rate / 1_000_000)
    }

    /// The first moment at which the controller's clock shows `at`.
    fn moment(&self, at: Micros) -> u64 {
        ((at.get() - 7_000_000) * 1_000_000).div_ceil(self.weather.rate)
    }

    fn plan(&mut self, at: u64, happening: Happening) {
        let number = u64::try_from(self.agenda.len()).expect("small") << 32 | self.dice.draw() >> 32;
        self.agenda.insert((at, number), happening);
    }

    fn chance(&mut self, of_100: u64) -> bool {
        self.dice.draw() % 100 < of_100
    }

    /// Sends by one path; it may arrive never, later, or twice.
    fn send(&mut self, happening: impl Fn() -> Happening) {
        if self.chance(self.weather.lost) {
            return;
        }
        for _ in 0..=u64::from(self.chance(self.weather.doubled)) {
            let longest = if self.chance(self.weather.withheld) { 40_000_000 } else { self.weather.delay };
            let delay = self.dice.draw() % longest;
            self.plan(self.clock + delay, happening());
        }
    }

    fn send_to_controller(&mut self, payload: &[u8]) {
        for path in [Path::Local, Path::Cloud] {
            self.send(|| Happening::ToController(path, payload.to_vec()));
        }
    }

    fn run(&mut self) {
        loop {
            let next = self.agenda.keys().next().map(|(at, _)| *at);
            let timer = self.controller.poll_timeout().map(|at| self.moment(at));
            match (next, timer) {
                (None, None) => return,
                (Some(at), timer) if timer.is_none_or(|timer| at <= timer) => {
                    self.clock = self.clock.max(at);
                    let (_, happening) = self.agenda.pop_first().expect("it is not empty");
                    self.happen(happening);
                }
                (_, Some(timer)) => {
                    assert!(timer > self.clock, "the timer stands still");
                    self.clock = timer;
                    let now = self.now();
                    self.controller.handle_timeout(now, &mut self.rng);
                }
                (Some(_), None) => unreachable!("the guard before takes it"),
            }
            self.observe();
        }
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now();
        match happening {
            Happening::Wish(on) => {
                let handle = self.controller.request(Operation::outlet(on), now, &mut self.rng);
                self.begun.insert(handle, now);
            }
            Happening::Boot => {
                self.up_at = self.clock + RESTART;
                self.thing.boot(self.up_at);
            }
            Happening::Press | Happening::ToThing(_) if self.clock < self.up_at => {}
            Happening::Press => {
                let event = self.thing.switch(true, self.clock);
                self.send_to_controller(&event);
            }
            Happening::ToThing(payload) => {
                if let Some(answer) = self.thing.handle(&payload, self.clock) {
                    self.send_to_controller(&answer);
                }
            }
            Happening::ToController(path, payload) => {
                let _counted = self.controller.handle_message(path, &payload, now, &mut self.rng);
            }
        }
    }

    fn observe(&mut self) {
        let now = self.now();
        while let Some(transmit) = self.controller.poll_transmit(now) {
            let re = request_id(&transmit.payload);
            self.payloads.entry(transmit.handle).or_default().insert(re);
            for _path in [Path::Local, Path::Cloud] {
                self.send(|| Happening::ToThing(transmit.payload.clone()));
            }
        }
        while let Some(event) = self.controller.poll_event() {
            let (handle, end) = match event {
                ControllerEvent::Answered { handle, rc, round_trip, .. } => {
                    assert!(round_trip < WAIT, "an answer counted after {round_trip:?}");
                    (handle, End::Answered(rc))
                }
                ControllerEvent::Unknown { handle, question } => (handle, End::Unknown(question)),
                ControllerEvent::NotSent { handle } => (handle, End::NotSent),
                ControllerEvent::Replaced { handle } => (handle, End::Replaced),
                ControllerEvent::Status { handle, .. } | ControllerEvent::StatusUnanswered { handle } => {
                    assert_eq!(self.questions.insert(handle, now), None, "a question ended twice");
                    continue;
                }
                ControllerEvent::Persist { .. }
                | ControllerEvent::KeysUpdated { .. }
                | ControllerEvent::UpdateRefused { .. }
                | ControllerEvent::UpdateUnanswered { .. } => unreachable!("no key is updated here"),
                ControllerEvent::BothPaths { .. } | ControllerEvent::Told { .. } => {
                    continue;
                }
                ControllerEvent::StateChanged { state, ts } => {
                    assert_eq!(self.controller.state(), Some((&state, ts)), "an older state was shown");
                    continue;
                }
            };
            assert_eq!(self.ends.insert(handle, (end, now)), None, "a wish ended twice");
        }
    }

    fn judge(&mut self) {
        // The tick of a timer is rounded up to a microsecond of either clock.
        let slack = Duration::from_millis(1);
        for (handle, begun) in &self.begun {
            let Some((end, ended)) = self.ends.get(handle) else { panic!("{handle:?} never ended") };
            // Behind another command: its 10 s and those of its retry; then the same again.
            assert!(ended.since(*begun) <= 4 * WAIT + slack, "{handle:?} took {:?}", ended.since(*begun));
            if let End::Unknown(question) = end {
                let told = self.questions.get(question).expect("the state was asked for, and that ended");
                assert!(told.since(*ended) <= WAIT + slack);
            }
        }
        assert_eq!(self.ends.len(), self.begun.len());

        let nothing = BTreeSet::new();
        let mut order = Vec::new();
        for (re, _) in self.thing.runs() {
            let (handle, _) = self.payloads.iter().find(|(_, sent)| sent.contains(re)).expect("the controller sent it");
            order.push(*handle);
        }
        assert!(order.is_sorted_by(|earlier, later| earlier < later), "twice or out of order: {order:?}");
        for (handle, (end, _)) in &self.ends {
            let (runs, sent) = (order.contains(handle), self.payloads.get(handle).unwrap_or(&nothing).len());
            match end {
                End::Answered(rc) => assert_eq!((*rc, runs), (ReturnCode::Ok, true)),
                End::Unknown(_) => assert!((1..=2).contains(&sent)),
                End::NotSent => assert_eq!((runs, sent), (false, 0)),
                End::Replaced => assert!(!runs && sent <= 1, "a replaced wish ran"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_weather_a_wish_ends_in_time_and_runs_at_most_once(weather in weather()) {
        let mut run = Run::new(weather);
        run.run();
        run.judge();

        // The weather clears: one question shows what is.
        let now = run.now();
        run.controller.ask_status(now, &mut run.rng);
        let question = run.controller.poll_transmit(now).expect("it goes out at once");
        let answer = run.thing.handle(&question.payload, run.clock.max(run.up_at)).expect("an answer");
        prop_assert_eq!(run.controller.handle_message(Path::Local, &answer, now, &mut run.rng), Verdict::Answer);
        prop_assert_eq!(run.controller.state().map(|(state, _)| state), Some(&run.thing.state()));
    }
}

#[test]
fn in_fair_weather_every_wish_that_is_not_replaced_runs() {
    let wishes: Vec<_> = (0..40).map(|n| (n * 1000, n % 2 == 0)).collect();
    let weather = Weather {
        seed: 1,
        lost: 0,
        doubled: 0,
        withheld: 0,
        delay: 100_000,
        rate: 1_000_000,
        wishes,
        boots: vec![],
        presses: vec![],
    };
    let mut run = Run::new(weather);
    run.run();
    run.judge();
    assert!(run.ends.values().all(|(end, _)| *end == End::Answered(ReturnCode::Ok)));
    assert_eq!(run.thing.executed().len(), 40);
}
