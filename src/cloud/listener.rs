//! The ports: who gets in, how many at a time, and how much of the processor strangers get.
//!
//! Connections that have not logged in are bounded; one more waits in the kernel's queue, so that a
//! storm of reconnects drains. A handshake computes only when it holds one of a few turns, which it
//! gives back when it waits for its client: those connected wait for a few computations at most, and a
//! client that stops in mid-handshake holds up nobody.

use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::places::{Full, Place, Places};
use super::session::{Conversation, Shared, Visitor};
use super::tls::Tls;

/// Who a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Things,
    Controllers,
}

/// What one side's ports share.
pub(super) struct Door {
    pub(super) side: Side,
    pub(super) shared: Arc<Shared>,
    pub(super) places: Arc<Places>,
    /// Replaced when certificates are read again.
    pub(super) tls: Arc<RwLock<Tls>>,
    /// Connections that have not logged in.
    pub(super) arriving: Arc<Semaphore>,
    /// Handshakes that compute.
    pub(super) turns: Arc<Semaphore>,
    pub(super) handshake_within: Duration,
}

/// Takes an address.
///
/// # Errors
///
/// When it cannot be had.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Door {
    /// Takes connections for as long as it is polled.
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener) {
        loop {
            let Ok(arriving) = self.arriving.clone().acquire_owned().await else { return };
            let metrics = &self.shared.metrics;
            match listener.accept().await {
                Ok((stream, peer)) => {
                    metrics.accepted.one();
                    match self.places.take(peer.ip(), Instant::now()) {
                        Ok(place) => {
                            tokio::spawn(self.clone().serve(stream, arriving, place));
                        }
                        Err(Full::Total) => metrics.denials.connections.one(),
                        Err(Full::Address) => metrics.denials.address.one(),
                    }
                }
                Err(error) => {
                    metrics.accept_errors.one();
                    tracing::debug!(%error, "no connection was taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, stream: TcpStream, arriving: OwnedSemaphorePermit, place: Place) {
        if let Some((stream, visitor)) = self.welcome(stream).await {
            // Boxed apart from the handshake, whose future is large and over.
            Box::pin(Conversation::new(stream, visitor, self.shared.clone(), arriving).run()).await;
        }
        drop(place);
    }

    /// The handshake, and whom it has proved.
    async fn welcome(&self, stream: TcpStream) -> Option<(TlsStream<TcpStream>, Visitor)> {
        let metrics = &self.shared.metrics;
        let start = Instant::now();
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
        let _ = rustix::net::sockopt::set_tcp_keepidle(&stream, KEEP_IDLE);
        let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, USER_TIMEOUT_MS);
        let tls = {
            let tls = self.tls.read().unwrap_or_else(PoisonError::into_inner);
            match self.side {
                Side::Things => tls.things.clone(),
                Side::Controllers => tls.controllers.clone(),
            }
        };
        let accept = Box::pin(in_turns(TlsAcceptor::from(tls).accept(stream), &self.turns));
        let stream = match timeout(self.handshake_within, accept).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(side = ?self.side, %error, "a handshake failed");
                metrics.denials.handshake.one();
                return None;
            }
            Err(_) => {
                metrics.denials.handshake_late.one();
                return None;
            }
        };
        metrics.handshakes.observe(start.elapsed());
        let visitor = match self.side {
            Side::Controllers => Visitor::Controller,
            Side::Things => {
                let _turn = self.turns.acquire().await;
                let Some([certificate, ..]) = stream.get_ref().1.peer_certificates() else { return None };
                let thing = self.tls.read().unwrap_or_else(PoisonError::into_inner).manufacturers.thing_of(certificate);
                let thing = match thing {
                    Ok(thing) => thing,
                    Err(refusal) => {
                        tracing::debug!(%refusal, "a certificate names no thing");
                        metrics.denials.identity.one();
                        return None;
                    }
                };
                Visitor::Thing(thing)
            }
        };
        Some((stream, visitor))
    }
}

/// A handshake that computes only while it holds a turn.
async fn in_turns(mut accept: Accept<TcpStream>, turns: &Semaphore) -> io::Result<TlsStream<TcpStream>> {
    loop {
        let turn = turns.acquire().await;
        let outcome = poll_fn(|context| Poll::Ready(Pin::new(&mut accept).poll(context))).await;
        drop(turn);
        if let Poll::Ready(outcome) = outcome {
            return outcome;
        }
        // The client's next bytes wake this task, and then it is its turn again.
        let mut waited = false;
        poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

/// Connections that the kernel keeps for us, if it may (net.core.somaxconn).
const BACKLOG: u32 = 4096;
/// How long no connection is taken after accept has failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// A client may do without keep-alive; the kernel then finds out that it is gone.
const KEEP_IDLE: Duration = Duration::from_secs(120);
const USER_TIMEOUT_MS: u32 = 30_000;
