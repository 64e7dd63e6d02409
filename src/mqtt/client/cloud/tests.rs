//! The link to a cloud server against real TLS servers on loopback.

use std::pin::Pin;

use openssl::ssl::{Ssl, SslContext, SslMethod, SslVersion};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, date_time_ymd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::mqtt::client::testing::{Authority, Certified, Listener};
use crate::mqtt::client::{Delivery, LinkError, Publication};

const PATIENCE: Duration = Duration::from_secs(5);

fn destination(address: SocketAddr, authority: &Authority) -> CloudDestination {
    CloudDestination {
        host: "localhost".to_owned(),
        port: address.port(),
        pin: authority.pin(),
        login: CloudLogin::Password {
            user: "abcdefghijklmnop".to_owned(),
            password: SecretString::new("0123456789abcdefghijKL".to_owned()),
        },
        client_id: "sect0123456789".to_owned(),
        dates: CheckDates::Yes,
        keep_alive_seconds: 50,
    }
}

/// What a client says about a server with this certificate of that authority.
async fn refusal(
    server: &Certified,
    authority: &Authority,
    change: impl FnOnce(&mut CloudDestination),
) -> Option<CloudError> {
    let listener = Listener::new(server, authority, None).await;
    let mut destination = destination(listener.address(), authority);
    change(&mut destination);
    let (outcome, connect) = tokio::join!(Link::open_cloud(&destination, PATIENCE), async {
        let Ok(mut session) = listener.accept().await else { return Vec::new() };
        let connect = session.packet().await;
        if !connect.is_empty() {
            session.send(&[0x20, 2, 0, 0]).await;
        }
        connect
    });
    // Whom a certificate does not convince, MQTT never reaches: no password, no client id.
    assert_eq!(outcome.is_err(), connect.is_empty());
    outcome.err()
}

#[tokio::test]
async fn a_controller_logs_in_and_has_several_subscriptions() {
    let authority = Authority::new("a household's cloud");
    let listener = Listener::new(&authority.server(|_| {}), &authority, None).await;
    let destination = destination(listener.address(), &authority);
    let server = async {
        let (mut session, connect) = listener.welcome().await;
        let topics = [session.grant().await, session.grant().await];
        let published = session.published().await;
        session.publish("one", b"1").await;
        session.publish("two", b"2").await;
        assert_eq!(session.packet().await, [0xe0, 0], "DISCONNECT");
        (connect, topics, published)
    };
    let client = async {
        let mut link = Link::open_cloud(&destination, PATIENCE).await.expect("a link");
        link.subscribe("one", Delivery::AtMostOnce, PATIENCE).await.expect("granted");
        link.subscribe("two", Delivery::AtLeastOnce, PATIENCE).await.expect("granted");
        assert!(link.try_publish("three", Delivery::AtMostOnce, b"3".to_vec()));
        for (topic, payload) in [(b"one", b"1"), (b"two", b"2")] {
            let heard = link.receive().await.expect("a publication");
            assert_eq!(heard, Publication { topic: topic.to_vec(), payload: payload.to_vec() });
        }
        link.close().await;
    };
    let ((connect, topics, published), ()) = tokio::join!(server, client);
    assert_eq!(topics, ["one", "two"]);
    assert_eq!(published, ("three".to_owned(), b"3".to_vec()));
    let contains = |text: &str| connect.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(contains("abcdefghijklmnop") && contains("0123456789abcdefghijKL") && contains("sect0123456789"));
}

#[tokio::test]
async fn a_thing_proves_itself_by_its_certificate() {
    let (authority, manufacturer) = (Authority::new("a household's cloud"), Authority::new("manufacturer"));
    let listener = Listener::new(&authority.server(|_| {}), &authority, Some(&manufacturer)).await;
    let mut destination = destination(listener.address(), &authority);

    destination.login = CloudLogin::Certificate(manufacturer.device("0123456789abcdef").identity());
    let (link, _) = tokio::join!(Link::open_cloud(&destination, PATIENCE), listener.welcome());
    link.expect("a link");

    destination.login = CloudLogin::Certificate(authority.device("0123456789abcdef").identity());
    let (foreign, served) = tokio::join!(Link::open_cloud(&destination, PATIENCE), listener.accept());
    assert!(matches!(foreign.expect_err("foreign"), CloudError::CertificateRefused(_)));
    assert!(served.is_err());

    destination.login = CloudLogin::Password { user: String::new(), password: SecretString::new(String::new()) };
    let (nobody, served) = tokio::join!(Link::open_cloud(&destination, PATIENCE), listener.accept());
    let error = nobody.expect_err("nobody");
    assert!(matches!(&error, CloudError::CertificateRefused(why) if why == "one is required"), "{error:?}");
    assert!(served.is_err());
}

