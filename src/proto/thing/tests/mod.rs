//! The machine, driven by hand: what it does, and what it must not do.

use super::*;
use crate::proto::envelope::{EnvelopeKey, Sealed};
use crate::proto::id::Cid;
use crate::proto::json;
use crate::proto::message::{Event, Response, ReturnCode};
use crate::proto::operation::Operation;
use crate::proto::operation::result::NetworkItem;
use crate::proto::passcode::Passcode;
use crate::proto::port::{Air, Journal, Outlet, OutletFault, Vault, VaultFault};
use crate::proto::record::{ControllerRecord, Household, KeyAge, Logged, Note, StoredIdentity};
use crate::proto::signature::SigningKey;
use crate::proto::testing::Counter;
use crate::proto::user::Role;
use crate::proto::wifi::HomeNetwork;

const BOOT: Boot = Boot::new([3; 16]);
const SESSION: SessionId = SessionId(1);

/// The world of one thing: its ports, its clock, and what it asked for.
struct Bench {
    thing: Thing,
    now: Micros,
    outlet: TestOutlet,
    vault: TestVault,
    air: TestAir,
    rng: Counter,
}

/// What the radio saw, by name and strength.
#[derive(Default)]
struct TestAir(Vec<(&'static str, u8)>);

impl Air for TestAir {
    fn seen(&self) -> Vec<NetworkItem> {
        let item = |&(ssid, signal): &(&str, u8)| NetworkItem { ssid: ssid.parse().expect("valid"), signal };
        self.0.iter().map(item).collect()
    }
}

#[derive(Default)]
struct TestOutlet {
    switched: Vec<OutletState>,
    broken: bool,
}

#[derive(Default)]
struct TestVault {
    claims: Vec<Household>,
    saves: Vec<(Household, u64)>,
    remembered: Vec<OutletState>,
    notes: Vec<Note>,
    /// The generation with which a wipe began.
    wiping: Option<u64>,
    wipes: usize,
    broken: bool,
}

impl Outlet for TestOutlet {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        if self.broken {
            return Err(OutletFault);
        }
        self.switched.push(state);
        Ok(())
    }
}

impl TestVault {
    /// The generations that were saved after the claim.
    fn generations(&self) -> Vec<u64> {
        self.saves.iter().map(|(_, generation)| *generation).collect()
    }
}

impl Journal for TestVault {
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    fn read(&mut self, from: u64, cid: Option<&Cid>, limit: usize) -> Result<Vec<Logged>, VaultFault> {
        if self.broken {
            return Err(VaultFault);
        }
        let mut lines: Vec<_> =
            (1..).zip(&self.notes).map(|(place, note)| Logged { place, note: note.clone() }).collect();
        lines.reverse();
        let lines = lines.into_iter().filter(|line| from == 0 || line.place <= from);
        let of = |line: &Logged| cid.is_none_or(|cid| line.note.by.as_ref().is_some_and(|(by, _)| by == cid));
        Ok(lines.filter(of).take(limit).collect())
    }
}

impl Vault for TestVault {
    fn remember(&mut self, outlet: OutletState) -> Result<(), VaultFault> {
        if self.broken {
            return Err(VaultFault);
        }
        self.remembered.push(outlet);
        Ok(())
    }

    fn claim(&mut self, household: &Household, _: u64) -> Result<(), VaultFault> {
        if self.broken {
            return Err(VaultFault);
        }
        self.claims.push(household.clone());
        Ok(())
    }

    fn save(&mut self, household: &Household, generation: u64) -> Result<(), VaultFault> {
        if self.broken {
            return Err(VaultFault);
        }
        self.saves.push((household.clone(), generation));
        Ok(())
    }

    fn begin_wipe(&mut self, generation: u64) -> Result<(), VaultFault> {
        if self.broken {
            return Err(VaultFault);
        }
        self.wiping = Some(generation);
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), VaultFault> {
        if self.broken || self.wiping.is_none() {
            return Err(VaultFault);
        }
        self.wipes += 1;
        Ok(())
    }
}

macro_rules! ports {
    ($bench:ident) => {
        &mut Ports { outlet: &mut $bench.outlet, vault: &mut $bench.vault, air: &$bench.air, rng: &mut $bench.rng }
    };
}

mod day;
mod household;
mod invitation;
mod pairing;
mod recovery;
mod registration;
mod rekey;
mod renewal;
mod roles;
mod unpair;
mod users;
mod wifi;

fn identity() -> StoredIdentity {
    ThingIdentity::create(&mut Counter::new(1)).to_stored()
}

fn network() -> HomeNetwork {
    HomeNetwork { ssid: "home".parse().expect("valid"), psk: "correct horse".parse().expect("valid") }
}

fn cloud() -> CloudServer {
    CloudServer { host: "cloud.example".to_owned(), port: 8884, pin: crate::proto::id::SpkiHash::new([9; 32]) }
}

fn record(seed: u64, name: &str, role: Role) -> ControllerRecord {
    use crate::proto::credential::CtlrCredentials;
    use crate::proto::keys::MasterKey;
    use crate::proto::secret::Secret;
    use crate::proto::topic::TToken;
    let mut rng = Counter::new(seed);
    ControllerRecord {
        cid: Cid::random(&mut rng),
        name: name.parse().expect("valid"),
        role,
        spki: SigningKey::random(&mut rng).spki(),
        topic: TToken::random(&mut rng),
        credentials: CtlrCredentials::random(&mut rng),
        epoch: 0,
        master: MasterKey::from_stored(Secret::random(&mut rng)),
        key_age: KeyAge::default(),
        next: None,
        left_s: None,
    }
}

impl Bench {
    fn new(household: Option<Household>) -> Self {
        let (mut outlet, mut vault, mut rng) = (TestOutlet::default(), TestVault::default(), Counter::new(1000));
        let now = Micros::ZERO;
        let stored = Stored { identity: identity(), generation: 7, household, wiping: false, outlet: None };
        let cause = StartCause::Restart;
        let start = Start { stored, boot: BOOT, outlet: OutletState::Off, cause, clouds: vec![cloud()] };
        let air = TestAir::default();
        let ports = &mut Ports { outlet: &mut outlet, vault: &mut vault, air: &air, rng: &mut rng };
        let thing = Thing::start(start, now, ports).expect("its own identity");
        Self { thing, now, outlet, vault, air, rng }
    }

    /// A thing at home with these controllers, each with a session of its own.
    fn at_home(controllers: Vec<ControllerRecord>) -> Self {
        let mut household = Household::founded(controllers[0].clone(), network(), None);
        household.name = "lamp".parse().expect("valid");
        household.joined_once = true;
        household.controllers = controllers.clone();
        let mut bench = Self::new(Some(household));
        bench.wifi(WifiEvent::Joined);
        for (session, controller) in (1..).zip(&controllers) {
            let psk_id = controller.master.epoch(&bench.thing.id(), &controller.cid, 0).psk_id;
            bench.thing.handle_session_opened(SessionId(session), &psk_id.to_string());
        }
        bench.wait(100_000_000);
        bench.actions();
        bench
    }

    /// What the thing believes to be durable.
    fn household(&self) -> &Household {
        match &self.thing.phase {
            Phase::Claimed { household, .. } => household.record(),
            Phase::Unclaimed(_) | Phase::Wiping(_) => panic!("nobody's"),
        }
    }

    fn wait(&mut self, micros: u64) {
        self.now = Micros::new(self.now.get() + micros);
    }

    /// Goes to the next time-out and fires it.
    fn next_timeout(&mut self) {
        self.now = self.thing.poll_timeout().expect("a time-out").max(self.now);
        self.thing.handle_timeout(self.now, ports!(self));
    }

    fn wifi(&mut self, event: WifiEvent) {
        self.thing.handle_wifi(event, self.now, ports!(self));
    }

    fn press(&mut self, press: Press) {
        self.thing.handle_press(press, self.now, ports!(self));
    }

    fn publish(&mut self, session: SessionId, topic: &str, payload: &[u8]) -> Verdict {
        self.thing.handle_publish(session, topic, payload, self.now, ports!(self))
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.thing.poll_action()).collect()
    }

    /// The payloads of the published actions; anything else but a redrawn display fails the test.
    fn published(&mut self) -> Vec<(String, Vec<u8>)> {
        self.actions()
            .into_iter()
            .filter_map(|action| match action {
                Action::Publish { path: Path::Local, topic, payload } => Some((topic.to_string(), payload.to_vec())),
                Action::Show(Screen::Online { .. }) => None,
                other => panic!("unexpected {other:?}"),
            })
            .collect()
    }

    /// The passcode on the display, and how long it will stand there.
    fn passcode(&mut self) -> (Passcode, std::time::Duration) {
        self.actions()
            .into_iter()
            .rev()
            .find_map(|action| match action {
                Action::Show(Screen::AccessPoint { passcode, left, .. }) => Some((passcode, left)),
                _ => None,
            })
            .expect("a passcode on the display")
    }
}

