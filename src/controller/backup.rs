//! The keyring in one file, encrypted under a passphrase (protocol appendix A).
//!
//! ```text
//! {"sect-backup":1,"m_kib":U,"t":U,"p":U,"salt":<22>,"iv":<22>,"ct":b64u,"tag":<43>,"check":<22>}
//!
//! head  = "SecT-v1/backup\0" || u32be(1) || u32be(m_kib) || u32be(t) || u32be(p) || salt
//! key   = Expand(Extract("SecT-v1/backup", Argon2id(passphrase, salt, m_kib, t, p, 32)), "backup", "", 64)
//! CT    = A256CBC-HS512 of {"v":1,"entries":[...]} under key, IV and AAD = head
//! check = first 16 bytes of SHA-256("SecT-v1/backup-check\0" || head || IV || CT || TAG)
//! ```
//!
//! `check` is no secret and protects nothing: it tells a damaged file from a wrong passphrase.

use std::fmt;
use std::str::FromStr;

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64UrlUnpadded, Encoding};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;
use zeroize::Zeroizing;

use super::keyring::{Entry, StoredEntry};
use crate::proto::aead::{BLOCK_BYTES, Key, TAG_BYTES, ciphertext_bytes};
use crate::proto::keys::backup_key;
use crate::proto::pairing::message::Number;
use crate::proto::secret::{Secret, SecretString};

/// How every backup begins.
pub const HEAD: &[u8] = b"{\"sect-backup\":";
/// Bytes of a backup at most: that of a thousand plugs is smaller.
pub const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// The layout that this version writes and reads.
const VERSION: u32 = 1;
const SALT_BYTES: usize = 16;
const CHECK_BYTES: usize = 16;
/// Bytes of one entry at most, so that no buffer grows and leaves copies of secrets behind.
const ENTRY_BYTES: usize = 64 * 1024;

/// What protects a backup: at least 8 characters, at most 1024 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passphrase(SecretString);

/// Text that is no passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a passphrase has at least 8 characters")]
pub struct PassphraseError;

impl FromStr for Passphrase {
    type Err = PassphraseError;

    fn from_str(text: &str) -> Result<Self, PassphraseError> {
        if text.chars().count() < 8 || text.len() > 1024 {
            return Err(PassphraseError);
        }
        Ok(Self(SecretString::new(text.to_owned())))
    }
}

/// What it costs to try a passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    m_kib: u32,
    /// Passes over it.
    t: u32,
    /// Lanes.
    p: u32,
}

impl Cost {
    /// The second of the two that RFC 9106 section 4 recommends: 64 MiB, for machines with little memory.
    pub const RECOMMENDED: Self = Self { m_kib: 64 * 1024, t: 3, p: 4 };
    /// What a file may ask for at most, so that no stranger's file takes all memory or an hour.
    const MOST: Self = Self { m_kib: 512 * 1024, t: 16, p: 16 };

    fn params(self) -> Result<Params, BackupError> {
        if self.m_kib > Self::MOST.m_kib || self.t > Self::MOST.t || self.p > Self::MOST.p {
            return Err(BackupError::TooCostly);
        }
        Params::new(self.m_kib, self.t, self.p, Some(32)).map_err(|_| BackupError::TooCostly)
    }
}

/// Why a file gives no keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BackupError {
    /// It does not begin like a backup.
    #[error("this is no backup of `sect`")]
    NoBackup,
    /// A layout of a later version.
    #[error("the backup was made by a newer `sect`")]
    Version,
    /// Part of it is missing, or was changed.
    #[error("the backup is damaged")]
    Damaged,
    /// Trying a passphrase would take more memory or time than any backup of this program.
    #[error("the backup asks for more memory or time than any that `sect` makes")]
    TooCostly,
    /// It is whole, and this does not open it. Who changes a file on purpose can make it look so too.
    #[error("the passphrase is not that of the backup")]
    Passphrase,
    /// It opens, and holds what this version does not understand.
    #[error("the backup was made by another version of `sect`")]
    Content,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(rename = "sect-backup")]
    version: u32,
    m_kib: u32,
    t: u32,
    p: u32,
    salt: String,
    iv: String,
    ct: String,
    tag: String,
    check: String,
}