#[tokio::test]
async fn an_authority_other_than_the_pinned_one_convinces_nobody() {
    let (authority, other) = (Authority::new("cloud"), Authority::new("cloud"));
    let server = authority.server(|_| {});
    let error = refusal(&server, &authority, |destination| destination.pin = other.pin()).await;
    assert!(matches!(error, Some(CloudError::WrongAuthority)), "{error:?}");
    // The right authority's certificate is public: sending it along proves nothing.
    let error = refusal(&other.server(|_| {}), &authority, |_| {}).await;
    assert!(matches!(error, Some(CloudError::WrongAuthority)), "{error:?}");
}

#[tokio::test]
async fn a_key_that_may_not_certify_is_no_authority() {
    let server_of = Authority::with("cloud", |params| params.is_ca = IsCa::ExplicitNoCa);
    let error = refusal(&server_of.server(|_| {}), &server_of, |_| {}).await;
    assert!(matches!(error, Some(CloudError::WrongAuthority)), "{error:?}");
}

#[tokio::test]
async fn a_certificate_for_another_name_or_purpose_is_refused() {
    let authority = Authority::new("cloud");
    let server = authority.server(|_| {});
    let fits = refusal(&server, &authority, |destination| destination.host = "127.0.0.1".to_owned()).await;
    assert!(fits.is_none(), "an address is a name too: {fits:?}");

    let named = authority.server(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName("cloud.example".try_into().expect("a name"))];
    });
    for dates in [CheckDates::Yes, CheckDates::No] {
        let error = refusal(&named, &authority, |destination| destination.dates = dates).await;
        assert!(matches!(&error, Some(CloudError::WrongName(name)) if name == "localhost"), "{error:?}");
    }
    for purposes in [vec![], vec![ExtendedKeyUsagePurpose::ClientAuth]] {
        let client = authority.server(|params| params.extended_key_usages = purposes);
        let error = refusal(&client, &authority, |_| {}).await;
        assert!(matches!(error, Some(CloudError::WrongPurpose)), "{error:?}");
    }
}

