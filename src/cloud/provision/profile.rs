//! What a certificate must be to count, and why one does not: P-256 with SHA-256, a name, one use,
//! signed by the one authority in question.
//!
//! The cloud server asks the same of a thing that the factory asked. TLS has checked less: it takes
//! any curve, any further name and any number of uses.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName};
use x509_cert::name::Name;

use super::host::Host;
use crate::proto::certificate::verify;
use crate::proto::id::{SpkiHash, ThingId};
use crate::proto::signature::Spki;

const LABEL: &str = "CERTIFICATE";
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
/// ecdsa-with-SHA256 (RFC 5758 section 3.2).
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
/// The extensions that are understood here: a critical one beside them is a refusal (RFC 5280
/// section 4.2). Key usage, alternative name, basic constraints, extended key usage.
const UNDERSTOOD: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("2.5.29.15"),
    ObjectIdentifier::new_unwrap("2.5.29.17"),
    ObjectIdentifier::new_unwrap("2.5.29.19"),
    ObjectIdentifier::new_unwrap("2.5.29.37"),
];
/// 9999-12-31, from which on a certificate counts as one without an end.
const NO_END: Duration = Duration::from_secs(253_402_214_400);

/// What an authority certifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Things, for client authentication: the manufacturer's authority.
    Things,
    /// Servers, for server authentication: a cloud server's own authority.
    Servers,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Things => "things",
            Self::Servers => "servers",
        })
    }
}

/// Why a certificate does not count.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Not one that can be read.
    #[error("not a certificate")]
    Malformed,
    /// Another key than P-256 in its one form.
    #[error("weak or foreign key: {0}; only P-256 is taken")]
    Key(String),
    /// Signed with another algorithm than ECDSA with SHA-256.
    #[error("weak or foreign signature algorithm {0}; only ECDSA with SHA-256 is taken")]
    Algorithm(String),
    /// Another authority signed it, or nobody did.
    #[error("signed by another authority")]
    Foreign,
    /// It has no common name, or more than that.
    #[error("its subject is not one common name")]
    NoName,
    /// The common name of a thing's certificate is no thing id.
    #[error("its common name is no thing id")]
    NotAThing,
    /// It is an authority's where a party's is needed.
    #[error("it is an authority's certificate")]
    AnAuthority,
    /// It is a party's where an authority's is needed.
    #[error("it is not an authority's certificate, with path length 0")]
    NotAnAuthority,
    /// It may be used for something else, or for something more.
    #[error("its key usage does not fit: it must be for {0} and nothing else")]
    Usage(&'static str),
    /// It certifies another key.
    #[error("it is for another key")]
    OtherKey,
    /// It names no host.
    #[error("it is for no host")]
    NoHost,
    /// It names other hosts.
    #[error("it is not for {0}")]
    OtherHost(Host),
    /// It does not hold yet, or no longer.
    #[error("it does not hold now")]
    Period,
    /// A thing's certificate that ends: nobody comes by to renew it.
    #[error("it ends, and a thing's certificate must not")]
    Ends,
    /// An extension that must be understood and is not.
    #[error("it has the unknown critical extension {0}")]
    Extension(String),
}

/// The public half of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    der: Vec<u8>,
    spki: Spki,
    purpose: Purpose,
    name: String,
}

impl AuthorityCertificate {
    /// Takes what was just made.
    pub(super) const fn of_checked(der: Vec<u8>, spki: Spki, purpose: Purpose, name: String) -> Self {
        Self { der, spki, purpose, name }
    }

