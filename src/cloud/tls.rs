//! TLS 1.3 with X25519 and P-256, for things with certificates on both sides (protocol section 10).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{NamedGroup, RootCertStore, ServerConfig, SignatureAlgorithm, SignatureScheme};
use thiserror::Error;

use super::config::Config;
use super::provision::profile::Refusal;
use super::provision::{AuthorityCertificate, Purpose};
use crate::proto::id::ThingId;

/// The TLS side of both ports.
pub(super) struct Tls {
    pub(super) things: Arc<ServerConfig>,
    pub(super) controllers: Arc<ServerConfig>,
    pub(super) manufacturers: Manufacturers,
    /// The server's certificate does not hold now: controllers refuse it, things do not look.
    pub(super) out_of_date: bool,
}

/// Who certifies things.
pub(super) struct Manufacturers(Vec<AuthorityCertificate>);

impl Manufacturers {
    /// The thing that a certificate names. TLS has checked its chain; this asks for the rest: P-256
    /// alone, one name, one use.
    pub(super) fn thing_of(&self, certificate: &CertificateDer<'_>) -> Result<ThingId, Refusal> {
        let mut refusal = Refusal::Foreign;
        for authority in &self.0 {
            match authority.check_device(certificate) {
                Err(Refusal::Foreign) => {}
                Err(other) => refusal = other,
                Ok(thing) => return Ok(thing),
            }
        }
        Err(refusal)
    }
}

/// Why the server has no TLS.
#[derive(Debug, Error)]
pub(super) enum TlsError {
    /// A file cannot be read, or holds no PEM.
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// A file holds something else.
    #[error("{}: {problem}", path.display())]
    Content { path: PathBuf, problem: &'static str },
    /// A certificate does not count.
    #[error("{}: {refusal}", path.display())]
    Certificate { path: PathBuf, refusal: Refusal },
    /// The TLS library refuses what it was given.
    #[error("{}: {source}", path.display())]
    Refused { path: PathBuf, source: rustls::Error },
}

impl Tls {
    /// Reads certificates and key as the configuration names them.
    pub(super) fn load(config: &Config) -> Result<Self, TlsError> {
        let provider = Arc::new(provider());
        let chain_path = &config.server.certificate_chain;
        let chain = certificates(chain_path)?;
        let out_of_date = check_chain(chain_path, &chain)?;
        let key_path = &config.server.private_key;
        let key = PrivateKeyDer::from_pem_file(key_path).map_err(|error| pem_error(key_path, error))?;
        let refused = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Refused { path, source }
        };
        let loaded = provider.key_provider.load_private_key(key.clone_key()).map_err(refused(key_path))?;
        if loaded.algorithm() != SignatureAlgorithm::ECDSA
            || loaded.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).is_none()
        {
            return Err(content(key_path, "the server's key must be of the curve P-256"));
        }

        let ca_path = &config.things.manufacturer_ca;
        let mut roots = RootCertStore::empty();
        let mut manufacturers = Vec::new();
        for certificate in certificates(ca_path)? {
            manufacturers.push(authority(ca_path, &certificate, Purpose::Things)?);
            roots.add(certificate).map_err(refused(ca_path))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            // Whose certificates are asked for is nobody's business, and would cost every plug bytes.
            .clear_root_hint_subjects()
            .build()
            .map_err(|_| content(ca_path, "there is no manufacturer CA in it"))?;

        let build = |verifier| {
            let mut config = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[&TLS13])
                .and_then(|builder| {
                    builder.with_client_cert_verifier(verifier).with_single_cert(chain.clone(), key.clone_key())
                })
                .map_err(refused(chain_path))?;
            // Who is removed must not come back by resumption, and nothing may be replayed early.
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.max_early_data_size = 0;
            Ok(Arc::new(config))
        };
        Ok(Self {
            things: build(verifier)?,
            controllers: build(WebPkiClientVerifier::no_client_auth())?,
            manufacturers: Manufacturers(manufacturers),
            out_of_date,
        })
    }
}

/// ring with X25519, ECDSA over P-256 and TLS 1.3's suites, and nothing weaker (protocol section 2).
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let WebPkiSupportedAlgorithms { mapping, .. } = provider.signature_verification_algorithms;
    let p256 = mapping.iter().position(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256);
    let at = p256.expect("ring has ECDSA over P-256");
    // TLS 1.3 ties the scheme to its curve: the first of its algorithms is P-256 with SHA-256.
    provider.signature_verification_algorithms =
        WebPkiSupportedAlgorithms { all: &mapping[at].1[..1], mapping: &mapping[at..=at] };
    provider
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_file_iter(path)
        .and_then(|all| all.collect::<Result<Vec<_>, _>>())
        .map_err(|error| pem_error(path, error))
}

/// Clients pin the CA's key and know nothing else of it, so it must come with the chain. Whether the
/// server's certificate does not hold now.
fn check_chain(path: &Path, chain: &[CertificateDer<'_>]) -> Result<bool, TlsError> {
    let [server, last] = chain else {
        return Err(content(path, "there must be two certificates in it: the server's, then that of its CA"));
    };
    match authority(path, last, Purpose::Servers)?.check_server(server, SystemTime::now()) {
        Ok(_) => Ok(false),
        Err(Refusal::Period) => Ok(true),
        Err(refusal) => Err(TlsError::Certificate { path: path.to_owned(), refusal }),
    }
}

fn authority(path: &Path, certificate: &[u8], purpose: Purpose) -> Result<AuthorityCertificate, TlsError> {
    match AuthorityCertificate::from_der(certificate) {
        Ok(authority) if authority.purpose() == purpose => Ok(authority),
        Ok(_) => Err(TlsError::Certificate {
            path: path.to_owned(),
            refusal: Refusal::Usage(match purpose {
                Purpose::Things => "things",
                Purpose::Servers => "servers",
            }),
        }),
        Err(refusal) => Err(TlsError::Certificate { path: path.to_owned(), refusal }),
    }
}

fn content(path: &Path, problem: &'static str) -> TlsError {
    TlsError::Content { path: path.to_owned(), problem }
}

fn pem_error(path: &Path, error: pem::Error) -> TlsError {
    match error {
        pem::Error::Io(source) => TlsError::File { path: path.to_owned(), source },
        _ => content(path, "this is not the PEM file that belongs here"),
    }
}
