//! The story: what people do with the plug, and what befalls them, one step after the other.

use sect::proto::action::Press;
use sect::proto::id::Cid;
use sect::proto::operation::Operation;
use sect::proto::operation::argument::{BootSet, Bounded, NameSet, PowerOn, TimerSet, WifiSet};
use sect::proto::record::ControllerRecord;

use super::dice::Dice;
use super::person::Link;
use super::weather::{SECOND, Time};
use super::{Happening, Tale, World};

/// What is left of the story, and what of it was told.
pub struct Story {
    left: u64,
    /// How long people usually do nothing between two steps, at most.
    pause: Time,
    /// How much longer the next one lasts.
    rest: Time,
    pub is_over: bool,
    /// How often the examination has waited for the plug to be claimed.
    pub patience: u32,
    pub tale: Tale,
}

impl Story {
    pub fn draw(dice: &mut Dice) -> Self {
        Self {
            left: dice.between(8, 40),
            pause: dice.between(1, 40) * SECOND,
            rest: 0,
            is_over: false,
            patience: 0,
            tale: Tale::default(),
        }
    }
}

/// What people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Pair,
    Switch,
    ChangeOfMind,
    Ask,
    Press,
    Rename,
    Timer,
    PowerOn,
    Invite,
    Accept,
    Remove,
    Role,
    Rekey,
    Renew,
    GiveUp,
    Recover,
    Wifi,
    Maintain,
}

/// What befalls them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    PowerCut,
    Death,
    Router,
    Cut,
    Replay,
    LaterList,
    NewRouter,
    Wait,
}

/// Each as often as it stands here.
const DEEDS: [Deed; 37] = [
    Deed::Switch,
    Deed::Switch,
    Deed::Switch,
    Deed::Switch,
    Deed::ChangeOfMind,
    Deed::ChangeOfMind,
    Deed::Ask,
    Deed::Press,
    Deed::Rename,
    Deed::Timer,
    Deed::PowerOn,
    Deed::Invite,
    Deed::Invite,
    Deed::Invite,
    Deed::Accept,
    Deed::Accept,
    Deed::Accept,
    Deed::Accept,
    Deed::Remove,
    Deed::Remove,
    Deed::Role,
    Deed::Rekey,
    Deed::Rekey,
    Deed::Rekey,
    Deed::Rekey,
    Deed::Renew,
    Deed::Renew,
    Deed::Renew,
    Deed::GiveUp,
    Deed::Recover,
    Deed::Recover,
    Deed::Recover,
    Deed::Recover,
    Deed::Pair,
    Deed::Wifi,
    Deed::Wifi,
    Deed::Maintain,
];

/// The same.
const BLOWS: [Blow; 11] = [
    Blow::PowerCut,
    Blow::PowerCut,
    Blow::Death,
    Blow::Death,
    Blow::Router,
    Blow::Cut,
    Blow::Cut,
    Blow::Replay,
    Blow::LaterList,
    Blow::NewRouter,
    Blow::Wait,
];

impl World {
    pub(super) fn take_step(&mut self) {
        if self.steps.left == 0 {
            self.plan(SECOND, Happening::Heal);
            return;
        }
        self.steps.left -= 1;
        // What is not possible now gives way to something else of its kind.
        let is_blow = self.dice.chance(300);
        for _ in 0..8 {
            let name = if is_blow {
                let (blow, person) = (BLOWS[self.dice.place(BLOWS.len())], self.dice.place(self.people.len()));
                self.strike(blow, person).then(|| format!("{blow:?}"))
            } else {
                let nobodys = self.plug.disk.household.is_none() && self.dice.chance(800);
                let deed = if nobodys { Deed::Pair } else { DEEDS[self.dice.place(DEEDS.len())] };
                let person = self.doer(deed);
                self.do_deed(deed, person).then(|| format!("{deed:?}"))
            };
            if let Some(name) = name {
                self.steps.tale.steps += 1;
                *self.steps.tale.taken.entry(name).or_default() += 1;
                break;
            }
        }
        let wait = self.dice.between(1, self.steps.pause) + std::mem::take(&mut self.steps.rest);
        self.plan(wait, Happening::Step);
    }