    /// Reads an authority's certificate, the first in the text.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn from_pem(text: &str) -> Result<Self, Refusal> {
        let first = certificates(text)?.into_iter().next().ok_or(Refusal::Malformed)?;
        Self::from_der(&first)
    }

    /// Reads an authority's certificate: self-signed, P-256, path length 0, for one purpose.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn from_der(der: &[u8]) -> Result<Self, Refusal> {
        let certificate = Certificate::from_der(der).map_err(|_| Refusal::Malformed)?;
        let spki = key(&certificate)?;
        let body = certificate.tbs_certificate();
        if body.issuer() != body.subject() || verify(&certificate, &spki).is_err() {
            return Err(Refusal::Foreign);
        }
        let name = common_name(body.subject()).ok_or(Refusal::NoName)?;
        critical_extensions(&certificate)?;
        match body.get_extension::<BasicConstraints>() {
            Ok(Some((true, BasicConstraints { ca: true, path_len_constraint: Some(0) }))) => {}
            _ => return Err(Refusal::NotAnAuthority),
        }
        match body.get_extension::<KeyUsage>() {
            Ok(Some((_, usage))) if usage.0.contains(KeyUsages::KeyCertSign) => {}
            _ => return Err(Refusal::NotAnAuthority),
        }
        let purpose = if extended_usage(&certificate, CLIENT_AUTH) {
            Purpose::Things
        } else if extended_usage(&certificate, SERVER_AUTH) {
            Purpose::Servers
        } else {
            return Err(Refusal::Usage("things or for servers"));
        };
        Ok(Self { der: der.to_vec(), spki, purpose, name })
    }

    /// DER.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem(&self.der)
    }

    /// Its public key.
    #[must_use]
    pub const fn spki(&self) -> &Spki {
        &self.spki
    }

    /// What clients pin: SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn pin(&self) -> SpkiHash {
        self.spki.hash()
    }

    /// Whom it certifies.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Its common name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks a thing's certificate, DER, and says whose it is. No clock is asked: it has no end.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn check_device(&self, der: &[u8]) -> Result<ThingId, Refusal> {
        let certificate = self.check_issued(der, Purpose::Things)?;
        let body = certificate.tbs_certificate();
        let name = common_name(body.subject()).ok_or(Refusal::NoName)?;
        let id = name.parse().map_err(|_| Refusal::NotAThing)?;
        if body.validity().not_after.to_unix_duration() < NO_END {
            return Err(Refusal::Ends);
        }
        Ok(id)
    }

    /// Checks a server's certificate, DER, and gives the hosts that it is for.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn check_server(&self, der: &[u8], now: SystemTime) -> Result<Vec<Host>, Refusal> {
        let certificate = self.check_issued(der, Purpose::Servers)?;
        let body = certificate.tbs_certificate();
        let now = now.duration_since(UNIX_EPOCH).map_err(|_| Refusal::Period)?;
        let validity = body.validity();
        if !(validity.not_before.to_unix_duration()..=validity.not_after.to_unix_duration()).contains(&now) {
            return Err(Refusal::Period);
        }
        match body.get_extension::<SubjectAltName>() {
            Ok(Some((_, names))) => {
                let hosts: Vec<Host> = names.0.iter().filter_map(host).collect();
                if hosts.is_empty() { Err(Refusal::NoHost) } else { Ok(hosts) }
            }
            Ok(None) => Err(Refusal::NoHost),
            Err(_) => Err(Refusal::Malformed),
        }
    }

    fn check_issued(&self, der: &[u8], purpose: Purpose) -> Result<Certificate, Refusal> {
        let certificate = Certificate::from_der(der).map_err(|_| Refusal::Malformed)?;
        key(&certificate)?;
        let own = Certificate::from_der(&self.der).map_err(|_| Refusal::Malformed)?;
        let body = certificate.tbs_certificate();
        let issued = body.issuer() == own.tbs_certificate().subject() && verify(&certificate, &self.spki).is_ok();
        if self.purpose != purpose || !issued {
            return Err(Refusal::Foreign);
        }
        critical_extensions(&certificate)?;
        match body.get_extension::<BasicConstraints>() {
            Ok(None | Some((_, BasicConstraints { ca: false, .. }))) => {}
            _ => return Err(Refusal::AnAuthority),
        }
        let (wanted, words) = match purpose {
            Purpose::Things => (CLIENT_AUTH, "client authentication"),
            Purpose::Servers => (SERVER_AUTH, "server authentication"),
        };
        match body.get_extension::<KeyUsage>() {
            Ok(Some((_, usage))) if usage.0 == KeyUsages::DigitalSignature => {}
            _ => return Err(Refusal::Usage(words)),
        }
        if extended_usage(&certificate, wanted) { Ok(certificate) } else { Err(Refusal::Usage(words)) }
    }
}

/// All certificates in a PEM text, DER, in their order.
///
/// # Errors
///
/// [`Refusal::Malformed`] when there is none or one of them cannot be read.
pub fn certificates(text: &str) -> Result<Vec<Vec<u8>>, Refusal> {
    match Certificate::load_pem_chain(text.as_bytes()) {
        Ok(chain) if !chain.is_empty() => {
            chain.iter().map(|certificate| certificate.to_der().map_err(|_| Refusal::Malformed)).collect()
        }
        _ => Err(Refusal::Malformed),
    }
}