/// What every version has.
#[derive(Deserialize)]
struct Beginning {
    #[serde(rename = "sect-backup")]
    version: u32,
}

/// What is encrypted.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    v: Number<1>,
    entries: Vec<StoredEntry>,
}

/// Everything in clear, which the tag vouches for.
struct Head([u8; 15 + 16 + SALT_BYTES]);

impl Head {
    fn new(cost: Cost, salt: &[u8; SALT_BYTES]) -> Self {
        let mut head = [0; 15 + 16 + SALT_BYTES];
        head[..15].copy_from_slice(b"SecT-v1/backup\0");
        for (place, number) in [VERSION, cost.m_kib, cost.t, cost.p].into_iter().enumerate() {
            head[15 + 4 * place..][..4].copy_from_slice(&number.to_be_bytes());
        }
        head[31..].copy_from_slice(salt);
        Self(head)
    }

    fn check(&self, iv: &[u8], ct: &[u8], tag: &[u8]) -> [u8; CHECK_BYTES] {
        let digest = Sha256::new_with_prefix("SecT-v1/backup-check\0");
        let digest = digest.chain_update(self.0).chain_update(iv).chain_update(ct).chain_update(tag).finalize();
        let mut check = [0; CHECK_BYTES];
        check.copy_from_slice(&digest[..CHECK_BYTES]);
        check
    }
}

/// Encrypts entries; one line of JSON.
#[must_use]
pub fn seal(entries: &[Entry], passphrase: &Passphrase, cost: Cost, rng: &mut dyn CryptoRng) -> Vec<u8> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(entries.len() * ENTRY_BYTES + 1024));
    let content = Content { v: Number, entries: entries.iter().map(StoredEntry::of).collect() };
    serde_json::to_writer(&mut *buffer, &content).expect("entries have string keys and are written into memory");
    let plaintext = buffer.len();
    buffer.resize(ciphertext_bytes(plaintext), 0);

    let (mut salt, mut iv) = ([0; SALT_BYTES], [0; BLOCK_BYTES]);
    rng.fill_bytes(&mut salt);
    rng.fill_bytes(&mut iv);
    let key = key(passphrase, cost, &salt).expect("the costs of this program are within its own limits");
    let head = Head::new(cost, &salt);
    let tag = key.seal(&iv, &head.0, &mut buffer, plaintext);
    let text = Base64UrlUnpadded::encode_string;
    let stored = Stored {
        version: VERSION,
        m_kib: cost.m_kib,
        t: cost.t,
        p: cost.p,
        salt: text(&salt),
        iv: text(&iv),
        ct: text(&buffer),
        tag: text(&tag),
        check: text(&head.check(&iv, &buffer, &tag)),
    };
    let mut file = serde_json::to_vec(&stored).expect("string keys");
    file.push(b'\n');
    file
}

