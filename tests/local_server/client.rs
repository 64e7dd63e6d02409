//! An MQTT client of a few lines over OpenSSL, and a raw ClientHello: what a stock client is and is not
//! able to say.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslSessionCacheMode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_openssl::SslStream;

use crate::wire::{packet, string};

/// A TCP stream that remembers what came in.
pub(crate) struct Recorder {
    stream: TcpStream,
    pub(crate) received: Vec<u8>,
}

impl AsyncRead for Recorder {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = buffer.filled()[before..].to_vec();
        self.received.extend(new);
        outcome
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

pub(crate) async fn tcp(server: SocketAddr, from: u8) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::from([127, 0, 0, from]), 0))?;
    socket.connect(server).await
}

pub(crate) struct Client {
    pub(crate) stream: SslStream<Recorder>,
    pub(crate) tickets: Arc<AtomicUsize>,
}

impl Client {
    /// A TLS connection with a PSK, as a stock client makes it, after `change` of its settings.
    pub(crate) async fn tls_with(
        server: SocketAddr,
        from: u8,
        identity: &str,
        key: [u8; 32],
        change: impl FnOnce(&mut SslContextBuilder),
    ) -> Result<Self, Vec<u8>> {
        let identity = [identity.as_bytes(), b"\0"].concat();
        let mut context = SslContext::builder(SslMethod::tls_client()).expect("a context");
        context.set_ciphersuites("TLS_AES_128_GCM_SHA256").expect("a suite");
        context.set_psk_client_callback(move |_, _, name, psk| {
            name[..identity.len()].copy_from_slice(&identity);
            psk[..32].copy_from_slice(&key);
            Ok(32)
        });
        let tickets = Arc::new(AtomicUsize::new(0));
        let count = tickets.clone();
        context.set_session_cache_mode(SslSessionCacheMode::CLIENT);
        context.set_new_session_callback(move |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        change(&mut context);
        let ssl = Ssl::new(&context.build()).expect("an SSL");
        let stream = tcp(server, from).await.expect("a connection");
        let recorder = Recorder { stream, received: Vec::new() };
        let mut stream = SslStream::new(ssl, recorder).expect("a stream");
        match Pin::new(&mut stream).connect().await {
            Ok(()) => Ok(Self { stream, tickets }),
            Err(_) => {
                let mut rest = [0; 64];
                while matches!(stream.get_mut().read(&mut rest).await, Ok(count) if count > 0) {}
                Err(stream.get_ref().received.clone())
            }
        }
    }

    pub(crate) async fn tls(server: SocketAddr, identity: &str, key: [u8; 32]) -> Result<Self, Vec<u8>> {
        Self::tls_with(server, 1, identity, key, |_| {}).await
    }

    /// TLS with the key, then a CONNECT with the login; the CONNACK's return code.
    pub(crate) async fn connect(server: SocketAddr, who: &Who, version: u8, client_id: &str) -> (Self, u8) {
        let mut client =
            Self::tls_with(server, who.from, who.identity, who.key, |_| {}).await.expect("the PSK is right");
        let code = client.login(who.login, version, client_id).await;
        (client, code)
    }

    pub(crate) async fn login(&mut self, login: Option<(&str, &str)>, version: u8, client_id: &str) -> u8 {
        self.send(&connect(version, client_id, login)).await;
        let connack = self.packet().await.expect("a CONNACK");
        assert_eq!((connack[0], connack[1]), (0x20, 0), "session_present is false");
        connack[2]
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("written");
    }

    /// The next packet: its first byte and its body. `None` at the end of the connection.
    pub(crate) async fn packet(&mut self) -> Option<Vec<u8>> {
        let first = self.stream.read_u8().await.ok()?;
        let (mut length, mut shift) = (0, 0);
        loop {
            let digit = self.stream.read_u8().await.ok()?;
            length |= usize::from(digit & 0x7f) << shift;
            shift += 7;
            if digit & 0x80 == 0 {
                break;
            }
        }
        let mut packet = vec![0; length + 1];
        packet[0] = first;
        self.stream.read_exact(&mut packet[1..]).await.ok()?;
        Some(packet)
    }

    pub(crate) async fn subscribe(&mut self, version: u8, topic: &str, qos: u8) -> u8 {
        self.send(&subscribe(version, topic, qos)).await;
        let suback = self.packet().await.expect("a SUBACK");
        assert_eq!(suback[0], 0x90);
        *suback.last().expect("a code")
    }

    /// A PINGREQ is answered after everything before it.
    pub(crate) async fn ping(&mut self) -> bool {
        if self.stream.write_all(b"\xc0\x00").await.is_err() {
            return false;
        }
        self.packet().await == Some(vec![0xd0])
    }

    pub(crate) async fn ended(&mut self) -> bool {
        while let Some(packet) = self.packet().await {
            assert_eq!(packet[0], 0xe0, "only a DISCONNECT precedes the end");
        }
        true
    }
}

/// Somebody at the server.
#[derive(Clone, Copy)]
pub(crate) struct Who {
    pub(crate) identity: &'static str,
    pub(crate) key: [u8; 32],
    pub(crate) login: Option<(&'static str, &'static str)>,
    /// Last byte of the loopback address that he comes from.
    pub(crate) from: u8,
}

pub(crate) fn connect(version: u8, client_id: &str, login: Option<(&str, &str)>) -> Vec<u8> {
    let flags = if login.is_some() { 0xc2 } else { 0x02 };
    let mut body = [b"\x00\x04MQTT".as_slice(), &[version, flags, 0, 60]].concat();
    if version == 5 {
        body.push(0);
    }
    body.extend(string(client_id));
    if let Some((user, password)) = login {
        body.extend([string(user), string(password)].concat());
    }
    packet(0x10, &body)
}

pub(crate) fn subscribe(version: u8, topic: &str, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 7];
    if version == 5 {
        body.push(0);
    }
    body.extend(string(topic));
    body.push(qos);
    packet(0x82, &body)
}

pub(crate) fn publish(version: u8, topic: &str, payload: &[u8]) -> Vec<u8> {
    let mut body = string(topic);
    if version == 5 {
        body.push(0);
    }
    body.extend_from_slice(payload);
    packet(0x30, &body)
}
