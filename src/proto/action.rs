//! What the thing's machine asks its shell to do, and what comes back.

use std::sync::Arc;
use std::time::Duration;

use super::keys::TlsPsk;
use super::message::OutletState;
use super::passcode::Passcode;
use super::secret::SecretString;
use super::user::Name;
use super::wifi::{HomeNetwork, Ssid};

/// One connection to the local server, as long as it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// One of the cloud servers that the thing is configured for, by its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub usize);

/// The way that a message came, and that its answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// The thing's own local server (SecT STEP 12, 13).
    Local,
    /// A cloud server (SecT STEP 14, 15).
    Cloud(ServerId),
}

/// Something slow, delayed or many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Draw this on the display.
    Show(Screen),
    /// Leave any network and open the Thing-AP (SecT STEP 1).
    OpenAccessPoint {
        /// Its name.
        ssid: String,
        /// Its WPA2 passphrase.
        passphrase: Passcode,
    },
    /// Close the Thing-AP and stay off the air.
    CloseAccessPoint,
    /// Close the Thing-AP, if it is open, and join the home network (SecT STEP 8).
    JoinNetwork(HomeNetwork),
    /// From now on these, and nobody else, may open a session.
    Admit(Vec<Admission>),
    /// Send to this session alone, on the pairing topic, QoS 1.
    SendPairing {
        /// Which session.
        session: SessionId,
        /// What.
        payload: Vec<u8>,
    },
    /// Send to the controller that this topic belongs to, QoS 0: to every session of it at the local
    /// server, or to the cloud server.
    Publish {
        /// By which way.
        path: Path,
        /// `s/<T_token>/t`.
        topic: Arc<str>,
        /// What.
        payload: Arc<[u8]>,
    },
    /// End this session once what was queued for it is out.
    EndSession(SessionId),
    /// Listen to this topic at a cloud server.
    SubscribeCloud {
        /// Which server.
        server: ServerId,
        /// Which topic.
        topic: String,
    },
    /// Send a registration to a cloud server, QoS 1 (SecT STEP 9).
    Register {
        /// Which server.
        server: ServerId,
        /// `sect/cloud/<thing_id>/up`.
        topic: String,
        /// What.
        payload: Vec<u8>,
    },
}

/// What became of the link to a cloud server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloudFailure {
    /// Its name does not resolve.
    Dns,
    /// Nobody answers there.
    Unreachable,
    /// Its certificate is for another name.
    WrongName,
    /// Its certificate is by another authority than the pinned one.
    WrongAuthority,
    /// The handshake failed otherwise, as with an old TLS version.
    Tls,
    /// It refused the thing's certificate, or the session.
    Refused,
    /// It was there and is gone.
    Lost,
}

/// Who may open a session, and what it may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The TLS-PSK identity.
    pub psk_identity: String,
    /// Its key.
    pub psk: TlsPsk,
    /// User name and password that CONNECT must carry; without, it must carry none.
    pub login: Option<(String, SecretString)>,
    /// The one topic that it may publish to.
    pub publish: String,
    /// The one topic that it may subscribe to.
    pub subscribe: String,
    /// Sessions at the same time.
    pub max_sessions: usize,
    /// What becomes of a handshake with this key.
    pub new_sessions: NewSessions,
}

/// What becomes of a handshake with a key that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NewSessions {
    /// It opens a session.
    Open,
    /// It fails as one with an unknown identity does. Open sessions go on.
    Closed,
    /// It leads nowhere, and the machine is told of it. Open sessions go on.
    Watched,
}

/// What the display shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Screen {
    /// The daemon starts.
    Starting,
    /// Anybody who reads this may claim the thing (SecT STEP 1).
    AccessPoint {
        /// The access point's name.
        ssid: String,
        /// The passcode.
        passcode: Passcode,
        /// How long it stays open.
        left: Duration,
    },
    /// Nobody claimed the thing; the button opens the access point again.
    AccessPointOff,
    /// A controller is being bound.
    Pairing {
        /// The access point's name.
        ssid: String,
    },
    /// On the way to the home network.
    Joining {
        /// Its name.
        ssid: Ssid,
    },
    /// The home network did not take the thing; it tries again.
    JoinFailed {
        /// Its name.
        ssid: Ssid,
        /// Why.
        reason: JoinFailure,
    },
    /// At home.
    Online {
        /// The thing's name.
        name: Name,
        /// What the load has.
        outlet: OutletState,
    },
    /// The access point of a claimed thing: its owners can correct the home network (protocol section 7.6).
    Maintenance {
        /// The access point's name.
        ssid: String,
        /// Its passphrase; it claims nothing.
        passcode: Passcode,
        /// How long it stays open.
        left: Duration,
    },
    /// Its owner has given the thing up; nothing of him stays.
    Wiping,
    /// Something is broken that needs a person.
    Fault(Fault),
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The thing was claimed and its store is gone or unreadable: it must not become claimable.
    Store,
    /// The outlet did not switch.
    Outlet,
    /// The radio does not work.
    Radio,
}

/// What became of the radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WifiEvent {
    /// The Thing-AP is open and has its address.
    AccessPointUp,
    /// The radio cannot open an access point.
    AccessPointFailed,
    /// The home network is joined and gave an address.
    Joined,
    /// The home network was not joined.
    JoinFailed(JoinFailure),
    /// The home network is gone; the back end keeps trying by itself.
    Lost,
}

/// Why a network was not joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JoinFailure {
    /// It does not take the password.
    WrongPassword,
    /// It is not on the air.
    NotFound,
    /// Anything else: no address, a radio error.
    Other,
}

/// What was done to the button.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Press {
    /// Let go before 10 s.
    Short,
    /// Held for 10 s.
    Long,
}
