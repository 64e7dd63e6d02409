//! The accounts that a session has been found to have a right to, so that each of its messages does not
//! ask the whole registry anew.
//!
//! A right lives as long as its account, and the registry revokes an account with the right: what is
//! [live](Account::is_live) here is in force there.

use std::sync::Arc;

use super::account::Account;
use super::topic::{Direction, split_topic};

/// Some of the accounts of one party.
#[derive(Default)]
pub struct Held(Vec<Arc<Account>>);

impl Held {
    /// The account and the direction of a topic, if the account is known here and still in force.
    ///
    /// # Security
    ///
    /// The comparison does not take constant time: all that it compares with is the session's own.
    #[must_use]
    pub fn account(&self, topic: &str) -> Option<(&Arc<Account>, Direction)> {
        let (token, direction) = split_topic(topic)?;
        let account = self.0.iter().find(|account| account.topic().is_spelled(token) && account.is_live())?;
        Some((account, direction))
    }

    /// Knows an account of the party from now on, and forgets those that are revoked.
    pub fn keep(&mut self, account: &Arc<Account>) {
        self.0.retain(|kept| kept.is_live() && !Arc::ptr_eq(kept, account));
        self.0.reserve_exact(1);
        self.0.push(account.clone());
    }
}
