//! The cloud server: the real registry, and a carrier that may be hostile.

use std::cell::Cell;
use std::collections::BTreeSet;

use sect::proto::action::{CloudFailure, ServerId};
use sect::proto::cloud::{Change, Registry, ThingRecord};
use sect::proto::controller::Path;
use sect::proto::json;
use sect::proto::pairing::binding::Binding;
use sect::proto::registration::{self, RegSet};
use sect::proto::topic::TToken;

use super::plug::Radio;
use super::weather::SECOND;
use super::{Happening, World};

const SERVER: ServerId = ServerId(0);

impl World {
    /// The plug is at home and looks for its cloud server.
    pub(super) fn reach_out(&mut self) {
        self.plug.link += 1;
        let link = self.plug.link;
        let wait = self.dice.between(100_000, 5 * SECOND);
        self.plan(wait, Happening::LinkUp { link });
    }

    /// The link is gone; the plug notices if it is alive.
    pub(super) fn link_ends(&mut self) {
        if self.plug.cloud.take().is_some() {
            let (link, wait) = (self.plug.link, self.dice.between(10_000, 10 * SECOND));
            self.plan(wait, Happening::LinkDown { link });
        }
    }

    pub(super) fn link_comes_up(&mut self, link: u64) {
        let is_home = matches!(self.plug.radio, Radio::Home { is_joined: true, .. });
        if link != self.plug.link || !is_home || self.plug.machine.is_none() {
            return;
        }
        self.plug.cloud = Some(BTreeSet::new());
        self.with_thing(|thing, _, _| thing.handle_cloud_up(SERVER));
    }

    pub(super) fn link_breaks(&mut self, link: u64) {
        if link != self.plug.link {
            return;
        }
        self.plug.cloud = None;
        self.with_thing(|thing, _, _| thing.handle_cloud_down(SERVER, CloudFailure::Lost));
        self.reach_out();
    }

    pub(super) fn cloud_subscribes(&mut self, topic: String) {
        let (link, wait) = (self.plug.link, self.dice.between(1000, self.weather.delay.max(2000)));
        self.plan(wait, Happening::Subscribed { link, topic });
    }

    pub(super) fn cloud_subscribed(&mut self, link: u64, topic: String) {
        let Some(subscribed) = self.plug.cloud.as_mut().filter(|_| link == self.plug.link) else { return };
        subscribed.insert(topic.clone());
        self.with_thing(|thing, now, _| thing.handle_cloud_subscribed(SERVER, &topic, now));
    }

    pub(super) fn cloud_is_told(&mut self, payload: Vec<u8>) {
        if self.dice.chance(self.weather.cut) {
            let link = self.plug.link;
            self.plan(SECOND, Happening::LinkDown { link });
            return;
        }
        let (link, wait) = (self.plug.link, self.dice.between(1000, self.weather.delay.max(2000)));
        self.plan(wait, Happening::Registers { link, payload });
    }

    pub(super) fn cloud_registers(&mut self, link: u64, payload: &[u8]) {
        if link != self.plug.link || self.plug.cloud.is_none() {
            return;
        }
        let Ok(set) = json::read::<RegSet>(payload) else {
            self.accuse("a registration is no registration".into());
            return;
        };
        let (generation, entries) = (set.generation, set.acl.len());
        let plan = self.registry.plan(&self.thing, set, self.now / SECOND);
        if let Some(change) = plan.change {
            let _revoked = self.registry.commit(change);
        }
        self.note(|_| format!("the cloud server is told {entries} accounts under {generation}: {:?}", plan.answer));
        let topic = registration::down_topic(&self.thing);
        let wait = self.dice.between(1000, self.weather.delay.max(2000));
        self.plan(wait, Happening::CloudToPlug { link, topic, payload: plan.answer.encode() });
    }

    /// Somebody registered under this thing's name before, or the server was restored from a later time.
    pub(super) fn cloud_knows_a_later_list(&mut self) {
        let generation = self.plug.disk.generation + self.dice.between(1, 5);
        let record = ThingRecord {
            generation,
            cloned: false,
            entries: Vec::new(),
            reserved_topics: Vec::new(),
            reserved_users: Vec::new(),
        };
        self.registry = Registry::from_records([Change { thing: self.thing, record }]);
        let link = self.plug.link;
        self.plan(SECOND, Happening::LinkDown { link });
    }

    /// What an app sends by the cloud server.
    pub(super) fn cloud_carries_to_plug(&mut self, person: usize, payload: &[u8]) {
        let Some(topic) = self.cloud_knows(person).map(|topic| topic.c2t()) else { return };
        self.overheard.push((topic.clone(), payload.to_vec()));
        let is_heard = self.plug.cloud.as_ref().is_some_and(|subscribed| subscribed.contains(&topic));
        if is_heard {
            let link = self.plug.link;
            self.send(|| Happening::CloudToPlug { link, topic: topic.clone(), payload: payload.to_vec() });
        }
        if self.dice.chance(self.weather.replayed) {
            self.replay();
        }
    }

    /// A hostile server says again what it has heard, to whichever link there is.
    pub(super) fn replay(&mut self) {
        if self.overheard.is_empty() {
            return;
        }
        let (topic, payload) = self.overheard[self.dice.place(self.overheard.len())].clone();
        let (link, wait) = (self.plug.link, self.dice.between(0, 40 * SECOND));
        self.plan(wait, Happening::CloudToPlug { link, topic, payload });
    }

    pub(super) fn cloud_to_plug(&mut self, link: u64, topic: &str, payload: Vec<u8>) {
        if self.plug.cloud.is_none() || link != self.plug.link {
            return;
        }
        self.handled = self.judge.carried(&payload);
        self.expect_answer_to(topic);
        let verdict = Cell::new(None);
        self.with_thing(|thing, now, ports| {
            verdict.set(Some(thing.handle_cloud_message(SERVER, topic, &payload, now, ports)));
        });
        (self.handled, self.answers_on) = (None, None);
        self.note(|_| format!("the plug takes {} bytes from the cloud: {:?}", payload.len(), verdict.get()));
    }

    /// What the thing publishes by the cloud server goes to whoever may have it.
    pub(super) fn cloud_carries_to_apps(&mut self, topic: &str, payload: &[u8]) {
        if self.plug.cloud.is_none() {
            return;
        }
        for person in 0..self.people.len() {
            if self.cloud_knows(person).is_some_and(|its_own| its_own.t2c() == topic) {
                self.send(|| Happening::CloudToApp { person, topic: topic.to_owned(), payload: payload.to_vec() });
            }
        }
    }

    pub(super) fn cloud_to_app(&mut self, person: usize, topic: &str, payload: &[u8]) {
        let keyring = self.people[person].keyring.as_ref();
        let mut guises = keyring.into_iter().flat_map(Binding::guises);
        if guises.any(|guise| guise.topic.t2c() == topic) {
            self.take_message(person, Path::Cloud, payload);
        }
    }

    /// The topic to which the server lets this person's controller, by its newest login that works.
    fn cloud_knows(&self, person: usize) -> Option<TToken> {
        let binding = self.people[person].keyring.as_ref()?;
        binding.guises().into_iter().find_map(|guise| {
            let password = registration::cloud_password(&guise.credentials, &guise.thing, &self.server.pin);
            let user = guise.credentials.user.expose();
            let account = self.registry.authenticate(user, password.expose().as_bytes())?;
            (*account.topic() == guise.topic).then_some(guise.topic)
        })
    }
}
