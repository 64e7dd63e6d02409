//! What must hold after every step, and what everybody must be able to do once the weather has cleared.

use sect::proto::action::{Press, Screen};
use sect::proto::message::{OutletState, ReturnCode};
use sect::proto::operation::Operation;
use sect::proto::record::ControllerRecord;
use sect::proto::topic::TToken;
use sect::proto::user::Role;

use super::judge::{End, WishId};
use super::weather::{SECOND, Weather};
use super::{Happening, World};

impl World {
    /// The load was switched by what the thing has just handled.
    pub(super) fn account_for(&mut self, clicks: &[OutletState]) {
        let Some(carried) = self.handled else { return };
        let household = self.plug.disk.household.as_ref();
        if let Err(what) = self.judge.clicked(carried, clicks, household, self.now) {
            self.accuse(what);
        }
    }

    /// Whatever is on the thing's disk, its controllers' keyrings have it too: nobody is locked out.
    pub(super) fn expect_everybody_holds_a_key(&mut self) {
        let Some(household) = &self.plug.disk.household else { return };
        let keyless = household.controllers.iter().find(|record| {
            !self.people.iter().filter_map(|person| person.keyring.as_ref()).any(|binding| {
                binding.guises().iter().any(|guise| {
                    (guise.cid, &guise.topic, &guise.credentials) == (record.cid, &record.topic, &record.credentials)
                        && (guise.epoch, &guise.master) == (record.epoch, &record.master)
                })
            })
        });
        if let Some(record) = keyless {
            let what = format!("{} ({}) is in the household, and no keyring has its keys", record.name, record.cid);
            self.accuse(what);
        }
        let owners = self.plug.disk.household.iter().flat_map(|household| &household.controllers);
        if owners.filter(|record| record.role == Role::Owner).count() == 0 {
            self.accuse("the household has no owner".into());
        }
    }

    /// Whoever has heard from the thing that he is in its household is still there, unless he was let go.
    pub(super) fn expect_its_word_holds(&mut self) {
        let confirmed = self.people.iter().filter_map(|person| person.keyring.as_ref()).filter(|one| one.confirmed);
        let forgotten = confirmed
            .map(|binding| binding.cid)
            .find(|cid| !self.released.contains(cid) && self.record(*cid).is_none());
        if let Some(cid) = forgotten {
            self.accuse(format!("{cid} was told that it is in the household, and is not"));
        }
    }

    /// A message comes in on this topic: if it is that of somebody in the household, he may be answered
    /// there, even if he is not in it any more by then.
    pub(super) fn expect_answer_to(&mut self, c2t: &str) {
        let topics = self.topics();
        self.answers_on = topics.into_iter().find(|topic| topic.c2t() == c2t).map(|topic| topic.t2c());
    }

    /// The thing speaks to those in its household alone.
    pub(super) fn expect_may_receive(&mut self, t2c: &str) {
        let is_known = self.topics().iter().any(|topic| topic.t2c() == t2c);
        if !is_known && self.answers_on.as_deref() != Some(t2c) {
            self.accuse("the thing publishes on a topic of nobody in its household".into());
        }
    }

    /// All topics of the household, current and next.
    fn topics(&self) -> Vec<TToken> {
        let controllers = self.plug.disk.household.iter().flat_map(|household| &household.controllers);
        controllers
            .flat_map(|one| std::iter::once(&one.topic).chain(one.next.iter().map(|next| &next.topic)))
            .cloned()
            .collect()
    }

    /// The display changes.
    pub(super) fn show(&mut self, screen: Screen) {
        let invites = matches!(screen, Screen::AccessPoint { .. } | Screen::AccessPointOff);
        if invites && self.plug.disk.household.is_some() {
            self.accuse("a claimed thing shows itself as unclaimed".into());
        }
        self.plug.screen = screen;
    }

    pub(super) fn heal(&mut self) {
        self.note(|_| "the weather clears up".into());
        self.weather = Weather::calm();
        self.plan(0, Happening::RouterIsBack);
        // The longest of what is still under way: a window of the access point, and the way home after it.
        self.plan(900 * SECOND, Happening::Examine(0));
    }

