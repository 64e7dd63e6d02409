//! What a machine needs answered at once, before it can go on.

use rand_core::CryptoRng;
use thiserror::Error;

use super::id::Cid;
use super::message::OutletState;
use super::operation::result::NetworkItem;
use super::record::{Household, Logged, Note};

/// The power relay.
pub trait Outlet {
    /// Switches the load; when this returns `Ok`, it is switched.
    ///
    /// It is asked for every wish, also for the state that the load should have already: setting
    /// that again costs little, is seen by nobody, and makes sure of it.
    ///
    /// # Errors
    ///
    /// [`OutletFault`] when the hardware did not confirm. What the load has is unknown then, until
    /// the next success: it may have switched before something failed.
    fn set(&mut self, state: OutletState) -> Result<(), OutletFault>;
}

/// The hardware did not confirm that it switched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the outlet did not switch")]
pub struct OutletFault;

/// The durable store. Each method is one transaction: when it returns `Ok`, a power cut loses
/// nothing of it, and when it returns `Err`, nothing of it happened.
pub trait Vault: Journal {
    /// Makes an unclaimed thing a claimed one (SecT STEP 2-7).
    ///
    /// # Errors
    ///
    /// [`VaultFault`]; also when it is claimed already.
    fn claim(&mut self, household: &Household, generation: u64) -> Result<(), VaultFault>;

    /// Puts `household` in the place of what was stored, with the generation that the registration has
    /// then (SecT STEP 9), which never goes back. What the earlier one held and this one does not is gone
    /// from the disk.
    ///
    /// # Errors
    ///
    /// [`VaultFault`].
    fn save(&mut self, household: &Household, generation: u64) -> Result<(), VaultFault>;

    /// Keeps what the load has, for the day on which power comes back.
    ///
    /// # Errors
    ///
    /// [`VaultFault`].
    fn remember(&mut self, outlet: OutletState) -> Result<(), VaultFault>;

    /// Begins to forget: from here on the thing belongs to nobody and cannot be claimed until
    /// [`Self::wipe`] is done, which the next start does if nobody else has (SecT STEP 20).
    ///
    /// # Errors
    ///
    /// [`VaultFault`].
    fn begin_wipe(&mut self, generation: u64) -> Result<(), VaultFault>;

    /// Forgets the household, and all that was ever kept for it: nothing of it is left on the disk. What
    /// the thing itself is stays, and the generation of its registration.
    ///
    /// # Errors
    ///
    /// [`VaultFault`]; asked again, it goes on where it was.
    fn wipe(&mut self) -> Result<(), VaultFault>;
}

/// The audit log. It is no part of any transaction: a line is durable within a minute or so, and a power cut
/// may lose those that are not yet.
pub trait Journal {
    /// Takes a line; never writes to the disk, for it stands in the way of a command.
    fn note(&mut self, note: Note);

    /// Gives up to `limit` lines, newest first, from the place `from` downwards, or from the newest for 0; of one
    /// controller alone where `cid` names it.
    ///
    /// # Errors
    ///
    /// [`VaultFault`].
    fn read(&mut self, from: u64, cid: Option<&Cid>, limit: usize) -> Result<Vec<Logged>, VaultFault>;
}

/// The store refused; it has logged why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the store failed")]
pub struct VaultFault;

/// What the radio knows without being asked to look: it cannot look around while it is an access point.
pub trait Air {
    /// The networks that it saw last, in any order.
    fn seen(&self) -> Vec<NetworkItem>;
}

/// The ports together, as the shell lends them for one call.
pub struct Ports<'a> {
    /// The power relay.
    pub outlet: &'a mut dyn Outlet,
    /// The durable store.
    pub vault: &'a mut dyn Vault,
    /// The radio's memory.
    pub air: &'a dyn Air,
    /// The operating system's random numbers.
    pub rng: &'a mut dyn CryptoRng,
}
