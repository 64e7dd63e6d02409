//! Whose sessions they are: households of one plug and eight controllers, each with an address of its own.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{DigitallySignedStruct, SignatureScheme};
use sect::proto::id::ThingId;
use sect::proto::registration::{Entry, RegSet, Verifier, down_topic};

use crate::packets::Login;
use crate::pki::Pki;

/// Controllers of one plug.
pub const CONTROLLERS: u32 = 8;
/// Sessions of one household.
pub const SESSIONS: usize = 1 + CONTROLLERS as usize;

/// One plug, its controllers, and the address that they share.
pub struct Household {
    number: u32,
    pub thing: ThingId,
    /// What its clients connect from: any address that begins with 127 is this machine's.
    pub address: Ipv4Addr,
    thing_tls: Arc<ClientConfig>,
    controller_tls: Arc<ClientConfig>,
}

/// One session that somebody may open.
#[derive(Clone)]
pub struct Member {
    /// It goes to the port for things.
    pub is_thing: bool,
    pub from: Ipv4Addr,
    pub tls: Arc<ClientConfig>,
    pub login: Login,
}

/// So many households, all certified by one manufacturer; they know one server by its certificate.
pub fn settle(count: u32, pki: &Pki, server_chain: &str) -> anyhow::Result<Vec<Household>> {
    let server = CertificateDer::from_pem_slice(server_chain.as_bytes())?;
    let builder = || {
        let verifier = Arc::new(KnownCertificate { server: server.clone(), provider: ring::default_provider() });
        Ok::<_, rustls::Error>(
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_protocol_versions(&[&TLS13])?
                .dangerous()
                .with_custom_certificate_verifier(verifier),
        )
    };
    let mut controller_tls = builder()?.with_no_client_auth();
    controller_tls.resumption = Resumption::disabled();
    let controller_tls = Arc::new(controller_tls);
    let mut households = Vec::new();
    for number in 0..count {
        let thing = ThingId::new((1 + u64::from(number)).to_be_bytes());
        let device = pki.device(&thing);
        let chain = CertificateDer::pem_slice_iter(device.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(device.key.expose().as_bytes())?;
        let mut thing_tls = builder()?.with_client_auth_cert(chain, key)?;
        thing_tls.resumption = Resumption::disabled();
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number);
        let (thing_tls, controller_tls) = (Arc::new(thing_tls), controller_tls.clone());
        households.push(Household { number, thing, address, thing_tls, controller_tls });
    }
    Ok(households)
}

impl Household {
    /// The accounts of its controllers.
    pub fn accounts(&self) -> impl Iterator<Item = u32> + use<> {
        let first = self.number * CONTROLLERS;
        first..first + CONTROLLERS
    }

    /// What the plug registers (SecT STEP 9).
    pub fn registration(&self) -> RegSet {
        let entry = |account| Entry {
            topic: token(account).parse().expect("25 digits"),
            user: user(account).parse().expect("16 digits"),
            verifier: Verifier::of(password(account).as_bytes()),
        };
        RegSet { generation: 1, acl: self.accounts().map(entry).collect() }
    }

    /// The plug's session; it hears its controllers and the server.
    pub fn plug(&self) -> Member {
        let topics = self.accounts().map(to_thing).chain([down_topic(&self.thing)]).collect();
        let login = Login { client_id: self.thing.to_string(), user: None, topics };
        Member { is_thing: true, from: self.address, tls: self.thing_tls.clone(), login }
    }

    /// The plug's session before it has registered: it hears the server.
    pub fn new_plug(&self) -> Member {
        let plug = self.plug();
        Member { login: Login { topics: vec![down_topic(&self.thing)], ..plug.login }, ..plug }
    }

    /// A controller's session; it hears the plug.
    pub fn controller(&self, account: u32) -> Member {
        let user = Some((user(account), password(account)));
        let login = Login { client_id: format!("controller-{account}"), user, topics: vec![to_controller(account)] };
        Member { is_thing: false, from: self.address, tls: self.controller_tls.clone(), login }
    }

    /// All its sessions.
    pub fn members(&self) -> impl Iterator<Item = Member> {
        std::iter::once(self.plug()).chain(self.accounts().map(|account| self.controller(account)))
    }
}

/// The topic of an account that its controller writes.
pub fn to_thing(account: u32) -> String {
    format!("s/{}/c", token(account))
}

/// The topic of an account that its plug writes.
pub fn to_controller(account: u32) -> String {
    format!("s/{}/t", token(account))
}

fn token(account: u32) -> String {
    format!("{account:025}")
}

/// An account's user name.
pub fn user(account: u32) -> String {
    format!("{account:016}")
}

/// An account's password; nobody but this bench knows the server.
pub fn password(account: u32) -> String {
    format!("password{account:014}")
}

/// Takes the server by its very certificate and its signature on trust: what a client computes is not
/// measured here, and would keep the processor from those who are.
#[derive(Debug)]
struct KnownCertificate {
    server: CertificateDer<'static>,
    provider: CryptoProvider,
}

impl ServerCertVerifier for KnownCertificate {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *server == self.server {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General("another server's certificate".to_owned()))
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
