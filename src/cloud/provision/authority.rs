//! An authority with its key: it certifies things, or servers, and never both.
//!
//! The manufacturer's authority vouches that a thing is a thing (SecT STEP 8); a cloud server's own
//! authority is what things and controllers pin. What each of them may certify stands in its own
//! certificate as extended key usage, so that neither passes for the other.
//!
//! It touches no file and no clock; the caller keeps the key.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand_core::CryptoRng;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use thiserror::Error;

use super::host::Host;
use super::profile::{AuthorityCertificate, Purpose, Refusal, pem};
use crate::proto::certificate::{Point, Signer, serial};
use crate::proto::id::{SpkiHash, ThingId};
use crate::proto::secret::SecretString;
use crate::proto::signature::{BadKeyPem, SigningKey, Spki};

/// Characters of a common name (RFC 5280 appendix A, ub-common-name).
const NAME_CHARACTERS: usize = 64;
/// Bytes of a key identifier (RFC 7093 section 2, method 1).
const KEY_ID_BYTES: usize = 20;
/// The common name of every server's certificate; clients look at its host names.
const SERVER_NAME: &str = "sect-cloud";
/// The last second of X.509, 9999-12-31T23:59:59Z: no end that is known (RFC 5280 section 4.1.2.5).
const NO_END: Duration = Duration::from_secs(253_402_300_799);

/// A certificate authority: its key, and its certificate over it.
pub struct Authority {
    key: SigningKey,
    certificate: AuthorityCertificate,
}

/// A key and the certificate for it, both PEM.
pub struct Issued {
    /// The private key, unencrypted PKCS#8.
    pub key: SecretString,
    /// The certificate; for a server, the authority's follows it.
    pub certificate: String,
}

/// Why an authority does not certify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IssueError {
    /// Its name is empty, too long or not printable.
    #[error("the name must be 1 to 64 printable characters")]
    Name,
    /// It is the manufacturer's where a server's is needed, or the other way around.
    #[error("this authority certifies {0}")]
    Purpose(Purpose),
    /// A server without a name.
    #[error("a server needs at least one host name or address")]
    NoHost,
    /// It would end before it begins, begin before 1970, or end after 9999.
    #[error("the certificate would hold at no time")]
    Period,
}

