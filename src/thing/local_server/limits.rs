//! What strangers and friends may use, as numbers.

use std::time::Duration;

use super::rate::Rate;
use crate::mqtt::server::SessionLimits;

/// What the local server may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at the same time, those that are ending included. More than the identities that are admitted,
    /// so that each has a place: for one who comes while all are taken, the oldest session of who has most ends.
    pub sessions: usize,
    /// Handshakes under way at the same time; for one more, the oldest is given up.
    pub handshakes: usize,
    /// A handshake that is not complete by then is given up.
    pub handshake_within: Duration,
    /// Connections from one address (IPv6: from one /64).
    pub each_source: Rate,
    /// Connections from all addresses.
    pub all_sources: Rate,
    /// What one session may use.
    pub session: SessionLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 40,
            handshakes: 16,
            handshake_within: Duration::from_secs(10),
            each_source: Rate { burst: 60, each_second: 20 },
            all_sources: Rate { burst: 120, each_second: 60 },
            session: SessionLimits::default(),
        }
    }
}

/// An MQTT 3.1.1 client may do without keep-alive; the kernel then finds out that it is gone.
pub(super) const KEEP_IDLE: Duration = Duration::from_secs(120);
pub(super) const USER_TIMEOUT_MS: u32 = 30_000;
