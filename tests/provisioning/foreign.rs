//! Certificates that must not count, made by another tool, and the reason for each.

use std::fs;

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use openssl::x509::{X509, X509Builder, X509Extension, X509Name, X509NameBuilder};
use serde_json::json;

use crate::ID;
use crate::factory::{Factory, text};

/// A certificate as someone else's tool would make it, by default without a fault.
struct Foreign {
    key: PKey<Private>,
    names: Vec<(&'static str, &'static str)>,
    end: &'static str,
    is_authority: bool,
    usage: KeyUsage,
    uses: Vec<&'static str>,
    digest: MessageDigest,
    surprise: bool,
}

fn curve(nid: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(nid).expect("a curve");
    PKey::from_ec_key(EcKey::generate(&group).expect("a key")).expect("a key")
}

fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).expect("a key")).expect("a key")
}

impl Foreign {
    fn faultless() -> Self {
        let mut usage = KeyUsage::new();
        usage.critical().digital_signature();
        Self {
            key: curve(Nid::X9_62_PRIME256V1),
            names: vec![("CN", ID)],
            end: "99991231235959Z",
            is_authority: false,
            usage,
            uses: vec!["clientAuth"],
            digest: MessageDigest::sha256(),
            surprise: false,
        }
    }

    fn sign(&self, issuer: &X509, key: &PKey<Private>) -> Vec<u8> {
        let mut subject = X509NameBuilder::new().expect("a name");
        for (field, value) in &self.names {
            subject.append_entry_by_text(field, value).expect("a name");
        }
        let subject: X509Name = subject.build();
        let mut builder = X509Builder::new().expect("a builder");
        builder.set_version(2).expect("version 3");
        builder
            .set_serial_number(&BigNum::from_u32(4711).expect("a number").to_asn1_integer().expect("a number"))
            .expect("set");
        builder.set_subject_name(&subject).expect("set");
        builder.set_issuer_name(issuer.subject_name()).expect("set");
        builder.set_pubkey(&self.key).expect("set");
        builder.set_not_before(&Asn1Time::from_str_x509("20260101000000Z").expect("a time")).expect("set");
        builder.set_not_after(&Asn1Time::from_str_x509(self.end).expect("a time")).expect("set");
        let mut constraints = BasicConstraints::new();
        constraints.critical();
        if self.is_authority {
            constraints.ca();
        }
        let mut uses = ExtendedKeyUsage::new();
        for one in &self.uses {
            uses.other(one);
        }
        builder.append_extension(constraints.build().expect("built")).expect("set");
        builder.append_extension(self.usage.build().expect("built")).expect("set");
        builder.append_extension(uses.build().expect("built")).expect("set");
        if self.surprise {
            let name = Asn1Object::from_str("2.5.29.54").expect("an object id");
            let value = Asn1OctetString::new_from_bytes(&[2, 1, 0]).expect("bytes");
            let extension = X509Extension::new_from_der(&name, true, &value).expect("an extension");
            builder.append_extension(extension).expect("set");
        }
        builder.sign(key, self.digest).expect("signed");
        builder.build().to_pem().expect("PEM")
    }
}

#[test]
fn weak_foreign_and_nameless_certificates_are_refused_with_the_reason() {
    let factory = Factory::new();
    factory.must(&["authority", "--out", "other", "--name", "Example Plugs"]);
    let (issuer, own) = (factory.certificate("manufacturer/authority.crt"), factory.key("manufacturer/authority.key"));
    let other = factory.key("other/authority.key");
    let but = |change: &dyn Fn(&mut Foreign)| {
        let mut made = Foreign::faultless();
        change(&mut made);
        made.sign(&issuer, &own)
    };
    let both = |usage: &mut KeyUsage| {
        usage.critical().digital_signature().key_agreement();
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (but(&|made| made.key = rsa(1024)), "weak or foreign key: RSA of 1024 bits; only P-256 is taken"),
        (but(&|made| made.key = rsa(2048)), "weak or foreign key: RSA of 2048 bits; only P-256 is taken"),
        (
            but(&|made| made.key = curve(Nid::SECP384R1)),
            "weak or foreign key: elliptic curve 1.3.132.0.34; only P-256 is taken",
        ),
        (
            but(&|made| made.key = curve(Nid::SECP256K1)),
            "weak or foreign key: elliptic curve 1.3.132.0.10; only P-256 is taken",
        ),
        (
            but(&|made| made.key = PKey::generate_ed25519().expect("a key")),
            "weak or foreign key: algorithm 1.3.101.112; only P-256 is taken",
        ),
        (
            but(&|made| made.digest = MessageDigest::sha1()),
            "weak or foreign signature algorithm 1.2.840.10045.4.1; only ECDSA with SHA-256 is taken",
        ),
        // The same name is not the same authority.
        (Foreign::faultless().sign(&issuer, &other), "signed by another authority"),
        (Foreign::faultless().sign(&factory.certificate("servers/authority.crt"), &own), "signed by another authority"),
        (but(&|made| made.names.clear()), "its subject is not one common name"),
        (but(&|made| made.names = vec![("O", ID)]), "its subject is not one common name"),
        (but(&|made| made.names.push(("CN", "fedcba9876543210"))), "its subject is not one common name"),
        (but(&|made| made.names = vec![("CN", "0123456789ABCDEF")]), "its common name is no thing id"),
        (but(&|made| made.names = vec![("CN", "lamp")]), "its common name is no thing id"),
        (but(&|made| made.is_authority = true), "it is an authority's certificate"),
        (
            but(&|made| both(&mut made.usage)),
            "its key usage does not fit: it must be for client authentication and nothing else",
        ),
        (
            but(&|made| made.uses = vec!["serverAuth"]),
            "its key usage does not fit: it must be for client authentication and nothing else",
        ),
        (
            but(&|made| made.uses = vec!["clientAuth", "serverAuth"]),
            "its key usage does not fit: it must be for client authentication and nothing else",
        ),
        (but(&|made| made.surprise = true), "it has the unknown critical extension 2.5.29.54"),
        (but(&|made| made.end = "20360101000000Z"), "it ends, and a thing's certificate must not"),
        (but(&|made| made.end = "99981231235959Z"), "it ends, and a thing's certificate must not"),
        (factory.read("manufacturer/authority.crt"), "it is an authority's certificate"),
        (factory.read("manufacturer/authority.key"), "not a certificate"),
        (b"lamp\n".to_vec(), "not a certificate"),
        (Vec::new(), "not a certificate"),
    ];
    fs::write(factory.path("faultless.crt"), Foreign::faultless().sign(&issuer, &own)).expect("written");
    assert_eq!(
        factory.json(&["check", "--authority", "manufacturer", "faultless.crt"]),
        [json!({"file": "faultless.crt", "ok": true, "id": ID})],
        "so that each of the others is refused for its one fault"
    );
    let mut files = vec!["faultless.crt".to_owned()];
    let mut expected = vec![format!("faultless.crt: ok, {ID}")];
    for (number, (pem, why)) in cases.iter().enumerate() {
        let file = format!("{number}.crt");
        fs::write(factory.path(&file), pem).expect("written");
        expected.push(format!("{file}: refused: {why}"));
        files.push(file);
    }
    let arguments: Vec<&str> =
        ["check", "--authority", "manufacturer"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let output = factory.provision(&arguments, "");
    assert_eq!(text(&output.stdout).lines().collect::<Vec<_>>(), expected);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), format!("sect-cloud: {0} of {1} refused\n", cases.len(), files.len()));
}
