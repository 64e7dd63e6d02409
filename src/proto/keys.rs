//! The key schedule: every derivation of SecT-v1 and every label stand here (SecT STEP 6, 7).
//!
//! `Expand(prk, label, ctx, L) = HKDF-Expand(prk, "SecT-v1/" || label || 0x00 || ctx, L)` over SHA-512
//! (RFC 5869; protocol section 2).

use std::fmt;

use hkdf::Hkdf;
use p256::NistP256;
use p256::elliptic_curve::Curve;
use p256::elliptic_curve::bigint::{NonZero, U256, U384};
use rand_core::CryptoRng;
use sha2::{Digest, Sha256, Sha512};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroize;

use super::credential::CtlrPassword;
use super::envelope::EnvelopeKey;
use super::id::{Cid, Kid, PskId, SpkiHash, ThingId, X25519Public};
use super::passcode::Passcode;
use super::secret::Secret;
use super::signature::SigningKey;

/// The key of a TLS 1.3 external PSK, 32 bytes.
pub type TlsPsk = Secret<32>;

/// The peer's X25519 key gives an all-zero shared secret (RFC 7748 section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the peer's public key contributes nothing")]
pub struct WeakKey;

/// An ephemeral X25519 key pair.
pub struct Ephemeral {
    secret: StaticSecret,
    public: X25519Public,
}

impl fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ephemeral").field("public", &self.public).finish_non_exhaustive()
    }
}

impl Ephemeral {
    /// Draws a fresh pair.
    #[must_use]
    pub fn random(rng: &mut dyn CryptoRng) -> Self {
        Self::from_secret(&Secret::random(rng))
    }

    /// The pair of a known private key.
    #[must_use]
    pub fn from_secret(secret: &Secret<32>) -> Self {
        let secret = StaticSecret::from(*secret.expose());
        let public = X25519Public::new(PublicKey::from(&secret).to_bytes());
        Self { secret, public }
    }

    /// The half that travels.
    #[must_use]
    pub fn public(&self) -> X25519Public {
        self.public
    }

    /// The shared secret with the holder of `peer`.
    ///
    /// # Errors
    ///
    /// [`WeakKey`] when the result is all zero.
    pub fn agree(&self, peer: &X25519Public) -> Result<Secret<32>, WeakKey> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*peer.as_bytes()));
        if shared.was_contributory() { Ok(Secret::new(shared.to_bytes())) } else { Err(WeakKey) }
    }
}

/// What opens a pairing run: the passcode's 16 characters or an invitation's 16 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairingCode(Secret<16>);

impl PairingCode {
    /// The code that the display shows.
    #[must_use]
    pub fn of_passcode(passcode: &Passcode) -> Self {
        let mut code = Secret::new([0; 16]);
        code.expose_mut().copy_from_slice(passcode.expose().as_bytes());
        Self(code)
    }

    /// The code that an invitation carries.
    #[must_use]
    pub fn of_invitation(secret: &Secret<16>) -> Self {
        Self(secret.clone())
    }
}

/// What one pairing run derives (protocol section 7).
#[derive(Debug)]
pub struct PairingKeys {
    /// The transcript hash of M1 and M2.
    pub transcript: [u8; 64],
    /// Seals what the controller says.
    pub c2t: EnvelopeKey,
    /// Seals what the thing says.
    pub t2c: EnvelopeKey,
    /// The first master key, MK_0.
    pub master: MasterKey,
}

impl PairingKeys {
    /// Derives from M1 and M2 as they went over the wire, the X25519 result and the code.
    #[must_use]
    pub fn derive(hello: &[u8], accept: &[u8], shared: &Secret<32>, code: &PairingCode) -> Self {
        let transcript = transcript(hello, accept);
        let salt = Sha512::new().chain_update("SecT-v1/code\0").chain_update(code.0.expose()).finalize();
        let prk = extract(&salt, shared.expose());
        let th = [transcript.as_slice()];
        Self {
            transcript,
            c2t: EnvelopeKey::new(Kid::new(expand_public(&prk, "pair-kid-c2t", &th)), expand(&prk, "pair-c2t", &th)),
            t2c: EnvelopeKey::new(Kid::new(expand_public(&prk, "pair-kid-t2c", &th)), expand(&prk, "pair-t2c", &th)),
            master: MasterKey(expand(&prk, "master", &th)),
        }
    }
}

/// `SHA-512("SecT-v1/pair\0" || u32be(len M1) || M1 || u32be(len M2) || M2)`.
fn transcript(hello: &[u8], accept: &[u8]) -> [u8; 64] {
    let mut hash = Sha512::new_with_prefix("SecT-v1/pair\0");
    for message in [hello, accept] {
        let length = u32::try_from(message.len()).expect("a pairing message is far below 4 GiB");
        hash.update(length.to_be_bytes());
        hash.update(message);
    }
    hash.finalize().into()
}

/// The master key of one controller and epoch, MK_e: 64 bytes (SecT STEP 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterKey(Secret<64>);

/// Everything that the master key of one epoch gives (protocol section 5).
#[derive(Debug, Clone)]
pub struct EpochKeys {
    /// Seals what the controller says.
    pub c2t: EnvelopeKey,
    /// Seals what the thing says.
    pub t2c: EnvelopeKey,
    /// The key of the local server's TLS-PSK (SecT STEP 7).
    pub psk: TlsPsk,
    /// The identity under which it is used.
    pub psk_id: PskId,
}

impl MasterKey {
    /// Takes stored bytes back.
    #[must_use]
    pub fn from_stored(bytes: Secret<64>) -> Self {
        Self(bytes)
    }

    /// The bytes, for the store.
    #[must_use]
    pub fn expose(&self) -> &[u8; 64] {
        self.0.expose()
    }

