//! Authorities, servers and things with certificates, made in memory by the factory's own functions.

use std::time::{Duration, SystemTime};

use getrandom::SysRng;
use rand_core::UnwrapErr;
use sect::cloud::provision::{Authority, Issued, Purpose};
use sect::proto::id::ThingId;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A manufacturer and the authority of one cloud server.
pub struct Pki {
    /// Certifies things.
    pub manufacturer: Authority,
    /// Certifies servers; clients pin `servers.pin()`.
    pub servers: Authority,
}

impl Pki {
    /// Two fresh authorities.
    pub fn new() -> Self {
        Self {
            manufacturer: Authority::create(Purpose::Things, "Test manufacturer", &mut rng()).expect("a name"),
            servers: Authority::create(Purpose::Servers, "Test cloud", &mut rng()).expect("a name"),
        }
    }

    /// A thing's key and certificate.
    pub fn device(&self, id: &ThingId) -> Issued {
        self.manufacturer.issue_device(id, &mut rng()).expect("the manufacturer certifies things")
    }

    /// A server's key and chain, for these hosts, from an hour ago to tomorrow.
    pub fn server(&self, hosts: &[&str]) -> Issued {
        let now = SystemTime::now();
        self.server_at(hosts, now - DAY / 24, now + DAY)
    }

    /// The same, and it ended yesterday.
    pub fn expired_server(&self, hosts: &[&str]) -> Issued {
        let now = SystemTime::now();
        self.server_at(hosts, now - 2 * DAY, now - DAY)
    }

    /// The same with a time of its own.
    pub fn server_at(&self, hosts: &[&str], from: SystemTime, to: SystemTime) -> Issued {
        let hosts: Vec<_> = hosts.iter().map(|host| host.parse().expect("a host")).collect();
        self.servers.issue_server(&hosts, from..to, &mut rng()).expect("a server's authority and a period")
    }
}

fn rng() -> UnwrapErr<SysRng> {
    UnwrapErr(SysRng)
}
