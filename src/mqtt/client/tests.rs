//! The link against a real TLS-PSK server on loopback that speaks just enough MQTT.

use std::pin::Pin;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_openssl::SslStream;

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// What the server does once the handshake is over.
#[derive(Clone, Copy)]
enum Script {
    /// Takes the login and the subscription, then publishes what is published to it.
    Echo,
    /// CONNACK with this return code.
    Refuse(u8),
    /// SUBACK 0x80.
    RefuseSubscription,
    /// Goes away after the login.
    HangUp,
    /// Does not answer the login.
    Mute,
}

fn psk(byte: u8) -> TlsPsk {
    TlsPsk::new([byte; 32])
}

fn credentials() -> CtlrCredentials {
    CtlrCredentials {
        user: "abcdefghijklmnop".parse().expect("16 characters"),
        password: "0123456789abcdefghijKLMNO".parse().expect("25 characters"),
    }
}

fn destination(address: SocketAddr, byte: u8) -> Destination {
    Destination {
        address,
        psk_identity: "pair".to_owned(),
        psk: psk(byte),
        login: None,
        client_id: "sect0123456789".to_owned(),
    }
}

async fn serve(script: Script) -> (SocketAddr, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let task = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("a connection");
        let mut builder = SslContext::builder(SslMethod::tls_server()).expect("context");
        builder.set_min_proto_version(Some(SslVersion::TLS1_3)).expect("TLS 1.3");
        builder.set_num_tickets(0).expect("no tickets");
        builder.set_psk_server_callback(|_, identity, place| {
            assert_eq!(identity, Some(&b"pair"[..]));
            place[..32].copy_from_slice(&[7; 32]);
            Ok(32)
        });
        let mut tls = SslStream::new(Ssl::new(&builder.build()).expect("session"), tcp).expect("stream");
        if Pin::new(&mut tls).accept().await.is_err() {
            return Vec::new();
        }
        let connect = packet(&mut tls).await;
        match script {
            Script::Mute => {
                let _ = tls.read_u8().await;
                return connect;
            }
            Script::Refuse(code) => {
                tls.write_all(&[0x20, 2, 0, code]).await.expect("CONNACK");
                let _ = tls.shutdown().await;
                return connect;
            }
            Script::HangUp => {
                tls.write_all(&[0x20, 2, 0, 0]).await.expect("CONNACK");
                let _ = tls.shutdown().await;
                return connect;
            }
            Script::Echo | Script::RefuseSubscription => tls.write_all(&[0x20, 2, 0, 0]).await.expect("CONNACK"),
        }
        let subscribe = packet(&mut tls).await;
        assert_eq!(subscribe[0], 0x82, "SUBSCRIBE");
        let granted = if matches!(script, Script::RefuseSubscription) { 0x80 } else { 0 };
        // A publication may overtake the SUBACK: it must not be lost.
        if granted == 0 {
            tls.write_all(b"\x30\x08\x00\x01tearly").await.expect("PUBLISH");
        }
        tls.write_all(&[0x90, 3, subscribe[2], subscribe[3], granted]).await.expect("SUBACK");
        loop {
            let publish = packet(&mut tls).await;
            match publish.first().map(|byte| byte & 0xf0) {
                Some(0x30) => tls.write_all(&publish).await.expect("PUBLISH"),
                Some(0xe0) | None => return connect,
                Some(_) => {}
            }
        }
    });
    (address, task)
}

/// One MQTT packet of less than 128 bytes; nothing at the end of the stream.
async fn packet(tls: &mut SslStream<TcpStream>) -> Vec<u8> {
    let mut head = [0; 2];
    if tls.read_exact(&mut head).await.is_err() {
        return Vec::new();
    }
    let mut packet = head.to_vec();
    packet.resize(2 + usize::from(head[1]), 0);
    tls.read_exact(&mut packet[2..]).await.expect("the rest of the packet");
    packet
}

#[tokio::test]
async fn a_link_logs_in_subscribes_publishes_and_receives() {
    let (address, server) = serve(Script::Echo).await;
    let mut destination = destination(address, 7);
    let login = credentials();
    destination.login = Some(login.clone());

    let mut link = Link::open(&destination, PATIENCE).await.expect("a link");
    link.subscribe("t", Delivery::AtMostOnce, PATIENCE).await.expect("subscribed");
    link.publish("t", Delivery::AtMostOnce, b"hello".to_vec()).await.expect("published");
    for payload in [b"early", b"hello"] {
        let heard = link.receive().await.expect("a publication");
        assert_eq!(heard, Publication { topic: b"t".to_vec(), payload: payload.to_vec() });
    }
    link.close().await;

    let connect = server.await.expect("the server saw a goodbye");
    let contains = |text: &str| connect.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(contains(login.user.expose()) && contains(login.password.expose()) && contains("sect0123456789"));
}

