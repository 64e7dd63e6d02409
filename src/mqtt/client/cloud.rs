//! The link to a cloud server (SecT STEP 8, 14, 15; protocol section 10): TLS 1.3 alone, the server
//! proved by its pinned authority, this side by a certificate (the thing) or a password (the controller).

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rumqttc::MqttOptions;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error as TlsError, InvalidMessage, PeerIncompatible};
use thiserror::Error;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::authority::{CheckDates, PinnedAuthority, Unfit};
use super::{End, Link, MAX_PACKET_BYTES, Step};
use crate::proto::id::SpkiHash;
use crate::proto::secret::SecretString;

/// Bytes of an MQTT packet to a cloud server at most (protocol section 10): a registration is the longest.
/// What comes from there is never longer than a JWE.
const MAX_OUTGOING_BYTES: usize = 8 * 1024;
/// The next address of a name gets its chance this much later (RFC 8305 section 5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);

/// What a link to a cloud server needs to know before it can be opened.
#[derive(Debug, Clone)]
pub struct CloudDestination {
    /// The server's DNS name or IP address, which its certificate must hold.
    pub host: String,
    /// The port: another one for things than for controllers.
    pub port: u16,
    /// SHA-256 of its authority's SubjectPublicKeyInfo.
    pub pin: SpkiHash,
    /// How this side proves itself.
    pub login: CloudLogin,
    /// The MQTT client id.
    pub client_id: String,
    /// Whether the dates of the server's certificate count.
    pub dates: CheckDates,
    /// Seconds after which an idle link shows that it is alive.
    pub keep_alive_seconds: u16,
}

/// How a party proves itself to a cloud server.
#[derive(Debug, Clone)]
pub enum CloudLogin {
    /// A controller: Ctlr-U and the password that this one server knows.
    Password {
        /// Ctlr-U.
        user: String,
        /// The cloud password.
        password: SecretString,
    },
    /// A thing: the device certificate, in TLS.
    Certificate(ClientIdentity),
}

/// A certificate chain and the key that belongs to it.
#[derive(Clone)]
pub struct ClientIdentity(Arc<CertifiedKey>);

/// Why there is no [`ClientIdentity`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Nothing that is a certificate.
    #[error("no certificate in it")]
    Certificate,
    /// Nothing that is a private key, or of a kind that TLS 1.3 here does not use.
    #[error("no private key in it that TLS can use")]
    Key,
    /// They do not belong together.
    #[error("the key is not that of the certificate")]
    Mismatch,
}

impl ClientIdentity {
    /// Reads PEM: the certificate, with those of its issuers after it if there are any, and the key.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn from_pem(certificates: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| IdentityError::Certificate)?;
        Self::new(chain, PrivateKeyDer::from_pem_slice(key).map_err(|_| IdentityError::Key)?)
    }

    /// Takes DER: the certificate, with those of its issuers after it, and the key as PKCS #8 or SEC 1.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn from_der(certificates: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, IdentityError> {
        let chain = certificates.into_iter().map(CertificateDer::from).collect();
        Self::new(chain, PrivateKeyDer::try_from(key).map_err(|_| IdentityError::Key)?)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, IdentityError> {
        if chain.is_empty() {
            return Err(IdentityError::Certificate);
        }
        let key = ring::sign::any_supported_type(&key).map_err(|_| IdentityError::Key)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => Ok(Self(Arc::new(certified))),
            Err(TlsError::InconsistentKeys(_)) => Err(IdentityError::Mismatch),
            Err(_) => Err(IdentityError::Certificate),
        }
    }

    /// The certificate itself, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.0.cert.first().expect("an identity has a certificate: it was checked when it was read")
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity(..)")
    }
}

