//! What the thing needs before it can open a link to a cloud server: who it is, and whom it trusts.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::ObjectIdentifier;
use zeroize::Zeroizing;

use crate::mqtt::client::{ClientIdentity, IdentityError, pin_of};
use crate::proto::id::{SpkiHash, ThingId};
use crate::thing::config::Config;
use crate::thing::config::cloud::CloudConfig;

/// id-at-commonName (RFC 5280 appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// Read or write by anybody.
const WORLD: u32 = 0o006;

/// Why there are no cloud links although the configuration names cloud servers.
#[derive(Debug, Error)]
pub enum CloudSetupError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The key can be read by everybody on this machine.
    #[error("{} can be read by everybody: chmod 600 it", path.display())]
    KeyIsPublic {
        /// Which file.
        path: PathBuf,
    },
    /// Key and certificate do not do.
    #[error("{} and {}: {source}", certificate.display(), key.display())]
    Identity {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: IdentityError,
    },
    /// The certificate is another thing's.
    #[error("{} is for another thing: this one is {thing}", path.display())]
    ForeignCertificate {
        /// Which file.
        path: PathBuf,
        /// Who this thing is.
        thing: ThingId,
    },
    /// The file that should pin the server holds no certificate, or several.
    #[error("{} does not hold one certificate", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
    },
    /// The operating system gives no thread.
    #[error("no thread for the cloud links: {0}")]
    Thread(#[source] io::Error),
}

/// The device certificate with its key (SecT STEP 8), which must be this thing's own.
pub(super) fn identity(config: &Config, thing: &ThingId) -> Result<ClientIdentity, CloudSetupError> {
    let (certificate, key) = (config.device_certificate_path(), config.device_key_path());
    let certificate_pem = read(&certificate)?;
    let key_pem = Zeroizing::new(read(&key)?);
    let mode = fs::metadata(&key).map_err(|source| CloudSetupError::Read { path: key.clone(), source })?;
    if mode.permissions().mode() & WORLD != 0 {
        return Err(CloudSetupError::KeyIsPublic { path: key });
    }
    match ClientIdentity::from_pem(&certificate_pem, &key_pem) {
        Err(source) => Err(CloudSetupError::Identity { certificate, key, source }),
        // The server knows the thing by this name (protocol section 10).
        Ok(identity) if common_name(identity.certificate()).as_deref() != Some(&thing.to_string()) => {
            Err(CloudSetupError::ForeignCertificate { path: certificate, thing: *thing })
        }
        Ok(identity) => Ok(identity),
    }
}

/// What pins a server.
pub(super) fn pin(cloud: &CloudConfig) -> Result<SpkiHash, CloudSetupError> {
    match (&cloud.pin, &cloud.ca) {
        (Some(pin), _) => Ok(*pin),
        (None, Some(path)) => pin_of(&read(path)?).ok_or_else(|| CloudSetupError::Authority { path: path.clone() }),
        (None, None) => Err(CloudSetupError::Authority { path: PathBuf::new() }),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CloudSetupError> {
    fs::read(path).map_err(|source| CloudSetupError::Read { path: path.to_owned(), source })
}

fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let subject = certificate.tbs_certificate().subject();
    let name = subject.iter().find(|attribute| attribute.oid == COMMON_NAME)?;
    let value = &name.value;
    let text = value
        .decode_as::<Utf8StringRef<'_>>()
        .map(|text| text.as_str().to_owned())
        .or_else(|_| value.decode_as::<PrintableStringRef<'_>>().map(|text| text.as_str().to_owned()));
    text.ok()
}
