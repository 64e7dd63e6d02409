//! TLS 1.3 with an external PSK and nothing else (SecT STEP 1, 7; protocol section 3; RFC 8446 4.2.11).

use std::pin::Pin;

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslMode, SslOptions, SslVerifyMode, SslVersion};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

use super::LinkError;
use crate::proto::keys::TlsPsk;

/// OpenSSL numbers the alerts that came from the peer from here (`SSL_AD_REASON_OFFSET`).
const FIRST_ALERT_REASON: i32 = 1000;

/// Proves the key to the peer and has it proved by the peer.
pub(super) async fn handshake(tcp: TcpStream, identity: &str, psk: &TlsPsk) -> Result<SslStream<TcpStream>, LinkError> {
    let context = context(identity, psk)?;
    let mut stream = SslStream::new(Ssl::new(&context)?, tcp)?;
    if let Err(error) = Pin::new(&mut stream).connect().await {
        return Err(classify(&error));
    }
    // Without a certificate store nothing but the PSK can have authenticated the peer. OpenSSL counts
    // a handshake by PSK as a resumption; should that ever be false, the peer proved nothing.
    if stream.ssl().session_reused() { Ok(stream) } else { Err(LinkError::NotTheThing) }
}

fn context(identity: &str, psk: &TlsPsk) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContext::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    // SHA-256 suites alone: an external PSK is bound to SHA-256 (RFC 8446 4.2.11).
    builder.set_ciphersuites("TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256")?;
    builder.set_groups_list("X25519")?;
    // psk_dhe_ke only: as long as ALLOW_NO_DHE_KEX is off, its default, OpenSSL offers nothing else.
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    // A peer that shows a certificate instead of the PSK fails: no authority is trusted.
    builder.set_verify(SslVerifyMode::PEER);

    let (identity, psk) = (identity.as_bytes().to_vec(), psk.clone());
    builder.set_psk_client_callback(move |_, _, identity_place, key_place| {
        let key = psk.expose();
        // Both places hold at least 128 bytes; an identity that does not fit is no identity of this protocol.
        if identity.len() >= identity_place.len() || key.len() > key_place.len() {
            return Ok(0);
        }
        identity_place[..identity.len()].copy_from_slice(&identity);
        identity_place[identity.len()] = 0;
        key_place[..key.len()].copy_from_slice(key);
        Ok(key.len())
    });
    Ok(builder.build())
}

fn classify(error: &openssl::ssl::Error) -> LinkError {
    match error.code() {
        ErrorCode::SSL => {
            let alert = error
                .ssl_error()
                .is_some_and(|stack| stack.errors().iter().any(|e| e.reason_code() >= FIRST_ALERT_REASON));
            let hung_up = error
                .ssl_error()
                .is_some_and(|stack| stack.errors().iter().any(|e| e.reason() == Some("unexpected eof while reading")));
            match (alert, hung_up) {
                (true, _) => LinkError::KeyRefused,
                (false, true) => LinkError::Closed,
                (false, false) => LinkError::NotTheThing,
            }
        }
        // SYSCALL, ZERO_RETURN: the connection ended.
        _ => LinkError::Closed,
    }
}
