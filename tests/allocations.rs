//! What a command allocates on its way through the thing's machine and through its session: nothing
//! that a buffer could save. Each allocation that remains stands here with its reason.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::time::{Duration, Instant};

use allocation_counter::{AllocationInfo, measure};
use sect::mqtt::server::{ConnectRequest, Event, Policy, Publication, Qos, Refusal, Session, SessionLimits};
use sect::proto::action::{Action, SessionId, WifiEvent};
use sect::proto::certificate::ThingIdentity;
use sect::proto::credential::CtlrCredentials;
use sect::proto::freshness::ANSWERS;
use sect::proto::id::{Boot, Cid};
use sect::proto::keys::{EpochKeys, MasterKey};
use sect::proto::message::{OutletState, ReturnCode};
use sect::proto::operation::Operation;
use sect::proto::operation::result::NetworkItem;
use sect::proto::port::{Air, Journal, Outlet, OutletFault, Ports, Vault, VaultFault};
use sect::proto::record::{ControllerRecord, Household, KeyAge, Logged, Note, Stored};
use sect::proto::secret::Secret;
use sect::proto::signature::SigningKey;
use sect::proto::thing::{Dropped, Start, StartCause, Thing, Verdict};
use sect::proto::time::Micros;
use sect::proto::topic::TToken;
use sect::proto::user::Role;
use sect::proto::wifi::HomeNetwork;
use sect::thing::clock::{OsRng, os_rng};

const BOOT: Boot = Boot::new([3; 16]);

struct Load(OutletState);

impl Outlet for Load {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        self.0 = state;
        Ok(())
    }
}

struct NoVault;

impl Vault for NoVault {
    fn claim(&mut self, _: &Household, _: u64) -> Result<(), VaultFault> {
        Err(VaultFault)
    }

    fn save(&mut self, _: &Household, _: u64) -> Result<(), VaultFault> {
        Err(VaultFault)
    }

    fn remember(&mut self, _: OutletState) -> Result<(), VaultFault> {
        Err(VaultFault)
    }

    fn begin_wipe(&mut self, _: u64) -> Result<(), VaultFault> {
        Err(VaultFault)
    }

    fn wipe(&mut self) -> Result<(), VaultFault> {
        Err(VaultFault)
    }
}

/// The lines go nowhere: what the audit log takes memory for is the store's.
impl Journal for NoVault {
    fn note(&mut self, _: Note) {}

    fn read(&mut self, _: u64, _: Option<&Cid>, _: usize) -> Result<Vec<Logged>, VaultFault> {
        Err(VaultFault)
    }
}

struct NoAir;

impl Air for NoAir {
    fn seen(&self) -> Vec<NetworkItem> {
        Vec::new()
    }
}

/// A thing at home with two controllers; the first one sends commands.
struct Plug {
    thing: Thing,
    load: Load,
    rng: OsRng,
    now: Micros,
    keys: EpochKeys,
    topic: String,
    other: String,
}

impl Plug {
    fn at_home() -> Self {
        let (mut load, mut rng) = (Load(OutletState::Off), os_rng());
        let identity = ThingIdentity::create(&mut rng);
        let controllers = ["ada", "grace"].map(|name| record(name, &mut rng));
        let keys = controllers.each_ref().map(|one| one.master.epoch(&identity.id(), &one.cid, 0));
        let topic = controllers[0].topic.c2t();
        let [first, second] = controllers;
        let network = HomeNetwork { ssid: "home".parse().unwrap(), psk: "correct horse".parse().unwrap() };
        let mut household = Household::founded(first, network, None);
        household.controllers.push(second);
        let stored = Stored {
            identity: identity.to_stored(),
            generation: 1,
            household: Some(household),
            wiping: false,
            outlet: None,
        };
        let start =
            Start { stored, boot: BOOT, outlet: OutletState::Off, clouds: Vec::new(), cause: StartCause::Restart };
        let mut ports = Ports { outlet: &mut load, vault: &mut NoVault, air: &NoAir, rng: &mut rng };
        let mut thing = Thing::start(start, Micros::ZERO, &mut ports).unwrap();
        thing.handle_wifi(WifiEvent::Joined, Micros::ZERO, &mut ports);
        let [keys, other] = keys;
        thing.handle_session_opened(SessionId(1), &keys.psk_id.to_string());
        while thing.poll_action().is_some() {}
        Self { thing, load, rng, now: Micros::ZERO, keys, topic, other: other.psk_id.to_string() }
    }

    /// A command to switch, a second after the last one.
    fn command(&mut self) -> Vec<u8> {
        self.now = self.now.after(Duration::from_secs(1));
        let on = self.load.0.toggled().is_on();
        self.keys.c2t.seal(&Operation::outlet(on).command(BOOT, self.now), &mut self.rng).unwrap()
    }

    /// What the thing does with it, until there is nothing left to do; how many messages it sends.
    fn handle(&mut self, jwe: &[u8]) -> (AllocationInfo, Verdict, usize) {
        let (mut verdict, mut sent) = (None, 0);
        let allocated = measure(|| {
            let mut ports = Ports { outlet: &mut self.load, vault: &mut NoVault, air: &NoAir, rng: &mut self.rng };
            verdict = Some(self.thing.handle_publish(SessionId(1), &self.topic, jwe, self.now, &mut ports));
            while let Some(action) = self.thing.poll_action() {
                sent += usize::from(matches!(action, Action::Publish { .. }));
            }
        });
        (allocated, verdict.unwrap(), sent)
    }

