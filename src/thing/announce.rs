//! The announcement by mDNS: that a SecT thing is here, and nothing about which (SecT STEP 10).
//!
//! Instance and host name are random for each start of the daemon, the TXT record says `v=1` alone,
//! and the system's own host name appears nowhere (protocol section 3). Discovery is a hint: only
//! the PSK tells a controller that it found its own thing.

use std::net::IpAddr;
use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use rand_core::CryptoRng;
use thiserror::Error;

/// The service type (RFC 6763 section 7).
pub const SERVICE_TYPE: &str = "_sect._tcp.local.";
/// The port of mDNS (RFC 6762 section 3).
const MDNS_PORT: u16 = 5353;
/// How often the network's addresses are looked at anew.
const ADDRESS_CHECK_SECONDS: u32 = 60;
/// How long the goodbye may take.
const WITHDRAWAL: Duration = Duration::from_millis(500);

/// What the thing is called on the network during one start of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnnouncedNames {
    instance: String,
    host: String,
}

impl AnnouncedNames {
    /// Draws fresh names.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self { instance: label(rng), host: format!("{}.local.", label(rng)) }
    }

    /// The instance name.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// 80 random bits in the letters of a host name: nobody else on the network has drawn the same.
fn label(rng: &mut dyn CryptoRng) -> String {
    let mut bytes = [0; 10];
    rng.fill_bytes(&mut bytes);
    BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()
}

/// Why the thing is not announced; a controller that knows its address finds it all the same.
#[derive(Debug, Error)]
#[error("the thing is not announced: {0}")]
pub struct AnnounceError(#[from] mdns_sd::Error);

/// A standing announcement; it ends when it is withdrawn or dropped.
pub struct Announcement {
    daemon: ServiceDaemon,
}

impl Announcement {
    /// Announces the local server at `address` and `port`, on one network interface alone: the
    /// named one, or else the one that has the address.
    ///
    /// # Errors
    ///
    /// [`AnnounceError`] when the responder cannot be started.
    pub fn start(
        names: &AnnouncedNames,
        interface: Option<&str>,
        address: IpAddr,
        port: u16,
    ) -> Result<Self, AnnounceError> {
        Self::start_on(MDNS_PORT, names, interface, address, port)
    }

    fn start_on(
        mdns_port: u16,
        names: &AnnouncedNames,
        interface: Option<&str>,
        address: IpAddr,
        port: u16,
    ) -> Result<Self, AnnounceError> {
        let announcement = Self { daemon: ServiceDaemon::new_with_port(mdns_port)? };
        let daemon = &announcement.daemon;
        daemon.set_ip_check_interval(ADDRESS_CHECK_SECONDS)?;
        daemon.disable_interface(IfKind::All)?;
        daemon.enable_interface(interface.map_or(IfKind::Addr(address), IfKind::from))?;
        let txt = [("v", "1")];
        let mut service = ServiceInfo::new(SERVICE_TYPE, &names.instance, &names.host, address, port, &txt[..])?;
        // Probing tells one's own name from another's (RFC 6762 section 8.1), which 80 random bits do.
        service.set_requires_probe(false);
        daemon.register(service)?;
        Ok(announcement)
    }

    /// Takes the announcement back: says goodbye and waits until that is out, half a second at most.
    pub async fn withdraw(self) {
        let Ok(gone) = self.daemon.shutdown() else { return };
        let waited = tokio::task::spawn_blocking(move || gone.recv_timeout(WITHDRAWAL)).await;
        if !matches!(waited, Ok(Ok(_))) {
            tracing::debug!("the announcement was not taken back in time");
        }
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // After `withdraw` there is nobody left to hear it.
        let _ = self.daemon.shutdown();
    }
}

impl std::fmt::Debug for Announcement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Announcement(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
    use std::time::Instant;

    use mdns_sd::ServiceEvent;

    use super::*;
    use crate::proto::testing::Counter;

    const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
    const PATIENCE: Duration = Duration::from_secs(10);
}