/// What an honest controller seals and opens.
struct Hand {
    record: ControllerRecord,
    c2t: EnvelopeKey,
    t2c: EnvelopeKey,
    psk_identity: String,
    rng: Counter,
}

impl Hand {
    fn of(bench: &Bench, record: &ControllerRecord) -> Self {
        Self::at(bench, &ControllerRecord { epoch: 0, ..record.clone() })
    }

    /// In the epoch that the record has.
    fn at(bench: &Bench, record: &ControllerRecord) -> Self {
        let keys = record.master.epoch(&bench.thing.id(), &record.cid, record.epoch);
        let psk_identity = keys.psk_id.to_string();
        Self { record: record.clone(), c2t: keys.c2t, t2c: keys.t2c, psk_identity, rng: Counter::new(5000) }
    }

    fn topic(&self) -> String {
        self.record.topic.c2t()
    }

    fn psk_identity(&self) -> String {
        self.psk_identity.clone()
    }

    fn command(&mut self, on: bool, ts: Micros) -> Vec<u8> {
        self.command_at(on, BOOT, ts)
    }

    fn command_at(&mut self, on: bool, boot: Boot, ts: Micros) -> Vec<u8> {
        self.seal(&Operation::outlet(on).command(boot, ts))
    }

    fn order(&mut self, operation: &Operation, ts: Micros) -> Vec<u8> {
        self.seal(&operation.command(BOOT, ts))
    }

