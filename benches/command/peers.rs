//! The rivals, each a process of its own: this very program, started again in another role.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::x509::extension::SubjectAlternativeName;
use openssl::x509::{X509Builder, X509NameBuilder};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use sect::proto::envelope::{OpeningRoom, Sealed};
use sect::proto::freshness::Freshness;
use sect::proto::id::Boot;
use sect::proto::message::{Request, Response, ReturnCode, State, SwitchedBy};
use sect::proto::operation::argument::OutletSet;
use sect::proto::operation::{Operation, Requested};
use sect::proto::pairing::binding::{Binding, StoredBinding};
use sect::thing::clock::{Clock, os_rng};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::talk::{self, Sizes};

/// What the program is when it is started again.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Role {
    /// Answers so many bytes with so many, over TCP.
    TcpEcho {
        /// Bytes of a command.
        command: usize,
        /// Bytes of an answer.
        answer: usize,
    },
    /// The same over TLS 1.3.
    TlsEcho {
        /// Bytes of a command.
        command: usize,
        /// Bytes of an answer.
        answer: usize,
    },
    /// Plays the thing as a client of a broker; its binding comes by standard input.
    Responder {
        /// The broker.
        broker: SocketAddr,
        /// The outlet's file.
        outlet: PathBuf,
    },
}

/// A process that ends with this value.
pub struct Peer {
    child: Child,
    /// What it said when it was ready.
    pub greeting: String,
}

impl Peer {
    /// Starts this program in another role, hands it its input and waits until it is ready.
    pub fn start(arguments: &[&str], input: &[u8]) -> io::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child.stdin.take().expect("piped").write_all(input)?;
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut greeting)?;
        Ok(Self { child, greeting: greeting.trim_end_matches('\n').to_owned() })
    }

    /// Starts an echo; gives its address and, over TLS, its certificate.
    pub fn echo(role: &str, sizes: Sizes) -> io::Result<(Self, SocketAddr, Vec<u8>)> {
        let peer = Self::start(&[role, &sizes.command.to_string(), &sizes.answer.to_string()], b"")?;
        let (port, certificate) = peer.greeting.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
        let address = (Ipv4Addr::LOCALHOST, port.parse().map_err(io::Error::other)?).into();
        let certificate = data_encoding::HEXLOWER.decode(certificate.as_bytes()).map_err(io::Error::other)?;
        Ok((peer, address, certificate))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays a role until the process is ended.
pub fn play(role: &Role) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match role {
        Role::TcpEcho { command, answer } => runtime.block_on(tcp_echo(Sizes { command: *command, answer: *answer })),
        Role::TlsEcho { command, answer } => runtime.block_on(tls_echo(Sizes { command: *command, answer: *answer })),
        Role::Responder { broker, outlet } => respond(*broker, outlet),
    }
}

async fn tcp_echo(sizes: Sizes) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ready(&format!("{} ", listener.local_addr()?.port()))?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    echo(stream, sizes).await
}

async fn tls_echo(sizes: Sizes) -> io::Result<()> {
    let (certificate, key) = certificate().map_err(io::Error::other)?;
    let config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate.clone())], PrivatePkcs8KeyDer::from(key).into())
        .map_err(io::Error::other)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ready(&format!("{} {}", listener.local_addr()?.port(), data_encoding::HEXLOWER.encode(&certificate)))?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    echo(tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await?, sizes).await
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin, sizes: Sizes) -> io::Result<()> {
    let mut bytes = vec![0; sizes.command.max(sizes.answer)];
    loop {
        // The bench has ended.
        if stream.read_exact(&mut bytes[..sizes.command]).await.is_err() {
            return Ok(());
        }
        stream.write_all(&bytes[..sizes.answer]).await?;
        stream.flush().await?;
    }
}

/// The one suite that the local server takes first as well.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    Arc::new(provider)
}

/// A certificate for 127.0.0.1 and its key, DER.
fn certificate() -> Result<(Vec<u8>, Vec<u8>), openssl::error::ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "echo")?;
    let name = name.build();
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    let serial = BigNum::from_u32(1)?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_pubkey(&key)?;
    let (from, until) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(1)?);
    builder.set_not_before(&from)?;
    builder.set_not_after(&until)?;
    let address = SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(None, None))?;
    builder.append_extension(address)?;
    builder.sign(&key, MessageDigest::sha256())?;
    Ok((builder.build().to_der()?, key.private_key_to_pkcs8()?))
}

/// The thing as a client of a broker: the same checks, outlet and sealing as `sectd`'s, with a broker
/// in between.
fn respond(broker: SocketAddr, outlet: &Path) -> io::Result<()> {
    let stored: StoredBinding = serde_json::from_reader(io::stdin()).map_err(io::Error::other)?;
    let binding = Binding::try_from(stored).map_err(io::Error::other)?;
    let (keys, mut rng) = (binding.keys(), os_rng());
    let (clock, boot) = (Clock::start(), Boot::random(&mut rng));
    let mut freshness = Freshness::default();
    let outlet = OpenOptions::new().write(true).create(true).truncate(true).open(outlet)?;
    let name = binding.name.clone();
    let mut st = State { on: false, by: SwitchedBy::Boot, who: None, since: clock.now(), name: name.clone() };

    let mut wire = talk::open(broker, &binding, "responder")?;
    wire.subscribe(&binding.topic.c2t())?;
    ready("")?;
    let answers = binding.topic.t2c();
    let (mut room, mut answer) = (OpeningRoom::new(), Vec::new());
    loop {
        let (jwe, _) = wire.receive()?;
        let sealed = Sealed::parse(jwe).map_err(io::Error::other)?;
        let opened = sealed.open_in(&mut room, &keys.c2t).map_err(io::Error::other)?;
        let (re, now) = (opened.request_id(), clock.now());
        if freshness.answer_to(&re, now).is_some() {
            continue;
        }
        let request = Request::read(opened.bytes()).map_err(io::Error::other)?;
        let is_command = matches!(request, Request::Command { .. });
        if let Request::Command { boot: of, ts, requested } = request {
            let _fresh = freshness.accept(boot, now, of, ts).map_err(io::Error::other)?;
            if let Requested::Known(Operation::OutletSet(OutletSet { on })) = requested {
                switch(&outlet, on)?;
                st = State { on, by: SwitchedBy::User, who: Some(name.clone()), since: now, name: name.clone() };
            }
        }
        let ts = freshness.stamp(now);
        let response = Response { re, rc: ReturnCode::Ok, boot, ts, st: st.clone(), r: None };
        keys.t2c.seal_message_into(&response, &mut rng, &mut answer).map_err(io::Error::other)?;
        wire.publish(&answers, &answer)?;
        opened.leave(&mut room);
        if is_command {
            freshness.keep_answer(re, now, &answer);
        }
    }
}

/// What the simulated outlet does.
fn switch(outlet: &File, on: bool) -> io::Result<()> {
    outlet.write_all_at(if on { b"on \n" } else { b"off\n" }, 0)
}

fn ready(greeting: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{greeting}")?;
    stdout.flush()
}
