//! Who stands where a cloud server should: a TLS server that writes down what it gets.

use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod, SslVersion};
use openssl::x509::X509;
use sect::cloud::provision::Issued;

/// How long it waits for a client to say something.
const PATIENCE: Duration = Duration::from_millis(500);

/// A TLS server on one address, until it is dropped.
pub struct Impostor {
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
    listener: Option<JoinHandle<()>>,
}

/// What came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections.
    pub connections: usize,
    /// Those whose handshake succeeded.
    pub handshakes: usize,
    /// What was said after it.
    pub said: Vec<u8>,
}

impl Impostor {
    /// With the chain and key of `server`, and no newer TLS than `newest`.
    pub fn at(address: SocketAddr, server: &Issued, newest: SslVersion) -> Self {
        let mut chain = X509::stack_from_pem(server.certificate.as_bytes()).expect("a chain").into_iter();
        let key = PKey::private_key_from_pem(server.key.expose().as_bytes()).expect("a key");
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("a server");
        builder.set_private_key(&key).expect("set");
        builder.set_certificate(&chain.next().expect("the server's own")).expect("set");
        chain.for_each(|issuer| builder.add_extra_chain_cert(issuer).expect("set"));
        builder.set_max_proto_version(Some(newest)).expect("set");
        let acceptor = builder.build();

        let tcp = TcpListener::bind(address).expect("the server's place is free");
        tcp.set_nonblocking(true).expect("set");
        let (seen, is_over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let listener = thread::spawn({
            let (seen, is_over) = (seen.clone(), is_over.clone());
            move || {
                while !is_over.load(Ordering::Relaxed) {
                    match tcp.accept() {
                        Ok((stream, _)) => {
                            stream.set_nonblocking(false).expect("set");
                            stream.set_read_timeout(Some(PATIENCE)).expect("set");
                            let handshake = acceptor.accept(stream);
                            let mut said = Vec::new();
                            let is_in = handshake.is_ok();
                            if let Ok(mut stream) = handshake {
                                // It says nothing, and listens until the client has enough.
                                let _ = stream.read_to_end(&mut said);
                            }
                            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                            seen.connections += 1;
                            seen.handshakes += usize::from(is_in);
                            seen.said.extend(said);
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            thread::sleep(Duration::from_millis(2));
                        }
                        Err(error) => panic!("the listener is broken: {error}"),
                    }
                }
            }
        });
        Self { seen, is_over, listener: Some(listener) }
    }

    /// What has come so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}
