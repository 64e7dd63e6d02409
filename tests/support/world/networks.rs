//! The networks of the house, and how people bring the plug from one to another.

use sect::proto::action::{Press, Screen, WifiEvent};
use sect::proto::operation::Operation;
use sect::proto::operation::argument::WifiSet;
use sect::proto::wifi::HomeNetwork;

use super::person::Link;
use super::plug::Radio;
use super::weather::SECOND;
use super::{Happening, World, network};

impl World {
    /// A network that somebody may give to the plug: one of the house, a mistyped one, or none at all.
    pub(super) fn some_network(&mut self) -> HomeNetwork {
        let there = self.air[self.dice.place(self.air.len())].clone();
        match self.dice.below(4) {
            0 => HomeNetwork { psk: "wrong password".parse().expect("valid"), ..there },
            1 => network("nowhere", "correct horse"),
            _ => there,
        }
    }

    /// A router breaks for good, and another one with another name takes its place.
    pub(super) fn router_is_replaced(&mut self) {
        let place = self.dice.place(self.air.len());
        self.routers += 1;
        let gone = std::mem::replace(&mut self.air[place], network(&format!("home {}", self.routers), "new horse"));
        self.note(|world| format!("{} is gone, there is {} instead", gone.ssid, world.air[place].ssid));
        if let Radio::Home { network, is_joined } = &mut self.plug.radio
            && network.ssid == gone.ssid
            && std::mem::take(is_joined)
        {
            self.radio_leaves();
            self.plan_report(2 * SECOND, WifiEvent::Lost);
        }
    }

    /// Whether the plug is in a network of the house.
    pub(super) fn is_home(&self) -> bool {
        matches!(self.plug.radio, Radio::Home { is_joined: true, .. })
    }

    /// Somebody sees to a plug that is not at home: holds its button, then joins its access point and tells it
    /// the network. False when there is nothing to see to.
    pub(super) fn maintain(&mut self, person: usize) -> bool {
        match self.plug.screen.clone() {
            Screen::Maintenance { ssid, .. } => {
                let network = self.air[0].clone();
                let Some(app) = self.people[person].app.as_mut().filter(|app| app.controller.is_some()) else {
                    return false;
                };
                let before = app.at.replace(ssid.clone());
                if before.as_ref() != Some(&ssid) {
                    if let Link::Up(session) = app.link {
                        self.hang_up(session);
                    }
                    self.redial(person, SECOND);
                }
                self.note(|world| format!("{} joins {ssid} for maintenance", world.people[person].name));
                self.wish(person, Operation::WifiSet(WifiSet { ssid: network.ssid, key: network.psk })).is_some()
            }
            _ if self.is_home() => false,
            _ => {
                self.note(|_| "somebody holds the button".into());
                self.with_thing(|thing, now, ports| thing.handle_press(Press::Long, now, ports));
                true
            }
        }
    }

    /// At the end of a story the plug may be in no network of the house: an owner puts that right.
    pub(super) fn expect_it_comes_home(&mut self) {
        self.steps.patience += 1;
        if self.steps.patience > 8 {
            self.accuse("no owner can bring the thing home".into());
            return;
        }
        let owner = (0..self.people.len()).find(|&person| self.is_owner(person));
        match owner {
            Some(owner) => {
                self.maintain(owner);
            }
            None => self.accuse("the thing is claimed, and nobody is its owner".into()),
        }
        self.plan(100 * SECOND, Happening::Examine(0));
    }
}