/// Decrypts what [`seal`] made.
///
/// # Errors
///
/// [`BackupError`].
pub fn open(file: &[u8], passphrase: &Passphrase) -> Result<Vec<Entry>, BackupError> {
    if !file.starts_with(HEAD) {
        return Err(BackupError::NoBackup);
    }
    let beginning: Beginning = serde_json::from_slice(file).map_err(|_| BackupError::Damaged)?;
    if beginning.version > VERSION {
        return Err(BackupError::Version);
    }
    let stored: Stored = serde_json::from_slice(file).map_err(|_| BackupError::Damaged)?;
    let salt = fixed::<SALT_BYTES>(&stored.salt)?;
    let iv = fixed::<BLOCK_BYTES>(&stored.iv)?;
    let tag = fixed::<TAG_BYTES>(&stored.tag)?;
    let mut buffer = Zeroizing::new(Base64UrlUnpadded::decode_vec(&stored.ct).map_err(|_| BackupError::Damaged)?);

    let cost = Cost { m_kib: stored.m_kib, t: stored.t, p: stored.p };
    let head = Head::new(cost, &salt);
    if stored.version != VERSION || head.check(&iv, &buffer, &tag) != fixed::<CHECK_BYTES>(&stored.check)? {
        return Err(BackupError::Damaged);
    }
    let key = key(passphrase, cost, &salt)?;
    let plaintext = key.open(&iv, &head.0, &mut buffer, &tag).map_err(|_| BackupError::Passphrase)?;
    let content: Content = serde_json::from_slice(plaintext).map_err(|_| BackupError::Content)?;
    content.entries.into_iter().map(|entry| entry.try_into_entry().map_err(|_| BackupError::Content)).collect()
}

fn key(passphrase: &Passphrase, cost: Cost, salt: &[u8; SALT_BYTES]) -> Result<Key, BackupError> {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost.params()?);
    let mut stretched = Secret::<32>::new([0; 32]);
    argon2
        .hash_password_into(passphrase.0.expose().as_bytes(), salt, stretched.expose_mut())
        .expect("passphrase, salt and output have lengths that Argon2 takes");
    Ok(Key::new(&backup_key(&stretched)))
}

