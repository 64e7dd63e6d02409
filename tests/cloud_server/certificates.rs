//! Who gets through TLS: things with the manufacturer's certificates, over TLS 1.3, and nobody else.

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use openssl::x509::{X509, X509NameBuilder};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sect::proto::id::SpkiHash;
use sect::proto::signature::Spki;

use super::client::Client;
use super::isolation::A;
use super::pki::Pki;
use super::server::{SOON, Server};

/// What is to be wrong with a certificate.
struct Wish<'a> {
    names: &'a [&'a str],
    key: PKey<Private>,
    from: i64,
    to: i64,
    usage: fn(&mut ExtendedKeyUsage) -> &mut ExtendedKeyUsage,
    authority: bool,
    self_signed: bool,
}

const ID: &str = "0a0a0a0a0a0a0a0a";
/// 2026-01-01, 2026-02-01, 2099-01-01 and the end of 9999.
const START: i64 = 1_767_225_600;
const PAST: i64 = 1_769_904_000;
const FUTURE: i64 = 4_070_908_800;
const NO_END: i64 = 253_402_300_799;

impl Wish<'_> {
    /// One with which nothing is wrong.
    fn good() -> Self {
        Self {
            names: &[ID],
            key: ec_key(Nid::X9_62_PRIME256V1),
            from: START,
            to: NO_END,
            usage: ExtendedKeyUsage::client_auth,
            authority: false,
            self_signed: false,
        }
    }

    fn certificate(&self, pki: &Pki) -> X509 {
        let authority = X509::from_der(pki.manufacturer.certificate().as_der()).expect("a certificate");
        let authority_key = PKey::private_key_from_pem(pki.manufacturer.key_pem().expose().as_bytes()).expect("a key");
        let mut builder = X509::builder().expect("a builder");
        builder.set_version(2).expect("set");
        let serial = BigNum::from_u32(77).and_then(|serial| serial.to_asn1_integer()).expect("a number");
        builder.set_serial_number(&serial).expect("set");
        let mut subject = X509NameBuilder::new().expect("a builder");
        for name in self.names {
            subject.append_entry_by_nid(Nid::COMMONNAME, name).expect("set");
        }
        let subject = subject.build();
        builder.set_subject_name(&subject).expect("set");
        builder.set_issuer_name(if self.self_signed { &subject } else { authority.subject_name() }).expect("set");
        builder.set_not_before(&Asn1Time::from_unix(self.from).expect("a time")).expect("set");
        builder.set_not_after(&Asn1Time::from_unix(self.to).expect("a time")).expect("set");
        builder.set_pubkey(&self.key).expect("set");
        let mut constraints = BasicConstraints::new();
        constraints.critical();
        if self.authority {
            constraints.ca();
        }
        builder.append_extension(constraints.build().expect("built")).expect("set");
        builder.append_extension(KeyUsage::new().critical().digital_signature().build().expect("built")).expect("set");
        builder.append_extension((self.usage)(&mut ExtendedKeyUsage::new()).build().expect("built")).expect("set");
        let signer = if self.self_signed { &self.key } else { &authority_key };
        builder.sign(signer, MessageDigest::sha256()).expect("signed");
        builder.build()
    }

    /// Whether the server lets a thing with it log in.
    fn is_let_in(&self, server: &Server) -> bool {
        let chain = vec![CertificateDer::from(self.certificate(&server.pki).to_der().expect("DER"))];
        let key = PrivateKeyDer::try_from(self.key.private_key_to_pkcs8().expect("DER")).expect("PKCS#8");
        // In TLS 1.3 the client is done before the server has looked at its certificate.
        let Ok(mut client) = Client::thing_with(server, chain, key) else { return false };
        match client.connect("x", None) {
            Some(0) => true,
            None => false,
            Some(code) => panic!("CONNACK {code}"),
        }
    }
}

fn ec_key(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
}

