//! The thing as certificate authority: it certifies its controllers, and its own key is its name
//! (Table I of the paper; SecT STEP 5).
//!
//! The thing has no clock, so its certificates say nothing about time: they hold from the first day of
//! SecT to the last day of X.509 (RFC 5280 section 4.1.2.5). What ends a controller is its removal.

use rand_core::CryptoRng;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::BasicConstraints as ParsedConstraints;

use super::id::{Cid, SpkiHash, ThingId};
use super::record::StoredIdentity;
use super::signature::{SigningKey, Spki};

/// ecdsa-with-SHA256 (RFC 5758 section 3.2).
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
/// Bytes of a random serial number (RFC 5280 section 4.1.2.2 allows 20).
const SERIAL_BYTES: usize = 16;

/// Who the thing is: a CA key made at the first start, and what follows from it.
pub struct ThingIdentity {
    key: SigningKey,
    certificate: Vec<u8>,
    ca: SpkiHash,
}

/// Why a certificate is not to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// Not a DER certificate over P-256 with SHA-256.
    #[error("not a P-256 certificate")]
    Malformed,
    /// The CA's key is not the one that was promised.
    #[error("certificate of another authority")]
    ForeignAuthority,
    /// The CA certificate does not allow its key to certify.
    #[error("not an authority's certificate")]
    NotAnAuthority,
    /// It certifies another key.
    #[error("certificate for another key")]
    ForeignSubject,
    /// The signature does not fit.
    #[error("bad signature on the certificate")]
    BadSignature,
}

impl ThingIdentity {
    /// Draws a fresh CA key and certifies it with itself.
    #[must_use]
    pub fn create(rng: &mut dyn CryptoRng) -> Self {
        let key = SigningKey::random(rng);
        let ca = key.spki().hash();
        let params = authority(&ThingId::of(&ca), serial(rng));
        let certificate = params.self_signed(&Signer::new(&key)).expect("P-256 and fixed names always encode");
        Self { key, certificate: certificate.der().to_vec(), ca }
    }

    /// Takes a stored identity back.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] when key and certificate do not belong together.
    pub fn from_stored(stored: &StoredIdentity) -> Result<Self, CertificateError> {
        let key = SigningKey::from_scalar(&stored.key).map_err(|_| CertificateError::Malformed)?;
        let ca = key.spki().hash();
        check_authority(&stored.certificate, &ca)?;
        Ok(Self { key, certificate: stored.certificate.clone(), ca })
    }

    /// For the store.
    #[must_use]
    pub fn to_stored(&self) -> StoredIdentity {
        StoredIdentity { key: self.key.scalar(), certificate: self.certificate.clone() }
    }

    /// The thing's id.
    #[must_use]
    pub fn id(&self) -> ThingId {
        ThingId::of(&self.ca)
    }

    /// SHA-256 of its CA's SubjectPublicKeyInfo.
    #[must_use]
    pub fn ca(&self) -> SpkiHash {
        self.ca
    }

    /// Its CA certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Certifies a controller's key under the controller's id; DER (SecT STEP 5).
    #[must_use]
    pub fn certify(&self, cid: &Cid, subject: &Spki, rng: &mut dyn CryptoRng) -> Vec<u8> {
        let authority = authority(&self.id(), serial(rng));
        let issuer = Issuer::from_params(&authority, Signer::new(&self.key));
        let mut params = named(&cid.to_string(), serial(rng));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&Point(subject), &issuer).expect("P-256 and a controller id always encode");
        certificate.der().to_vec()
    }
}

/// Checks that the authority promised as `ca` certified this very key.
///
/// # Errors
///
/// [`CertificateError`].
pub fn check_issued(
    certificate: &[u8],
    ca_certificate: &[u8],
    ca: &SpkiHash,
    subject: &Spki,
) -> Result<(), CertificateError> {
    let authority = check_authority(ca_certificate, ca)?;
    let certificate = parse(certificate)?;
    if spki(&certificate)? != *subject {
        return Err(CertificateError::ForeignSubject);
    }
    verify(&certificate, &authority)
}

/// Checks that a CA certificate is `ca`'s own, and gives its key.
fn check_authority(certificate: &[u8], ca: &SpkiHash) -> Result<Spki, CertificateError> {
    let certificate = parse(certificate)?;
    let authority = spki(&certificate)?;
    if authority.hash() != *ca {
        return Err(CertificateError::ForeignAuthority);
    }
    match certificate.tbs_certificate().get_extension::<ParsedConstraints>() {
        Ok(Some((true, ParsedConstraints { ca: true, .. }))) => {}
        _ => return Err(CertificateError::NotAnAuthority),
    }
    verify(&certificate, &authority)?;
    Ok(authority)
}

fn parse(der: &[u8]) -> Result<Certificate, CertificateError> {
    let certificate = Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    let inner = certificate.tbs_certificate().signature();
    let outer = certificate.signature_algorithm();
    // Both places must name the one algorithm (RFC 5280 section 4.1.1.2).
    if inner != outer || outer.oid != ECDSA_WITH_SHA256 || outer.parameters.is_some() {
        return Err(CertificateError::Malformed);
    }
    Ok(certificate)
}

