//! Both machines of this crate against each other: from the passcode on the display to a switched load
//! (SecT STEP 1-7, 12, 13).

use super::thing::Mix;
use super::*;
use crate::proto::action::{Action, Press, Screen, SessionId, WifiEvent};
use crate::proto::certificate::ThingIdentity;
use crate::proto::id::Cid;
use crate::proto::keys::PairingCode;
use crate::proto::message::OutletState;
use crate::proto::operation::result::NetworkItem;
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::pairing::binding::Binding;
use crate::proto::pairing::controller::{Run, Step};
use crate::proto::passcode::Passcode;
use crate::proto::port::{Air, Journal, Outlet, OutletFault, Ports, Vault, VaultFault};
use crate::proto::record::{Household, Logged, Note, Stored};
use crate::proto::thing::{Start, StartCause, Thing};
use crate::proto::topic::PAIR_C2T;
use crate::proto::wifi::HomeNetwork;

const PAIRING: SessionId = SessionId(1);
const OWNER: SessionId = SessionId(2);

#[derive(Default)]
struct House {
    switched: Vec<OutletState>,
    claims: Vec<Household>,
}

struct HouseOutlet<'a>(&'a mut Vec<OutletState>);
struct HouseVault<'a>(&'a mut Vec<Household>);

impl Outlet for HouseOutlet<'_> {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        self.0.push(state);
        Ok(())
    }
}

impl Journal for HouseVault<'_> {
    fn note(&mut self, _: Note) {}

    fn read(&mut self, _: u64, _: Option<&Cid>, _: usize) -> Result<Vec<Logged>, VaultFault> {
        Ok(Vec::new())
    }
}

impl Vault for HouseVault<'_> {
    fn remember(&mut self, _: OutletState) -> Result<(), VaultFault> {
        Ok(())
    }

    fn claim(&mut self, household: &Household, _: u64) -> Result<(), VaultFault> {
        self.0.push(household.clone());
        Ok(())
    }

    fn save(&mut self, _: &Household, _: u64) -> Result<(), VaultFault> {
        Ok(())
    }

    fn begin_wipe(&mut self, _: u64) -> Result<(), VaultFault> {
        Ok(())
    }

    fn wipe(&mut self) -> Result<(), VaultFault> {
        Ok(())
    }
}

struct NoAir;

impl Air for NoAir {
    fn seen(&self) -> Vec<NetworkItem> {
        Vec::new()
    }
}

