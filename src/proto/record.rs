//! What outlives a power cut.

use std::borrow::Cow;

use super::credential::{CtlrCredentials, CtlrPassword};
use super::id::Cid;
use super::keys::MasterKey;
use super::message::OutletState;
use super::operation::argument::{PowerOn, Schedule};
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
    /// How much that key was used.
    pub key_age: KeyAge,
    /// The topic and password that `token.renew` drew, until `token.use` makes them the current ones
    /// (protocol section 6.6).
    pub next: Option<NextTopic>,
    /// Seconds of uptime after which the controller is removed; `None` for ever.
    pub left_s: Option<u32>,
}

/// A topic and a password in waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextTopic {
    /// T_token.
    pub topic: TToken,
    /// Ctlr-P.
    pub password: CtlrPassword,
}

/// How much a master key was used, as far as it was persisted (protocol section 2.1, "key update").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyAge {
    /// Seconds of the thing's uptime.
    pub uptime_s: u32,
    /// Accepted messages.
    pub accepted: u32,
}

/// A schedule and its name on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSchedule {
    /// What `schedule.clear` calls it; never used twice in one household.
    pub id: u64,
    /// When it switches what.
    pub schedule: Schedule,
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
    /// The public half of the recovery code, where the owner made one (protocol section 9).
    pub recovery: Option<Spki>,
    /// What the load has once power is back.
    pub power_on: PowerOn,
    /// The time zone, a POSIX TZ string.
    pub zone: Option<String>,
    /// The weekly schedules, by id.
    pub schedules: Vec<StoredSchedule>,
    /// What the next schedule is called.
    pub next_schedule: u64,
    /// Everybody's controllers.
    pub controllers: Vec<ControllerRecord>,
}

/// The name of a thing that has none yet.
#[must_use]
pub fn default_name() -> Name {
    "plug".parse().expect("4 letters are a name")
}

impl Household {
    /// Controllers at most (protocol section 2).
    pub const MAX_CONTROLLERS: usize = 16;

    /// The household of a thing that has just been claimed.
    #[must_use]
    pub fn founded(owner: ControllerRecord, network: HomeNetwork, recovery: Option<Spki>) -> Self {
        Self {
            name: default_name(),
            network,
            joined_once: false,
            recovery,
            power_on: PowerOn::default(),
            zone: None,
            schedules: Vec::new(),
            next_schedule: 1,
            controllers: vec![owner],
        }
    }
}

/// One line of the audit log, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When, in seconds since 1970-01-01T00:00:00Z, if the thing knew.
    pub unix_s: Option<u64>,
    /// When, in seconds since the daemon's start.
    pub up_s: u64,
    /// Whose controller did it; nobody's for what the thing did by itself.
    pub by: Option<(Cid, Name)>,
    /// What, in a few words.
    pub what: Cow<'static, str>,
}

/// One line of the audit log, as it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Its place, counted from 1; a later line has a higher one.
    pub place: u64,
    /// What it says.
    pub note: Note,
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
    /// Whether a wipe began and is to be resumed (SecT STEP 20).
    pub wiping: bool,
    /// What the load had last, where that is remembered.
    pub outlet: Option<OutletState>,
}