fn spki(certificate: &Certificate) -> Result<Spki, CertificateError> {
    let der =
        certificate.tbs_certificate().subject_public_key_info().to_der().map_err(|_| CertificateError::Malformed)?;
    Spki::from_der(&der).map_err(|_| CertificateError::Malformed)
}

/// Checks that this authority signed the certificate; looks at nothing else in it.
pub(crate) fn verify(certificate: &Certificate, authority: &Spki) -> Result<(), CertificateError> {
    let signed = certificate.tbs_certificate().to_der().map_err(|_| CertificateError::Malformed)?;
    let signature = certificate.signature().as_bytes().ok_or(CertificateError::Malformed)?;
    authority.verify_x509(&signed, signature).map_err(|_| CertificateError::BadSignature)
}

fn authority(id: &ThingId, serial: SerialNumber) -> CertificateParams {
    let mut params = named(&id.to_string(), serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn named(common_name: &str, serial: SerialNumber) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(9999, 12, 31);
    params.serial_number = Some(serial);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_identifier_method = KeyIdMethod::PreSpecified(common_name.as_bytes().to_vec());
    params
}

/// Positive and of a fixed length, as RFC 5280 section 4.1.2.2 wants it.
pub(crate) fn serial(rng: &mut dyn CryptoRng) -> SerialNumber {
    let mut bytes = [0; SERIAL_BYTES];
    rng.fill_bytes(&mut bytes);
    bytes[0] = bytes[0] & 0x7f | 0x40;
    SerialNumber::from_slice(&bytes)
}

/// A public key as rcgen takes it.
pub(crate) struct Point<'a>(pub(crate) &'a Spki);

impl PublicKeyData for Point<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// A private key as rcgen takes it.
pub(crate) struct Signer<'a> {
    key: &'a SigningKey,
    spki: Spki,
}

impl<'a> Signer<'a> {
    pub(crate) fn new(key: &'a SigningKey) -> Self {
        Self { key, spki: key.spki() }
    }
}

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.spki.point()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign_x509(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::testing::Counter;

    fn thing() -> ThingIdentity {
        ThingIdentity::create(&mut Counter::new(1))
    }

    fn subject(seed: u64) -> Spki {
        SigningKey::random(&mut Counter::new(seed)).spki()
    }

    fn certified(thing: &ThingIdentity, subject: &Spki) -> Vec<u8> {
        thing.certify(&Cid::new([1; 8]), subject, &mut Counter::new(9))
    }

    #[test]
    fn a_stored_identity_comes_back_the_same() {
        let thing = thing();
        let back = ThingIdentity::from_stored(&thing.to_stored()).expect("its own");
        assert_eq!((back.id(), back.ca(), back.certificate()), (thing.id(), thing.ca(), thing.certificate()));
        assert_eq!(thing.id().as_bytes(), &thing.ca().as_bytes()[..8]);
    }

    #[test]
    fn a_foreign_certificate_is_no_identity() {
        let mut stored = thing().to_stored();
        stored.certificate = ThingIdentity::create(&mut Counter::new(77)).certificate().to_vec();
        assert_eq!(ThingIdentity::from_stored(&stored).err(), Some(CertificateError::ForeignAuthority));
    }

    #[test]
    fn a_controller_sees_that_its_key_was_certified_by_this_thing() {
        let (thing, mine) = (thing(), subject(40));
        let certificate = certified(&thing, &mine);
        assert_eq!(check_issued(&certificate, thing.certificate(), &thing.ca(), &mine), Ok(()));
    }

    #[test]
    fn every_exchange_of_a_part_is_seen() {
        let (thing, other) = (thing(), ThingIdentity::create(&mut Counter::new(77)));
        let (mine, theirs) = (subject(40), subject(90));
        let certificate = certified(&thing, &mine);
        let check = |certificate: &[u8], ca_certificate: &[u8], ca: SpkiHash, subject: &Spki| {
            check_issued(certificate, ca_certificate, &ca, subject).err()
        };
        assert_eq!(
            check(&certificate, other.certificate(), thing.ca(), &mine),
            Some(CertificateError::ForeignAuthority)
        );
        assert_eq!(check(&certificate, other.certificate(), other.ca(), &mine), Some(CertificateError::BadSignature));
        assert_eq!(
            check(&certificate, thing.certificate(), thing.ca(), &theirs),
            Some(CertificateError::ForeignSubject)
        );
        assert_eq!(check(b"", thing.certificate(), thing.ca(), &mine), Some(CertificateError::Malformed));
        // A controller's certificate must not pass for an authority's.
        assert_eq!(check(&certificate, &certificate, mine.hash(), &mine), Some(CertificateError::NotAnAuthority));
    }

    #[test]
    fn every_flipped_bit_of_a_certificate_is_seen() {
        let (thing, mine) = (thing(), subject(40));
        let certificate = certified(&thing, &mine);
        for place in 0..certificate.len() {
            let mut forged = certificate.clone();
            forged[place] ^= 1;
            assert!(check_issued(&forged, thing.certificate(), &thing.ca(), &mine).is_err(), "byte {place}");
        }
    }

    #[test]
    fn two_certificates_fit_into_one_message() {
        let thing = thing();
        let sizes = (certified(&thing, &subject(40)).len(), thing.certificate().len());
        assert!(sizes.0 + sizes.1 < 1100, "{sizes:?}");
    }
}
