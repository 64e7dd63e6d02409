//! The machine, driven by hand: what it does, and what it must not do.

use super::*;
use crate::proto::action::{Admission, JoinFailure};
use crate::proto::envelope::{self, EnvelopeKey, Sealed};
use crate::proto::freshness::Stale;
use crate::proto::id::Nonce;
use crate::proto::json;
use crate::proto::keys::{Ephemeral, PairingCode, PairingKeys};
use crate::proto::message::{EVENT_STATE, Event, Operation, Response, ReturnCode, Status};
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::pairing::message::*;
use crate::proto::passcode::Passcode;
use crate::proto::port::{Outlet, OutletFault, Vault, VaultFault};
use crate::proto::record::{Claim, ControllerRecord, StoredIdentity};
use crate::proto::registration::{self, Entry, RegErr, RegOk, RegSet};
use crate::proto::signature::{POP, SigningKey};
use crate::proto::testing::Counter;
use crate::proto::topic::{PAIR_C2T, PAIR_T2C};
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
    rng: Counter,
}

#[derive(Default)]
struct TestOutlet {
    switched: Vec<OutletState>,
    broken: bool,
}

#[derive(Default)]
struct TestVault {
    claims: Vec<Claim>,
    joins: u32,
    generations: Vec<u64>,
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

impl Vault for TestVault {
    fn claim(&mut self, claim: &Claim) -> Result<(), VaultFault> {
        if self.broken {
            return Err(VaultFault);
        }
        self.claims.push(claim.clone());
        Ok(())
    }

    fn joined(&mut self) -> Result<(), VaultFault> {
        self.joins += 1;
        Ok(())
    }

    fn set_generation(&mut self, generation: u64) -> Result<(), VaultFault> {
        self.generations.push(generation);
        Ok(())
    }
}

macro_rules! ports {
    ($bench:ident) => {
        &mut Ports { outlet: &mut $bench.outlet, vault: &mut $bench.vault, rng: &mut $bench.rng }
    };
}

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
    use crate::proto::id::Cid;
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
    }
}

impl Bench {
    fn new(household: Option<Household>) -> Self {
        let (mut outlet, mut vault, mut rng) = (TestOutlet::default(), TestVault::default(), Counter::new(1000));
        let now = Micros::ZERO;
        let stored = Stored { identity: identity(), generation: 7, household };
        let start = Start { stored, boot: BOOT, outlet: OutletState::Off, clouds: vec![cloud()] };
        let thing = Thing::start(start, now, &mut Ports { outlet: &mut outlet, vault: &mut vault, rng: &mut rng })
            .expect("its own identity");
        Self { thing, now, outlet, vault, rng }
    }

    /// A thing at home with these controllers, each with a session of its own.
    fn at_home(controllers: Vec<ControllerRecord>) -> Self {
        let mut bench = Self::new(Some(Household {
            name: "lamp".parse().expect("valid"),
            network: network(),
            joined_once: true,
            controllers: controllers.clone(),
        }));
        bench.wifi(WifiEvent::Joined);
        for (session, controller) in (1..).zip(&controllers) {
            let psk_id = controller.master.epoch(&bench.thing.id(), &controller.cid, 0).psk_id;
            bench.thing.handle_session_opened(SessionId(session), &psk_id.to_string());
        }
        bench.wait(100_000_000);
        bench.actions();
        bench
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
                Action::Publish { path: Path::Local, topic, payload } => Some((topic, payload)),
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
        let keys = record.master.epoch(&bench.thing.id(), &record.cid, 0);
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
        self.seal(&Operation::OutletSet { on }.command(boot, ts))
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

// Steady state.

#[test]
fn a_fresh_command_switches_and_is_answered_before_the_event() {
    let (mut bench, mut hand) = one_owner();
    // The owner watches in a second session.
    bench.thing.handle_session_opened(SessionId(2), &hand.psk_identity());
    let command = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Ok));
    assert_eq!(bench.outlet.switched, [OutletState::On]);
    let published = bench.published();
    assert_eq!(published.len(), 2);
    assert!(published.iter().all(|(topic, _)| *topic == hand.record.topic.t2c()));
    assert_eq!(hand.answer(&published[0].1), (envelope::request_id(&command), ReturnCode::Ok, true));
    assert_eq!(hand.event(&published[1].1), (EVENT_STATE.into(), true, SwitchedBy::User, Some("Ana".into())));
}

