//! What a client that no library would be says: packets and strings of MQTT, and TLS of another age.

#[path = "packets.rs"]
mod packets;

use openssl::ssl::{SslContextBuilder, SslVersion};

pub(crate) use self::packets::{packet, string};

/// The right key in the wrong protocol.
pub(crate) fn tls12_only(context: &mut SslContextBuilder) {
    context.set_max_proto_version(Some(SslVersion::TLS1_2)).expect("a version");
    context.set_cipher_list("PSK:ECDHE-PSK:ALL:@SECLEVEL=0").expect("a list");
}
