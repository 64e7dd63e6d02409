//! What outlives a power cut.

use super::credential::CtlrCredentials;
use super::id::Cid;
use super::keys::MasterKey;
use super::secret::Secret;
use super::signature::Spki;
use super::topic::TToken;
use super::user::{Name, Role};
use super::wifi::HomeNetwork;

/// A controller as the thing keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControllerRecord {
    /// Its id, drawn by the thing.
    pub cid: Cid,
    /// Whose it is.
    pub name: Name,
    /// What it may do.
    pub role: Role,
    /// Its own key, which the thing's CA certified.
    pub spki: Spki,
    /// T_token (SecT STEP 3).
    pub topic: TToken,
    /// Ctlr-U/P (SecT STEP 5).
    pub credentials: CtlrCredentials,
    /// The epoch of the master key.
    pub epoch: u32,
    /// The master key of that epoch (SecT STEP 6).
    pub master: MasterKey,
}

/// What one pairing writes, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The first owner's controller.
    pub owner: ControllerRecord,
    /// The home network (SecT STEP 4).
    pub network: HomeNetwork,
    /// The public half of the recovery code, where the owner made one.
    pub recovery: Option<Spki>,
    /// The generation of the registration that the new controller makes necessary (SecT STEP 9).
    pub generation: u64,
}

/// The thing's own certificate authority, made at the first start and never again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIdentity {
    /// The P-256 scalar.
    pub key: Secret<32>,
    /// The self-signed certificate, DER.
    pub certificate: Vec<u8>,
}

/// A claimed thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Household {
    /// The thing's name.
    pub name: Name,
    /// The home network.
    pub network: HomeNetwork,
    /// Whether it was ever joined.
    pub joined_once: bool,
    /// Everybody's controllers.
    pub controllers: Vec<ControllerRecord>,
}

/// The name of a thing that has none yet.
#[must_use]
pub fn default_name() -> Name {
    "plug".parse().expect("4 letters are a name")
}

impl Claim {
    /// The household that it founds.
    #[must_use]
    pub fn into_household(self) -> Household {
        Household { name: default_name(), network: self.network, joined_once: false, controllers: vec![self.owner] }
    }
}

/// All that the store gives back at a start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Who the thing is.
    pub identity: StoredIdentity,
    /// The generation of its registration; it outlives owners.
    pub generation: u64,
    /// Whose it is; nobody's in the factory state.
    pub household: Option<Household>,
}