#[test]
fn who_has_just_been_answered_in_the_only_session_gets_no_event() {
    let (mut bench, mut hand) = one_owner();
    let command = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Ok));
    let [(_, answer)] = &bench.published()[..] else { panic!("one message") };
    assert_eq!(hand.answer(answer), (envelope::request_id(&command), ReturnCode::Ok, true));
}

#[test]
fn a_repeated_command_switches_once_and_gets_the_same_bytes() {
    let (mut bench, mut hand) = one_owner();
    let command = hand.command(true, bench.now);
    let _ = bench.publish(SESSION, &hand.topic(), &command);
    let first = bench.published().remove(0);
    for _ in 0..3 {
        bench.wait(1_000_000);
        assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Repeated);
        assert_eq!(bench.published(), std::slice::from_ref(&first));
    }
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn a_replayed_command_does_not_switch_after_its_answer_is_forgotten() {
    let (mut bench, mut hand) = one_owner();
    let replayed = hand.command(true, bench.now);
    let _ = bench.publish(SESSION, &hand.topic(), &replayed);
    for n in 0..40 {
        bench.wait(1000);
        let command = hand.command(n % 2 == 1, bench.now);
        assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Ok));
    }
    bench.actions();
    let switched = bench.outlet.switched.len();
    assert_eq!(bench.publish(SESSION, &hand.topic(), &replayed), Verdict::Stale(Stale::NotNewer));
    let published = bench.published();
    assert_eq!(published.len(), 1);
    assert_eq!(hand.answer(&published[0].1).1, ReturnCode::Stale);
    assert_eq!(bench.outlet.switched.len(), switched);
}

#[test]
fn what_is_held_back_early_or_of_another_start_gets_stale_and_nothing_else() {
    let (bench, _) = one_owner();
    let now = bench.now.get();
    for (boot, ts, stale) in [
        (BOOT, now - 31_000_000, Stale::TooOld),
        (BOOT, now + 3_000_000, Stale::TooEarly),
        (Boot::new([4; 16]), now, Stale::OtherBoot),
    ] {
        let (mut bench, mut hand) = one_owner();
        let command = hand.command_at(true, boot, Micros::new(ts));
        assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Stale(stale));
        let published = bench.published();
        assert_eq!(published.len(), 1, "{stale:?}");
        assert_eq!(hand.answer(&published[0].1), (envelope::request_id(&command), ReturnCode::Stale, false));
        assert!(bench.outlet.switched.is_empty());
        assert_eq!(bench.thing.counters().get(Verdict::Stale(stale).name()), 1);
    }
}

#[test]
fn the_thing_s_own_answer_does_not_pass_for_a_command() {
    let (mut bench, mut hand) = one_owner();
    let command = hand.command(true, bench.now);
    let _ = bench.publish(SESSION, &hand.topic(), &command);
    for (_, reflected) in bench.published() {
        let verdict = bench.publish(SESSION, &hand.topic(), &reflected);
        assert_eq!(verdict, Verdict::Dropped(Dropped::Unopened(envelope::Unopened::UnknownKid)));
    }
    assert_eq!(bench.published(), []);
    assert_eq!(bench.outlet.switched.len(), 1);
}

#[test]
fn no_flipped_bit_no_truncation_and_no_garbage_is_answered() {
    let (mut bench, mut hand) = one_owner();
    let command = hand.command(true, bench.now);
    let mut attacks: Vec<Vec<u8>> = (0..command.len()).map(|length| command[..length].to_vec()).collect();
    for place in 0..command.len() {
        for bit in 0..8 {
            let mut forged = command.clone();
            forged[place] ^= 1 << bit;
            attacks.push(forged);
        }
    }
    attacks.extend([vec![0; 2789], vec![b'.'; 2789], vec![b'A'; 100_000]]);
    let count = attacks.len();
    for attack in attacks {
        assert!(matches!(bench.publish(SESSION, &hand.topic(), &attack), Verdict::Dropped(Dropped::Unopened(_))));
    }
    assert_eq!(bench.actions(), []);
    assert!(bench.outlet.switched.is_empty());
    let counted: u64 = bench.thing.counters().iter().map(|(_, n)| n).sum();
    assert_eq!(counted, u64::try_from(count).expect("small"));
}

#[test]
fn another_controller_s_topic_or_key_opens_nothing() {
    let (ana, bo) = (record(7, "Ana", Role::Owner), record(400, "Bo", Role::Operator));
    let mut bench = Bench::at_home(vec![ana.clone(), bo.clone()]);
    let mut hand = Hand::of(&bench, &bo);
    let command = hand.command(true, bench.now);
    assert!(matches!(bench.publish(SESSION, &ana.topic.c2t(), &command), Verdict::Dropped(Dropped::Unopened(_))));
    for topic in ["s/x/c", PAIR_C2T, &bo.topic.t2c(), ""] {
        assert_eq!(bench.publish(SESSION, topic, &command), Verdict::Dropped(Dropped::ForeignTopic), "{topic}");
    }
    assert_eq!(bench.actions(), []);
}