fn fixed<const N: usize>(text: &str) -> Result<[u8; N], BackupError> {
    let mut bytes = [0; N];
    match Base64UrlUnpadded::decode(text, &mut bytes) {
        Ok(decoded) if decoded.len() == N => Ok(bytes),
        _ => Err(BackupError::Damaged),
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("version", &self.version).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::clock;
    use crate::controller::keyring::testing::entry;

    /// As little as Argon2 takes.
    const CHEAP: Cost = Cost { m_kib: 8, t: 1, p: 1 };

    fn passphrase() -> Passphrase {
        "correct horse".parse().expect("long enough")
    }

    fn sealed(cost: Cost) -> (Vec<Entry>, Vec<u8>) {
        let entries = vec![entry("Kitchen", 1), entry("Büro", 2)];
        let file = seal(&entries, &passphrase(), cost, &mut clock::rng());
        (entries, file)
    }

    /// The file with one member changed and its checksum made to fit: what an attacker would write.
    fn forged(change: impl Fn(&mut Stored)) -> Vec<u8> {
        let mut stored: Stored = serde_json::from_slice(&sealed(CHEAP).1).expect("a backup");
        change(&mut stored);
        let cost = Cost { m_kib: stored.m_kib, t: stored.t, p: stored.p };
        let head = Head::new(cost, &fixed(&stored.salt).expect("a salt"));
        let ct = Base64UrlUnpadded::decode_vec(&stored.ct).expect("base64url");
        let (iv, tag) = (fixed::<16>(&stored.iv).expect("an IV"), fixed::<32>(&stored.tag).expect("a tag"));
        stored.check = Base64UrlUnpadded::encode_string(&head.check(&iv, &ct, &tag));
        serde_json::to_vec(&stored).expect("JSON")
    }

    #[test]
    fn what_was_sealed_opens_again() {
        for cost in [CHEAP, Cost::RECOMMENDED] {
            let (entries, file) = sealed(cost);
            assert!(file.starts_with(HEAD) && file.ends_with(b"\n"));
            assert_eq!(open(&file, &passphrase()), Ok(entries));
        }
        let nothing = seal(&[], &passphrase(), CHEAP, &mut clock::rng());
        assert_eq!(open(&nothing, &passphrase()), Ok(Vec::new()));
    }

    #[test]
    fn each_flipped_bit_is_noticed_and_called_damage() {
        let (_, file) = sealed(CHEAP);
        for place in 0..file.len() {
            for bit in 0..8 {
                let mut flipped = file.clone();
                flipped[place] ^= 1 << bit;
                let error = open(&flipped, &passphrase()).expect_err("damaged");
                let expected = match error {
                    BackupError::NoBackup => place < HEAD.len(),
                    BackupError::Version => place == HEAD.len(),
                    other => other == BackupError::Damaged,
                };
                assert!(expected, "byte {place}, bit {bit}: {error:?}");
            }
        }
    }

    #[test]
    fn a_file_that_was_cut_off_or_continued_is_damaged() {
        let (_, file) = sealed(CHEAP);
        for length in HEAD.len()..file.len() - 1 {
            assert_eq!(open(&file[..length], &passphrase()), Err(BackupError::Damaged), "{length}");
        }
        assert_eq!(open(&[&file[..], b"{}"].concat(), &passphrase()), Err(BackupError::Damaged));
        for foreign in [&b""[..], b"{}", b"{\"alias\":\"Kitchen\"}", b"\x89PNG"] {
            assert_eq!(open(foreign, &passphrase()), Err(BackupError::NoBackup));
        }
    }

    #[test]
    fn another_passphrase_is_told_from_damage() {
        let (_, file) = sealed(CHEAP);
        for other in ["correct horse ", "Correct horse", "correct horsf"] {
            assert_eq!(open(&file, &other.parse().expect("long enough")), Err(BackupError::Passphrase), "{other}");
        }
    }

    #[test]
    fn a_forger_with_a_good_checksum_has_no_tag() {
        for change in [
            (|stored| stored.tag = Base64UrlUnpadded::encode_string(&[0; 32])) as fn(&mut Stored),
            |stored| stored.iv = Base64UrlUnpadded::encode_string(&[0; 16]),
            |stored| stored.salt = Base64UrlUnpadded::encode_string(&[0; 16]),
            |stored| stored.ct = Base64UrlUnpadded::encode_string(&[0; 32]),
            |stored| stored.ct = String::new(),
            |stored| stored.t = 2,
        ] {
            assert_eq!(open(&forged(change), &passphrase()), Err(BackupError::Passphrase));
        }
    }

    #[test]
    fn a_hostile_file_cannot_ask_for_much_memory_or_time() {
        for change in [
            (|stored| stored.m_kib = 512 * 1024 + 1) as fn(&mut Stored),
            |stored| stored.m_kib = u32::MAX,
            |stored| stored.t = 17,
            |stored| stored.t = u32::MAX,
            |stored| stored.p = 17,
            |stored| stored.p = u32::MAX,
            |stored| stored.m_kib = 0,
            |stored| stored.t = 0,
            |stored| stored.p = 0,
        ] {
            assert_eq!(open(&forged(change), &passphrase()), Err(BackupError::TooCostly));
        }
    }

    #[test]
    fn a_later_version_is_named() {
        let newer = String::from_utf8(sealed(CHEAP).1).expect("text").replacen(":1,", ":2,\"zip\":true,", 1);
        assert_eq!(open(newer.as_bytes(), &passphrase()), Err(BackupError::Version));
    }

    #[test]
    fn nothing_of_the_keys_stands_in_clear() {
        let (entries, file) = sealed(CHEAP);
        let text = String::from_utf8(file).expect("text");
        for entry in &entries {
            let binding = &entry.binding;
            for secret in [entry.alias.as_str(), binding.topic.as_str(), binding.credentials.password.expose()] {
                assert!(!text.contains(secret));
            }
        }
        assert_ne!(sealed(CHEAP).1[..], *text.as_bytes(), "salt and IV are fresh");
    }

    #[test]
    fn a_passphrase_has_eight_characters_and_prints_nothing() {
        assert!("äöüäöüäö".parse::<Passphrase>().is_ok());
        for text in ["", "1234567", &"x".repeat(1025)] {
            assert_eq!(text.parse::<Passphrase>(), Err(PassphraseError));
        }
        assert_eq!(format!("{:?}", passphrase()), "Passphrase(SecretString(..))");
    }
}