/// Why there is no link to a cloud server. Each is something else to do.
#[derive(Debug, Error)]
pub enum CloudError {
    /// The name cannot be looked up: no DNS here, or no such name.
    #[error("there is no {host}: {source}")]
    Dns {
        /// Which name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody listens there, or there is no way to it.
    #[error("could not reach {address}: {source}")]
    Unreachable {
        /// Where; the last address that was tried.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Nothing came back in time.
    #[error("no answer during {0}")]
    TimedOut(Step),
    /// What answers there does not speak TLS.
    #[error("what answers there does not speak TLS")]
    NotTls,
    /// The server does not speak TLS 1.3.
    #[error("the server does not speak TLS 1.3")]
    TlsVersion,
    /// The server's certificate was not signed by the pinned authority, or its authority's was not sent.
    #[error("the server's certificate is of another authority")]
    WrongAuthority,
    /// The certificate is for another name.
    #[error("the server's certificate is not for {0}")]
    WrongName(String),
    /// The certificate, or its authority's, is over.
    #[error("the server's certificate has expired")]
    Expired,
    /// The certificate, or its authority's, does not hold yet: or this side's clock is behind.
    #[error("the server's certificate does not hold yet")]
    NotYetValid,
    /// The certificate is not for serving TLS.
    #[error("the server's certificate is not for a server")]
    WrongPurpose,
    /// The TLS handshake failed in another way.
    #[error("the TLS handshake failed: {0}")]
    Handshake(String),
    /// The server does not take this side's certificate.
    #[error("the certificate was refused: {0}")]
    CertificateRefused(String),
    /// The server does not take user name and password.
    #[error("the login was refused: {0}")]
    LoginRefused(&'static str),
    /// The connection ended in the middle.
    #[error("the connection was closed during {during}: {reason}")]
    Closed {
        /// In which step.
        during: Step,
        /// What was said about it.
        reason: String,
    },
    /// The settings are none that TLS takes, which no peer can cause.
    #[error("TLS could not be set up: {0}")]
    Setup(String),
}

impl From<End> for CloudError {
    fn from(end: End) -> Self {
        match end {
            End::Refused(reason) => Self::LoginRefused(reason),
            End::CertificateRefused(alert) => Self::CertificateRefused(alert),
            End::Lost(reason) => Self::Closed { during: Step::Login, reason },
        }
    }
}

/// Whether a certificate could be for this: a DNS name or an IP address.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    ServerName::try_from(text).is_ok()
}

impl Link {
    /// Reaches a cloud server, has it prove itself and logs in; each step may take `patience`.
    ///
    /// # Errors
    ///
    /// [`CloudError`], by the step that failed.
    ///
    /// # Security
    ///
    /// When this returns `Ok`, the peer has proved to be the host that the pinned authority certified,
    /// over TLS 1.3. Password and client id are sent after that alone.
    pub async fn open_cloud(destination: &CloudDestination, patience: Duration) -> Result<Self, CloudError> {
        let addresses = look_up(&destination.host, destination.port, patience).await?;
        let tcp = reach(&addresses, patience).await?;
        let tls = timeout(patience, handshake(tcp, destination))
            .await
            .map_err(|_| CloudError::TimedOut(Step::Handshake))??;

        let mut options = MqttOptions::new(destination.client_id.clone(), (destination.host.clone(), destination.port));
        options
            .set_clean_session(true)
            .set_keep_alive(destination.keep_alive_seconds)
            .set_max_packet_size(MAX_PACKET_BYTES, MAX_OUTGOING_BYTES);
        if let CloudLogin::Password { user, password } = &destination.login {
            options.set_credentials(user.clone(), password.expose().as_bytes().to_vec());
        }
        let mut link = Self::over(tls, options);
        timeout(patience, link.logged_in()).await.map_err(|_| CloudError::TimedOut(Step::Login))??;
        Ok(link)
    }
}

async fn look_up(host: &str, port: u16, patience: Duration) -> Result<Vec<SocketAddr>, CloudError> {
    let no_such = |source| CloudError::Dns { host: host.to_owned(), source };
    let found: Vec<_> = timeout(patience, lookup_host((host, port)))
        .await
        .map_err(|_| CloudError::TimedOut(Step::Lookup))?
        .map_err(no_such)?
        .collect();
    if found.is_empty() { Err(no_such(io::Error::from(io::ErrorKind::NotFound))) } else { Ok(found) }
}

/// The first address that answers. A name may have one that leads nowhere from here.
async fn reach(addresses: &[SocketAddr], patience: Duration) -> Result<TcpStream, CloudError> {
    let mut attempts: FuturesUnordered<_> = (0..)
        .zip(addresses)
        .map(|(turn, &address)| async move {
            sleep(NEXT_ADDRESS * turn).await;
            (address, TcpStream::connect(address).await)
        })
        .collect();
    let first = async {
        let mut failed = None;
        while let Some((address, outcome)) = attempts.next().await {
            match outcome {
                Ok(tcp) => return Ok(tcp),
                Err(source) => failed = Some(CloudError::Unreachable { address, source }),
            }
        }
        Err(failed.unwrap_or(CloudError::TimedOut(Step::Reaching)))
    };
    let tcp = timeout(patience, first).await.map_err(|_| CloudError::TimedOut(Step::Reaching))??;
    // A command is one small packet: it must not wait for another one. Failing is harmless.
    let _ = tcp.set_nodelay(true);
    Ok(tcp)
}

async fn handshake(tcp: TcpStream, destination: &CloudDestination) -> Result<TlsStream<TcpStream>, CloudError> {
    let name = ServerName::try_from(destination.host.clone())
        .map_err(|_| CloudError::Setup(format!("{} is no name of a host", destination.host)))?;
    let provider = Arc::new(ring::default_provider());
    let authority =
        PinnedAuthority::new(destination.pin, destination.dates, provider.signature_verification_algorithms);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| CloudError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(authority));
    let mut config = match &destination.login {
        CloudLogin::Password { .. } => builder.with_no_client_auth(),
        CloudLogin::Certificate(ClientIdentity(certified)) => {
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified.clone())))
        }
    };
    // Every link proves everything anew.
    config.resumption = Resumption::disabled();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| classify(&error, &destination.host))
}

