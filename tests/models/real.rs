//! Both machines of the crate over a network that a test moves message by message, each with a disk that
//! outlives it.

use std::time::Duration;

use sect::proto::action::{Action, Path as ThingPath, SessionId, WifiEvent};
use sect::proto::certificate::ThingIdentity;
use sect::proto::controller::{Controller, ControllerEvent, Keychain, Path, RequestHandle};
use sect::proto::credential::CtlrCredentials;
use sect::proto::id::{Boot, Cid};
use sect::proto::keys::MasterKey;
use sect::proto::message::OutletState;
use sect::proto::operation::Operation;
use sect::proto::operation::result::NetworkItem;
use sect::proto::port::{Air, Journal, Outlet, OutletFault, Ports, Vault, VaultFault};
use sect::proto::record::{ControllerRecord, Household, KeyAge, Logged, Note, Stored, StoredIdentity};
use sect::proto::secret::Secret;
use sect::proto::signature::SigningKey;
use sect::proto::thing::{Start, StartCause, Thing};
use sect::proto::time::Micros;
use sect::proto::topic::TToken;
use sect::proto::user::Role;
use sect::proto::wifi::HomeNetwork;

use crate::dice::Dice;

const SESSION: SessionId = SessionId(1);
/// What the controller's clock shows more than the house's.
const AHEAD: u64 = 5_000_000_000;

/// What outlives a power cut of the thing.
struct Disk {
    household: Household,
    broken: bool,
}

impl Vault for Disk {
    fn claim(&mut self, _: &Household, _: u64) -> Result<(), VaultFault> {
        Err(VaultFault)
    }

    fn save(&mut self, household: &Household, _: u64) -> Result<(), VaultFault> {
        if self.broken {
            return Err(VaultFault);
        }
        self.household = household.clone();
        Ok(())
    }

    fn begin_wipe(&mut self, _: u64) -> Result<(), VaultFault> {
        Err(VaultFault)
    }

    fn wipe(&mut self) -> Result<(), VaultFault> {
        Err(VaultFault)
    }

    fn remember(&mut self, _: OutletState) -> Result<(), VaultFault> {
        if self.broken { Err(VaultFault) } else { Ok(()) }
    }
}

impl Journal for Disk {
    fn note(&mut self, _: Note) {}

    fn read(&mut self, _: u64, _: Option<&Cid>, _: usize) -> Result<Vec<Logged>, VaultFault> {
        Ok(Vec::new())
    }
}

#[derive(Default)]
struct Relay(Vec<OutletState>);

impl Outlet for Relay {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        self.0.push(state);
        Ok(())
    }
}

struct Silence;

impl Air for Silence {
    fn seen(&self) -> Vec<NetworkItem> {
        Vec::new()
    }
}

/// A thing, its only controller, and all that was ever sent between them.
pub(crate) struct Pair {
    identity: StoredIdentity,
    disk: Disk,
    relay: Relay,
    thing: Thing,
    started_at: u64,
    /// What the controller's keyring holds.
    pub(crate) keyring: Keychain,
    pub(crate) controller: Controller,
    /// The candidate that waits for the keyring.
    pub(crate) to_persist: Option<MasterKey>,
    rng: Dice,
    clock: u64,
    pub(crate) to_thing: Vec<Vec<u8>>,
    pub(crate) to_controller: Vec<Vec<u8>>,
    pub(crate) events: Vec<ControllerEvent>,
}

macro_rules! ports {
    ($pair:ident) => {
        &mut Ports { outlet: &mut $pair.relay, vault: &mut $pair.disk, air: &Silence, rng: &mut $pair.rng }
    };
}

