//! A world in a box: one real thing's machine and several real controllers' machines on one virtual clock, with
//! a network between them that loses, repeats, delays and reorders, and a power supply that fails wherever
//! something is persisted.
//!
//! All chance comes from one seed: the same seed plays the same story, and a story that breaks a promise names
//! its seed. The world plays the shells' part and nothing more: what a machine asks for is done, late or never.

// Each test crate uses its own part of it.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "a test's own workshop")]

pub mod dice;
mod exam;
mod guests;
mod home;
mod judge;
mod networks;
mod people;
mod person;
mod plug;
mod remote;
mod secrets;
mod story;
pub mod weather;

use std::collections::{BTreeMap, BTreeSet};

use sect::proto::action::{Press, SessionId};
use sect::proto::certificate::ThingIdentity;
use sect::proto::cloud::Registry;
use sect::proto::id::{Cid, SpkiHash, ThingId};
use sect::proto::pairing::message::CloudServer;
use sect::proto::record::{ControllerRecord, Household};
use sect::proto::recovery::RecoveryCode;
use sect::proto::wifi::HomeNetwork;

use self::dice::Dice;
use self::guests::Invited;
use self::home::{Report, Session};
use self::judge::{Judge, WishId};
use self::person::Person;
use self::plug::Plug;
use self::weather::{SECOND, Time, Weather};

/// A fault that is built into the machines' surroundings, to see that the judge notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mutation {
    /// None: this must hold.
    #[default]
    None,
    /// A power cut takes the last write of the thing's store along, if it is less than 60 s old.
    StoreForgets,
    /// The keyring says that it has written, and has not.
    KeyringForgets,
    /// The thing is told to take the next master key, and that stands in no keyring yet.
    CandidateIsNotKept,
    /// Each repetition of a command is sealed anew.
    RepeatsAreNewCommands,
    /// The thing's time is that of a wall clock, and its `boot` is always the same.
    BootNeverChanges,
}

/// What happens next, and to whom.
#[derive(Debug)]
enum Happening {
    /// The story goes on.
    Step,
    /// The weather clears up; some time later everybody is examined.
    Heal,
    Examine(usize),
    Examined {
        person: usize,
        wish: WishId,
        record: Option<Box<ControllerRecord>>,
    },
    Judge,
    PowerCut,
    PlugHasPower,
    AppHasPower(usize),
    Pressed(Press),
    Radio {
        order: u64,
        report: Report,
    },
    RouterIsBack,
    Dial {
        person: usize,
        attempt: u64,
    },
    Knock {
        person: usize,
        attempt: u64,
    },
    Welcome {
        person: usize,
        attempt: u64,
        session: SessionId,
    },
    Refused {
        person: usize,
        attempt: u64,
    },
    ToPlug {
        session: SessionId,
        payload: Vec<u8>,
    },
    ToApp {
        session: SessionId,
        payload: Vec<u8>,
    },
    Acknowledged {
        session: SessionId,
        messages: u64,
    },
    PlugLoses(SessionId),
    AppLoses(SessionId),
    LinkUp {
        link: u64,
    },
    LinkDown {
        link: u64,
    },
    Subscribed {
        link: u64,
        topic: String,
    },
    Registers {
        link: u64,
        payload: Vec<u8>,
    },
    CloudToPlug {
        link: u64,
        topic: String,
        payload: Vec<u8>,
    },
    CloudToApp {
        person: usize,
        topic: String,
        payload: Vec<u8>,
    },
}

/// The world.
pub struct World {
    seed: u64,
    mutation: Mutation,
    weather: Weather,
    /// Fate.
    dice: Dice,
    /// What the machines take for the operating system's random numbers.
    rng: Dice,
    now: Time,
    agenda: BTreeMap<(Time, u64), Happening>,
    happened: u64,
    plug: Plug,
    thing: ThingId,
    people: Vec<Person>,
    sessions: BTreeMap<SessionId, Session>,
    last_session: u64,
    /// The networks of the house; the first is the one that people give to the plug.
    air: Vec<HomeNetwork>,
    /// Routers that were replaced.
    routers: u64,
    router_is_up: bool,
    server: CloudServer,
    registry: Registry,
    /// What the cloud server has carried, for a hostile one to say again.
    overheard: Vec<(String, Vec<u8>)>,
    judge: Judge,
    /// The wish whose message the thing has before it.
    handled: Option<judge::Carried>,
    /// Where that message's sender may be answered.
    answers_on: Option<String>,
    /// The household before the machine's last call.
    earlier: Option<Household>,
    invitations: Vec<Invited>,
    /// Every recovery code that was ever put on paper.
    papers: Vec<RecoveryCode>,
    /// Whether an owner has given the plug up, until it is nobody's.
    given_up: bool,
    /// Controllers that were removed, or whose plug was given up.
    released: BTreeSet<Cid>,
    steps: story::Story,
    wrong: Option<String>,
    trace: Option<Vec<String>>,
}