    /// Everybody in turn: whoever is in the household switches the load without any help.
    pub(super) fn examine(&mut self, person: usize) {
        if self.plug.disk.household.is_none() {
            self.expect_it_can_be_claimed();
            return;
        }
        if person == 0 && !self.is_home() {
            self.expect_it_comes_home();
            return;
        }
        if person == self.people.len() {
            self.plan(0, Happening::Judge);
            return;
        }
        let on = self.plug.load.toggled().is_on();
        match self.wish(person, Operation::outlet(on)) {
            Some(wish) => {
                let record = self.people[person].cid().and_then(|cid| self.record(cid)).cloned();
                self.plan(30 * SECOND, Happening::Examined { person, wish, record: record.map(Box::new) });
            }
            None => self.plan(0, Happening::Examine(person + 1)),
        }
    }

    /// Nobody's yet: then the first who comes becomes the owner, in fair weather at the first try.
    fn expect_it_can_be_claimed(&mut self) {
        self.steps.patience += 1;
        if self.steps.patience > 6 {
            self.accuse("nobody can claim the thing".into());
            return;
        }
        match self.plug.screen {
            Screen::AccessPointOff => {
                self.with_thing(|thing, now, ports| thing.handle_press(Press::Short, now, ports));
            }
            Screen::AccessPoint { .. } => {
                self.begin_pairing(0);
            }
            _ => {}
        }
        self.plan(140 * SECOND, Happening::Examine(0));
    }

    pub(super) fn examined(&mut self, person: usize, wish: WishId, before: Option<Box<ControllerRecord>>) {
        let record = self.people[person].cid().and_then(|cid| self.record(cid)).cloned();
        // Somebody's time may have run out meanwhile.
        if before.is_some() != record.is_some() {
            self.plan(0, Happening::Examine(person + 1));
            return;
        }
        let (name, end) = (self.people[person].name.clone(), self.judge.wishes[wish].end);
        let expected = match &record {
            Some(record) if record.role >= Role::Operator => Some(End::Answered(ReturnCode::Ok)),
            Some(_) => Some(End::Answered(ReturnCode::Forbidden)),
            None => None,
        };
        match (record, expected) {
            (Some(record), Some(expected)) => {
                if end != Some(expected) {
                    self.accuse(format!(
                        "{name} is in the household as {:?}, and a wish ended as {end:?}",
                        record.role
                    ));
                }
                let binding = self.people[person].keyring.clone();
                if !binding.is_some_and(|binding| binding.confirmed && binding.master == record.master) {
                    self.accuse(format!("{name}'s keyring and the thing disagree in the end"));
                }
            }
            _ => {
                if let Some(End::Answered(rc)) = end {
                    self.accuse(format!("{name} is not in the household and was answered {rc:?}"));
                }
            }
        }
        self.plan(0, Happening::Examine(person + 1));
    }

    /// The end: a claimed thing has somebody who can use it.
    pub(super) fn judge_all(&mut self) {
        if !(0..self.people.len()).any(|person| self.is_owner(person)) {
            self.accuse("the thing is claimed, and nobody is its owner".into());
        }
        self.steps.is_over = true;
    }

    /// Whether the thing knows this person's controller as an owner's.
    pub(super) fn is_owner(&self, person: usize) -> bool {
        let record = self.people[person].cid().and_then(|cid| self.record(cid));
        record.is_some_and(|record| record.role == Role::Owner)
    }

    /// Whether the thing knows this person's controller.
    pub(super) fn is_member(&self, person: usize) -> bool {
        self.people[person].cid().is_some_and(|cid| self.record(cid).is_some())
    }

    /// The household in a line.
    pub(super) fn household(&self) -> String {
        match &self.plug.disk.household {
            None => "nobody's".into(),
            Some(household) => household
                .controllers
                .iter()
                .map(|record| format!("{} {} {:?} epoch {}", record.name, record.cid, record.role, record.epoch))
                .collect::<Vec<_>>()
                .join(", "),
        }
    }
}
