//! A household's cloud server for tests: certificates of every kind, and a listener on loopback that
//! speaks just enough MQTT over TLS 1.3.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::ClientIdentity;
use crate::proto::id::SpkiHash;

/// A P-256 key, for rcgen and for TLS.
pub(crate) struct Key(SigningKey);

impl Key {
    fn random() -> Self {
        let mut scalar = [0; 32];
        loop {
            getrandom::fill(&mut scalar).expect("random");
            if let Ok(key) = SigningKey::from_slice(&scalar) {
                return Self(key);
            }
        }
    }

    pub(crate) fn pkcs8(&self) -> Vec<u8> {
        // All but scalar and point stands still (RFC 5208 section 5, RFC 5915 section 3).
        let mut der = data_encoding::HEXLOWER
            .decode(b"308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
            .expect("hex");
        der.extend(self.0.to_bytes());
        der.extend([0xa1, 0x44, 0x03, 0x42, 0x00]);
        der.extend(self.der_bytes());
        der
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        // rcgen asks for a slice that outlives the call; a test may leak 65 bytes.
        self.0.verifying_key().to_sec1_point(false).as_bytes().to_vec().leak()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.0.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// A certificate with the key that it is for.
pub(crate) struct Certified {
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Key,
}

/// An authority.
pub(crate) struct Authority {
    pub(crate) certificate: Vec<u8>,
    params: CertificateParams,
    key: Key,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        Self::with(name, |_| {})
    }

    pub(crate) fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = Key::random();
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        change(&mut params);
        let certificate = params.self_signed(&key).expect("encodes").der().to_vec();
        Self { certificate, params, key }
    }

    pub(crate) fn pin(&self) -> SpkiHash {
        SpkiHash::new(Sha256::digest(self.key.subject_public_key_info()).into())
    }

    /// A server's certificate for `localhost` and 127.0.0.1, unless changed.
    pub(crate) fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let mut params = named("server");
        let name = "localhost".try_into().expect("a name");
        params.subject_alt_names = vec![SanType::DnsName(name), SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        self.certify(&params)
    }

    /// A thing's certificate.
    pub(crate) fn device(&self, name: &str) -> Certified {
        let mut params = named(name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.certify(&params)
    }

    fn certify(&self, params: &CertificateParams) -> Certified {
        let key = Key::random();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).expect("encodes").der().to_vec();
        Certified { certificate, key }
    }
}

impl Certified {
    pub(crate) fn identity(&self) -> ClientIdentity {
        ClientIdentity::from_der(vec![self.certificate.clone()], self.key.pkcs8()).expect("a pair")
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params.serial_number = Some(SerialNumber::from(7));
    params.key_identifier_method = KeyIdMethod::PreSpecified(name.as_bytes().to_vec());
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// A cloud server on loopback that sends its authority's certificate along.
pub(crate) struct Listener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener {
    /// Takes whoever asks, or those alone whom `clients` has certified.
    pub(crate) async fn new(server: &Certified, authority: &Authority, clients: Option<&Authority>) -> Self {
        Self::on("127.0.0.1:0".parse().expect("an address"), server, authority, clients).await
    }

    pub(crate) async fn on(
        address: SocketAddr,
        server: &Certified,
        authority: &Authority,
        clients: Option<&Authority>,
    ) -> Self {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(CertificateDer::from(clients.certificate.clone())).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let chain = [&server.certificate, &authority.certificate].map(|der| CertificateDer::from(der.clone()));
        let key = PrivateKeyDer::try_from(server.key.pkcs8()).expect("PKCS #8");
        let config = builder.with_single_cert(chain.to_vec(), key).expect("a pair");
        let tcp = TcpListener::bind(address).await.expect("loopback");
        Self { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.tcp.local_addr().expect("bound")
    }

    /// The next session, after its handshake.
    pub(crate) async fn accept(&self) -> std::io::Result<Session> {
        self.greet(self.arrival().await).await
    }

    /// The next connection, before its handshake.
    pub(crate) async fn arrival(&self) -> TcpStream {
        self.tcp.accept().await.expect("loopback").0
    }

    async fn greet(&self, tcp: TcpStream) -> std::io::Result<Session> {
        Ok(Session(self.acceptor.accept(tcp).await?))
    }

    /// The next session, whose CONNECT has been answered well; and that CONNECT.
    pub(crate) async fn welcome(&self) -> (Session, Vec<u8>) {
        let arrival = self.arrival().await;
        self.log_in(arrival).await
    }

    /// The session of a connection whose CONNECT is answered well; and that CONNECT.
    pub(crate) async fn log_in(&self, tcp: TcpStream) -> (Session, Vec<u8>) {
        let mut session = self.greet(tcp).await.expect("a handshake");
        let connect = session.packet().await;
        assert_eq!(connect.first(), Some(&0x10), "CONNECT");
        session.send(&[0x20, 2, 0, 0]).await;
        (session, connect)
    }
}

/// One client's connection.
pub(crate) struct Session(TlsStream<TcpStream>);

impl Session {
    /// One MQTT packet; nothing at the end of the connection.
    pub(crate) async fn packet(&mut self) -> Vec<u8> {
        let mut packet = Vec::new();
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let Ok(byte) = self.0.read_u8().await else { return Vec::new() };
            packet.push(byte);
            if packet.len() > 1 {
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    break;
                }
            }
        }
        let start = packet.len();
        packet.resize(start + length, 0);
        self.0.read_exact(&mut packet[start..]).await.expect("the rest of the packet");
        packet
    }

    pub(crate) async fn send(&mut self, packet: &[u8]) {
        self.0.write_all(packet).await.expect("sent");
    }

    /// Takes a SUBSCRIBE to one topic, and gives the topic.
    pub(crate) async fn grant(&mut self) -> String {
        self.answer_subscription(true).await
    }

    /// Refuses a SUBSCRIBE to one topic, and gives the topic.
    pub(crate) async fn refuse(&mut self) -> String {
        self.answer_subscription(false).await
    }

    async fn answer_subscription(&mut self, grants: bool) -> String {
        let packet = self.packet().await;
        assert_eq!(packet[0], 0x82, "SUBSCRIBE");
        let topic = packet[6..packet.len() - 1].to_vec();
        let answer = if grants { packet[packet.len() - 1] } else { 0x80 };
        self.send(&[0x90, 3, packet[2], packet[3], answer]).await;
        String::from_utf8(topic).expect("UTF-8")
    }

    /// Takes a QoS 0 PUBLISH, and gives topic and payload.
    pub(crate) async fn published(&mut self) -> (String, Vec<u8>) {
        let packet = self.packet().await;
        assert_eq!(packet[0] & 0xf6, 0x30, "PUBLISH, QoS 0: {packet:?}");
        let head = 1 + packet[1..].iter().position(|byte| *byte < 0x80).expect("a length") + 1;
        let length = usize::from(u16::from_be_bytes([packet[head], packet[head + 1]]));
        let (topic, payload) = packet[head + 2..].split_at(length);
        (String::from_utf8(topic.to_vec()).expect("UTF-8"), payload.to_vec())
    }

    /// Sends a QoS 0 PUBLISH.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &[u8]) {
        let mut length = 2 + topic.len() + payload.len();
        let mut packet = vec![0x30];
        while length >= 0x80 {
            packet.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        packet.push(length as u8);
        packet.extend((topic.len() as u16).to_be_bytes());
        packet.extend(topic.bytes());
        packet.extend(payload);
        self.send(&packet).await;
    }

    /// Says goodbye in TLS.
    pub(crate) async fn close(mut self) {
        let _ = self.0.shutdown().await;
    }
}
