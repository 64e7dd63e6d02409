//! Whom a cloud server's certificate convinces: it was signed by the one authority whose key is pinned,
//! for this very name, to serve TLS (SecT STEP 8, 14; Table I; protocol section 10).
//!
//! No public authority is trusted, and none is needed. The server sends its authority's certificate
//! along; that certificate is believed because of its key alone.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, PeerIncompatible, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use thiserror::Error as ThisError;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage};

use crate::proto::id::SpkiHash;

/// id-kp-serverAuth (RFC 5280 section 4.2.1.12).
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");

/// Whether a certificate's dates count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckDates {
    /// They do: the controller has a clock.
    Yes,
    /// They do not: the thing may believe that it is 1970.
    No,
}

/// What rustls has no word for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ThisError)]
pub(super) enum Unfit {
    /// The certificate does not say that it is for serving TLS.
    #[error("not a server's certificate")]
    Purpose,
}

/// The pin of the one authority whose certificate stands in this PEM text.
#[must_use]
pub fn pin_of(pem: &[u8]) -> Option<SpkiHash> {
    let mut certificates = CertificateDer::pem_slice_iter(pem);
    let certificate = certificates.next()?.ok()?;
    // Of several it could not be told which is meant.
    if certificates.next().is_some() {
        return None;
    }
    let spki = ParsedCertificate::try_from(&certificate).ok()?.subject_public_key_info();
    Some(SpkiHash::new(Sha256::digest(&spki).into()))
}

/// Trusts what the pinned authority signed.
#[derive(Debug)]
pub(super) struct PinnedAuthority {
    pin: SpkiHash,
    dates: CheckDates,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinnedAuthority {
    pub(super) const fn new(pin: SpkiHash, dates: CheckDates, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { pin, dates, algorithms }
    }

    /// Finds the pinned authority among what the server sent beside its own certificate.
    fn find<'a, 'der>(&self, sent: &'a [CertificateDer<'der>]) -> Option<(&'a CertificateDer<'der>, Certificate)> {
        sent.iter().find_map(|der| {
            let spki = ParsedCertificate::try_from(der).ok()?.subject_public_key_info();
            if Sha256::digest(&spki)[..] != self.pin.as_bytes()[..] {
                return None;
            }
            let certificate = Certificate::from_der(der).ok()?;
            match certificate.tbs_certificate().get_extension::<BasicConstraints>() {
                Ok(Some((_, BasicConstraints { ca: true, .. }))) => Some((der, certificate)),
                _ => None,
            }
        })
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (authority_der, authority) = self.find(intermediates).ok_or(CertificateError::UnknownIssuer)?;
        let certificate = Certificate::from_der(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        let now = match self.dates {
            CheckDates::Yes => {
                // An anchor's dates are nobody's business but ours.
                let validity = authority.tbs_certificate().validity();
                if now > unix_time(&validity.not_after) {
                    return Err(CertificateError::Expired.into());
                }
                if now < unix_time(&validity.not_before) {
                    return Err(CertificateError::NotValidYet.into());
                }
                now
            }
            // Whatever day it is: the day on which the certificate begins to hold.
            CheckDates::No => unix_time(&certificate.tbs_certificate().validity().not_before),
        };

        let mut roots = RootCertStore::empty();
        roots.add(authority_der.clone().into_owned())?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        // Signed by the authority itself: nothing in between is taken into account.
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], now, self.algorithms.all)?;
        match certificate.tbs_certificate().get_extension::<ExtendedKeyUsage>() {
            Ok(Some((_, ExtendedKeyUsage(purposes)))) if purposes.contains(&SERVER_AUTH) => {}
            _ => return Err(CertificateError::Other(OtherError(Arc::new(Unfit::Purpose))).into()),
        }
        verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn unix_time(time: &x509_cert::time::Time) -> UnixTime {
    UnixTime::since_unix_epoch(time.to_unix_duration())
}