/// What a failed handshake means.
fn classify(error: &io::Error, host: &str) -> CloudError {
    let Some(tls) = tls_error(error) else {
        return CloudError::Closed { during: Step::Handshake, reason: error.to_string() };
    };
    match tls {
        TlsError::InvalidCertificate(certificate) => match certificate {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                CloudError::WrongName(host.to_owned())
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => CloudError::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => CloudError::NotYetValid,
            CertificateError::UnknownIssuer | CertificateError::BadSignature => CloudError::WrongAuthority,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                CloudError::WrongPurpose
            }
            CertificateError::Other(other) if other.0.is::<Unfit>() => CloudError::WrongPurpose,
            other => CloudError::Handshake(other.to_string()),
        },
        TlsError::AlertReceived(AlertDescription::ProtocolVersion)
        | TlsError::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig | PeerIncompatible::ServerDoesNotSupportTls12Or13,
        ) => CloudError::TlsVersion,
        TlsError::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => CloudError::NotTls,
        other => match offended(other) {
            Some(alert) => CloudError::CertificateRefused(alert),
            None => CloudError::Handshake(other.to_string()),
        },
    }
}

/// In TLS 1.3 a refusal of this side's certificate comes when the handshake is over for this side, as
/// the end of the connection that follows (RFC 8446 section 4.4.2.4).
pub(super) fn certificate_alert(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<io::Error>().and_then(tls_error) {
            return offended(tls);
        }
        next = error.source();
    }
    None
}

fn offended(error: &TlsError) -> Option<String> {
    let alert = match error {
        TlsError::AlertReceived(alert) => alert,
        _ => return None,
    };
    let reason = match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => "one is required",
        AlertDescription::UnknownCA => "its authority is not known there",
        AlertDescription::CertificateExpired => "it has expired",
        AlertDescription::CertificateRevoked => "it was revoked",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => "it is not one that the server takes",
        _ => return None,
    };
    Some(reason.to_owned())
}

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref::<TlsError>()
}

#[cfg(test)]
mod tests;
