//! What the local server tells the daemon.

use crate::mqtt::server::Publication;
use crate::proto::action;

/// One session; never used twice in one run of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId {
    pub(super) place: usize,
    pub(super) serial: u64,
}

/// Bits of a machine's session number that hold the place.
const PLACE_BITS: u32 = 16;

/// The machine knows a session by one number: serial above, place below.
impl From<SessionId> for action::SessionId {
    fn from(session: SessionId) -> Self {
        let place = u64::try_from(session.place).expect("there are fewer than 2^16 places");
        Self(session.serial << PLACE_BITS | place)
    }
}

impl From<action::SessionId> for SessionId {
    fn from(action::SessionId(number): action::SessionId) -> Self {
        let place = usize::from(u16::try_from(number & 0xffff).expect("16 bits"));
        Self { place, serial: number >> PLACE_BITS }
    }
}

/// What has happened at the local server.
#[derive(Debug)]
pub enum ServerEvent {
    /// A client has proved its PSK and logged in.
    Opened {
        /// Its session.
        session: SessionId,
        /// The identity of the PSK that it holds.
        psk_identity: String,
    },
    /// The session receives its topic from now on.
    Subscribed {
        /// The session.
        session: SessionId,
    },
    /// The session has published to the topic that it may publish to.
    Published {
        /// The session.
        session: SessionId,
        /// Topic and payload.
        message: Publication,
    },
    /// Every QoS 1 message sent to the session so far has been acknowledged, those sent in answer to
    /// earlier events among them. A client that subscribed with QoS 0 acknowledges nothing.
    Acknowledged {
        /// The session.
        session: SessionId,
    },
    /// Somebody has proved a PSK that is [watched](action::NewSessions::Watched). The connection is closed.
    Refused {
        /// The identity of the PSK.
        psk_identity: String,
    },
    /// The session has ended and what could be written to it has been written. Follows each
    /// [`ServerEvent::Opened`] once; nothing of the session follows it.
    Closed {
        /// The session.
        session: SessionId,
    },
}

impl ServerEvent {
    /// The session that it is about, if there is one.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Opened { session, .. }
            | Self::Subscribed { session }
            | Self::Published { session, .. }
            | Self::Acknowledged { session }
            | Self::Closed { session } => Some(*session),
            Self::Refused { .. } => None,
        }
    }
}
