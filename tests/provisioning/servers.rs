//! The certificates of cloud servers: hosts, renewal, the pin, and a handshake of both sides.

use std::fs;
use std::sync::Arc;

use openssl::asn1::Asn1Time;
use openssl::x509::X509;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use sect::cloud::provision::Issued;
use serde_json::json;

use crate::ID;
use crate::factory::{Factory, text};
use crate::judge::{A_CLIENT, a_server, pin_of, verify};
use crate::support::pki::Pki;

const SERVER: [&str; 9] =
    ["server", "--authority", "servers", "--host", "Cloud.Example.org", "--host", "127.0.0.1", "--out", "server"];

#[test]
fn a_server_chain_holds_for_its_hosts_and_for_no_other() {
    let factory = Factory::new();
    let [made] = &factory.json(&SERVER)[..] else { panic!("one line") };
    let chain = X509::stack_from_pem(&factory.read("server/server.crt")).expect("a chain");
    let [leaf, authority] = &chain[..] else { panic!("{} certificates", chain.len()) };
    assert_eq!(authority.to_der().expect("DER"), factory.certificate("servers/authority.crt").to_der().expect("DER"));
    assert_eq!(made["pin"], pin_of(authority).as_str());
    assert_eq!(made["pin"].as_str().map(str::len), Some(43));
    assert_eq!(made["hosts"], json!(["cloud.example.org", "127.0.0.1"]));
    assert!(factory.must(&SERVER).contains(&format!("pin    {}", pin_of(authority))));
    assert_eq!((factory.mode("server/server.key"), factory.mode("server/server.crt")), (0o600, 0o644));

    for host in ["cloud.example.org", "CLOUD.example.org", "127.0.0.1"] {
        assert_eq!(verify(leaf, authority, &a_server(host)), Ok(()), "{host}");
    }
    for host in ["example.org", "a.cloud.example.org", "sect-cloud", "127.0.0.2", "::1"] {
        assert!(verify(leaf, authority, &a_server(host)).is_err(), "{host}");
    }
    assert!(verify(leaf, &factory.certificate("manufacturer/authority.crt"), &a_server("127.0.0.1")).is_err());
    assert!(verify(leaf, authority, &A_CLIENT).is_err(), "a server passed for a plug");
    assert!(leaf.public_key().expect("a key").public_eq(&factory.key("server/server.key")));

    let days = |certificate: &X509| certificate.not_before().diff(certificate.not_after()).expect("a span").days;
    assert_eq!(days(leaf), 365);
    assert!(*leaf.not_before() < Asn1Time::days_from_now(0).expect("now"));
    factory.must(&[&SERVER[..], &["--days", "30"]].concat());
    assert_eq!(days(&factory.certificate("server/server.crt")), 30);
}

#[test]
fn a_renewed_server_certificate_keeps_what_plugs_pin() {
    let factory = Factory::new();
    let first = factory.json(&SERVER);
    let (key, leaf) = (factory.read("server/server.key"), factory.certificate("server/server.crt"));
    let authority = factory.certificate("servers/authority.crt");

    let second = factory.json(&SERVER);
    let renewed = factory.certificate("server/server.crt");
    assert_eq!(second[0]["pin"], first[0]["pin"]);
    assert_eq!((&first[0]["new_key"], &second[0]["new_key"]), (&json!(true), &json!(false)));
    assert_eq!(factory.read("server/server.key"), key);
    assert!(renewed.serial_number().to_bn().expect("a number") != leaf.serial_number().to_bn().expect("a number"));
    assert_eq!(verify(&renewed, &authority, &a_server("127.0.0.1")), Ok(()));

    let third = factory.json(&[&SERVER[..], &["--new-key"]].concat());
    assert_eq!((&third[0]["pin"], &third[0]["new_key"]), (&first[0]["pin"], &json!(true)));
    assert_ne!(factory.read("server/server.key"), key);
    let rekeyed = factory.certificate("server/server.crt");
    assert!(rekeyed.public_key().expect("a key").public_eq(&factory.key("server/server.key")));
    assert_eq!(factory.mode("server/server.key"), 0o600);

    // Another authority would lock every plug out.
    factory.must(&["server-authority", "--out", "other", "--name", "Other Cloud"]);
    let before = factory.files();
    let why = factory.refused(&["server", "--authority", "other", "--host", "127.0.0.1", "--out", "server"]);
    assert!(why.contains("is not by this authority"), "{why}");
    assert_eq!(factory.files(), before);
}