/// Checks that a certificate is for this key, and looks at nothing else.
///
/// # Errors
///
/// [`Refusal::OtherKey`].
pub fn check_subject(der: &[u8], subject: &Spki) -> Result<(), Refusal> {
    let certificate = Certificate::from_der(der).map_err(|_| Refusal::Malformed)?;
    if key(&certificate)? == *subject { Ok(()) } else { Err(Refusal::OtherKey) }
}

/// The PEM form of a certificate.
pub(super) fn pem(der: &[u8]) -> String {
    encode_string(LABEL, LineEnding::LF, der).expect("a label without control characters always encodes")
}

/// Its key, if key and signature are of the one kind that is taken.
fn key(certificate: &Certificate) -> Result<Spki, Refusal> {
    let info = certificate.tbs_certificate().subject_public_key_info();
    let der = info.to_der().map_err(|_| Refusal::Malformed)?;
    let spki = Spki::from_der(&der).map_err(|_| Refusal::Key(describe(info)))?;
    let algorithm = certificate.signature_algorithm();
    if algorithm.oid != ECDSA_WITH_SHA256 {
        return Err(Refusal::Algorithm(algorithm.oid.to_string()));
    }
    // Both places must name the one algorithm (RFC 5280 section 4.1.1.2).
    if algorithm != certificate.tbs_certificate().signature() || algorithm.parameters.is_some() {
        return Err(Refusal::Malformed);
    }
    Ok(spki)
}

fn describe(info: &x509_cert::spki::SubjectPublicKeyInfoOwned) -> String {
    let algorithm = &info.algorithm;
    if algorithm.oid == RSA {
        return rsa_bits(info.subject_public_key.raw_bytes())
            .map_or_else(|| "RSA".to_owned(), |bits| format!("RSA of {bits} bits"));
    }
    let curve = algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
    match curve {
        Some(curve) if algorithm.oid == EC => format!("elliptic curve {curve}"),
        _ => format!("algorithm {}", algorithm.oid),
    }
}

/// Bits of the modulus of an RSAPublicKey (RFC 8017 appendix A.1.1).
fn rsa_bits(der: &[u8]) -> Option<usize> {
    let mut reader = SliceReader::new(der).ok()?;
    let modulus = reader.sequence(|inner| {
        let modulus = UintRef::decode(inner)?;
        UintRef::decode(inner)?;
        Ok::<_, x509_cert::der::Error>(modulus)
    });
    let bytes = modulus.ok()?.as_bytes();
    let first = bytes.first()?;
    Some(bytes.len() * 8 - usize::try_from(first.leading_zeros()).ok()?)
}

/// The subject, if it is one common name in UTF-8 and nothing else.
fn common_name(subject: &Name) -> Option<String> {
    let mut all = subject.iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    (one.oid == COMMON_NAME && one.value.tag() == Tag::Utf8String)
        .then(|| one.value.decode_as::<String>().ok())
        .flatten()
        .filter(|name| !name.is_empty())
}

fn critical_extensions(certificate: &Certificate) -> Result<(), Refusal> {
    let unknown = certificate
        .tbs_certificate()
        .extensions()
        .into_iter()
        .flatten()
        .find(|extension| extension.critical && !UNDERSTOOD.contains(&extension.extn_id));
    unknown.map_or(Ok(()), |extension| Err(Refusal::Extension(extension.extn_id.to_string())))
}

fn extended_usage(certificate: &Certificate, only: ObjectIdentifier) -> bool {
    matches!(certificate.tbs_certificate().get_extension::<ExtendedKeyUsage>(),
        Ok(Some((_, usage))) if usage.0 == [only])
}

fn host(name: &GeneralName) -> Option<Host> {
    match name {
        GeneralName::DnsName(name) => Some(Host::Name(name.as_str().to_owned())),
        GeneralName::IpAddress(octets) => match *octets.as_bytes() {
            [a, b, c, d] => Some(Host::Address(IpAddr::from([a, b, c, d]))),
            ref octets => Some(Host::Address(IpAddr::from(<[u8; 16]>::try_from(octets).ok()?))),
        },
        _ => None,
    }
}