#[tokio::test]
async fn a_wrong_key_is_refused_in_the_handshake() {
    let (address, server) = serve(Script::Echo).await;
    let error = Link::open(&destination(address, 8), PATIENCE).await.expect_err("no link");
    assert!(matches!(error, LinkError::KeyRefused), "{error:?}");
    assert_eq!(server.await.expect("served"), b"", "no MQTT was spoken");
}

#[tokio::test]
async fn a_peer_without_tls_is_not_the_thing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("sent");
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    let error = Link::open(&destination(address, 7), PATIENCE).await.expect_err("no link");
    assert!(matches!(error, LinkError::NotTheThing), "{error:?}");
    server.await.expect("served");
}

#[tokio::test]
async fn a_peer_with_a_certificate_instead_of_the_key_is_not_the_thing() {
    let curve = openssl::ec::EcGroup::from_curve_name(openssl::nid::Nid::X9_62_PRIME256V1).expect("P-256");
    let key = openssl::pkey::PKey::from_ec_key(openssl::ec::EcKey::generate(&curve).expect("key")).expect("key");
    let mut certificate = openssl::x509::X509::builder().expect("certificate");
    certificate.set_version(2).expect("version 3");
    certificate.set_not_before(&openssl::asn1::Asn1Time::days_from_now(0).expect("today")).expect("date");
    certificate.set_not_after(&openssl::asn1::Asn1Time::days_from_now(1).expect("tomorrow")).expect("date");
    certificate.set_pubkey(&key).expect("key");
    certificate.sign(&key, openssl::hash::MessageDigest::sha256()).expect("signed");
    let certificate = certificate.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.expect("a connection");
        let mut builder = SslContext::builder(SslMethod::tls_server()).expect("context");
        builder.set_certificate(&certificate).expect("certificate");
        builder.set_private_key(&key).expect("key");
        let mut tls = SslStream::new(Ssl::new(&builder.build()).expect("session"), tcp).expect("stream");
        Pin::new(&mut tls).accept().await.expect_err("refused").to_string()
    });
    let error = Link::open(&destination(address, 7), PATIENCE).await.expect_err("no link");
    let refusal = server.await.expect("served");
    assert!(matches!(error, LinkError::NotTheThing), "{error:?} {refusal}");
    assert!(refusal.contains("unknown ca") || refusal.contains("certificate"), "{refusal}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_told_from_one_that_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        tcp.read_u8().await.expect("a ClientHello");
    });
    let error = Link::open(&destination(address, 7), PATIENCE).await.expect_err("no link");
    assert!(matches!(error, LinkError::Closed), "{error:?}");
    server.await.expect("served");
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let error = Link::open(&destination(address, 7), PATIENCE).await.expect_err("no link");
    assert!(matches!(error, LinkError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refused_login_says_why() {
    let (address, server) = serve(Script::Refuse(5)).await;
    let error = Link::open(&destination(address, 7), PATIENCE).await.expect_err("no link");
    assert!(matches!(error, LinkError::LoginRefused("not authorized")), "{error:?}");
    server.await.expect("served");
}

#[tokio::test]
async fn a_refused_subscription_is_an_error_of_its_own() {
    let (address, _server) = serve(Script::RefuseSubscription).await;
    let mut link = Link::open(&destination(address, 7), PATIENCE).await.expect("a link");
    let error = link.subscribe("#", Delivery::AtMostOnce, PATIENCE).await.expect_err("refused");
    assert!(matches!(error, LinkError::SubscriptionRefused), "{error:?}");
}

#[tokio::test]
async fn a_link_that_breaks_stays_broken() {
    let (address, server) = serve(Script::HangUp).await;
    let mut link = Link::open(&destination(address, 7), PATIENCE).await.expect("a link");
    server.await.expect("served");
    for _ in 0..2 {
        let error = link.receive().await.expect_err("the server went away");
        assert!(matches!(error, LinkError::Lost(_)), "{error:?}");
    }
}

#[tokio::test]
async fn a_mute_server_is_given_up() {
    let (address, _server) = serve(Script::Mute).await;
    let error = Link::open(&destination(address, 7), Duration::from_millis(200)).await.expect_err("no link");
    assert!(matches!(error, LinkError::TimedOut(Step::Login)), "{error:?}");
}

#[test]
fn what_a_link_prints_holds_no_key() {
    let mut destination = destination(SocketAddr::from(([127, 0, 0, 1], 8883)), 7);
    destination.login = Some(credentials());
    let shown = format!("{destination:?}");
    assert!(shown.contains("Secret<32>(..)"), "{shown}");
    assert!(!shown.contains("abcdefghijklmnop") && !shown.contains("0123456789abcdefghijKLMNO"), "{shown}");
}
