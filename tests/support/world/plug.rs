//! The plug: what of it outlives a power cut, what it stands in the middle of, and the ports that it lends to
//! the thing's machine.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use sect::proto::action::{Admission, Screen};
use sect::proto::id::Cid;
use sect::proto::message::OutletState;
use sect::proto::operation::result::NetworkItem;
use sect::proto::port::{Air, Journal, Outlet, OutletFault, Vault, VaultFault};
use sect::proto::record::{Household, Logged, Note, StoredIdentity};
use sect::proto::thing::Thing;
use sect::proto::wifi::HomeNetwork;

use super::dice::Dice;
use super::weather::{Time, Weather};

/// What outlives a power cut.
#[derive(Clone)]
pub struct Disk {
    pub identity: StoredIdentity,
    pub generation: u64,
    pub household: Option<Household>,
    pub outlet: Option<OutletState>,
    pub log: Vec<Note>,
    /// Whether a wipe has begun.
    pub wiping: bool,
}

impl Disk {
    /// What a wipe leaves: what the thing itself is, and the generation of its registration.
    pub fn forget_all(&mut self) {
        (self.household, self.outlet, self.wiping) = (None, None, false);
        self.log.clear();
    }
}

/// The plug.
pub struct Plug {
    pub disk: Disk,
    /// What was on the disk before the last write, and when that was: for stores that lie.
    pub before: Option<(Disk, Time)>,
    /// What the load really has.
    pub load: OutletState,
    /// The machine; none without power.
    pub machine: Option<Thing>,
    /// When the daemon started.
    pub booted_at: Time,
    pub screen: Screen,
    pub radio: Radio,
    /// Counts what the radio was told; what it reports about an earlier order is void.
    pub order: u64,
    pub admissions: Vec<Admission>,
    /// The link to the cloud server, and what is subscribed to on it.
    pub cloud: Option<BTreeSet<String>>,
    /// Counts these links.
    pub link: u64,
}

/// Where the radio is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Radio {
    Off,
    AccessPoint { ssid: String, is_up: bool },
    Home { network: HomeNetwork, is_joined: bool },
}

impl Plug {
    /// Factory-fresh, without power.
    pub fn new(identity: StoredIdentity) -> Self {
        Self {
            disk: Disk { identity, generation: 0, household: None, outlet: None, log: Vec::new(), wiping: false },
            before: None,
            load: OutletState::Off,
            machine: None,
            booted_at: 0,
            screen: Screen::Starting,
            radio: Radio::Off,
            order: 0,
            admissions: Vec::new(),
            cloud: None,
            link: 0,
        }
    }
}

/// On which side of a write the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

impl Side {
    pub fn draw(dice: &mut Dice) -> Self {
        if dice.coin() { Self::Before } else { Self::After }
    }
}

/// What will go wrong while the machine handles one happening, should it come to that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fate {
    pub power_at_write: Option<Side>,
    pub power_at_outlet: Option<Side>,
    /// The power goes when so many of the actions that follow are done.
    pub power_at_action: Option<u64>,
    pub write_fails: bool,
    pub outlet_fails: bool,
}

impl Fate {
    pub fn draw(weather: &Weather, dice: &mut Dice) -> Self {
        let mut side = |chance: u64| dice.chance(chance).then(|| Side::draw(dice));
        let (power_at_write, power_at_outlet) = (side(weather.power_at_write), side(weather.power_at_outlet));
        Self {
            power_at_write,
            power_at_outlet,
            power_at_action: dice.chance(weather.power_at_answer).then(|| dice.below(4)),
            write_fails: dice.chance(weather.write_fails),
            outlet_fails: dice.chance(weather.outlet_fails),
        }
    }
}

/// The mains and what was seen while they were up. After a power cut no port does anything.
pub struct Mains {
    pub fate: Fate,
    pub has_power: Cell<bool>,
    /// What the outlet was set to.
    pub clicks: RefCell<Vec<OutletState>>,
    /// How often the store was written.
    pub writes: Cell<u32>,
    /// What the store was asked that a sound machine never asks.
    pub wrong: RefCell<Option<String>>,
}

