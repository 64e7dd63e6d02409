//! What no server over TLS can go below: this very program as a forwarder that does nothing but forward.
//!
//! It reads a record, decrypts it, finds the session that hears its topic, encrypts the same bytes for
//! that session and writes them: on one thread, without names, rights, limits, timers or MQTT beyond the
//! answers that a client waits for. What a round trip through it takes is the kernel's, the cipher's and
//! the clients' time, which no server saves.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::packets::{self, Incoming};

/// Where its certificate lies, and its ports.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The folder with the server's certificate and key
    folder: PathBuf,
    /// The port for things
    pub things: u16,
    /// The port for controllers
    pub controllers: u16,
}

/// Who hears a topic.
type Hearers = Rc<RefCell<HashMap<Vec<u8>, Rc<Connection>>>>;

struct Connection(RefCell<TlsStream<TcpStream>>);

/// Forwards until the process is ended.
pub fn play(place: &Place) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(tls(place)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(LocalSet::new().run_until(async {
        let hearers = Hearers::default();
        let things = listen(place.things, acceptor.clone(), hearers.clone());
        let controllers = listen(place.controllers, acceptor, hearers);
        tokio::try_join!(things, controllers)
    }))?;
    Ok(())
}

/// The server's side of TLS, as the servers that are measured have it.
pub fn tls(place: &Place) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_file_iter(place.folder.join("server.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(place.folder.join("server.key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

async fn listen(port: u16, acceptor: TlsAcceptor, hearers: Hearers) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (acceptor, hearers) = (acceptor.clone(), hearers.clone());
        tokio::task::spawn_local(async move {
            let connection = Rc::new(Connection(RefCell::new(acceptor.accept(stream).await?)));
            let outcome = serve(&connection, &hearers).await;
            hearers.borrow_mut().retain(|_, hearer| !Rc::ptr_eq(hearer, &connection));
            outcome
        });
    }
}

async fn serve(connection: &Rc<Connection>, hearers: &Hearers) -> io::Result<()> {
    let mut room = vec![0; 4096];
    loop {
        // A client here sends each packet as a record of its own.
        let count = connection.read(&mut room).await?;
        let packet = &room[..count];
        match packets::incoming(packet).ok_or(io::ErrorKind::UnexpectedEof)? {
            Incoming::Connect => connection.write(&packets::accept()).await?,
            Incoming::Subscribe(topics) => {
                for topic in &topics {
                    hearers.borrow_mut().insert(topic.to_vec(), connection.clone());
                }
                connection.write(&packets::grant(topics.len())).await?;
            }
            Incoming::Publish(topic) => {
                let hearer = hearers.borrow().get(topic).cloned();
                if let Some(hearer) = hearer {
                    hearer.write(packet).await?;
                }
            }
        }
    }
}

impl Connection {
    async fn read(&self, room: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(room);
        poll_fn(|context| Pin::new(&mut *self.0.borrow_mut()).poll_read(context, &mut buffer)).await?;
        Ok(buffer.filled().len())
    }

    async fn write(&self, packet: &[u8]) -> io::Result<()> {
        let mut written = 0;
        poll_fn(|context| {
            let mut stream = self.0.borrow_mut();
            while written < packet.len() {
                match Pin::new(&mut *stream).poll_write(context, &packet[written..]) {
                    Poll::Ready(Ok(count)) => written += count,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            Pin::new(&mut *stream).poll_flush(context)
        })
        .await
    }
}