/// Why a stored authority is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The key cannot be read.
    #[error(transparent)]
    Key(#[from] BadKeyPem),
    /// The certificate cannot be used.
    #[error("the authority's certificate: {0}")]
    Certificate(#[from] Refusal),
    /// They are not of one authority.
    #[error("key and certificate do not belong together")]
    Mismatch,
}

impl Authority {
    /// Draws a key and certifies it with itself: P-256, path length 0, no end.
    ///
    /// # Errors
    ///
    /// [`IssueError::Name`].
    pub fn create(purpose: Purpose, name: &str, rng: &mut dyn CryptoRng) -> Result<Self, IssueError> {
        let printable = name.trim() == name && !name.chars().any(char::is_control);
        if !printable || !(1..=NAME_CHARACTERS).contains(&name.chars().count()) {
            return Err(IssueError::Name);
        }
        let key = SigningKey::random(rng);
        let spki = key.spki();
        let mut params = authority_params(purpose, name, &spki);
        params.serial_number = Some(serial(rng));
        let made = params.self_signed(&Signer::new(&key)).expect("P-256 and a name in UTF-8 always encode");
        let certificate = AuthorityCertificate::of_checked(made.der().to_vec(), spki, purpose, name.to_owned());
        Ok(Self { key, certificate })
    }

    /// Takes a stored authority back.
    ///
    /// # Errors
    ///
    /// [`LoadError`].
    pub fn from_pem(key: &SecretString, certificate: &str) -> Result<Self, LoadError> {
        let key = SigningKey::from_pkcs8_pem(key.expose())?;
        let certificate = AuthorityCertificate::from_pem(certificate)?;
        if key.spki() != *certificate.spki() {
            return Err(LoadError::Mismatch);
        }
        Ok(Self { key, certificate })
    }

    /// Its public half.
    #[must_use]
    pub const fn certificate(&self) -> &AuthorityCertificate {
        &self.certificate
    }

    /// Its private key, PEM.
    #[must_use]
    pub fn key_pem(&self) -> SecretString {
        self.key.to_pkcs8_pem()
    }

    /// What clients pin: SHA-256 of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn pin(&self) -> SpkiHash {
        self.certificate.pin()
    }

    /// Draws a thing's key and certifies it under the thing's id.
    ///
    /// # Errors
    ///
    /// [`IssueError::Purpose`] when it is a server's authority.
    pub fn issue_device(&self, id: &ThingId, rng: &mut dyn CryptoRng) -> Result<Issued, IssueError> {
        let key = SigningKey::random(rng);
        let certificate = self.certify_device(id, &key.spki(), rng)?;
        Ok(Issued { key: key.to_pkcs8_pem(), certificate })
    }

    /// Certifies a thing's key under the thing's id: for client authentication, without an end. PEM.
    ///
    /// # Errors
    ///
    /// [`IssueError::Purpose`] when it is a server's authority.
    pub fn certify_device(&self, id: &ThingId, subject: &Spki, rng: &mut dyn CryptoRng) -> Result<String, IssueError> {
        let mut params = self.leaf(Purpose::Things, &id.to_string(), subject)?;
        params.serial_number = Some(serial(rng));
        Ok(self.sign(&params, subject))
    }

    /// Draws a server's key and certifies it for these hosts and this time.
    ///
    /// # Errors
    ///
    /// [`IssueError`].
    pub fn issue_server(
        &self,
        hosts: &[Host],
        period: Range<SystemTime>,
        rng: &mut dyn CryptoRng,
    ) -> Result<Issued, IssueError> {
        let key = SigningKey::random(rng);
        let certificate = self.certify_server(hosts, period, &key.spki(), rng)?;
        Ok(Issued { key: key.to_pkcs8_pem(), certificate })
    }

    /// Certifies a server's key for these hosts and this time. PEM, followed by the authority's own
    /// certificate, in which clients find the key that they have pinned (protocol section 10).
    ///
    /// # Errors
    ///
    /// [`IssueError`].
    pub fn certify_server(
        &self,
        hosts: &[Host],
        period: Range<SystemTime>,
        subject: &Spki,
        rng: &mut dyn CryptoRng,
    ) -> Result<String, IssueError> {
        if hosts.is_empty() {
            return Err(IssueError::NoHost);
        }
        let since_epoch = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
            Ok(since) if since <= NO_END => Ok(Duration::from_secs(since.as_secs())),
            _ => Err(IssueError::Period),
        };
        let (start, end) = (since_epoch(period.start)?, since_epoch(period.end)?);
        if start >= end {
            return Err(IssueError::Period);
        }
        let mut params = self.leaf(Purpose::Servers, SERVER_NAME, subject)?;
        params.not_before = date_time_ymd(1970, 1, 1) + start;
        params.not_after = date_time_ymd(1970, 1, 1) + end;
        params.serial_number = Some(serial(rng));
        params.subject_alt_names = hosts.iter().map(alternative_name).collect();
        Ok(self.sign(&params, subject) + &self.certificate.to_pem())
    }

    fn leaf(&self, purpose: Purpose, name: &str, subject: &Spki) -> Result<CertificateParams, IssueError> {
        if self.certificate.purpose() != purpose {
            return Err(IssueError::Purpose(self.certificate.purpose()));
        }
        let mut params = named(name, subject);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage(purpose)];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    fn sign(&self, params: &CertificateParams, subject: &Spki) -> String {
        let own = authority_params(self.certificate.purpose(), self.certificate.name(), self.certificate.spki());
        let issuer = Issuer::from_params(&own, Signer::new(&self.key));
        let made = params.signed_by(&Point(subject), &issuer).expect("P-256 and checked names always encode");
        pem(made.der())
    }
}

