//! Several people: who invites whom, who is removed, and by what right the household changes.

use sect::proto::id::Cid;
use sect::proto::invitation::Invitation;
use sect::proto::operation::Operation;
use sect::proto::operation::argument::{Bounded, UserAdd, UserDel, UserRole};
use sect::proto::operation::result;
use sect::proto::pairing::controller::Run;
use sect::proto::record::ControllerRecord;
use sect::proto::user::Role;

use super::World;
use super::judge::WishId;
use super::person::{Pairing, PairingWay, Person};
use super::weather::{SECOND, Time};

/// How long after its making somebody may still join by an invitation: 600 s, and a run that has begun.
const LAST_CALL: Time = (600 + 60 + 120) * SECOND;

/// An invitation that was handed out.
pub struct Invited {
    pub invitation: Invitation,
    pub role: Role,
    /// When, and in which start of the plug.
    pub made_at: Time,
    pub booted_at: Time,
    /// Who has joined by it.
    pub joined: Option<Cid>,
}

impl World {
    /// Somebody wants another one to come in.
    pub(super) fn invite(&mut self, person: usize) -> bool {
        let role = [Role::Owner, Role::Supervisor, Role::Operator, Role::Viewer][self.dice.place(4)];
        let is_short = role != Role::Owner && self.dice.chance(300);
        let ttl_s =
            is_short.then(|| self.dice.between(60, 4000)).and_then(|ttl| Bounded::new(u32::try_from(ttl).ok()?));
        let name = self.people[self.dice.place(self.people.len())].name.clone();
        self.wish(person, Operation::UserAdd(UserAdd { name, role, ttl_s })).is_some()
    }

    /// The owner's app shows the invitation.
    pub(super) fn invited(&mut self, wish: WishId, result: Option<&str>) {
        let Operation::UserAdd(UserAdd { role, .. }) = self.judge.wishes[wish].operation else { return };
        let text = result.and_then(|text| serde_json::from_str::<result::Invited>(text).ok());
        let invitation = text.and_then(|invited| invited.inv.parse::<Invitation>().ok());
        let Some(invitation) = invitation else {
            self.accuse("an invitation is no invitation".into());
            return;
        };
        // An answer says again what an earlier start has made, if it comes late.
        let (made_at, booted_at) = (self.now, self.plug.booted_at);
        self.invitations.push(Invited { invitation, role, made_at, booted_at, joined: None });
    }

    /// Somebody reads an invitation: a fresh one, an old one, or one that another has used.
    pub(super) fn accept(&mut self, person: usize) -> bool {
        if self.invitations.is_empty() {
            return false;
        }
        // Whoever is in the household does not ask to come in.
        if self.is_member(person) {
            return false;
        }
        let newest = self.invitations.len() - 1;
        let place = if self.dice.chance(800) { newest } else { self.dice.place(newest + 1) };
        let invitation = self.invitations[place].invitation.clone();
        let way = PairingWay { identity: invitation.psk_identity(), psk: invitation.psk(), access_point: None };
        let name = self.people[person].name.clone();
        let run = Run::invited(invitation, name, &mut self.rng);
        self.note(|world| format!("{} accepts invitation {place}", world.people[person].name));
        self.set_out(person, Pairing { run, way, invitation: Some(place), recovers: false })
    }

    /// Somebody takes somebody out of the household, or leaves it.
    pub(super) fn remove(&mut self, person: usize) -> bool {
        let Some(cid) = self.somebody() else { return false };
        self.wish(person, Operation::UserDel(UserDel { cid })).is_some()
    }

    /// Somebody gives somebody another role.
    pub(super) fn change_role(&mut self, person: usize) -> bool {
        let Some(cid) = self.somebody() else { return false };
        let role = [Role::Owner, Role::Supervisor, Role::Operator, Role::Viewer][self.dice.place(4)];
        self.wish(person, Operation::UserRole(UserRole { cid, role })).is_some()
    }