/// What a seed came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tale {
    /// Steps of the story that were possible.
    pub steps: u64,
    /// Everything that happened to a machine.
    pub happenings: u64,
    /// Power cuts of the thing.
    pub power_cuts: u64,
    /// Deaths of a controller.
    pub deaths: u64,
    /// Wishes, and how many of them switched the load.
    pub wishes: u64,
    pub clicks: u64,
    /// Virtual seconds.
    pub seconds: u64,
    /// How often each kind of step was taken.
    pub taken: BTreeMap<String, u64>,
}

/// A promise that was broken.
#[derive(Debug, Clone)]
pub struct Broken {
    pub seed: u64,
    pub what: String,
    pub trace: Vec<String>,
}

/// Plays one seed. A broken promise is played once more, to be told.
pub fn play(seed: u64, mutation: Mutation) -> Result<Tale, Box<Broken>> {
    match World::new(seed, mutation, false).run() {
        Ok(tale) => Ok(tale),
        Err(_) => Err(World::new(seed, mutation, true).run().err().unwrap_or_else(|| {
            let what = "the same seed broke a promise once, and once not".to_owned();
            Box::new(Broken { seed, what, trace: Vec::new() })
        })),
    }
}

/// A network and what opens it.
fn network(ssid: &str, psk: &str) -> HomeNetwork {
    HomeNetwork { ssid: ssid.parse().expect("valid"), psk: psk.parse().expect("valid") }
}

/// The whole of one seed, told.
pub fn tell(seed: u64) -> Vec<String> {
    let mut world = World::new(seed, Mutation::None, true);
    let _tale = world.play_on();
    world.trace.unwrap_or_default()
}

impl World {
    fn new(seed: u64, mutation: Mutation, is_told: bool) -> Self {
        let mut dice = Dice::new(seed);
        let weather = Weather::draw(&mut dice);
        let mut rng = Dice::new(!seed);
        let identity = ThingIdentity::create(&mut rng);
        let people = ["Ana", "Ben", "Cleo", "Dora"].map(|name| Person::new(name, &mut dice)).into();
        let air = vec![network("home", "correct horse"), network("garden", "battery staple")];
        let server = CloudServer { host: "cloud.example".into(), port: 8884, pin: SpkiHash::new([5; 32]) };
        Self {
            seed,
            mutation,
            steps: story::Story::draw(&mut dice),
            weather,
            dice,
            rng,
            now: 0,
            agenda: BTreeMap::new(),
            happened: 0,
            thing: identity.id(),
            plug: Plug::new(identity.to_stored()),
            people,
            sessions: BTreeMap::new(),
            last_session: 0,
            air,
            routers: 0,
            router_is_up: true,
            server,
            registry: Registry::default(),
            overheard: Vec::new(),
            judge: Judge::default(),
            handled: None,
            answers_on: None,
            earlier: None,
            given_up: false,
            invitations: Vec::new(),
            papers: Vec::new(),
            released: BTreeSet::new(),
            wrong: None,
            trace: is_told.then(Vec::new),
        }
    }

    fn run(mut self) -> Result<Tale, Box<Broken>> {
        let tale = self.play_on();
        match self.wrong {
            None => Ok(tale),
            Some(what) => Err(Box::new(Broken { seed: self.seed, what, trace: self.trace.unwrap_or_default() })),
        }
    }

    fn play_on(&mut self) -> Tale {
        self.note(|world| format!("{:?}", world.weather));
        self.power_on();
        for person in 0..self.people.len() {
            self.start_app(person);
        }
        self.plan(SECOND, Happening::Step);
        let mut still = 0;
        while self.wrong.is_none() {
            let before = self.now;
            if !self.happen_next() {
                break;
            }
            still = if self.now == before { still + 1 } else { 0 };
            if still > 5000 {
                self.accuse("time stands still".into());
            }
        }
        let mut tale = std::mem::take(&mut self.steps.tale);
        tale.happenings = self.happened;
        tale.wishes = self.judge.wishes.len() as u64;
        tale.clicks = self.judge.wishes.iter().map(|wish| u64::from(wish.clicks)).sum();
        tale.seconds = self.now / SECOND;
        tale
    }