#[tokio::test]
async fn dates_count_for_who_has_a_clock() {
    let over = |params: &mut rcgen::CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    };
    let not_yet = |params: &mut rcgen::CertificateParams| params.not_before = date_time_ymd(2099, 1, 1);
    let (valid, old) = (Authority::new("cloud"), Authority::with("cloud", over));
    let future = Authority::with("cloud", not_yet);
    for (server, authority, expired) in [
        (valid.server(over), &valid, true),
        (old.server(|_| {}), &old, true),
        (valid.server(not_yet), &valid, false),
        (future.server(|_| {}), &future, false),
    ] {
        let error = refusal(&server, authority, |_| {}).await;
        match error {
            Some(CloudError::Expired) => assert!(expired),
            Some(CloudError::NotYetValid) => assert!(!expired),
            other => panic!("{other:?}"),
        }
        // The thing has none: to it all of these hold.
        let error = refusal(&server, authority, |destination| destination.dates = CheckDates::No).await;
        assert!(error.is_none(), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_speaks_tls_1_2_alone_is_told_from_one_that_speaks_none() {
    let authority = Authority::new("cloud");
    let server = authority.server(|_| {});
    let mut builder = SslContext::builder(SslMethod::tls_server()).expect("context");
    builder.set_max_proto_version(Some(SslVersion::TLS1_2)).expect("TLS 1.2");
    let certificate = openssl::x509::X509::from_der(&server.certificate).expect("a certificate");
    builder.set_certificate(&certificate).expect("a certificate");
    let key = openssl::pkey::PKey::private_key_from_pkcs8(&server.key.pkcs8()).expect("a key");
    builder.set_private_key(&key).expect("a key");
    let context = builder.build();

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let destination = destination(listener.local_addr().expect("bound"), &authority);
    let (outcome, ()) = tokio::join!(Link::open_cloud(&destination, PATIENCE), async {
        let (tcp, _) = listener.accept().await.expect("a connection");
        let mut tls = tokio_openssl::SslStream::new(Ssl::new(&context).expect("session"), tcp).expect("stream");
        Pin::new(&mut tls).accept().await.expect_err("refused");
    });
    let error = outcome.expect_err("no link");
    assert!(matches!(error, CloudError::TlsVersion), "{error:?}");

    let (outcome, ()) = tokio::join!(Link::open_cloud(&destination, PATIENCE), async {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        tcp.write_all(b"220 mail.example ESMTP\r\n").await.expect("sent");
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    let error = outcome.expect_err("no link");
    assert!(matches!(error, CloudError::NotTls), "{error:?}");
}

#[tokio::test]
async fn each_step_before_tls_fails_in_its_own_way() {
    let authority = Authority::new("cloud");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let mut destination = destination(listener.local_addr().expect("bound"), &authority);

    let error = Link::open_cloud(&destination, Duration::from_millis(200)).await.expect_err("mute");
    assert!(matches!(error, CloudError::TimedOut(Step::Handshake)), "{error:?}");
    drop(listener);
    let error = Link::open_cloud(&destination, PATIENCE).await.expect_err("nobody");
    assert!(matches!(error, CloudError::Unreachable { .. }), "{error:?}");
    // No name has an empty label (RFC 1035 section 3.1), so that no resolver needs to be asked.
    destination.host = "no..name".to_owned();
    let error = Link::open_cloud(&destination, PATIENCE).await.expect_err("no name");
    assert!(matches!(error, CloudError::Dns { .. }), "{error:?}");
}

#[tokio::test]
async fn a_refused_login_says_why_and_a_lost_link_stays_lost() {
    let authority = Authority::new("cloud");
    let listener = Listener::new(&authority.server(|_| {}), &authority, None).await;
    let destination = destination(listener.address(), &authority);
    let (outcome, ()) = tokio::join!(Link::open_cloud(&destination, PATIENCE), async {
        let mut session = listener.accept().await.expect("a handshake");
        session.packet().await;
        session.send(&[0x20, 2, 0, 4]).await;
        session.close().await;
    });
    let error = outcome.expect_err("refused");
    assert!(matches!(error, CloudError::LoginRefused("wrong user name or password")), "{error:?}");

    let (outcome, ()) = tokio::join!(Link::open_cloud(&destination, PATIENCE), async {
        listener.welcome().await.0.close().await;
    });
    let mut link = outcome.expect("a link");
    for _ in 0..2 {
        assert!(matches!(link.receive().await.expect_err("closed"), LinkError::Lost(_)));
    }
    assert!(!link.try_publish("topic", Delivery::AtMostOnce, Vec::new()), "dropped, not queued");
}

#[tokio::test]
async fn a_full_registration_leaves_and_a_message_that_is_too_long_ends_the_link() {
    let authority = Authority::new("cloud");
    let listener = Listener::new(&authority.server(|_| {}), &authority, None).await;
    let destination = destination(listener.address(), &authority);
    let (outcome, (mut session, _)) = tokio::join!(Link::open_cloud(&destination, PATIENCE), listener.welcome());
    let mut link = outcome.expect("a link");
    assert!(link.try_publish("up", Delivery::AtMostOnce, vec![b'.'; 8000]));
    assert_eq!(session.published().await.1.len(), 8000);
    session.publish("down", &vec![b'.'; 8000]).await;
    assert!(matches!(link.receive().await.expect_err("too long"), LinkError::Lost(_)));
}

#[test]
fn an_identity_is_a_pair_and_prints_nothing() {
    let authority = Authority::new("manufacturer");
    let (one, other) = (authority.device("one"), authority.device("other"));
    let pem = |label: &str, der: &[u8]| {
        let text = data_encoding::BASE64.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
    };
    let (certificate, key) = (pem("CERTIFICATE", &one.certificate), pem("PRIVATE KEY", &one.key.pkcs8()));
    let identity = ClientIdentity::from_pem(&certificate, &key).expect("a pair");
    assert_eq!(identity.certificate(), one.certificate);
    assert_eq!(format!("{identity:?}"), "ClientIdentity(..)");

    let wrong = |certificate: &[u8], key: &[u8]| ClientIdentity::from_pem(certificate, key).expect_err("wrong");
    assert_eq!(wrong(&certificate, &pem("PRIVATE KEY", &other.key.pkcs8())), IdentityError::Mismatch);
    assert_eq!(wrong(&key, &key), IdentityError::Certificate);
    assert_eq!(wrong(&certificate, &certificate), IdentityError::Key);
}

#[test]
fn what_a_destination_prints_holds_no_password() {
    let authority = Authority::new("cloud");
    let shown = format!("{:?}", destination(SocketAddr::from(([127, 0, 0, 1], 1)), &authority));
    assert!(shown.contains("SecretString(..)") && !shown.contains("0123456789abcdefghijKL\""), "{shown}");
}