    /// What an answer or an event says.
    fn open(&self, jwe: &[u8]) -> serde_json::Value {
        let opened = Sealed::parse(jwe).expect("shape").open(&self.t2c).expect("authentic");
        serde_json::from_slice(opened.bytes()).expect("JSON")
    }

    /// Lets the thing do something and gives the answer's code and result, and all else that it asked for.
    fn asks(&mut self, bench: &mut Bench, operation: &Operation) -> (u64, serde_json::Value, Vec<Action>) {
        bench.wait(10);
        let message = self.order(operation, bench.now);
        let verdict = bench.publish(SESSION, &self.topic(), &message);
        assert!(matches!(verdict, Verdict::Answered(_)), "{verdict:?}");
        let mut actions = bench.actions();
        let re = crate::proto::envelope::request_id(&message).to_string();
        let is_answer = |action: &Action| match action {
            Action::Publish { topic, payload, path: Path::Local } if **topic == *self.record.topic.t2c() => {
                self.open(payload)["re"] == re.as_str()
            }
            _ => false,
        };
        let place = actions.iter().position(is_answer).expect("an answer");
        let Action::Publish { payload, .. } = actions.remove(place) else { unreachable!("an answer is published") };
        let answer = self.open(&payload);
        (answer["rc"].as_u64().expect("a number"), answer["r"].clone(), actions)
    }

    fn seal(&mut self, text: &[u8]) -> Vec<u8> {
        self.c2t.seal(text, &mut self.rng).expect("short")
    }

    /// Opens an answer: what it answers, how it ended, whether the load is on.
    fn answer(&self, jwe: &[u8]) -> (crate::proto::id::RequestId, ReturnCode, bool) {
        let opened = Sealed::parse(jwe).expect("shape").open(&self.t2c).expect("authentic");
        let response = json::read::<Response<'_>>(opened.bytes()).expect("a response");
        (response.re, response.rc, response.st.on)
    }

    fn event(&self, jwe: &[u8]) -> (String, bool, SwitchedBy, Option<String>) {
        let opened = Sealed::parse(jwe).expect("shape").open(&self.t2c).expect("authentic");
        let event = json::read::<Event<'_>>(opened.bytes()).expect("an event");
        (event.k.to_string(), event.st.on, event.st.by, event.st.who.map(|who| who.to_string()))
    }
}

fn one_owner() -> (Bench, Hand) {
    let owner = record(7, "Ana", Role::Owner);
    let bench = Bench::at_home(vec![owner.clone()]);
    let hand = Hand::of(&bench, &owner);
    (bench, hand)
}