impl Pair {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Dice::new(seed);
        let owner = ControllerRecord {
            cid: Cid::random(&mut rng),
            name: "Ana".parse().expect("a name"),
            role: Role::Owner,
            spki: SigningKey::random(&mut rng).spki(),
            topic: TToken::random(&mut rng),
            credentials: CtlrCredentials::random(&mut rng),
            epoch: 0,
            master: MasterKey::from_stored(Secret::random(&mut rng)),
            key_age: KeyAge::default(),
            next: None,
            left_s: None,
        };
        let network =
            HomeNetwork { ssid: "home".parse().expect("an SSID"), psk: "correct horse".parse().expect("a key") };
        let identity = ThingIdentity::create(&mut rng).to_stored();
        let thing = ThingIdentity::from_stored(&identity).expect("its own").id();
        let keyring = Keychain { thing, cid: owner.cid, epoch: 0, master: owner.master.clone(), candidate: None };
        let mut disk = Disk { household: Household::founded(owner, network, None), broken: false };
        let mut relay = Relay::default();
        let start = Self::start(&identity, &disk, &mut rng);
        let thing = Thing::start(
            start,
            Micros::ZERO,
            &mut Ports { outlet: &mut relay, vault: &mut disk, air: &Silence, rng: &mut rng },
        );
        let mut pair = Self {
            identity,
            disk,
            relay,
            thing: thing.expect("its own identity"),
            started_at: 0,
            controller: Controller::new(keyring.clone()),
            keyring,
            to_persist: None,
            rng,
            clock: 1_000_000,
            to_thing: Vec::new(),
            to_controller: Vec::new(),
            events: Vec::new(),
        };
        pair.come_home();
        pair
    }

    fn start(identity: &StoredIdentity, disk: &Disk, rng: &mut Dice) -> Start {
        let stored = Stored {
            identity: identity.clone(),
            generation: 1,
            household: Some(disk.household.clone()),
            wiping: false,
            outlet: None,
        };
        Start {
            stored,
            boot: Boot::random(rng),
            outlet: OutletState::Off,
            clouds: Vec::new(),
            cause: StartCause::Restart,
        }
    }

    fn come_home(&mut self) {
        let now = self.thing_time();
        self.thing.handle_wifi(WifiEvent::Joined, now, ports!(self));
        let record = &self.disk.household.controllers[0];
        let identity = record.master.epoch(&self.keyring.thing, &record.cid, record.epoch).psk_id.to_string();
        self.thing.handle_session_opened(SESSION, &identity);
        while self.thing.poll_action().is_some() {}
    }

    fn thing_time(&self) -> Micros {
        Micros::new(self.clock - self.started_at)
    }

    pub(crate) fn now(&self) -> Micros {
        Micros::new(AHEAD + self.clock)
    }

    /// The thing's disk: epoch and master key.
    pub(crate) fn stored(&self) -> (u32, &MasterKey) {
        let record = &self.disk.household.controllers[0];
        (record.epoch, &record.master)
    }

    /// What the load was given, in order.
    pub(crate) fn switched(&self) -> &[OutletState] {
        &self.relay.0
    }

    pub(crate) fn break_disk(&mut self, broken: bool) {
        self.disk.broken = broken;
    }

    pub(crate) fn begin(&mut self) -> RequestHandle {
        let handle = self.controller.update_keys(self.now(), &mut self.rng);
        self.collect();
        handle
    }

    pub(crate) fn wish(&mut self, on: bool) -> RequestHandle {
        let handle = self.controller.request(Operation::outlet(on), self.now(), &mut self.rng);
        self.collect();
        handle
    }

    pub(crate) fn ask(&mut self) {
        self.controller.ask_status(self.now(), &mut self.rng);
        self.collect();
    }

    /// Takes what the controller wants to send and tell.
    fn collect(&mut self) {
        let now = self.now();
        while let Some(transmit) = self.controller.poll_transmit(now) {
            if !self.to_thing.contains(&transmit.payload) {
                self.to_thing.push(transmit.payload);
            }
        }
        while let Some(event) = self.controller.poll_event() {
            match &event {
                ControllerEvent::Persist { candidate, .. } => self.to_persist = Some(candidate.clone()),
                ControllerEvent::KeysUpdated { .. } => self.keyring = self.controller.keychain().clone(),
                _ => {}
            }
            self.events.push(event);
        }
    }

    /// The keyring keeps the candidate.
    pub(crate) fn persist(&mut self) {
        if let Some(candidate) = self.to_persist.take() {
            self.keyring.candidate = Some(candidate);
            self.controller.persisted(self.now(), &mut self.rng);
            self.collect();
        }
    }

    pub(crate) fn give_thing(&mut self, place: usize) {
        self.clock += 1;
        let topic = self.disk.household.controllers[0].topic.c2t();
        let (payload, now) = (self.to_thing[place].clone(), self.thing_time());
        let _counted = self.thing.handle_publish(SESSION, &topic, &payload, now, ports!(self));
        while let Some(action) = self.thing.poll_action() {
            if let Action::Publish { path: ThingPath::Local, payload, .. } = action
                && !self.to_controller.iter().any(|sent| **sent == *payload)
            {
                self.to_controller.push(payload.to_vec());
            }
        }
    }

    pub(crate) fn give_controller(&mut self, place: usize) {
        self.clock += 1;
        let payload = self.to_controller[place].clone();
        let _counted = self.controller.handle_message(Path::Local, &payload, self.now(), &mut self.rng);
        self.collect();
    }

    /// A power cut: the disk is all that is left.
    pub(crate) fn crash_thing(&mut self) {
        self.clock += 1;
        self.started_at = self.clock;
        let start = Self::start(&self.identity, &self.disk, &mut self.rng);
        self.thing = Thing::start(start, Micros::ZERO, ports!(self)).expect("its own identity");
        self.come_home();
    }

    /// The same on the other side.
    pub(crate) fn crash_controller(&mut self) {
        self.to_persist = None;
        self.controller = Controller::new(self.keyring.clone());
    }

    /// So much time passes, and nothing arrives in it.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.clock + u64::try_from(time.as_micros()).expect("short");
        while let Some(at) = self.controller.poll_timeout().filter(|at| at.get() <= AHEAD + end) {
            self.clock = self.clock.max(at.get() - AHEAD);
            self.controller.handle_timeout(self.now(), &mut self.rng);
            self.collect();
        }
        self.clock = end;
    }

    /// From now on nothing is lost and nothing crashes, until there is nothing to do.
    pub(crate) fn run(&mut self) {
        let (mut heard, mut told) = (self.to_thing.len(), self.to_controller.len());
        self.collect();
        loop {
            if self.to_persist.is_some() {
                self.persist();
            } else if heard < self.to_thing.len() {
                self.give_thing(heard);
                heard += 1;
            } else if told < self.to_controller.len() {
                self.give_controller(told);
                told += 1;
            } else if self.controller.poll_timeout().is_some() {
                // What waits for an answer sends the same bytes again; they are known.
                let sent = self.to_thing.len();
                for place in 0..sent {
                    self.give_thing(place);
                }
                self.pass(Duration::from_secs(1));
            } else {
                return;
            }
        }
    }

    /// Lets the weather clear: afterwards both sides have one key, and nothing else is left of others.
    pub(crate) fn settle(&mut self) {
        self.persist();
        self.pass(Duration::from_secs(40));
        self.ask();
        self.run();
        if self.keyring.candidate.is_some() {
            self.begin();
            self.run();
        }
        assert_eq!(self.stored(), (self.keyring.epoch, &self.keyring.master), "locked out");
        assert_eq!(self.keyring.candidate, None, "two keys are left");
        assert_eq!(*self.controller.keychain(), self.keyring, "the machine and its keyring differ");
        let before = self.switched().len();
        self.wish(true);
        self.run();
        assert_eq!(self.switched().len(), before + 1, "the thing does not listen");
    }
}
