//! The primitives against Project Wycheproof: forged tags, twisted points, signatures out of range.
//!
//! Each set's size stands here, so that a set that shrinks or is skipped fails.

use hkdf::Hkdf;
use sect::proto::aead;
use sect::proto::id::{Signature, X25519Public};
use sect::proto::keys::{Ephemeral, WeakKey};
use sect::proto::secret::Secret;
use sect::proto::signature::Spki;
use sha2::Sha512;
use wycheproof::TestResult;

/// What became of a set's vectors.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    held: usize,
    refused: usize,
}

impl Count {
    fn add(&mut self, held: bool) {
        if held {
            self.held += 1;
        } else {
            self.refused += 1;
        }
    }
}

#[test]
fn a256cbc_hs512_opens_what_is_authentic_and_nothing_else() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::Aes256CbcHmacSha512).expect("the set");
    let mut count = Count::default();
    for group in &set.test_groups {
        for test in &group.tests {
            let key = Secret::new(test.key.as_slice().try_into().expect("64 bytes"));
            let opened = open(&key, &test.nonce, &test.aad, &test.ct, &test.tag);
            match test.result {
                TestResult::Valid => {
                    assert_eq!(opened.as_deref(), Some(test.pt.as_slice()), "{}: {}", test.tc_id, test.comment);
                    let iv = test.nonce.as_slice().try_into().expect("16 bytes");
                    let mut buffer = test.pt.to_vec();
                    buffer.resize(aead::ciphertext_bytes(test.pt.len()), 0);
                    let tag = aead::Key::new(&key).seal(iv, &test.aad, &mut buffer, test.pt.len());
                    assert_eq!((buffer.as_slice(), tag.as_slice()), (test.ct.as_slice(), test.tag.as_slice()));
                }
                TestResult::Invalid => assert_eq!(opened, None, "{}: {}", test.tc_id, test.comment),
                TestResult::Acceptable => panic!("{}: neither right nor wrong", test.tc_id),
            }
            count.add(opened.is_some());
        }
    }
    assert_eq!(count, Count { held: 67, refused: 27 });
    assert_eq!(set.number_of_tests, 94);
}

/// Opens as the envelope does, where IV and tag have the lengths that they must have.
fn open(key: &Secret<64>, iv: &[u8], aad: &[u8], ciphertext: &[u8], tag: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = ciphertext.to_vec();
    aead::Key::new(key).open(iv.try_into().ok()?, aad, &mut buffer, tag.try_into().ok()?).ok().map(<[u8]>::to_vec)
}

#[test]
fn x25519_agrees_and_refuses_an_all_zero_result() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).expect("the set");
    let mut count = Count::default();
    for group in &set.test_groups {
        for test in &group.tests {
            let own = Ephemeral::from_secret(&Secret::new(test.private_key.as_slice().try_into().expect("32 bytes")));
            let peer = X25519Public::new(test.public_key.as_slice().try_into().expect("32 bytes"));
            let expected: [u8; 32] = test.shared_secret.as_slice().try_into().expect("32 bytes");
            // Points of the twist and non-canonical ones are "acceptable": RFC 7748 section 5 computes with them.
            let expected = if expected == [0; 32] { Err(WeakKey) } else { Ok(Secret::new(expected)) };
            assert_eq!(own.agree(&peer), expected, "{}: {}", test.tc_id, test.comment);
            count.add(expected.is_ok());
        }
    }
    assert_eq!(count, Count { held: 487, refused: 31 });
    assert_eq!(set.number_of_tests, 518);
}

#[test]
fn hkdf_sha512_derives() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha512).expect("the set");
    let mut count = Count::default();
    for group in &set.test_groups {
        for test in &group.tests {
            let (prk, _) = Hkdf::<Sha512>::extract(Some(&test.salt), &test.ikm);
            // As the key schedule does: from a stored key, the info in pieces.
            let expander = Hkdf::<Sha512>::from_prk(&prk).expect("one SHA-512 output");
            let (start, end) = test.info.split_at(test.info.len() / 2);
            let mut okm = vec![0; test.size];
            let expanded = expander.expand_multi_info(&[start, &[], end], &mut okm).is_ok();
            match test.result {
                TestResult::Valid => assert_eq!(okm, test.okm.as_slice(), "{}: {}", test.tc_id, test.comment),
                TestResult::Invalid => assert!(!expanded, "{}: {}", test.tc_id, test.comment),
                TestResult::Acceptable => panic!("{}: neither right nor wrong", test.tc_id),
            }
            count.add(expanded);
        }
    }
    assert_eq!(count, Count { held: 80, refused: 3 });
    assert_eq!(set.number_of_tests, 83);
}

#[test]
fn ecdsa_p256_verifies_fixed_size_signatures_and_no_forgery() {
    let set =
        wycheproof::ecdsa::TestSet::load(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256P1363).expect("the set");
    let mut count = Count::default();
    for group in &set.test_groups {
        let key = Spki::from_der(&group.der).expect("a P-256 key");
        assert_eq!(key.as_der().as_slice(), group.der.as_slice());
        for test in &group.tests {
            let held = <[u8; 64]>::try_from(test.sig.as_slice())
                .is_ok_and(|signature| key.verify("", &test.msg, &Signature::new(signature)).is_ok());
            let expected = match test.result {
                TestResult::Valid => true,
                TestResult::Invalid => false,
                TestResult::Acceptable => panic!("{}: neither right nor wrong", test.tc_id),
            };
            assert_eq!(held, expected, "{}: {}", test.tc_id, test.comment);
            count.add(held);
        }
    }
    assert_eq!(count, Count { held: 173, refused: 89 });
    assert_eq!(set.number_of_tests, 262);
}
