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

/// The interface that has this address. All of 127.0.0.0/8 is on the loopback interface, though it
/// lists one address of it only.
fn the_interface_of(address: IpAddr) -> IfKind {
    match address {
        IpAddr::V4(address) if address.is_loopback() => IfKind::LoopbackV4,
        IpAddr::V6(address) if address.is_loopback() => IfKind::LoopbackV6,
        address => IfKind::Addr(address),
    }
}

/// Why the thing is not announced; a controller that knows its address finds it all the same.
#[derive(Debug, Error)]
#[error("the thing is not announced: {0}")]
pub struct AnnounceError(#[from] mdns_sd::Error);

/// A standing announcement; dropping it takes it back.
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
        daemon.enable_interface(interface.map_or_else(|| the_interface_of(address), IfKind::from))?;
        let txt = [("v", "1")];
        let mut service = ServiceInfo::new(SERVICE_TYPE, &names.instance, &names.host, address, port, &txt[..])?;
        // Probing tells one's own name from another's (RFC 6762 section 8.1), which 80 random bits do.
        service.set_requires_probe(false);
        daemon.register(service)?;
        Ok(announcement)
    }

    /// Whether the goodbye was out in time.
    fn take_back(&self) -> bool {
        self.daemon.shutdown().is_ok_and(|gone| gone.recv_timeout(WITHDRAWAL).is_ok())
    }
}

/// Takes the announcement back: says goodbye (RFC 6762 section 10.1) and waits until that is out,
/// which takes no longer than its sending; half a second if the responder is stuck.
impl Drop for Announcement {
    fn drop(&mut self) {
        if !self.take_back() {
            tracing::debug!("the announcement was not taken back");
        }
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

    fn names() -> AnnouncedNames {
        AnnouncedNames::random(&mut crate::thing::clock::os_rng())
    }

    /// A port of its own for each test, so that neither hears the other.
    fn free_port() -> u16 {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        socket.local_addr().expect("bound").port()
    }

    /// Hears all that is said to the group on the loopback interface.
    fn listener(port: u16) -> UdpSocket {
        use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};
        let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).expect("a socket");
        sockopt::set_socket_reuseaddr(&socket, true).expect("set");
        sockopt::set_socket_reuseport(&socket, true).expect("set");
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)).expect("binds");
        let socket = UdpSocket::from(socket);
        socket.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST).expect("joins");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket
    }

    #[test]
    fn names_are_random_labels() {
        let (one, two) = (names(), names());
        assert_ne!(one.instance, two.instance);
        assert_ne!(one.host, two.host);
        assert_ne!(format!("{}.local.", one.instance), one.host);
        let fixed = AnnouncedNames::random(&mut Counter::new(0));
        assert_eq!(fixed.instance, "aaaqeayeaudaocaj");
        assert_eq!(fixed.host, "bifqydiob4ibceqt.local.");
    }

    #[test]
    fn another_instance_finds_it_and_sees_it_leave() {
        let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
        let port = free_port();
        let names = names();
        let controller = ServiceDaemon::new_with_port(port).expect("starts");
        controller.disable_interface(IfKind::All).expect("sent");
        controller.enable_interface(IfKind::Addr(LOCALHOST)).expect("sent");
        let events = controller.browse(SERVICE_TYPE).expect("browses");
        let announcement = Announcement::start_on(port, &names, None, address, 18_883).expect("starts");

        let deadline = Instant::now() + PATIENCE;
        let found = loop {
            match events.recv_deadline(deadline).expect("found in time") {
                ServiceEvent::ServiceResolved(found) => break found,
                _ => continue,
            }
        };
        assert_eq!(found.fullname, format!("{}.{SERVICE_TYPE}", names.instance));
        assert_eq!(found.host, names.host);
        assert_eq!(found.port, 18_883);
        let addresses: Vec<IpAddr> = found.addresses.iter().map(|address| address.to_ip_addr()).collect();
        assert_eq!(addresses, [address]);
        let txt: Vec<String> = found.txt_properties.iter().map(ToString::to_string).collect();
        assert_eq!(txt, ["v=1"]);

        drop(announcement);
        loop {
            match events.recv_deadline(deadline).expect("gone in time") {
                ServiceEvent::ServiceRemoved(_, fullname) => {
                    assert_eq!(fullname, found.fullname);
                    break;
                }
                _ => continue,
            }
        }
        let _ = controller.shutdown();
    }

    /// The records of a DNS message, all of it, as text (RFC 1035 section 4).
    fn records(packet: &[u8]) -> Vec<String> {
        let number = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
        assert_eq!((number(0), number(2)), (0, 0x8400), "an authoritative answer without an id");
        assert_eq!(number(4), 0, "no question");
        let count: usize = [6, 8, 10].map(number).iter().sum();
        let mut at = 12;
        let mut records = Vec::new();
        for _ in 0..count {
            let owner = name(packet, &mut at);
            let (kind, length) = (number(at), number(at + 8));
            let seconds = number(at + 6);
            at += 10;
            let (data, mut inside) = (&packet[at..at + length], at);
            let value = match kind {
                1 => format!("A {data:?}"),
                12 => format!("PTR {}", name(packet, &mut inside)),
                16 => format!("TXT {data:?}"),
                33 => {
                    inside += 6;
                    format!("SRV {} {}", number(at + 4), name(packet, &mut inside))
                }
                _ => format!("{kind} {data:?}"),
            };
            at += length;
            records.push(format!("{owner} {value}{}", if seconds == 0 { " goodbye" } else { "" }));
        }
        assert_eq!(at, packet.len(), "nothing follows the records");
        records.sort();
        records
    }

    /// A name, its compression undone (RFC 1035 section 4.1.4).
    fn name(packet: &[u8], at: &mut usize) -> String {
        let length = usize::from(packet[*at]);
        if length >= 0xc0 {
            let mut target = (length & 0x3f) << 8 | usize::from(packet[*at + 1]);
            *at += 2;
            return name(packet, &mut target);
        }
        *at += 1;
        if length == 0 {
            return String::new();
        }
        let label = String::from_utf8(packet[*at..*at + length].to_vec()).expect("ASCII");
        *at += length;
        format!("{label}.{}", name(packet, at))
    }

    #[test]
    fn the_packets_hold_the_random_names_and_nothing_that_identifies() {
        let port = free_port();
        let names = names();
        let listener = listener(port);
        let announcement = Announcement::start_on(port, &names, None, LOCALHOST, 18_883).expect("starts");
        let hear = || {
            let mut packet = [0; 9000];
            let length = listener.recv(&mut packet).expect("said in time");
            records(&packet[..length])
        };
        let AnnouncedNames { instance, host } = &names;
        let mut said = vec![
            format!("{SERVICE_TYPE} PTR {instance}.{SERVICE_TYPE}"),
            format!("{instance}.{SERVICE_TYPE} SRV 18883 {host}"),
            format!("{instance}.{SERVICE_TYPE} TXT [3, 118, 61, 49]"),
            format!("{host} A [127, 0, 0, 1]"),
        ];
        said.sort();
        assert_eq!(hear(), said);
        assert!(announcement.take_back(), "the responder was stuck");
        drop(announcement);
        let goodbye: Vec<String> = said.iter().map(|record| format!("{record} goodbye")).collect();
        assert_eq!(hear(), goodbye);
    }
}
