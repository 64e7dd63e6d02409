//! Gives the stations of the Thing-AP an address, and nothing else (SecT STEP 1).
//!
//! A DHCP server of what a plug needs (RFC 2131): it names no gateway and no name server, so that a station
//! sends nothing here but what is for the plug, and stays in its other networks. NetworkManager's own way
//! to give addresses makes a router of the machine that it runs on (docs/adr/0013).

mod message;
mod stations;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket as StdUdpSocket};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use tokio::net::UdpSocket;
use tokio::task::AbortHandle;

pub use self::stations::Stations;

/// RFC 2131 section 4.1.
const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// What is read of a message; more than a station that stays with the usual has in it.
const MAX_MESSAGE: usize = 1500;

/// A DHCP server on one interface; dropping it ends it.
#[derive(Debug)]
pub struct AddressServer(AbortHandle);

impl AddressServer {
    /// Starts to answer on `interface`, which has the address `own` in a network of 24 bits; inside a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// When the port cannot be opened, for which a daemon that is not root needs `CAP_NET_BIND_SERVICE`.
    pub fn start(interface: &str, own: Ipv4Addr) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
        // An earlier server of ours may be about to end.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_broadcast(&socket, true)?;
        let socket = UdpSocket::from_std(StdUdpSocket::from(socket))?;
        // Before it has a port: nothing from elsewhere is ever in its queue.
        socket.bind_device(Some(interface.as_bytes()))?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, SERVER_PORT))?;
        Ok(Self(tokio::spawn(serve(socket, Stations::new(own))).abort_handle()))
    }
}

impl AddressServer {
    /// Whether this process may open the port at all; that another program has it elsewhere does not matter here.
    #[must_use]
    pub fn is_allowed() -> bool {
        let opened = StdUdpSocket::bind((Ipv4Addr::LOCALHOST, SERVER_PORT));
        !opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }
}

impl Drop for AddressServer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn serve(socket: UdpSocket, mut stations: Stations) {
    let mut received = [0; MAX_MESSAGE];
    loop {
        match socket.recv_from(&mut received).await {
            Ok((length, _)) => {
                let Some(reply) = stations.answer(&received[..length]) else { continue };
                tracing::debug!("a station asked for an address");
                if let Err(error) = socket.send_to(&reply.message, SocketAddrV4::new(reply.to, CLIENT_PORT)).await {
                    tracing::debug!(%error, "a station got no address");
                }
            }
            // The interface is gone, and with it the access point.
            Err(error) => {
                tracing::debug!(%error, "no more addresses");
                return;
            }
        }
    }
}