#[test]
fn a_server_chain_is_checked_for_host_time_and_authority() {
    let factory = Factory::new();
    factory.must(&SERVER);
    let check = |more: &[&str]| {
        let output = factory.provision(&[&["check", "--authority", "servers"], more].concat(), "");
        (output.status.success(), text(&output.stdout).to_owned())
    };
    let chain = "server/server.crt";
    assert_eq!(check(&[chain]), (true, format!("{chain}: ok, for cloud.example.org, 127.0.0.1\n")));
    assert!(check(&["--host", "127.0.0.1", chain]).0);
    let (ok, said) = check(&["--host", "other.example.org", chain]);
    assert_eq!((ok, said), (false, format!("{chain}: refused: it is not for other.example.org\n")));

    let leaf = factory.certificate(chain).to_pem().expect("PEM");
    fs::write(factory.path("leaf.crt"), leaf).expect("written");
    let (ok, said) = check(&["leaf.crt"]);
    assert_eq!((ok, said), (false, "leaf.crt: refused: its authority's certificate does not follow it\n".to_owned()));

    factory.must(&["device", "--authority", "manufacturer", "--id", ID, "--out", "state"]);
    let (ok, said) = check(&["state/device.crt"]);
    assert_eq!((ok, said), (false, "state/device.crt: refused: signed by another authority\n".to_owned()));

    let pki = Pki::new();
    fs::create_dir(factory.path("pki")).expect("made");
    fs::write(factory.path("pki/authority.crt"), pki.servers.certificate().to_pem()).expect("written");
    fs::write(factory.path("old.crt"), pki.expired_server(&["localhost"]).certificate).expect("written");
    fs::write(factory.path("new.crt"), pki.server(&["localhost"]).certificate).expect("written");
    let output = factory.provision(&["check", "--authority", "pki", "old.crt", "new.crt"], "");
    assert_eq!(text(&output.stdout), "old.crt: refused: it does not hold now\nnew.crt: ok, for localhost\n");
}

/// A TLS 1.3 handshake in memory, and what the server learned or why it failed.
fn handshake(pki: &Pki, device: &Issued, host: &'static str) -> Result<Vec<u8>, rustls::Error> {
    let chain = |pem: &str| -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM")
    };
    let key = |pem: &str| PrivateKeyDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    let roots = |der: &[u8]| {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(der.to_vec())).expect("an authority");
        Arc::new(roots)
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = pki.server(&["localhost"]);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots(pki.manufacturer.certificate().as_der()), provider.clone());
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(chain(&server.certificate), key(server.key.expose()))
        .expect("its own key");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots(pki.servers.certificate().as_der()))
        .with_client_auth_cert(chain(&device.certificate), key(device.key.expose()))
        .expect("its own key");
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(host).expect("a name"))?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).expect("memory");
        server.read_tls(&mut wire.as_slice()).expect("memory");
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).expect("memory");
        client.read_tls(&mut wire.as_slice()).expect("memory");
        client.process_new_packets()?;
    }
    Ok(server.peer_certificates().expect("mutual")[0].to_vec())
}

#[test]
fn thing_and_server_meet_over_tls_1_3_and_strangers_do_not() {
    let (pki, stranger) = (Pki::new(), Pki::new());
    let id = ID.parse().expect("an id");
    let device = pki.device(&id);
    let seen = handshake(&pki, &device, "localhost").expect("they know each other");
    assert_eq!(pki.manufacturer.certificate().check_device(&seen), Ok(id));
    assert!(handshake(&pki, &device, "other.example.org").is_err(), "a server under another name");
    assert!(handshake(&pki, &stranger.device(&id), "localhost").is_err(), "a thing of another manufacturer");
    assert!(handshake(&pki, &pki.server(&["localhost"]), "localhost").is_err(), "a server as a thing");
}
