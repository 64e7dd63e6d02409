//! Many sessions that do nothing, how they come, and how they all come back at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::households::Member;
use crate::packets::{self, packet_in};
use crate::server::{HOST, Server};

/// Sessions that are being opened at the same time while the crowd first comes.
const AT_ONCE: usize = 64;
/// A client that has waited so long tries anew.
const PATIENCE: Duration = Duration::from_secs(20);
/// So long after a failure, and never a little more or less.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Who is not back by then never will be.
const FOR_GOOD: Duration = Duration::from_secs(180);

/// The clients, and the sessions that they have open.
pub struct Crowd {
    runtime: Runtime,
    members: Vec<(SocketAddr, Member)>,
    open: Vec<TlsStream<TcpStream>>,
}

/// How a storm went.
#[derive(Debug)]
pub struct Storm {
    /// Until the last was back.
    pub took: Duration,
    /// Attempts that failed and were repeated.
    pub failures: usize,
    /// Clients that did not get in.
    pub refused: usize,
}

impl Crowd {
    /// Clients that have nothing open yet.
    pub fn new(server: &Server, members: impl Iterator<Item = Member>) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            // Clients have processors of their own; here they must not take the server's.
            .on_thread_start(|| {
                let _ = rustix::process::setpriority_process(None, CLIENT_NICENESS);
            })
            .build()?;
        let members = members.map(|member| (server.address_for(&member), member)).collect();
        Ok(Self { runtime, members, open: Vec::new() })
    }

    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Opens all sessions, some at a time; how long it took.
    pub fn come(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for (address, member) in self.members.iter().cloned() {
            let turns = turns.clone();
            tasks.spawn_on(
                async move {
                    let _turn = turns.acquire().await.map_err(io::Error::other)?;
                    timeout(PATIENCE, open(address, &member)).await?
                },
                self.runtime.handle(),
            );
        }
        let opened = self.runtime.block_on(tasks.join_all());
        self.open = opened.into_iter().collect::<Result<_, _>>()?;
        Ok(started.elapsed())
    }

    /// Cuts all connections, and lets everybody come back in the same moment.
    pub fn storm(&mut self) -> Storm {
        {
            // Dropping a socket needs its runtime.
            let _runtime = self.runtime.enter();
            self.open.clear();
        }
        let started = Instant::now();
        let failures = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for (address, member) in self.members.iter().cloned() {
            let failures = failures.clone();
            tasks.spawn_on(
                async move {
                    while started.elapsed() < FOR_GOOD {
                        if let Ok(Ok(stream)) = timeout(PATIENCE, open(address, &member)).await {
                            return Some((stream, started.elapsed()));
                        }
                        failures.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(RETRY_AFTER).await;
                    }
                    None
                },
                self.runtime.handle(),
            );
        }
        let back = self.runtime.block_on(tasks.join_all());
        let mut took = Duration::ZERO;
        for (stream, when) in back.into_iter().flatten() {
            took = took.max(when);
            self.open.push(stream);
        }
        Storm { took, failures: failures.load(Ordering::Relaxed), refused: self.members.len() - self.open.len() }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        let _runtime = self.runtime.enter();
        self.open.clear();
    }
}

/// Connects, logs in and subscribes.
async fn open(address: SocketAddr, member: &Member) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((member.from, 0).into())?;
    let tcp = socket.connect(address).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let mut stream = TlsConnector::from(member.tls.clone()).connect(name, tcp).await?;
    stream.write_all(&member.login.connect()).await?;
    stream.flush().await?;
    let (first, body) = receive(&mut stream).await?;
    packets::expect_accepted(first, &body)?;
    stream.write_all(&member.login.subscribe()).await?;
    stream.flush().await?;
    let (first, body) = receive(&mut stream).await?;
    packets::expect_granted(first, &body, member.login.topics.len())?;
    Ok(stream)
}

/// The only packet that is under way.
async fn receive(stream: &mut TlsStream<TcpStream>) -> io::Result<(u8, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(64);
    loop {
        if let Some((first, body)) = packet_in(&bytes) {
            return Ok((first, bytes[body].to_vec()));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

const CLIENT_NICENESS: i32 = 10;