    /// Whoever can, does it; now and then somebody who has no business with the plug tries.
    fn doer(&mut self, deed: Deed) -> usize {
        let has_keys = |world: &Self, person: usize| world.people[person].keyring.is_some();
        let comes_in = matches!(deed, Deed::Pair | Deed::Accept | Deed::Recover);
        let fit: Vec<usize> = (0..self.people.len())
            .filter(|&person| if comes_in { !self.is_member(person) } else { has_keys(self, person) })
            .collect();
        let owners: Vec<usize> = (0..self.people.len()).filter(|&person| self.is_owner(person)).collect();
        let fit = if !comes_in && !owners.is_empty() && self.dice.chance(500) { owners } else { fit };
        // Whose pairing broke off tries once more.
        let again = (0..self.people.len())
            .find(|&person| self.people[person].keyring.as_ref().is_some_and(|binding| !binding.confirmed));
        if let Some(again) = again.filter(|_| comes_in && self.dice.coin()) {
            return again;
        }
        if fit.is_empty() || self.dice.chance(100) {
            self.dice.place(self.people.len())
        } else {
            fit[self.dice.place(fit.len())]
        }
    }

    fn do_deed(&mut self, deed: Deed, person: usize) -> bool {
        match deed {
            Deed::Pair => self.begin_pairing(person),
            Deed::Switch => {
                let on = self.dice.coin();
                self.wish(person, Operation::outlet(on)).is_some()
            }
            Deed::ChangeOfMind => {
                let on = self.dice.coin();
                let made = [on, !on, on].map(|on| self.wish(person, Operation::outlet(on)).is_some());
                made[0]
            }
            Deed::Ask => self.ask(person),
            Deed::Press => {
                self.note(|_| "somebody presses the button".into());
                self.with_thing(|thing, now, ports| thing.handle_press(Press::Short, now, ports));
                true
            }
            Deed::Rename => {
                let name = ["lamp", "fan", "plug"][self.dice.place(3)].parse().expect("a name");
                self.wish(person, Operation::NameSet(NameSet { name })).is_some()
            }
            Deed::Timer => {
                let (on, seconds) = (self.dice.coin(), self.dice.between(1, 300));
                let in_s = u32::try_from(seconds).ok().and_then(Bounded::new).expect("it is in range");
                self.wish(person, Operation::TimerSet(TimerSet { on, in_s })).is_some()
            }
            Deed::PowerOn => {
                let state = [PowerOn::Off, PowerOn::On, PowerOn::Last][self.dice.place(3)];
                self.wish(person, Operation::BootSet(BootSet { state })).is_some()
            }
            Deed::Invite => self.invite(person),
            Deed::Accept => self.accept(person),
            Deed::Remove => self.remove(person),
            Deed::Role => self.change_role(person),
            Deed::Rekey => self.rekey(person),
            Deed::Renew => self.renew(person),
            Deed::Recover => self.recover(person),
            Deed::GiveUp => self.give_up(person),
            Deed::Wifi => {
                let other = self.some_network();
                self.wish(person, Operation::WifiSet(WifiSet { ssid: other.ssid, key: other.psk })).is_some()
            }
            Deed::Maintain => self.maintain(person),
        }
    }

    fn strike(&mut self, blow: Blow, person: usize) -> bool {
        match blow {
            Blow::PowerCut => {
                let has_power = self.plug.machine.is_some();
                if has_power {
                    self.plug_dies("by a step");
                }
                has_power
            }
            Blow::Death => {
                let lives = self.people[person].app.is_some();
                self.app_dies(person, "by a step");
                lives
            }
            Blow::Router => {
                let is_up = self.router_is_up;
                if is_up {
                    self.note(|_| "the router goes".into());
                    self.router_goes();
                }
                is_up
            }
            Blow::Cut => match self.people[person].app.as_ref().map(|app| app.link) {
                Some(Link::Up(session)) => {
                    self.note(|_| format!("{session:?} breaks by a step"));
                    self.break_session(session);
                    true
                }
                _ => false,
            },
            Blow::Replay => {
                (0..5).for_each(|_| self.replay());
                !self.overheard.is_empty()
            }
            Blow::LaterList => {
                self.cloud_knows_a_later_list();
                true
            }
            Blow::NewRouter => {
                self.router_is_replaced();
                true
            }
            Blow::Wait => {
                // A window of the access point, an hour's offset, a day.
                self.steps.rest = [70, 700, 4000, 90_000][self.dice.place(4)] * SECOND;
                true
            }
        }
    }

    /// The household's record of a controller.
    pub(super) fn record(&self, cid: Cid) -> Option<&ControllerRecord> {
        self.plug.disk.household.as_ref()?.controllers.iter().find(|record| record.cid == cid)
    }
}