    /// The next entry of the agenda or the next timer; false when the story is over.
    fn happen_next(&mut self) -> bool {
        let planned = self.agenda.keys().next().map(|(at, _)| *at);
        let plug = self.plug_alarm();
        let app = (0..self.people.len()).filter_map(|person| Some((self.app_alarm(person)?, person))).min();
        if self.steps.is_over {
            return false;
        }
        let first = planned.into_iter().chain(plug).chain(app.map(|(at, _)| at)).min();
        let Some(first) = first else { return false };
        self.now = self.now.max(first);
        self.happened += 1;
        if planned == Some(first) {
            let (_, happening) = self.agenda.pop_first().expect("it has a first entry");
            self.happen(happening);
        } else if plug == Some(first) {
            self.with_thing(|thing, now, ports| thing.handle_timeout(now, ports));
        } else if let Some((_, person)) = app {
            self.wake_app(person);
        }
        true
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Step => self.take_step(),
            Happening::Heal => self.heal(),
            Happening::Examine(person) => self.examine(person),
            Happening::Examined { person, wish, record } => self.examined(person, wish, record),
            Happening::Judge => self.judge_all(),
            Happening::PowerCut => self.plug_dies("soon after a write"),
            Happening::PlugHasPower => self.power_on(),
            Happening::AppHasPower(person) => self.start_app(person),
            Happening::Pressed(press) => self.with_thing(|thing, now, ports| thing.handle_press(press, now, ports)),
            Happening::Radio { order, report } => self.radio_reports(order, report),
            Happening::RouterIsBack => self.router_comes_back(),
            Happening::Dial { person, attempt } => self.dial(person, attempt),
            Happening::Knock { person, attempt } => self.knock(person, attempt),
            Happening::Welcome { person, attempt, session } => self.welcomed(person, attempt, session),
            Happening::Refused { person, attempt } => self.refused(person, attempt),
            Happening::ToPlug { session, payload } => self.arrive_at_plug(session, payload),
            Happening::ToApp { session, payload } => self.arrive_at_app(session, &payload),
            Happening::Acknowledged { session, messages } => self.acknowledged(session, messages),
            Happening::PlugLoses(session) => self.plug_loses(session),
            Happening::AppLoses(session) => self.app_loses(session),
            Happening::LinkUp { link } => self.link_comes_up(link),
            Happening::LinkDown { link } => self.link_breaks(link),
            Happening::Subscribed { link, topic } => self.cloud_subscribed(link, topic),
            Happening::Registers { link, payload } => self.cloud_registers(link, &payload),
            Happening::CloudToPlug { link, topic, payload } => self.cloud_to_plug(link, &topic, payload),
            Happening::CloudToApp { person, topic, payload } => self.cloud_to_app(person, &topic, &payload),
        }
    }

    /// Puts something on the agenda, so much later.
    fn plan(&mut self, wait: Time, happening: Happening) {
        // What happens at the same moment happens in any order.
        let order = self.dice.draw() >> 16 << 16 | (self.happened & 0xffff);
        let mut key = (self.now + wait, order);
        while self.agenda.contains_key(&key) {
            key.1 = key.1.wrapping_add(1);
        }
        self.agenda.insert(key, happening);
    }

    /// How long a message takes that is not lost.
    fn delay(&mut self) -> Time {
        if self.dice.chance(self.weather.withheld) {
            self.dice.between(SECOND, 45 * SECOND)
        } else {
            self.dice.between(500, self.weather.delay.max(1000))
        }
    }

    /// Plans what may be lost, doubled, delayed and overtaken.
    fn send(&mut self, happening: impl Fn() -> Happening) {
        if self.dice.chance(self.weather.lost) {
            return;
        }
        for _ in 0..=u64::from(self.dice.chance(self.weather.doubled)) {
            let delay = self.delay();
            self.plan(delay, happening());
        }
    }

    fn accuse(&mut self, what: String) {
        self.note(|_| format!("WRONG: {what}"));
        self.wrong.get_or_insert(what);
    }

    fn note(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = format!("{:>12.6} {}", self.now as f64 / SECOND as f64, what(self));
            if let Some(trace) = &mut self.trace {
                trace.push(line);
            }
        }
    }
}

impl Tale {
    /// Both together.
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.happenings += other.happenings;
        self.power_cuts += other.power_cuts;
        self.deaths += other.deaths;
        self.wishes += other.wishes;
        self.clicks += other.clicks;
        self.seconds += other.seconds;
        for (step, times) in &other.taken {
            *self.taken.entry(step.clone()).or_default() += times;
        }
    }
}
