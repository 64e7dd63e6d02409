//! TLS 1.3 with an external PSK and X25519, and nothing else (protocol section 3).

use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{
    Ssl, SslContext, SslMethod, SslMode, SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode, SslVersion,
};

use super::admission::{Claim, KeyRing};

/// The TLS side of the local server: one context for all connections.
pub(super) struct Tls {
    context: SslContext,
    claim: Index<Ssl, Claim>,
}

impl Tls {
    /// Reads keys from `keys`, which may change at any time.
    pub(super) fn new(keys: Arc<KeyRing>) -> Result<Self, ErrorStack> {
        let claim = Ssl::new_ex_index::<Claim>()?;
        let mut context = SslContext::builder(SslMethod::tls_server())?;
        context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
        context.set_max_proto_version(Some(SslVersion::TLS1_3))?;
        // An external PSK is bound to SHA-256 (RFC 8446 4.2.11), so a SHA-384 suite would never fit.
        context.set_ciphersuites("TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256")?;
        context.set_groups_list("X25519")?;
        // No ticket, no cache: who is removed cannot come back by resumption. `psk_ke`, without
        // Diffie-Hellman, is off unless asked for, and so is early data.
        context.set_options(SslOptions::NO_TICKET | SslOptions::CIPHER_SERVER_PREFERENCE);
        context.set_num_tickets(0)?;
        context.set_session_cache_mode(SslSessionCacheMode::OFF);
        context.set_max_early_data(0)?;
        context.set_verify(SslVerifyMode::NONE);
        context.set_mode(
            SslMode::ENABLE_PARTIAL_WRITE
                | SslMode::ACCEPT_MOVING_WRITE_BUFFER
                | SslMode::AUTO_RETRY
                | SslMode::RELEASE_BUFFERS,
        );
        // One read for a record instead of one for its header and one for its body.
        context.set_read_ahead(true);
        context.set_psk_server_callback(move |ssl: &mut SslRef, identity, psk: &mut [u8]| {
            // OpenSSL asks for the identities of a ClientHello in their order and takes the first that
            // gets a key. Each gets one, so a second identity is never tried. After a
            // HelloRetryRequest it asks again; the last answer is the one that the binder is checked with.
            let Some(key) = psk.first_chunk_mut::<32>() else { return Ok(0) };
            let found = keys.find(identity.unwrap_or_default(), key);
            ssl.set_ex_data(claim, found);
            Ok(key.len())
        });
        Ok(Self { context: context.build(), claim })
    }

    /// A new connection, before its handshake.
    pub(super) fn accept(&self) -> Result<Ssl, ErrorStack> {
        Ssl::new(&self.context)
    }

    /// The entry whose key has authenticated a finished handshake. `SSL_get_psk_identity` does not know
    /// under TLS 1.3 (openssl/openssl issue 8534).
    pub(super) fn claim(&self, ssl: &SslRef) -> Claim {
        // "Reused" is what OpenSSL calls a handshake by PSK; without one nothing has been proved.
        if ssl.session_reused() && ssl.version2() == Some(SslVersion::TLS1_3) {
            ssl.ex_data(self.claim).cloned().unwrap_or(Claim(None))
        } else {
            Claim(None)
        }
    }
}