    /// The keys of `epoch` between this thing and this controller.
    #[must_use]
    pub fn epoch(&self, thing: &ThingId, cid: &Cid, epoch: u32) -> EpochKeys {
        let prk = Hkdf::<Sha512>::from_prk(self.0.expose()).expect("64 bytes are one SHA-512 output");
        let (thing, cid, epoch) = (thing.characters(), cid.characters(), epoch.to_be_bytes());
        let ctx = [thing.as_slice(), cid.as_slice(), epoch.as_slice()];
        EpochKeys {
            c2t: EnvelopeKey::new(Kid::new(expand_public(&prk, "kid-c2t", &ctx)), expand(&prk, "c2t", &ctx)),
            t2c: EnvelopeKey::new(Kid::new(expand_public(&prk, "kid-t2c", &ctx)), expand(&prk, "t2c", &ctx)),
            psk: expand(&prk, "tls-psk", &ctx),
            psk_id: PskId::new(expand_public(&prk, "psk-id", &ctx)),
        }
    }

    /// The next epoch's master key, MK_{e+1}, from the key update's two messages as they went over
    /// the wire and the fresh X25519 result (protocol section 8).
    #[must_use]
    pub fn next(&self, init_jwe: &[u8], acc_jwe: &[u8], shared: &Secret<32>) -> Self {
        let prk = extract(self.0.expose(), shared.expose());
        let messages = Sha512::new().chain_update(init_jwe).chain_update(b".").chain_update(acc_jwe).finalize();
        Self(expand(&prk, "rekey", &[&messages]))
    }
}

/// The PSK of the identity `pair`, from the passcode on the display (protocol section 7).
#[must_use]
pub fn pairing_psk(passcode: &Passcode) -> TlsPsk {
    let prk = extract(b"SecT-v1/pair-psk", passcode.expose().as_bytes());
    expand(&prk, "tls-psk", &[])
}

/// The PSK of an invitation's identity (protocol section 9).
#[must_use]
pub fn invitation_psk(secret: &Secret<16>) -> TlsPsk {
    let prk = extract(b"SecT-v1/invite", secret.expose());
    expand(&prk, "tls-psk", &[])
}

/// The recovery key that a recovery code stands for, at one thing (protocol section 9):
/// `d = 1 + OS2IP(Expand(..., "p256", thing_id, 48)) mod (n - 1)`.
#[must_use]
pub fn recovery_key(code: &Secret<16>, thing: &ThingId) -> SigningKey {
    let prk = extract(b"SecT-v1/recovery", code.expose());
    let wide: Secret<48> = expand(&prk, "p256", &[&thing.characters()]);
    SigningKey::from_scalar(&recovery_scalar(&wide)).expect("1 <= d <= n - 1 is a valid scalar")
}

fn recovery_scalar(wide: &Secret<48>) -> Secret<32> {
    let order_minus_one = U384::from(&NistP256::ORDER.wrapping_sub(&U256::ONE));
    let modulus = NonZero::new(order_minus_one).expect("n - 1 is not zero");
    let mut d = U384::from_be_slice(wide.expose()).rem(&modulus).wrapping_add(&U384::ONE);
    let mut bytes = d.to_be_bytes();
    let mut scalar = Secret::new([0; 32]);
    scalar.expose_mut().copy_from_slice(&bytes.as_ref()[16..]);
    bytes.zeroize();
    d.zeroize();
    scalar
}

/// The password that one cloud server knows a controller by, which tells it nothing about Ctlr-P
/// or about another server's password (protocol section 10).
#[must_use]
pub fn cloud_password(password: &CtlrPassword, thing: &ThingId, server_ca: &SpkiHash) -> Secret<16> {
    let prk = extract(b"SecT-v1/cloud", password.expose().as_bytes());
    expand(&prk, "password", &[&thing.characters(), server_ca.as_bytes()])
}

/// The key of a backup, from what the passphrase was stretched to (protocol appendix A).
#[must_use]
pub fn backup_key(stretched: &Secret<32>) -> Secret<64> {
    let prk = extract(b"SecT-v1/backup", stretched.expose());
    expand(&prk, "backup", &[])
}

/// SHA-256 of a DER SubjectPublicKeyInfo.
#[must_use]
pub fn spki_hash(spki_der: &[u8]) -> SpkiHash {
    SpkiHash::new(Sha256::digest(spki_der).into())
}

/// HKDF-Extract, keyed for Expand at once; the raw key that comes with it is wiped.
fn extract(salt: &[u8], ikm: &[u8]) -> Hkdf<Sha512> {
    let (mut raw, prk) = Hkdf::<Sha512>::extract(Some(salt), ikm);
    raw.zeroize();
    prk
}

fn expand<const L: usize>(prk: &Hkdf<Sha512>, label: &str, ctx: &[&[u8]]) -> Secret<L> {
    let mut okm = Secret::new([0; L]);
    fill(prk, label, ctx, okm.expose_mut());
    okm
}

/// The same for what is not secret: key ids and PSK identities.
fn expand_public<const L: usize>(prk: &Hkdf<Sha512>, label: &str, ctx: &[&[u8]]) -> [u8; L] {
    let mut okm = [0; L];
    fill(prk, label, ctx, &mut okm);
    okm
}

fn fill(prk: &Hkdf<Sha512>, label: &str, ctx: &[&[u8]], okm: &mut [u8]) {
    let mut info = [[].as_slice(); 6];
    info[..3].copy_from_slice(&[b"SecT-v1/", label.as_bytes(), &[0]]);
    info[3..3 + ctx.len()].copy_from_slice(ctx);
    prk.expand_multi_info(&info, okm).expect("no key is longer than 255 hashes");
}
