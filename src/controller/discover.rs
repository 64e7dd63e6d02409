//! Discovery (SecT STEP 10, 11): a browse for `_sect._tcp` by mDNS.
//!
//! An answer is a hint: it names nobody, and only the PSK identifies a thing (protocol section 3).

use std::collections::BTreeMap;
#[cfg(target_os = "linux")]
use std::net::{Ipv4Addr, UdpSocket};
use std::net::{SocketAddr, SocketAddrV6};

use mdns_sd::{IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent};
use thiserror::Error;

/// What things announce.
pub const SERVICE: &str = "_sect._tcp.local.";

/// Answers that are looked at: anybody on the network can announce, and no household has more.
const MAX_ANSWERS: usize = 256;

/// The network could not be browsed.
#[derive(Debug, Error)]
#[error("discovery did not start: {0}")]
pub struct DiscoveryError(#[from] mdns_sd::Error);

/// Whether this machine has a network interface of that name; where that cannot be asked, it may have.
#[must_use]
pub fn interface_exists(name: &str) -> bool {
    #[cfg(target_os = "linux")]
    if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
        return rustix::net::netdevice::name_to_index(&socket, name).is_ok();
    }
    #[cfg(not(target_os = "linux"))]
    let _ = name;
    true
}

/// Something that announces itself as a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    /// The name under which it does; random for each start of a thing.
    pub instance: String,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
}

/// A browse that runs until it is dropped.
pub struct Browse {
    daemon: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    seen: BTreeMap<String, Vec<SocketAddr>>,
}

impl Browse {
    /// Starts on every interface, or on one.
    ///
    /// # Errors
    ///
    /// [`DiscoveryError`] when the multicast sockets cannot be opened.
    pub fn start(interface: Option<&str>) -> Result<Self, DiscoveryError> {
        let daemon = ServiceDaemon::new()?;
        if let Some(name) = interface {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(name)?;
        }
        let events = daemon.browse(SERVICE)?;
        Ok(Self { daemon, events, seen: BTreeMap::new() })
    }

    /// The next thing, or the next addresses of one; nothing when discovery has ended.
    pub async fn next(&mut self) -> Option<Announced> {
        loop {
            let ServiceEvent::ServiceResolved(service) = self.events.recv_async().await.ok()? else { continue };
            let Some(announced) = read(&service) else { continue };
            if self.seen.len() >= MAX_ANSWERS && !self.seen.contains_key(&announced.instance) {
                continue;
            }
            let known = self.seen.insert(announced.instance.clone(), announced.addresses.clone());
            if known.as_ref() != Some(&announced.addresses) {
                return Some(announced);
            }
        }
    }
}

impl Drop for Browse {
    fn drop(&mut self) {
        // It ends with the process at the latest.
        let _ = self.daemon.shutdown();
    }
}

fn read(service: &ResolvedService) -> Option<Announced> {
    // Another version of the protocol is another protocol (protocol section 3: TXT `v=1` only).
    if service.txt_properties.get_property_val("v") != Some(Some(b"1")) {
        return None;
    }
    let mut addresses: Vec<SocketAddr> = service
        .addresses
        .iter()
        .filter_map(|address| match address {
            ScopedIp::V4(v4) => Some(SocketAddr::from((*v4.addr(), service.port))),
            ScopedIp::V6(v6) => {
                let scope = if v6.addr().is_unicast_link_local() { v6.scope_id().index } else { 0 };
                Some(SocketAddrV6::new(*v6.addr(), service.port, 0, scope).into())
            }
            _ => None,
        })
        .collect();
    // IPv4 first: it is what the smallest things speak.
    addresses.sort();
    let instance = service.fullname.strip_suffix(SERVICE).unwrap_or(&service.fullname).trim_end_matches('.').to_owned();
    (!addresses.is_empty()).then_some(Announced { instance, addresses })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mdns_sd::ServiceInfo;

    use super::*;

    fn announce(instance: &str, port: u16, version: &str) -> ServiceDaemon {
        let daemon = ServiceDaemon::new().expect("a daemon");
        daemon.disable_interface(IfKind::All).expect("asked");
        daemon.enable_interface("lo").expect("asked");
        let host = format!("{instance}.local.");
        let service =
            ServiceInfo::new(SERVICE, instance, &host, "127.0.0.1", port, &[("v", version)][..]).expect("a service");
        daemon.register(service).expect("asked");
        daemon
    }

    #[test]
    fn an_interface_exists_or_it_does_not() {
        assert!(interface_exists("lo"));
        for name in ["nosuch0", "", "a-name-that-is-longer-than-any-interface-has"] {
            assert!(!interface_exists(name), "{name:?}");
        }
    }

    #[tokio::test]
    async fn what_announces_this_version_on_loopback_is_found() {
        // Ports tell this test's announcements from those of another one at the same time.
        let _other_version = announce("sect-test-other", 40_002, "2");
        let _thing = announce("sect-test-thing", 40_001, "1");
        let mut browse = Browse::start(Some("lo")).expect("started");
        let found = tokio::time::timeout(Duration::from_secs(10), async {
            loop {
                let announced = browse.next().await.expect("discovery runs");
                assert_ne!(announced.instance, "sect-test-other");
                if announced.instance == "sect-test-thing" {
                    return announced;
                }
            }
        })
        .await
        .expect("found in time");
        assert_eq!(found.addresses, [SocketAddr::from(([127, 0, 0, 1], 40_001))]);
    }
}
