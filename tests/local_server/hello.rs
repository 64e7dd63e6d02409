//! A ClientHello by hand (RFC 8446 4.1.2, 4.2.11), for what no TLS library offers to say: several
//! external PSKs, PSK without Diffie-Hellman, early data.

use openssl::hash::{MessageDigest, hash};
use openssl::pkey::PKey;
use openssl::sign::Signer;

/// A pre-shared key that is offered, with the key that its binder is made with.
pub(crate) struct Offer<'a> {
    pub(crate) identity: &'a [u8],
    pub(crate) key: [u8; 32],
}

/// The record of a ClientHello that offers `offers` in their order.
pub(crate) fn client_hello(offers: &[Offer<'_>], modes: &[u8], early_data: bool) -> Vec<u8> {
    let share = PKey::generate_x25519().and_then(|key| key.raw_public_key()).expect("a key share");
    let mut extensions = Vec::new();
    let mut extend = |kind: u16, body: &[u8]| extensions.extend([&kind.to_be_bytes(), &vector(body, 2)[..]].concat());
    extend(43, &vector(&[3, 4], 1));
    extend(10, &vector(&[0, 29], 2));
    extend(13, &vector(&[4, 3, 8, 4], 2));
    extend(51, &vector(&[&[0, 29][..], &vector(&share, 2)].concat(), 2));
    extend(45, &vector(modes, 1));
    if early_data {
        extend(42, &[]);
    }
    let identities: Vec<u8> =
        offers.iter().flat_map(|offer| [vector(offer.identity, 2), vec![0; 4]].concat()).collect();
    let binders_size = 2 + 33 * offers.len();
    let identities = vector(&identities, 2);
    // RFC 8446 4.2.11: the last extension.
    extensions.extend(41_u16.to_be_bytes());
    extensions.extend(((identities.len() + binders_size) as u16).to_be_bytes());
    extensions.extend(&identities);
    let head = [&[3, 3][..], &[7; 32], &vector(&[9; 32], 1), &vector(&[0x13, 0x01], 2), &[1, 0]].concat();
    let extensions_size = extensions.len() + binders_size;
    let size = head.len() + 2 + extensions_size;
    let mut message = vec![1, 0, (size >> 8) as u8, size as u8];
    message.extend([head, (extensions_size as u16).to_be_bytes().to_vec(), extensions].concat());
    let transcript = hash(MessageDigest::sha256(), &message).expect("a hash");
    let binders: Vec<u8> = offers.iter().flat_map(|offer| vector(&binder(&offer.key, &transcript), 1)).collect();
    message.extend(vector(&binders, 2));
    [&[0x16, 3, 1][..], &vector(&message, 2)].concat()
}

/// RFC 8446 4.2.11.2 and 7.1.
fn binder(key: &[u8], transcript: &[u8]) -> Vec<u8> {
    let nothing = hash(MessageDigest::sha256(), b"").expect("a hash");
    let early_secret = hmac(&[0; 32], key);
    let binder_key = expand(&early_secret, b"tls13 ext binder", &nothing);
    let finished_key = expand(&binder_key, b"tls13 finished", b"");
    hmac(&finished_key, transcript)
}

fn expand(secret: &[u8], label: &[u8], context: &[u8]) -> Vec<u8> {
    hmac(secret, &[&[0, 32][..], &vector(label, 1), &vector(context, 1), &[1]].concat())
}

fn hmac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let key = PKey::hmac(key).expect("a key");
    Signer::new(MessageDigest::sha256(), &key).and_then(|mut signer| signer.sign_oneshot_to_vec(data)).expect("a MAC")
}

/// A vector of TLS: its length in `prefix` bytes, then its content.
fn vector(content: &[u8], prefix: usize) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    [&length[length.len() - prefix..], content].concat()
}
