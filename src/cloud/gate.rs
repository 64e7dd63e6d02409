//! What one session may do.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::session::{Shared, Visitor};
use crate::mqtt::server::{ConnectRequest, Policy, Refusal};
use crate::proto::cloud::{Direction, Held, Party, Registry, Right};

/// The policy of one session.
pub(super) struct Gate {
    pub(super) shared: Arc<Shared>,
    pub(super) visitor: Visitor,
    pub(super) party: Option<Party>,
    held: RefCell<Held>,
}

impl Gate {
    pub(super) fn new(shared: Arc<Shared>, visitor: Visitor) -> Self {
        Self { shared, visitor, party: None, held: RefCell::default() }
    }

    /// What it means when the party publishes to a topic; `None` if it may not.
    pub(super) fn publish_right(&self, topic: &str) -> Option<Right> {
        let party = self.party.as_ref()?;
        self.held(topic, party.publishes())
            .or_else(|| self.keep(read(&self.shared.registry).publish_right(party, topic)))
    }

    fn read_right(&self, topic: &str) -> Option<Right> {
        let party = self.party.as_ref()?;
        self.held(topic, party.reads()).or_else(|| self.keep(read(&self.shared.registry).read_right(party, topic)))
    }

    fn held(&self, topic: &str, allowed: Direction) -> Option<Right> {
        let held = self.held.borrow();
        let (account, direction) = held.account(topic)?;
        (direction == allowed).then(|| Right::Forward(account.clone(), direction))
    }

    fn keep(&self, right: Option<Right>) -> Option<Right> {
        if let Some(Right::Forward(account, _)) = &right {
            self.held.borrow_mut().keep(account);
        }
        right
    }
}

impl Policy for Gate {
    fn connect(&mut self, request: &ConnectRequest<'_>) -> Result<(), Refusal> {
        let party = match (self.visitor, request.user, request.password) {
            // Its certificate has said who it is.
            (Visitor::Thing(thing), None, None) => Party::Thing(thing),
            (Visitor::Controller, Some(user), Some(password)) => {
                let account = read(&self.shared.registry).authenticate(user, password);
                Party::Controller(account.ok_or(Refusal::BadCredentials)?)
            }
            (Visitor::Thing(_) | Visitor::Controller, _, _) => return Err(Refusal::BadCredentials),
        };
        self.party = Some(party);
        Ok(())
    }

    fn assign_client_id(&mut self) -> String {
        format!("assigned-{}", self.shared.client_ids.fetch_add(1, Ordering::Relaxed))
    }

    fn may_publish(&self, topic: &str) -> bool {
        self.publish_right(topic).is_some()
    }

    fn may_subscribe(&self, topic: &str) -> bool {
        self.read_right(topic).is_some()
    }
}

/// The registry, to look something up.
pub(super) fn read(registry: &RwLock<Registry>) -> RwLockReadGuard<'_, Registry> {
    registry.read().unwrap_or_else(PoisonError::into_inner)
}

/// The registry, to put a change in force; only the registrar does.
pub(super) fn write(registry: &RwLock<Registry>) -> RwLockWriteGuard<'_, Registry> {
    registry.write().unwrap_or_else(PoisonError::into_inner)
}