#[test]
fn everybody_with_a_session_hears_what_one_did() {
    let people = [record(7, "Ana", Role::Owner), record(400, "Bo", Role::Operator)];
    let mut bench = Bench::at_home(people.to_vec());
    let (mut ana, bo) = (Hand::of(&bench, &people[0]), Hand::of(&bench, &people[1]));
    let command = ana.command(true, bench.now);
    let _ = bench.publish(SESSION, &ana.topic(), &command);
    let published = bench.published();
    let topics: Vec<_> = published.iter().map(|(topic, _)| topic.as_str()).collect();
    assert_eq!(topics, [people[0].topic.t2c(), people[1].topic.t2c()]);
    assert_eq!(bo.event(&published[1].1).3.as_deref(), Some("Ana"));

    bench.thing.handle_session_closed(SessionId(2), bench.now, ports!(bench));
    bench.wait(10);
    let command = ana.command(false, bench.now);
    let _ = bench.publish(SESSION, &ana.topic(), &command);
    assert_eq!(bench.published().len(), 1, "who is gone is not told");
}

#[test]
fn a_viewer_may_look_and_not_switch() {
    let viewer = record(7, "Kid", Role::Viewer);
    let mut bench = Bench::at_home(vec![viewer.clone()]);
    let mut hand = Hand::of(&bench, &viewer);
    let command = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Forbidden));
    assert_eq!(hand.answer(&bench.published()[0].1).1, ReturnCode::Forbidden);
    assert!(bench.outlet.switched.is_empty());
    let status = hand.seal(&json::encode(&Status { id: Nonce::new([1; 16]) }));
    assert_eq!(bench.publish(SESSION, &hand.topic(), &status), Verdict::Answered(ReturnCode::Ok));
}