impl House {
    fn lend<T>(&mut self, rng: &mut Mix, call: impl FnOnce(&mut Ports<'_>) -> T) -> T {
        let (mut outlet, mut vault) = (HouseOutlet(&mut self.switched), HouseVault(&mut self.claims));
        call(&mut Ports { outlet: &mut outlet, vault: &mut vault, air: &NoAir, rng })
    }
}

/// A thing in its factory state, and the passcode on its display.
fn unclaimed(house: &mut House, rng: &mut Mix) -> (Thing, Passcode) {
    let identity = ThingIdentity::create(rng).to_stored();
    let stored = Stored { identity, generation: 0, household: None, wiping: false, outlet: None };
    let cause = StartCause::Restart;
    let start = Start { stored, boot: Boot::random(rng), outlet: OutletState::Off, cause, clouds: Vec::new() };
    let mut thing = house.lend(rng, |ports| Thing::start(start, Micros::ZERO, ports)).expect("its own identity");
    house.lend(rng, |ports| thing.handle_wifi(WifiEvent::AccessPointUp, Micros::ZERO, ports));
    let passcode = std::iter::from_fn(|| thing.poll_action())
        .find_map(|action| match action {
            Action::Show(Screen::AccessPoint { passcode, .. }) => Some(passcode),
            _ => None,
        })
        .expect("a passcode on the display");
    (thing, passcode)
}

/// Runs M1 to M9; gives the binding that was persisted before M8 and the one at the end.
fn pair(thing: &mut Thing, passcode: &Passcode, house: &mut House, rng: &mut Mix) -> (Binding, Binding) {
    let network = HomeNetwork { ssid: "home".parse().expect("valid"), psk: "correct horse".parse().expect("valid") };
    let mut run = Run::new(PairingCode::of_passcode(passcode), network, "Ada".parse().expect("valid"), None, rng);
    thing.handle_session_opened(PAIRING, PAIR_IDENTITY);
    let mut persisted = None;
    loop {
        while let Some(step) = run.poll_step() {
            match step {
                Step::TellUser(_) => {}
                Step::Persist(binding) => {
                    assert!(house.claims.is_empty(), "the thing was claimed first");
                    persisted = Some(*binding);
                    run.persisted(rng);
                }
                Step::Done(binding) => return (persisted.expect("M8 was sent after it"), *binding),
                Step::Failed(error) => panic!("{error}"),
            }
        }
        let payload = run.poll_transmit(Micros::ZERO).expect("the next message");
        let _verdict = house.lend(rng, |ports| thing.handle_publish(PAIRING, PAIR_C2T, &payload, Micros::ZERO, ports));
        for action in std::iter::from_fn(|| thing.poll_action()) {
            if let Action::SendPairing { session: PAIRING, payload } = action {
                run.handle_message(&payload, rng);
            }
        }
    }
}

#[test]
fn who_reads_the_display_becomes_the_owner_and_switches_the_load() {
    let (mut house, mut rng) = (House::default(), Mix::new(3));
    let (mut thing, passcode) = unclaimed(&mut house, &mut rng);
    let (persisted, binding) = pair(&mut thing, &passcode, &mut house, &mut rng);
    assert_eq!(binding, Binding { confirmed: true, ..persisted });
    assert!(thing.is_claimed());
    let owner = &house.claims[0].controllers[0];
    assert_eq!((owner.cid, &owner.topic, &owner.master), (binding.cid, &binding.topic, &binding.master));
    assert_eq!(owner.credentials, binding.credentials);

    thing.handle_acknowledged(PAIRING, Micros::ZERO);
    house.lend(&mut rng, |ports| thing.handle_wifi(WifiEvent::Joined, Micros::ZERO, ports));
    let (psk_identity, psk) = binding.psk();
    let admitted = std::iter::from_fn(|| thing.poll_action()).any(|action| match action {
        Action::Admit(admissions) => admissions.iter().any(|admission| {
            admission.psk_identity == psk_identity.to_string()
                && admission.psk == psk
                && admission.publish == binding.topic.c2t()
                && admission.subscribe == binding.topic.t2c()
        }),
        _ => false,
    });
    assert!(admitted, "the new owner may open a session");
    thing.handle_session_opened(OWNER, &psk_identity.to_string());

    let mut controller = Controller::new(binding.keychain());
    let now = Micros::new(9_000_000);
    let mut converse = |controller: &mut Controller, thing: &mut Thing, house: &mut House| {
        while let Some(transmit) = controller.poll_transmit(now) {
            let thing_time = Micros::new(4_000_000);
            let _verdict = house.lend(&mut rng, |ports| {
                thing.handle_publish(OWNER, &binding.topic.c2t(), &transmit.payload, thing_time, ports)
            });
            for action in std::iter::from_fn(|| thing.poll_action()) {
                if let Action::Publish { topic, payload, .. } = action {
                    assert_eq!(*topic, *binding.topic.t2c());
                    let verdict = controller.handle_message(Path::Local, &payload, now, &mut rng);
                    assert!(matches!(verdict, Verdict::Answer | Verdict::Event), "{verdict:?}");
                }
            }
        }
        std::iter::from_fn(|| controller.poll_event()).collect::<Vec<_>>()
    };
    for (place, on) in [true, false, true].into_iter().enumerate() {
        let wish = controller.request(Operation::outlet(on), now, &mut Mix::new(place as u64));
        let events = converse(&mut controller, &mut thing, &mut house);
        let answered = events.iter().find_map(|event| match event {
            ControllerEvent::Answered { handle, rc, state, .. } => Some((*handle, *rc, state.on, state.who.clone())),
            _ => None,
        });
        let ada = Some("Ada".parse().expect("valid"));
        assert_eq!(answered, Some((wish, ReturnCode::Ok, on, ada)));
    }
    assert_eq!(house.switched, [true, false, true].map(OutletState::from_on));

    // Somebody presses the button; the owner sees it.
    let mut port_rng = Mix::new(8);
    house.lend(&mut port_rng, |ports| thing.handle_press(Press::Short, Micros::new(5_000_000), ports));
    let told: Vec<_> = std::iter::from_fn(|| thing.poll_action())
        .filter_map(|action| match action {
            Action::Publish { payload, .. } => {
                Some(controller.handle_message(Path::Local, &payload, now, &mut port_rng))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [Verdict::Event]);
    assert_eq!(controller.state().map(|(state, _)| state.on), Some(false));
}