impl Mains {
    pub fn new(fate: Fate) -> Self {
        Self {
            fate,
            has_power: Cell::new(true),
            clicks: RefCell::default(),
            writes: Cell::new(0),
            wrong: RefCell::default(),
        }
    }

    fn accuse(&self, what: String) {
        self.wrong.borrow_mut().get_or_insert(what);
    }
}

/// The relay.
pub struct OutletPort<'a> {
    pub load: &'a mut OutletState,
    pub mains: &'a Mains,
}

impl Outlet for OutletPort<'_> {
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault> {
        let Mains { fate, has_power, clicks, .. } = self.mains;
        if !has_power.get() || fate.outlet_fails {
            return Err(OutletFault);
        }
        if fate.power_at_outlet == Some(Side::Before) {
            has_power.set(false);
            return Err(OutletFault);
        }
        clicks.borrow_mut().push(state);
        *self.load = state;
        if fate.power_at_outlet == Some(Side::After) {
            has_power.set(false);
        }
        Ok(())
    }
}

/// What the radio has seen.
pub struct AirPort(pub Vec<NetworkItem>);

impl Air for AirPort {
    fn seen(&self) -> Vec<NetworkItem> {
        self.0.clone()
    }
}

/// The store, in memory.
pub struct VaultPort<'a> {
    pub disk: &'a mut Disk,
    pub before: &'a mut Option<(Disk, Time)>,
    pub mains: &'a Mains,
    pub now: Time,
}

impl VaultPort<'_> {
    fn write(&mut self, change: impl FnOnce(&mut Disk)) -> Result<(), VaultFault> {
        let Mains { fate, has_power, writes, .. } = self.mains;
        if !has_power.get() || fate.write_fails {
            return Err(VaultFault);
        }
        if fate.power_at_write == Some(Side::Before) {
            has_power.set(false);
            return Err(VaultFault);
        }
        let earlier = self.disk.clone();
        change(self.disk);
        writes.set(writes.get() + 1);
        if self.disk.generation < earlier.generation {
            self.mains.accuse(format!("the generation fell from {} to {}", earlier.generation, self.disk.generation));
        }
        *self.before = Some((earlier, self.now));
        if fate.power_at_write == Some(Side::After) {
            has_power.set(false);
        }
        Ok(())
    }
}

impl Vault for VaultPort<'_> {
    fn claim(&mut self, household: &Household, generation: u64) -> Result<(), VaultFault> {
        if self.disk.household.is_some() {
            self.mains.accuse("a claimed thing was claimed".into());
            return Err(VaultFault);
        }
        self.write(|disk| (disk.household, disk.generation) = (Some(household.clone()), generation))
    }

    fn save(&mut self, household: &Household, generation: u64) -> Result<(), VaultFault> {
        if self.disk.household.is_none() {
            self.mains.accuse("the household of an unclaimed thing was saved".into());
            return Err(VaultFault);
        }
        self.write(|disk| (disk.household, disk.generation) = (Some(household.clone()), generation))
    }

    fn remember(&mut self, outlet: OutletState) -> Result<(), VaultFault> {
        self.write(|disk| disk.outlet = Some(outlet))
    }

    fn begin_wipe(&mut self, generation: u64) -> Result<(), VaultFault> {
        self.write(|disk| (disk.generation, disk.wiping) = (generation, true))
    }

    fn wipe(&mut self) -> Result<(), VaultFault> {
        if !self.disk.wiping {
            self.mains.accuse("a thing was wiped that nobody gave up".into());
        }
        self.write(Disk::forget_all)
    }
}

impl Journal for VaultPort<'_> {
    fn note(&mut self, note: Note) {
        if self.mains.has_power.get() {
            self.disk.log.push(note);
        }
    }

    fn read(&mut self, from: u64, cid: Option<&Cid>, limit: usize) -> Result<Vec<Logged>, VaultFault> {
        let places = (1..).zip(&self.disk.log).map(|(place, note)| Logged { place, note: note.clone() });
        let wanted = |line: &Logged| {
            (from == 0 || line.place <= from)
                && cid.is_none_or(|cid| line.note.by.as_ref().is_some_and(|(by, _)| by == cid))
        };
        let mut lines: Vec<Logged> = places.filter(wanted).collect();
        lines.reverse();
        lines.truncate(limit);
        Ok(lines)
    }
}