    /// Commands until the thing keeps as many answers as it ever does.
    fn run_in(&mut self) {
        for _ in 0..2 * ANSWERS {
            let command = self.command();
            assert_eq!(self.handle(&command).1, Verdict::Answered(ReturnCode::Ok));
        }
    }
}

fn record(name: &str, rng: &mut OsRng) -> ControllerRecord {
    ControllerRecord {
        cid: Cid::random(rng),
        name: name.parse().unwrap(),
        role: Role::Owner,
        spki: SigningKey::random(rng).spki(),
        topic: TToken::random(rng),
        credentials: CtlrCredentials::random(rng),
        epoch: 0,
        master: MasterKey::from_stored(Secret::random(rng)),
        key_age: KeyAge::default(),
        next: None,
        left_s: None,
    }
}

#[test]
fn a_command_allocates_nothing_in_the_machine() {
    let mut plug = Plug::at_home();
    plug.run_in();
    for _ in 0..100 {
        let (command, before) = (plug.command(), plug.load.0);
        let (allocated, verdict, sent) = plug.handle(&command);
        assert_eq!((verdict, sent), (Verdict::Answered(ReturnCode::Ok), 1));
        assert_eq!(plug.load.0, before.toggled());
        assert_eq!(allocated.count_total, 0);

        // The same again: the kept answer, as it is.
        let (allocated, verdict, sent) = plug.handle(&command);
        assert_eq!((verdict, sent), (Verdict::Repeated, 1));
        assert_eq!(allocated.count_total, 0);
    }
}

/// Each kept answer has memory of its own, which the answer that displaces it takes over.
#[test]
fn an_answer_that_displaces_none_allocates_once() {
    let mut plug = Plug::at_home();
    for number in 0..ANSWERS {
        let command = plug.command();
        let (allocated, ..) = plug.handle(&command);
        // The first commands also grow the lists of answers and of actions.
        assert!(allocated.count_total == 1 || number < 20 && allocated.count_total <= 3, "{number}: {allocated:?}");
        assert!(allocated.count_current >= 1, "the answer is kept");
    }
}

/// An event is another message under another key, and may be on several ways at once.
#[test]
fn an_event_allocates_once_for_each_other_controller() {
    let mut plug = Plug::at_home();
    plug.thing.handle_session_opened(SessionId(2), &plug.other);
    plug.run_in();
    for _ in 0..100 {
        let command = plug.command();
        let (allocated, verdict, sent) = plug.handle(&command);
        assert_eq!((verdict, sent), (Verdict::Answered(ReturnCode::Ok), 2));
        assert_eq!((allocated.count_total, allocated.count_current), (1, 0));
    }
}

#[test]
fn what_is_not_authentic_allocates_nothing() {
    let mut plug = Plug::at_home();
    plug.run_in();
    let command = plug.command();
    // The first time round, each reason gets its counter.
    for is_counted in [false, true] {
        for place in 0..command.len() {
            let mut forged = command.clone();
            forged[place] ^= 1;
            let (allocated, verdict, sent) = plug.handle(&forged);
            assert!(matches!(verdict, Verdict::Dropped(Dropped::Unopened(_))), "{verdict:?}");
            assert_eq!(sent, 0);
            assert!(allocated.count_total == 0 || !is_counted, "byte {place}: {allocated:?}");
        }
    }
}

struct Everybody;

impl Policy for Everybody {
    fn connect(&mut self, _: &ConnectRequest<'_>) -> Result<(), Refusal> {
        Ok(())
    }

    fn assign_client_id(&mut self) -> String {
        "assigned".to_owned()
    }

    fn may_publish(&self, _: &str) -> bool {
        true
    }

    fn may_subscribe(&self, _: &str) -> bool {
        true
    }
}

/// A whole PUBLISH at QoS 0 is read where it lies: what a session allocates is the message that it hands on. What goes
/// out is written into the session's one buffer.
#[test]
fn a_session_allocates_for_the_message_alone() {
    let (mut session, now) = (Session::new(SessionLimits::default(), Instant::now()), Instant::now());
    session.handle_bytes(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a", now, &mut Everybody);
    session.handle_bytes(b"\x82\x08\x00\x01\x00\x03t2c\x00", now, &mut Everybody);
    while session.poll_event().is_some() {}
    session.handle_written(session.output().len(), now);
    assert!(session.is_subscribed("t2c"));

    // 399 bytes, as a command's envelope has.
    let mut packet = b"\x30\x94\x03\x00\x03c2t".to_vec();
    packet.resize(3 + 2 + 3 + 399, b'x');
    for number in 0..10 {
        let mut received = None;
        let incoming = measure(|| {
            session.handle_bytes(&packet, now, &mut Everybody);
            let published = |event| if let Event::Published(publication) = event { Some(publication) } else { None };
            received = session.poll_event().and_then(published);
        });
        assert_eq!(received.as_ref().map(Publication::payload).map(<[u8]>::len), Some(399));
        let outgoing = measure(|| {
            session.publish("t2c", &packet[8..], Qos::AtMostOnce, now, &Everybody);
            session.handle_written(session.output().len(), now);
        });
        drop(received);
        if number > 0 {
            assert_eq!(incoming.count_total, 1, "{incoming:?}");
            assert_eq!(outgoing.count_total, 0);
        }
    }
}