fn authority_params(purpose: Purpose, name: &str, spki: &Spki) -> CertificateParams {
    let mut params = named(name, spki);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.extended_key_usages = vec![usage(purpose)];
    params
}

fn named(common_name: &str, subject: &Spki) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(1970, 1, 1) + NO_END;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_identifier_method = KeyIdMethod::PreSpecified(subject.hash().as_bytes()[..KEY_ID_BYTES].to_vec());
    params
}

const fn usage(purpose: Purpose) -> ExtendedKeyUsagePurpose {
    match purpose {
        Purpose::Things => ExtendedKeyUsagePurpose::ClientAuth,
        Purpose::Servers => ExtendedKeyUsagePurpose::ServerAuth,
    }
}

fn alternative_name(host: &Host) -> SanType {
    match host {
        Host::Name(name) => SanType::DnsName(name.as_str().try_into().expect("a host name is ASCII")),
        Host::Address(address) => SanType::IpAddress(*address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::provision::profile::certificates;
    use crate::proto::testing::Counter;

    const HOUR: Duration = Duration::from_secs(3600);

    fn authority(purpose: Purpose) -> Authority {
        Authority::create(purpose, "Größe & Co", &mut Counter::new(1)).expect("a name")
    }

    fn thing() -> ThingId {
        ThingId::new([7; 8])
    }

    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn a_stored_authority_comes_back_and_its_certificates_hold() {
        let things = authority(Purpose::Things);
        let back = Authority::from_pem(&things.key_pem(), &things.certificate().to_pem()).expect("its own");
        assert_eq!(back.certificate(), things.certificate());
        let issued = back.issue_device(&thing(), &mut Counter::new(5)).expect("its purpose");
        let chain = certificates(&issued.certificate).expect("PEM");
        assert_eq!(chain.len(), 1);
        assert_eq!(things.certificate().check_device(&chain[0]), Ok(thing()));
    }

    #[test]
    fn key_and_certificate_of_two_authorities_are_none() {
        let one = authority(Purpose::Things);
        let other = Authority::create(Purpose::Things, "other", &mut Counter::new(99)).expect("a name");
        let mixed = Authority::from_pem(&one.key_pem(), &other.certificate().to_pem());
        assert_eq!(mixed.err(), Some(LoadError::Mismatch));
    }

    #[test]
    fn a_server_certificate_holds_for_its_hosts_and_its_time_and_brings_its_authority() {
        let servers = authority(Purpose::Servers);
        let hosts = ["cloud.example.org".parse().expect("a host"), "::1".parse().expect("a host")];
        let issued = servers.issue_server(&hosts, now()..now() + HOUR, &mut Counter::new(5)).expect("its purpose");
        let chain = certificates(&issued.certificate).expect("PEM");
        assert_eq!(AuthorityCertificate::from_der(&chain[1]).as_ref(), Ok(servers.certificate()));
        let check = |at| servers.certificate().check_server(&chain[0], at);
        assert_eq!(check(now()), Ok(hosts.to_vec()));
        assert_eq!(check(now() + HOUR), Ok(hosts.to_vec()));
        assert_eq!(check(now() - Duration::from_secs(1)), Err(Refusal::Period));
        assert_eq!(check(now() + HOUR + Duration::from_secs(1)), Err(Refusal::Period));
        assert_eq!(servers.certificate().check_device(&chain[0]), Err(Refusal::Foreign));
    }

    #[test]
    fn what_is_no_authority_for_one_use_is_not_taken_for_one() {
        let key = SigningKey::random(&mut Counter::new(1));
        let made = |change: &dyn Fn(&mut CertificateParams)| {
            let mut params = authority_params(Purpose::Things, "Example", &key.spki());
            params.serial_number = Some(serial(&mut Counter::new(2)));
            change(&mut params);
            let made = params.self_signed(&Signer::new(&key)).expect("it encodes");
            AuthorityCertificate::from_der(made.der()).map(|certificate| certificate.name().to_owned())
        };
        let usage = Err(Refusal::Usage("things or for servers"));
        assert_eq!(made(&|_| ()), Ok("Example".to_owned()));
        assert_eq!(made(&|params| params.is_ca = IsCa::ExplicitNoCa), Err(Refusal::NotAnAuthority));
        assert_eq!(made(&|params| params.is_ca = IsCa::NoCa), Err(Refusal::NotAnAuthority));
        let longer = |constraints| move |params: &mut CertificateParams| params.is_ca = IsCa::Ca(constraints);
        assert_eq!(made(&longer(BasicConstraints::Unconstrained)), Err(Refusal::NotAnAuthority));
        assert_eq!(made(&longer(BasicConstraints::Constrained(1))), Err(Refusal::NotAnAuthority));
        let usages = |usages: &[KeyUsagePurpose]| {
            let usages = usages.to_vec();
            move |params: &mut CertificateParams| params.key_usages.clone_from(&usages)
        };
        assert_eq!(made(&usages(&[KeyUsagePurpose::CrlSign])), Err(Refusal::NotAnAuthority));
        assert_eq!(made(&usages(&[])), Err(Refusal::NotAnAuthority));
        assert_eq!(made(&|params| params.extended_key_usages.clear()), usage);
        assert_eq!(
            made(&|params| params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth)),
            Err(Refusal::Usage("things or for servers"))
        );
        assert_eq!(
            made(&|params| params.distinguished_name.push(DnType::OrganizationName, "More")),
            Err(Refusal::NoName)
        );
        // What it issued is not self-signed.
        let things = authority(Purpose::Things);
        let issued = things.issue_device(&thing(), &mut Counter::new(5)).expect("its purpose");
        assert_eq!(AuthorityCertificate::from_pem(&issued.certificate).err(), Some(Refusal::Foreign));
    }

    #[test]
    fn an_authority_certifies_one_kind_alone() {
        let mut rng = Counter::new(5);
        let (things, servers) = (authority(Purpose::Things), authority(Purpose::Servers));
        let hosts = [Host::Name("localhost".to_owned())];
        assert_eq!(
            things.issue_server(&hosts, now()..now() + HOUR, &mut rng).err(),
            Some(IssueError::Purpose(Purpose::Things))
        );
        assert_eq!(servers.issue_device(&thing(), &mut rng).err(), Some(IssueError::Purpose(Purpose::Servers)));
    }

    #[test]
    fn what_cannot_hold_is_not_certified() {
        let (servers, mut rng) = (authority(Purpose::Servers), Counter::new(5));
        let hosts = [Host::Name("localhost".to_owned())];
        let far = UNIX_EPOCH + NO_END + Duration::from_secs(1);
        for period in [now()..now(), now() + HOUR..now(), UNIX_EPOCH - HOUR..now(), now()..far] {
            assert_eq!(servers.issue_server(&hosts, period, &mut rng).err(), Some(IssueError::Period));
        }
        assert_eq!(servers.issue_server(&[], now()..now() + HOUR, &mut rng).err(), Some(IssueError::NoHost));
        for name in ["", " ", " a", "a\n", &"a".repeat(65)] {
            let created = Authority::create(Purpose::Things, name, &mut rng);
            assert_eq!(created.err(), Some(IssueError::Name), "{name:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_certificate_is_seen() {
        let things = authority(Purpose::Things);
        let issued = things.issue_device(&thing(), &mut Counter::new(5)).expect("its purpose");
        let der = certificates(&issued.certificate).expect("PEM").remove(0);
        for place in 0..der.len() {
            let mut forged = der.clone();
            forged[place] ^= 1;
            assert!(things.certificate().check_device(&forged).is_err(), "byte {place}");
        }
    }
}