    fn somebody(&mut self) -> Option<Cid> {
        let controllers = &self.plug.disk.household.as_ref()?.controllers;
        Some(controllers[self.dice.place(controllers.len())].cid)
    }

    /// Nobody comes, goes or rises but by the right of somebody who may decide that.
    pub(super) fn expect_changes_have_their_cause(&mut self) {
        let (earlier, later) = (self.earlier.take(), self.plug.disk.household.clone());
        let earlier = earlier.map_or_else(Vec::new, |household| household.controllers);
        let later = later.map_or_else(Vec::new, |household| household.controllers);
        let of = |list: &[ControllerRecord], cid: Cid| list.iter().find(|one| one.cid == cid).cloned();
        let asker = self.handled.and_then(|carried| of(&earlier, carried.cid));
        let wanted = self.handled.map(|carried| self.judge.wishes[carried.wish].operation.clone());
        let is_owner = asker.as_ref().is_some_and(|asker| asker.role == Role::Owner);
        if self.plug.disk.wiping && !self.given_up {
            if !is_owner || !matches!(wanted, Some(Operation::Unpair(_))) {
                self.accuse("the thing gives itself up by nobody's right".into());
            }
            self.given_up = true;
        }
        let is_recovered = later.iter().any(|one| of(&earlier, one.cid).is_none() && self.has_recovered(one));
        for gone in earlier.iter().filter(|one| of(&later, one.cid).is_none()) {
            let has_left = asker.as_ref().is_some_and(|asker| asker.cid == gone.cid);
            let is_right = match &wanted {
                Some(Operation::UserDel(UserDel { cid })) => *cid == gone.cid && (is_owner || has_left),
                _ => gone.left_s.is_some() || self.given_up || is_recovered,
            };
            if !is_right {
                self.accuse(format!("{} ({}) was taken out by nobody's right", gone.name, gone.cid));
            }
            self.released.insert(gone.cid);
        }
        if later.is_empty() {
            self.given_up = false;
        }
        for come in later.iter().filter(|one| of(&earlier, one.cid).is_none()) {
            self.expect_may_join(come, earlier.is_empty());
        }
        for (before, after) in later.iter().filter_map(|after| Some((of(&earlier, after.cid)?, after))) {
            let is_right = match &wanted {
                Some(Operation::UserRole(UserRole { cid, role })) => {
                    *cid == after.cid && *role == after.role && is_owner
                }
                _ => false,
            };
            if before.role != after.role && !is_right {
                self.accuse(format!("{} became {:?} by nobody's right", after.name, after.role));
            }
        }
    }

    /// Whether an owner came by the paper.
    fn has_recovered(&self, record: &ControllerRecord) -> bool {
        let is_it = |person: &Person| person.cid() == Some(record.cid) && person.recovers;
        record.role == Role::Owner && self.people.iter().any(is_it)
    }

    fn expect_may_join(&mut self, record: &ControllerRecord, is_first: bool) {
        if self.has_recovered(record) {
            return;
        }
        let person = self.people.iter().find(|person| person.cid() == Some(record.cid));
        let place = person.and_then(|person| person.joins_by);
        let what = match place.map(|place| &mut self.invitations[place]) {
            None if is_first && record.role == Role::Owner => return,
            None => format!("{} joined without an invitation", record.name),
            Some(invited) => {
                let earlier = invited.joined.replace(record.cid);
                if earlier.is_some() {
                    format!("{} joined by an invitation that was used before", record.name)
                } else if self.now > invited.made_at + LAST_CALL {
                    format!("{} joined by an invitation that was over", record.name)
                } else if invited.booted_at != self.plug.booted_at {
                    format!("{} joined by an invitation of an earlier start", record.name)
                } else if invited.role != record.role {
                    format!("{} was invited as {:?} and joined as {:?}", record.name, invited.role, record.role)
                } else {
                    return;
                }
            }
        };
        self.accuse(what);
    }
}
