//! The radio: opens the Thing-AP (SecT STEP 1) and joins the home network (SecT STEP 8).
//!
//! Orders return at once and replace whatever was going on; what becomes of them comes back from
//! [`Wifi::next`]. A radio that is slow, or asked over a bus, fits behind the same few calls.

pub mod addresses;
mod network_manager;
mod simulated;

use std::io;
use std::net::IpAddr;

pub use network_manager::NetworkManagerRadio;
pub use simulated::SimulatedRadio;

use super::config::{Config, WifiDriverName};
use crate::proto::action::WifiEvent;
use crate::proto::operation::result::NetworkItem;
use crate::proto::passcode::Passcode;
use crate::proto::port::Air;
use crate::proto::wifi::HomeNetwork;

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WifiReport {
    /// What happened.
    pub event: WifiEvent,
    /// The thing's address from now on: with `AccessPointUp` and `Joined` alone.
    pub address: Option<IpAddr>,
}

/// The radio that the configuration chose.
#[derive(Debug)]
pub enum Wifi {
    /// A Unix socket that stands for the air.
    Simulated(Box<SimulatedRadio>),
    /// A real one.
    NetworkManager(NetworkManagerRadio),
}

impl Air for Wifi {
    fn seen(&self) -> Vec<NetworkItem> {
        match self {
            Self::Simulated(radio) => radio.seen(),
            Self::NetworkManager(radio) => radio.seen(),
        }
    }
}

impl Wifi {
    /// Opens the radio, inside a tokio runtime; it stays off the air until it is told.
    ///
    /// # Errors
    ///
    /// When the radio, or the socket that stands for it, cannot be opened.
    pub fn open(config: &Config) -> io::Result<Self> {
        match config.wifi.driver {
            WifiDriverName::Simulated => {
                let radio = SimulatedRadio::open(&config.radio_path(), &config.routers_path(), &config.wifi)?;
                Ok(Self::Simulated(Box::new(radio)))
            }
            WifiDriverName::NetworkManager => Ok(Self::NetworkManager(NetworkManagerRadio::open(&config.wifi))),
        }
    }

    /// Leaves any network and opens an access point; reports `AccessPointUp` or `AccessPointFailed`.
    pub fn open_access_point(&mut self, ssid: &str, passphrase: &Passcode) {
        match self {
            Self::Simulated(radio) => radio.open_access_point(ssid, passphrase),
            Self::NetworkManager(radio) => radio.open_access_point(ssid, passphrase),
        }
    }

    /// Closes the access point, leaves any network and stays off the air; reports nothing.
    pub fn close(&mut self) {
        match self {
            Self::Simulated(radio) => radio.close(),
            Self::NetworkManager(radio) => radio.close(),
        }
    }

    /// Closes the access point and joins a network; reports `Joined` or `JoinFailed`. A network that goes
    /// away later is reported `Lost`, and `Joined` when it is back.
    pub fn join(&mut self, network: &HomeNetwork) {
        match self {
            Self::Simulated(radio) => radio.join(network),
            Self::NetworkManager(radio) => radio.join(network),
        }
    }

    /// Waits for the next report. Dropping it half-way loses none.
    pub async fn next(&mut self) -> WifiReport {
        match self {
            Self::Simulated(radio) => radio.next().await,
            Self::NetworkManager(radio) => radio.next().await,
        }
    }
}