#[test]
fn only_a_certificate_as_the_manufacturer_makes_them_lets_a_thing_in() {
    let server = Server::new();
    assert!(Wish::good().is_let_in(&server), "{}", server.log());
    let rsa = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    let wrong = [
        ("self-signed", Wish { self_signed: true, ..Wish::good() }),
        ("expired", Wish { to: PAST, ..Wish::good() }),
        ("of tomorrow", Wish { from: FUTURE, ..Wish::good() }),
        ("with an end", Wish { to: FUTURE, ..Wish::good() }),
        ("RSA", Wish { key: rsa, ..Wish::good() }),
        ("P-384", Wish { key: ec_key(Nid::SECP384R1), ..Wish::good() }),
        ("a server's", Wish { usage: ExtendedKeyUsage::server_auth, ..Wish::good() }),
        ("an authority's", Wish { authority: true, ..Wish::good() }),
        ("without a name", Wish { names: &[], ..Wish::good() }),
        ("with two names", Wish { names: &[ID, "0b0b0b0b0b0b0b0b"], ..Wish::good() }),
        ("with a name that is no thing's", Wish { names: &["#"], ..Wish::good() }),
        ("with upper case", Wish { names: &["0A0A0A0A0A0A0A0A"], ..Wish::good() }),
    ];
    for (what, wish) in &wrong {
        assert!(!wish.is_let_in(&server), "a certificate {what} was taken");
    }
    assert_eq!(server.denials("handshake") + server.denials("identity"), wrong.len() as u64);
}

#[test]
fn another_manufacturers_thing_and_one_without_certificate_are_refused() {
    let server = Server::new();
    let foreign = Pki::new().device(&A);
    let refused = match Client::thing(&server, &foreign) {
        Ok(mut client) => client.connect("x", None).is_none(),
        Err(_) => true,
    };
    assert!(refused);
    let refused = match Client::open(&server, server.things, None) {
        Ok(mut client) => client.connect("x", None).is_none(),
        Err(_) => true,
    };
    assert!(refused);
    server.thing(A).ping();
}

#[test]
fn the_server_shows_the_authority_that_clients_pin() {
    let server = Server::new();
    let clients = [Client::controller(&server), Client::thing(&server, &server.pki.device(&A))];
    for client in clients {
        let chain = client.expect("TLS").server_chain();
        assert_eq!(chain.len(), 2);
        let authority = X509::from_der(&chain[1]).expect("a certificate");
        let spki = authority.public_key().and_then(|key| key.public_key_to_der()).expect("a key");
        let pin: SpkiHash = Spki::from_der(&spki).expect("P-256").hash();
        assert_eq!(pin, server.pki.servers.pin());
    }
}

#[test]
fn tls_1_2_and_other_groups_than_x25519_are_refused() {
    let server = Server::new();
    let handshake = |address, version, groups: &str| {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("a builder");
        connector.set_verify(SslVerifyMode::NONE);
        connector.set_min_proto_version(Some(SslVersion::TLS1)).expect("set");
        connector.set_max_proto_version(Some(version)).expect("set");
        connector.set_groups_list(groups).expect("set");
        let stream = std::net::TcpStream::connect(address).expect("connects");
        stream.set_read_timeout(Some(SOON)).expect("set");
        connector.build().connect("localhost", stream).is_ok()
    };
    for address in [server.things, server.controllers] {
        assert!(handshake(address, SslVersion::TLS1_3, "X25519"));
        assert!(!handshake(address, SslVersion::TLS1_2, "X25519:P-256"));
        assert!(!handshake(address, SslVersion::TLS1_3, "P-256"));
    }
}

#[test]
fn no_session_is_resumed() {
    let server = Server::new();
    let mut client = Client::controller(&server).expect("TLS");
    assert_eq!(client.connect("x", Some(("nobody", "nothing"))), Some(4));
    assert_eq!(client.tickets(), 0);
}

#[test]
fn a_renewed_certificate_is_taken_without_a_restart() {
    let server = Server::new();
    let before = Client::controller(&server).expect("TLS");
    let mut connected = server.thing(A);
    server.write_certificates();
    rustix::process::kill_process(server.pid(), rustix::process::Signal::HUP).expect("a child");
    server.eventually("the new certificate is shown", |server| {
        Client::controller(server).is_ok_and(|client| client.server_chain()[0] != before.server_chain()[0])
    });
    connected.ping();
    // One that does not fit changes nothing.
    std::fs::write(server.path("server.key"), "no key").expect("written");
    rustix::process::kill_process(server.pid(), rustix::process::Signal::HUP).expect("a child");
    server.eventually("it is logged", |server| server.log().contains("stay as they were"));
    Client::controller(&server).expect("TLS as before");
}
