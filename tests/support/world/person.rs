//! A person with a controller: what its keyring holds, what its app stands in the middle of.

use std::collections::BTreeMap;

use sect::proto::action::SessionId;
use sect::proto::controller::{Controller, RequestHandle};
use sect::proto::id::{Cid, ThingId};
use sect::proto::keys::TlsPsk;
use sect::proto::pairing::binding::Binding;
use sect::proto::pairing::controller::Run;
use sect::proto::time::Micros;
use sect::proto::user::Name;

use super::dice::Dice;
use super::judge::WishId;
use super::weather::Time;

/// Somebody.
pub struct Person {
    pub name: Name,
    /// What outlives a power cut.
    pub keyring: Option<Binding>,
    pub app: Option<App>,
    pub clock: Clock,
    /// Counts attempts to reach the plug; the outcome of an earlier one is void.
    pub attempt: u64,
    /// How often the plug was not reached since it last was.
    pub tries: u32,
    /// How often it was refused: the next pair of key and login is tried.
    pub knocks: u64,
    /// The invitation by which its keyring's binding came.
    pub joins_by: Option<usize>,
    /// Whether it came by a recovery.
    pub recovers: bool,
}

/// The app while it runs.
#[derive(Default)]
pub struct App {
    pub controller: Option<Controller>,
    pub pairing: Option<Pairing>,
    pub link: Link,
    /// The plug's access point, while the person is there and not in a network of the house.
    pub at: Option<String>,
    pub wishes: BTreeMap<RequestHandle, WishId>,
}

/// A pairing run under way.
pub struct Pairing {
    pub run: Run,
    pub way: PairingWay,
    /// By which invitation; none at a plug that is nobody's.
    pub invitation: Option<usize>,
    /// Whether it is a recovery.
    pub recovers: bool,
}

/// How a pairing session is opened.
#[derive(Clone)]
pub struct PairingWay {
    pub identity: String,
    pub psk: TlsPsk,
    /// The access point it stands in; none on the home network.
    pub access_point: Option<String>,
}

/// The session at the plug's own server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    #[default]
    Down,
    Dialling,
    Up(SessionId),
}

/// A quartz: it counts from anywhere, and a little too fast or too slow.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: u64,
    /// Millionths of a second that it counts in a second.
    rate: u64,
}

impl Clock {
    pub fn draw(dice: &mut Dice) -> Self {
        Self { start: dice.below(1 << 40), rate: dice.between(999_900, 1_000_100) }
    }

    pub fn reads(&self, now: Time) -> Micros {
        let passed = u128::from(now) * u128::from(self.rate) / 1_000_000;
        Micros::new(self.start + u64::try_from(passed).expect("a world lasts months"))
    }

    /// The first moment at which it shows `at`.
    pub fn moment(&self, at: Micros) -> Time {
        let passed = u128::from(at.get().saturating_sub(self.start)) * 1_000_000;
        u64::try_from(passed.div_ceil(u128::from(self.rate))).expect("a world lasts months")
    }
}

impl Person {
    pub fn new(name: &str, dice: &mut Dice) -> Self {
        Self {
            name: name.parse().expect("a name"),
            keyring: None,
            app: None,
            clock: Clock::draw(dice),
            attempt: 0,
            tries: 0,
            knocks: 0,
            joins_by: None,
            recovers: false,
        }
    }

    /// What the thing calls its controller.
    pub fn cid(&self) -> Option<Cid> {
        self.keyring.as_ref().map(|binding| binding.cid)
    }

    /// The thing of its keyring.
    pub fn thing(&self) -> Option<ThingId> {
        self.keyring.as_ref().map(|binding| binding.thing)
    }

    /// Its app, started anew from the keyring.
    pub fn start_app(&mut self) {
        let controller = self.keyring.as_ref().map(|binding| Controller::new(binding.keychain()));
        self.app = Some(App { controller, ..App::default() });
    }
}