#[test]
fn an_unknown_operation_and_a_bad_one_are_told_apart() {
    let (mut bench, mut hand) = one_owner();
    for (op, a, code) in [
        ("outlet.dim", r#"{"to":5}"#, ReturnCode::Unsupported),
        ("outlet.set", r#"{"on":1}"#, ReturnCode::BadRequest),
        ("outlet.set", "{}", ReturnCode::BadRequest),
    ] {
        bench.wait(10);
        let ts = bench.now.get();
        let text = format!(r#"{{"v":1,"t":"cmd","boot":"{BOOT}","ts":{ts},"op":"{op}","a":{a}}}"#);
        let message = hand.seal(text.as_bytes());
        assert_eq!(bench.publish(SESSION, &hand.topic(), &message), Verdict::Answered(code), "{op} {a}");
        assert_eq!(hand.answer(&bench.published()[0].1).1, code);
    }
    assert!(bench.outlet.switched.is_empty());
}

#[test]
fn an_outlet_that_does_not_switch_is_told_and_shown() {
    let (mut bench, mut hand) = one_owner();
    bench.outlet.broken = true;
    let command = hand.command(true, bench.now);
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Answered(ReturnCode::Storage));
    let actions = bench.actions();
    assert_eq!(actions.len(), 2);
    assert_eq!(actions[0], Action::Show(Screen::Fault(Fault::Outlet)));
    let Action::Publish { payload, .. } = &actions[1] else { panic!("no answer") };
    assert_eq!(hand.answer(payload), (envelope::request_id(&command), ReturnCode::Storage, false));
}

#[test]
fn the_button_toggles_and_everybody_is_told() {
    let (mut bench, hand) = one_owner();
    bench.press(Press::Short);
    let published = bench.published();
    assert_eq!(published.len(), 1);
    assert_eq!(hand.event(&published[0].1), (EVENT_STATE.into(), true, SwitchedBy::Button, None));
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn no_button_and_no_time_makes_a_claimed_thing_claimable() {
    let (mut bench, _) = one_owner();
    for event in [WifiEvent::Lost, WifiEvent::JoinFailed(JoinFailure::NotFound), WifiEvent::AccessPointFailed] {
        bench.wifi(event);
        bench.press(Press::Long);
        for _ in 0..20 {
            if bench.thing.poll_timeout().is_some() {
                bench.next_timeout();
                bench.wifi(WifiEvent::JoinFailed(JoinFailure::NotFound));
            }
        }
    }
    for action in bench.actions() {
        assert!(
            !matches!(
                action,
                Action::OpenAccessPoint { .. } | Action::Admit(_) | Action::Show(Screen::AccessPoint { .. })
            ),
            "{action:?}"
        );
    }
}

#[test]
fn an_idle_thing_at_home_wants_no_timer() {
    let (bench, _) = one_owner();
    assert_eq!(bench.thing.poll_timeout(), None);
}

#[test]
fn a_home_network_that_is_away_is_tried_again_and_less_often() {
    let (mut bench, _) = one_owner();
    let mut waits = Vec::new();
    for _ in 0..6 {
        bench.wifi(WifiEvent::JoinFailed(JoinFailure::WrongPassword));
        let before = bench.now;
        bench.next_timeout();
        waits.push(bench.now.since(before).as_secs());
        let joins = bench.actions().into_iter().filter(|action| matches!(action, Action::JoinNetwork(_))).count();
        assert_eq!(joins, 1);
    }
    assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
}

// Registration.

const SERVER: ServerId = ServerId(0);

fn down(bench: &Bench) -> String {
    registration::down_topic(&bench.thing.id())
}

impl Bench {
    fn hear_cloud(&mut self, topic: &str, payload: &[u8]) -> Verdict {
        self.thing.handle_cloud_message(SERVER, topic, payload, self.now, ports!(self))
    }

    /// The one registration that is asked for, read.
    fn registered(&mut self) -> RegSet {
        let up = registration::up_topic(&self.thing.id());
        let sets: Vec<_> = self
            .actions()
            .into_iter()
            .filter_map(|action| match action {
                Action::Register { server: SERVER, topic, payload } => {
                    assert_eq!(topic, up);
                    Some(json::read(&payload).expect("a registration"))
                }
                Action::SubscribeCloud { server: SERVER, .. } => None,
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        <[RegSet; 1]>::try_from(sets).map(|[set]| set).expect("one registration")
    }

    /// A link comes up, and the thing hears the server.
    fn link_up(&mut self) {
        self.thing.handle_cloud_up(SERVER);
        let topic = down(self);
        self.thing.handle_cloud_subscribed(SERVER, &topic);
    }

    fn confirm_registration(&mut self) {
        self.link_up();
        let generation = self.registered().generation;
        let ok = json::encode(&RegOk { generation, refused: Vec::new() });
        assert_eq!(self.hear_cloud(&down(self), &ok), Verdict::Registered);
        self.actions();
    }

    fn cloud_state(&self) -> CloudState {
        self.thing.cloud_states().next().expect("one server").1
    }
}

#[test]
fn a_link_that_comes_up_gets_the_whole_list_and_only_then_the_topics() {
    let (mut bench, hand) = one_owner();
    bench.thing.handle_cloud_up(SERVER);
    // An answer must not come before the thing listens.
    let topic = down(&bench);
    assert_eq!(bench.actions(), [Action::SubscribeCloud { server: SERVER, topic: topic.clone() }]);
    bench.thing.handle_cloud_subscribed(SERVER, &topic);
    let actions = bench.actions();
    let [Action::Register { payload, .. }] = &actions[..] else { panic!("{actions:?}") };
    let set: RegSet = json::read(payload).expect("a registration");
    let entry = Entry::of(&hand.record.topic, &hand.record.credentials, &bench.thing.id(), &cloud().pin);
    assert_eq!(set, RegSet { generation: 7, acl: vec![entry] });
    assert_eq!(bench.cloud_state(), CloudState::Registering);

    let ok = json::encode(&RegOk { generation: 7, refused: Vec::new() });
    assert_eq!(bench.hear_cloud(&down(&bench), &ok), Verdict::Registered);
    assert_eq!(bench.actions(), [Action::SubscribeCloud { server: SERVER, topic: hand.topic() }]);
    assert_eq!(bench.cloud_state(), CloudState::Registered);
}

#[test]
fn a_command_by_the_cloud_is_answered_there_and_its_event_goes_everywhere() {
    let (mut bench, mut hand) = one_owner();
    bench.confirm_registration();
    let command = hand.command(true, bench.now);
    assert_eq!(bench.hear_cloud(&hand.topic(), &command), Verdict::Answered(ReturnCode::Ok));
    assert_eq!(bench.outlet.switched, [OutletState::On]);
    let ways: Vec<_> = bench
        .actions()
        .into_iter()
        .filter_map(|action| match action {
            Action::Publish { path, payload, .. } => Some((path, payload)),
            _ => None,
        })
        .collect();
    let [(Path::Cloud(SERVER), answer), (Path::Local, local), (Path::Cloud(SERVER), remote)] = &ways[..] else {
        panic!("{ways:?}")
    };
    assert_eq!(hand.answer(answer).1, ReturnCode::Ok);
    assert_eq!(local, remote, "the same bytes on every path");

    // The same bytes by the other path: acted on once, the kept answer on both (protocol section 6).
    assert_eq!(bench.publish(SESSION, &hand.topic(), &command), Verdict::Repeated);
    let [(_, again)] = &bench.published()[..] else { panic!("one answer") };
    assert_eq!(again, answer);
    assert_eq!(bench.outlet.switched, [OutletState::On]);
}

#[test]
fn a_hostile_cloud_server_moves_nothing_but_the_registration() {
    let (mut bench, mut hand) = one_owner();
    bench.confirm_registration();
    let command = hand.command(true, bench.now);
    let mut forged = command.clone();
    forged[300] ^= 1;
    assert!(matches!(bench.hear_cloud(&hand.topic(), &forged), Verdict::Dropped(Dropped::Unopened(_))));
    for topic in ["s/x/c", PAIR_C2T, &hand.record.topic.t2c()] {
        assert_eq!(bench.hear_cloud(topic, &command), Verdict::Dropped(Dropped::ForeignTopic), "{topic}");
    }
    for garbage in [&b""[..], b"{}", b"garbage", br#"{"v":1,"t":"reg.ok","gen":7,"refused":["x"]}"#] {
        assert_eq!(bench.hear_cloud(&down(&bench), garbage), Verdict::Registered);
    }
    // Held back for half a minute, it is worth nothing.
    bench.wait(31_000_000);
    assert_eq!(bench.hear_cloud(&hand.topic(), &command), Verdict::Stale(Stale::TooOld));
    assert!(bench.outlet.switched.is_empty() && bench.vault.generations.is_empty());
}

#[test]
fn an_answer_to_an_earlier_list_says_nothing() {
    let (mut bench, _) = one_owner();
    bench.link_up();
    bench.actions();
    let old_ok = json::encode(&RegOk { generation: 6, refused: Vec::new() });
    let old_error = json::encode(&RegErr { generation: 9, of: 6, rc: ReturnCode::Stale });
    for answer in [old_ok, old_error] {
        let _ = bench.hear_cloud(&down(&bench), &answer);
        assert_eq!(bench.actions(), []);
        assert_eq!(bench.cloud_state(), CloudState::Registering);
    }
}

#[test]
fn a_thing_that_was_cloned_says_so_and_goes_beyond_its_clone_once_an_hour() {
    let (mut bench, _) = one_owner();
    bench.confirm_registration();
    let error = |of| json::encode(&RegErr { generation: 40, of, rc: ReturnCode::Stale });
    let _ = bench.hear_cloud(&down(&bench), &error(7));
    assert_eq!(bench.vault.generations, [41]);
    assert_eq!(bench.registered().generation, 41);
    let _ = bench.hear_cloud(&down(&bench), &error(41));
    assert_eq!((bench.cloud_state(), bench.actions()), (CloudState::Clone, Vec::new()));
    bench.wait(3_600_000_000);
    bench.link_up();
    assert_eq!(bench.registered().generation, 41);
    let _ = bench.hear_cloud(&down(&bench), &error(41));
    assert_eq!(bench.vault.generations, [41, 42]);
}

#[test]
fn a_server_cannot_use_up_the_generations() {
    let (mut bench, _) = one_owner();
    bench.confirm_registration();
    let error = RegErr { generation: json::MAX_INTEGER - 1, of: 7, rc: ReturnCode::Stale };
    let _ = bench.hear_cloud(&down(&bench), &json::encode(&error));
    assert_eq!(bench.actions(), []);
    assert!(bench.vault.generations.is_empty());
}

#[test]
fn a_status_tells_where_the_thing_stands_with_its_cloud_servers() {
    let (mut bench, mut hand) = one_owner();
    bench.thing.handle_cloud_down(SERVER, CloudFailure::WrongAuthority);
    let status = hand.seal(&json::encode(&Status { id: Nonce::new([1; 16]) }));
    let _ = bench.publish(SESSION, &hand.topic(), &status);
    let published = bench.published();
    let opened = Sealed::parse(&published[0].1).expect("shape").open(&hand.t2c).expect("authentic");
    let response = json::read::<Response<'_>>(opened.bytes()).expect("a response");
    let result = response.r.expect("a result").get();
    assert_eq!(result, r#"{"clouds":[{"host":"cloud.example","state":"wrong-authority"}]}"#);
}

#[test]
fn a_thing_that_nobody_owns_registers_nothing() {
    let mut bench = Bench::new(None);
    bench.actions();
    bench.link_up();
    assert_eq!(bench.hear_cloud("s/x/c", b"x"), Verdict::Dropped(Dropped::ForeignTopic));
    assert_eq!(bench.actions(), []);
}

// Pairing.

/// The controller's side of a run, by hand.
struct Pairing {
    ephemeral: Ephemeral,
    key: SigningKey,
    hello: Vec<u8>,
    keys: Option<PairingKeys>,
    rng: Counter,
}

impl Pairing {
    fn new() -> Self {
        let mut rng = Counter::new(9000);
        let ephemeral = Ephemeral::random(&mut rng);
        let hello = json::encode(&Hello { x: ephemeral.public(), nc: Nonce::random(&mut rng) });
        Self { ephemeral, key: SigningKey::random(&mut rng), hello, keys: None, rng }
    }

    fn accept(&mut self, accept: &[u8], passcode: &Passcode) {
        let parsed: Accept = json::read(accept).expect("M2");
        let shared = self.ephemeral.agree(&parsed.y).expect("contributes");
        self.keys = Some(PairingKeys::derive(&self.hello, accept, &shared, &PairingCode::of_passcode(passcode)));
    }

    fn keys(&self) -> &PairingKeys {
        self.keys.as_ref().expect("after M2")
    }

    fn seal<B: json::Body + serde::Serialize>(&mut self, body: &B) -> Vec<u8> {
        let key = self.keys.as_ref().expect("after M2").c2t.clone();
        key.seal(&json::encode(body), &mut self.rng).expect("short")
    }

    fn confirm(&mut self) -> Vec<u8> {
        let pop = self.key.sign(POP, &self.keys().transcript);
        let spki = self.key.spki();
        self.seal(&Confirm { n: Number, spki, pop, name: "Ana".parse().expect("valid") })
    }

    fn wifi(&mut self) -> Vec<u8> {
        let HomeNetwork { ssid, psk } = network();
        self.seal(&BindWifi { n: Number, ssid, key: psk })
    }

    fn commit(&mut self) -> Vec<u8> {
        self.seal(&BindCommit { n: Number, rec: None })
    }
}

fn unclaimed() -> (Bench, Passcode) {
    let mut bench = Bench::new(None);
    bench.wifi(WifiEvent::AccessPointUp);
    let (passcode, left) = bench.passcode();
    assert_eq!(left.as_secs(), 600);
    bench.thing.handle_session_opened(SESSION, PAIR_IDENTITY);
    bench.actions();
    (bench, passcode)
}

/// Sends one message of a run and gives what came back on the pairing topic.
fn exchange(bench: &mut Bench, message: &[u8]) -> Vec<Vec<u8>> {
    let verdict = bench.publish(SESSION, PAIR_C2T, message);
    assert!(matches!(verdict, Verdict::Paired | Verdict::Repeated), "{verdict:?}");
    bench
        .actions()
        .into_iter()
        .filter_map(|action| match action {
            Action::SendPairing { session, payload } => {
                assert_eq!(session, SESSION);
                Some(payload)
            }
            _ => None,
        })
        .collect()
}

/// A run up to M4.
fn granted(bench: &mut Bench, passcode: &Passcode) -> Pairing {
    let mut pairing = Pairing::new();
    let accept = exchange(bench, &pairing.hello.clone()).remove(0);
    pairing.accept(&accept, passcode);
    let confirm = pairing.confirm();
    assert_eq!(exchange(bench, &confirm).len(), 1);
    pairing
}

#[test]
fn a_factory_fresh_thing_admits_the_passcode_alone() {
    let mut bench = Bench::new(None);
    let actions = bench.actions();
    let [Action::Admit(admitted), Action::OpenAccessPoint { ssid, passphrase }, Action::Show(Screen::Starting)] =
        &actions[..]
    else {
        panic!("{actions:?}")
    };
    bench.wifi(WifiEvent::AccessPointUp);
    let shown = bench.actions();
    let [Action::Show(shown)] = &shown[..] else { panic!("{shown:?}") };
    let [Admission { psk_identity, psk, login: None, publish, subscribe, max_sessions: 2 }] = &admitted[..] else {
        panic!("{admitted:?}")
    };
    assert_eq!((psk_identity.as_str(), publish.as_str(), subscribe.as_str()), (PAIR_IDENTITY, PAIR_C2T, PAIR_T2C));
    assert_eq!(*psk, crate::proto::keys::pairing_psk(passphrase));
    let Screen::AccessPoint { ssid: shown, passcode, .. } = shown else { panic!("{shown:?}") };
    assert_eq!((shown, passcode), (ssid, passphrase));
    assert!(!bench.thing.is_claimed());
}

#[test]
fn who_knows_the_passcode_becomes_the_owner() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = granted(&mut bench, &passcode);
    let wifi = pairing.wifi();
    assert_eq!(exchange(&mut bench, &wifi).len(), 2);
    assert!(bench.vault.claims.is_empty(), "nothing is persisted before M8");
    let commit = pairing.commit();
    let done = exchange(&mut bench, &commit);
    assert_eq!(done.len(), 1);
    let opened = Sealed::parse(&done[0]).expect("shape").open(&pairing.keys().t2c).expect("authentic");
    assert_eq!(json::read(opened.bytes()), Ok(BindDone { n: Number }));

    let [claim] = &bench.vault.claims[..] else { panic!("one claim") };
    assert_eq!((claim.owner.role, claim.owner.name.as_str()), (Role::Owner, "Ana"));
    assert_eq!((claim.owner.spki, &claim.network), (pairing.key.spki(), &network()));
    assert_eq!(claim.owner.master, pairing.keys().master);
    assert!(bench.thing.is_claimed());

    // M9 has arrived: the access point closes, and only the owner's keys are admitted.
    bench.thing.handle_acknowledged(SESSION);
    let actions = bench.actions();
    let [Action::Admit(admitted), Action::Show(Screen::Joining { .. }), Action::JoinNetwork(joined)] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(admitted.len(), 1);
    assert_eq!(admitted[0].publish, bench.vault.claims[0].owner.topic.c2t());
    assert_eq!(*joined, network());
}

#[test]
fn a_lost_answer_is_given_again_with_the_same_bytes() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = Pairing::new();
    let hello = pairing.hello.clone();
    let accept = exchange(&mut bench, &hello);
    assert_eq!(exchange(&mut bench, &hello), accept);
    pairing.accept(&accept[0], &passcode);
    for message in [Pairing::confirm, Pairing::wifi, Pairing::commit] {
        let message = message(&mut pairing);
        let replies = exchange(&mut bench, &message);
        assert_eq!(exchange(&mut bench, &message), replies);
    }
    assert_eq!(bench.vault.claims.len(), 1);
}

#[test]
fn the_access_point_closes_by_itself_when_m9_is_not_acknowledged() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = granted(&mut bench, &passcode);
    for message in [Pairing::wifi, Pairing::commit] {
        let message = message(&mut pairing);
        exchange(&mut bench, &message);
    }
    let before = bench.now;
    bench.next_timeout();
    assert_eq!(bench.now.since(before).as_secs(), 5);
    assert!(bench.actions().iter().any(|action| matches!(action, Action::JoinNetwork(_))));
}

#[test]
fn a_wrong_code_fails_the_run_without_an_answer() {
    let (mut bench, _) = unclaimed();
    let mut pairing = Pairing::new();
    let accept = exchange(&mut bench, &pairing.hello.clone()).remove(0);
    pairing.accept(&accept, &"0000000000000000".parse().expect("valid"));
    let confirm = pairing.confirm();
    let verdict = bench.publish(SESSION, PAIR_C2T, &confirm);
    assert_eq!(verdict, Verdict::Dropped(Dropped::Run(crate::proto::pairing::thing::Ending::Failed)));
    let actions = bench.actions();
    assert!(
        matches!(&actions[..], [Action::EndSession(SESSION), Action::Show(Screen::AccessPoint { .. })]),
        "{actions:?}"
    );
}

#[test]
fn five_bad_runs_end_the_window_with_a_new_passcode() {
    let (mut bench, passcode) = unclaimed();
    for n in 1..=5 {
        let session = SessionId(100 + n);
        bench.thing.handle_session_opened(session, PAIR_IDENTITY);
        let _ = bench.publish(session, PAIR_C2T, &Pairing::new().hello);
        let _ = bench.publish(session, PAIR_C2T, b"garbage");
    }
    bench.wifi(WifiEvent::AccessPointUp);
    let (next, left) = bench.passcode();
    assert_ne!(next, passcode);
    assert_eq!(left.as_secs(), 600);
}

#[test]
fn a_message_out_of_order_aborts_and_wipes_the_run() {
    // M8 in the place of M5.
    let (mut bench, passcode) = unclaimed();
    let mut pairing = granted(&mut bench, &passcode);
    let commit = pairing.commit();
    assert!(matches!(bench.publish(SESSION, PAIR_C2T, &commit), Verdict::Dropped(Dropped::Run(_))));
    // The run is gone: what would have been right is nothing now.
    let wifi = pairing.wifi();
    assert_eq!(bench.publish(SESSION, PAIR_C2T, &wifi), Verdict::Dropped(Dropped::ForeignTopic));
    assert!(bench.vault.claims.is_empty());
}

#[test]
fn a_proof_of_another_run_or_key_is_refused() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = Pairing::new();
    let accept = exchange(&mut bench, &pairing.hello.clone()).remove(0);
    pairing.accept(&accept, &passcode);
    let spki = pairing.key.spki();
    let pop = pairing.key.sign(POP, &[0; 64]);
    let confirm = pairing.seal(&Confirm { n: Number, spki, pop, name: "Eve".parse().expect("valid") });
    assert!(matches!(bench.publish(SESSION, PAIR_C2T, &confirm), Verdict::Dropped(Dropped::Run(_))));
}

#[test]
fn a_weak_key_is_refused() {
    let (mut bench, _) = unclaimed();
    let hello = json::encode(&Hello { x: crate::proto::id::X25519Public::new([0; 32]), nc: Nonce::new([0; 16]) });
    assert!(matches!(bench.publish(SESSION, PAIR_C2T, &hello), Verdict::Dropped(Dropped::Run(_))));
}

#[test]
fn a_store_that_fails_leaves_the_thing_unclaimed_and_silent() {
    let (mut bench, passcode) = unclaimed();
    let mut pairing = granted(&mut bench, &passcode);
    let wifi = pairing.wifi();
    exchange(&mut bench, &wifi);
    bench.vault.broken = true;
    let commit = pairing.commit();
    assert_eq!(bench.publish(SESSION, PAIR_C2T, &commit), Verdict::Dropped(Dropped::Store));
    assert!(!bench.thing.is_claimed());
    assert!(!bench.actions().iter().any(|action| matches!(action, Action::SendPairing { .. })));
}

#[test]
fn the_second_session_loses_when_the_first_claims() {
    let (mut bench, passcode) = unclaimed();
    bench.thing.handle_session_opened(SessionId(2), PAIR_IDENTITY);
    let _ = bench.publish(SessionId(2), PAIR_C2T, &Pairing::new().hello);
    bench.actions();
    let mut pairing = granted(&mut bench, &passcode);
    let wifi = pairing.wifi();
    exchange(&mut bench, &wifi);
    let commit = pairing.commit();
    let _ = bench.publish(SESSION, PAIR_C2T, &commit);
    assert!(bench.actions().contains(&Action::EndSession(SessionId(2))));
    let verdict = bench.publish(SessionId(2), PAIR_C2T, &Pairing::new().hello);
    assert_eq!(verdict, Verdict::Dropped(Dropped::ForeignTopic));
}

#[test]
fn runs_end_after_60_s_before_and_120_s_after_the_code_was_proved() {
    let (mut bench, _) = unclaimed();
    let _ = bench.publish(SESSION, PAIR_C2T, &Pairing::new().hello);
    let ended = |bench: &mut Bench| {
        let before = bench.now;
        loop {
            bench.next_timeout();
            if bench.actions().contains(&Action::EndSession(SESSION)) {
                return bench.now.since(before).as_secs();
            }
        }
    };
    assert_eq!(ended(&mut bench), 60);
    let (mut bench, passcode) = unclaimed();
    granted(&mut bench, &passcode);
    assert_eq!(ended(&mut bench), 120);
}

#[test]
fn after_six_windows_the_access_point_sleeps_until_the_button() {
    let mut bench = Bench::new(None);
    bench.wifi(WifiEvent::AccessPointUp);
    let mut passcodes = vec![bench.passcode().0];
    while let Some(at) = bench.thing.poll_timeout() {
        bench.now = at;
        bench.thing.handle_timeout(at, ports!(bench));
        for action in bench.actions() {
            if let Action::OpenAccessPoint { passphrase, .. } = action {
                passcodes.push(passphrase);
            }
        }
    }
    assert_eq!(passcodes.len(), 6);
    assert_eq!(bench.now.get(), 6 * 600_000_000);
    assert!((1..6).all(|n| !passcodes[..n].contains(&passcodes[n])), "each window has its own");
    bench.press(Press::Short);
    bench.wifi(WifiEvent::AccessPointUp);
    assert!(!passcodes.contains(&bench.passcode().0));
    assert!(bench.outlet.switched.is_empty(), "the press that wakes the access point does not switch");
}
