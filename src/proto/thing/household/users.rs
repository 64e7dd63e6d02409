//! The household's people: who is invited, who is listed, who may do what, who goes (SecT STEP 16, 17;
//! protocol section 9).

use super::act::{After, Done};
use super::invitation::{LIFE, MAX_OPEN};
use super::{Asker, HouseholdState};
use crate::proto::id::Cid;
use crate::proto::message::ReturnCode;
use crate::proto::operation::{argument, result};
use crate::proto::pairing::message::Der;
use crate::proto::pairing::thing::Guest;
use crate::proto::port::Ports;
use crate::proto::qr;
use crate::proto::record::{ControllerRecord, Household};
use crate::proto::thing::Core;
use crate::proto::thing::registrar::Registrar;
use crate::proto::time::Micros;
use crate::proto::user::{Name, Role};

/// Users on one page of a list: with the longest names they fit one answer.
const PAGE: usize = 8;

impl HouseholdState {
    /// `user.add`: makes an invitation and draws it.
    pub(super) fn invite(
        &mut self,
        core: &mut Core,
        asker: Asker,
        argument::UserAdd { name, role, ttl_s }: argument::UserAdd,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        if role == Role::Owner && ttl_s.is_some() || !name.is_readable() {
            return Err(ReturnCode::BadRequest);
        }
        if self.is_taken(&name, &self.household.controllers[asker.index].name) {
            return Err(ReturnCode::Conflict);
        }
        let open = self.invitations.open();
        if open >= MAX_OPEN || self.household.controllers.len() + open >= Household::MAX_CONTROLLERS {
            return Err(ReturnCode::Busy);
        }
        let guest = Guest { name, role, ttl_s: ttl_s.map(argument::Bounded::get), until: now.after(LIFE) };
        let maker = self.household.controllers[asker.index].cid;
        let invitation = self.invitations.add(&core.identity.ca(), maker, guest, ports.rng);
        let invited =
            result::Invited { inv: invitation.text().expose().to_owned(), qr: Der(qr::draw(invitation).to_vec()) };
        self.admit(core);
        Ok(Done::with(&invited))
    }

    /// `user.list`: an owner sees everybody, others see themselves.
    pub(super) fn list_users(&self, asker: Asker, argument::From { from }: argument::From, now: Micros) -> Done {
        let oneself = &self.household.controllers[asker.index];
        let pairs = self.household.controllers.iter().zip(&self.controllers);
        let visible = pairs.filter(|(record, _)| oneself.role == Role::Owner || record.cid == oneself.cid);
        let item = |(record, controller): (&ControllerRecord, &super::Controller)| result::UserItem {
            cid: record.cid,
            name: record.name.clone(),
            role: record.role,
            left_s: record.left_s.map(|stored| controller.stay.left_s(stored, now)),
            reused: controller.invitation_reused,
        };
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let mut rest = visible.skip(from).map(item);
        let items: Vec<_> = rest.by_ref().take(PAGE).collect();
        let next = rest.next().and_then(|_| u64::try_from(from + PAGE).ok());
        Done::with(&result::Users { items, next })
    }

    /// `user.role`.
    pub(super) fn set_role(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        argument::UserRole { cid, role }: argument::UserRole,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        let record = self.find(&cid)?;
        if record.role == role {
            return Ok(Done::default());
        }
        // An owner whose time ends could leave the thing to nobody.
        if role == Role::Owner && record.left_s.is_some() {
            return Err(ReturnCode::Conflict);
        }
        let staged = self.persist_with_owner(registrar, ports, |household| {
            household.controllers.iter_mut().filter(|one| one.cid == cid).for_each(|one| one.role = role);
        })?;
        self.adopt(core, registrar, staged, now);
        Ok(Done::default())
    }

    /// `user.name`: oneself, and for an owner anybody.
    pub(super) fn rename_user(
        &mut self,
        core: &mut Core,
        registrar: &mut Registrar,
        asker: Asker,
        argument::UserName { cid, name }: argument::UserName,
        now: Micros,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        self.may_touch(asker, &cid)?;
        let old = &self.find(&cid)?.name;
        if *old == name {
            return Ok(Done::default());
        }
        if !name.is_readable() {
            return Err(ReturnCode::BadRequest);
        }
        // In other letters it is the same name.
        if !old.is_like(&name) && self.is_taken(&name, &self.household.controllers[asker.index].name) {
            return Err(ReturnCode::Conflict);
        }
        let staged = self.persist(registrar, ports, |household| {
            household.controllers.iter_mut().filter(|one| one.cid == cid).for_each(|one| one.name = name.clone());
        })?;
        self.adopt(core, registrar, staged, now);
        Ok(Done::default())
    }

    /// `user.del`: one transaction over keys, access list, PSK and pending keys; it takes effect once its
    /// answer is out, which may be the last thing that the asker reads.
    pub(super) fn remove_user(
        &self,
        registrar: &Registrar,
        asker: Asker,
        argument::UserDel { cid }: argument::UserDel,
        ports: &mut Ports<'_>,
    ) -> Result<Done, ReturnCode> {
        self.may_touch(asker, &cid)?;
        self.find(&cid)?;
        let staged = self.persist_with_owner(registrar, ports, |household| {
            household.controllers.retain(|one| one.cid != cid);
        })?;
        Ok(Done { after: vec![After::Adopt(Box::new(staged)), After::Left(cid)], ..Done::default() })
    }

    /// Whether somebody has this name: "switched by Ben" is to mean one person. `own` is whose wish it is: his
    /// other computers may have his name.
    pub(super) fn is_taken(&self, name: &Name, own: &Name) -> bool {
        !name.is_like(own) && self.household.controllers.iter().any(|one| one.name.is_like(name))
    }

    fn find(&self, cid: &Cid) -> Result<&ControllerRecord, ReturnCode> {
        self.household.controllers.iter().find(|one| one.cid == *cid).ok_or(ReturnCode::NotFound)
    }

    fn may_touch(&self, asker: Asker, cid: &Cid) -> Result<(), ReturnCode> {
        let oneself = &self.household.controllers[asker.index];
        if oneself.role == Role::Owner || oneself.cid == *cid { Ok(()) } else { Err(ReturnCode::Forbidden) }
    }
}
