//! What OpenSSL makes of a certificate.

use openssl::asn1::Asn1Time;
use openssl::sha::sha256;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509PurposeId, X509StoreContext, X509VerifyResult};

use crate::factory::text;

/// Whom and what a verifier expects.
pub(crate) struct Expected<'a> {
    pub(crate) purpose: X509PurposeId,
    pub(crate) host: Option<&'a str>,
}

pub(crate) const A_CLIENT: Expected<'_> = Expected { purpose: X509PurposeId::SSL_CLIENT, host: None };

pub(crate) fn a_server(host: &str) -> Expected<'_> {
    Expected { purpose: X509PurposeId::SSL_SERVER, host: Some(host) }
}

/// What OpenSSL says of a certificate under one trusted authority.
pub(crate) fn verify(leaf: &X509, authority: &X509, expected: &Expected<'_>) -> Result<(), X509VerifyResult> {
    let mut store = X509StoreBuilder::new().expect("a store");
    store.add_cert(authority.clone()).expect("trusted");
    let mut param = X509VerifyParam::new().expect("parameters");
    param.set_purpose(expected.purpose).expect("a purpose");
    param.set_flags(X509VerifyFlags::X509_STRICT).expect("flags");
    match expected.host.map(|host| (host, host.parse())) {
        Some((_, Ok(address))) => param.set_ip(address).expect("an address"),
        Some((name, Err(_))) => param.set_host(name).expect("a name"),
        None => {}
    }
    store.set_param(&param).expect("parameters");
    let store: X509Store = store.build();
    let mut context = X509StoreContext::new().expect("a context");
    let untrusted = Stack::new().expect("nothing");
    context
        .init(&store, leaf, &untrusted, |context| {
            let valid = context.verify_cert()?;
            Ok(if valid { Ok(()) } else { Err(context.error()) })
        })
        .expect("a verdict")
}

pub(crate) fn common_names(certificate: &X509) -> Vec<String> {
    let names = certificate.subject_name().entries();
    names
        .map(|entry| format!("{}={}", entry.object().nid().short_name().expect("known"), text(entry.data().as_slice())))
        .collect()
}

pub(crate) fn described(certificate: &X509) -> String {
    String::from_utf8(certificate.to_text().expect("text")).expect("UTF-8")
}

/// What follows an extension's name in OpenSSL's description.
pub(crate) fn extension(certificate: &X509, name: &str) -> String {
    let text = described(certificate);
    let (_, after) = text.split_once(&format!("X509v3 {name}:")).unwrap_or_else(|| panic!("no {name} in {text}"));
    let mut lines = after.lines();
    let critical = lines.next().expect("the line").trim().to_owned();
    format!("{critical} {}", lines.next().expect("a value").trim()).trim().to_owned()
}

/// What OpenSSL makes of the pin: SHA-256 of the SubjectPublicKeyInfo, base64url.
pub(crate) fn pin_of(certificate: &X509) -> String {
    let spki = certificate.public_key().expect("a key").public_key_to_der().expect("DER");
    data_encoding::BASE64URL_NOPAD.encode(&sha256(&spki))
}

pub(crate) fn no_end() -> Asn1Time {
    Asn1Time::from_str_x509("99991231235959Z").expect("a time")
}
