//! What a CONNECT asks for, in either version.

use mqtt_protocol_core::mqtt::packet::{Property, v3_1_1, v5_0};

use super::policy::ConnectRequest;
use super::reply::Version;

/// A CONNECT without the differences between the versions.
pub(super) struct Login<'a> {
    pub(super) version: Version,
    pub(super) request: ConnectRequest<'a>,
    pub(super) clean: bool,
    pub(super) has_will: bool,
    pub(super) has_authentication_method: bool,
    pub(super) wants_expiry: bool,
    pub(super) keep_alive_s: u16,
    pub(super) packet_bytes: usize,
    pub(super) receive_maximum: u16,
}

impl<'a> Login<'a> {
    pub(super) fn of_v3(connect: &'a v3_1_1::Connect) -> Self {
        Self {
            version: Version::V3,
            request: ConnectRequest {
                client_id: connect.client_id(),
                user: connect.user_name(),
                password: connect.password(),
            },
            clean: connect.clean_session(),
            has_will: connect.will_flag(),
            has_authentication_method: false,
            wants_expiry: false,
            keep_alive_s: connect.keep_alive(),
            packet_bytes: usize::MAX,
            receive_maximum: u16::MAX,
        }
    }

    pub(super) fn of_v5(connect: &'a v5_0::Connect) -> Self {
        let mut login = Self {
            version: Version::V5,
            request: ConnectRequest {
                client_id: connect.client_id(),
                user: connect.user_name(),
                password: connect.password(),
            },
            clean: connect.clean_start(),
            has_will: connect.will_flag(),
            has_authentication_method: false,
            wants_expiry: false,
            keep_alive_s: connect.keep_alive(),
            packet_bytes: usize::MAX,
            receive_maximum: u16::MAX,
        };
        for property in connect.props() {
            match property {
                Property::ReceiveMaximum(maximum) => login.receive_maximum = maximum.val(),
                Property::MaximumPacketSize(size) => {
                    login.packet_bytes = usize::try_from(size.val()).unwrap_or(usize::MAX);
                }
                Property::SessionExpiryInterval(expiry) => login.wants_expiry = expiry.val() > 0,
                Property::AuthenticationMethod(_) => login.has_authentication_method = true,
                _ => {}
            }
        }
        login
    }
}
