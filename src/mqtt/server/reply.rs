//! What the server says, in the words of the client's MQTT version.
//!
//! Each function returns `None` where the version has no such packet or the library refuses to build
//! it; the session then ends without a word.

use mqtt_protocol_core::mqtt::packet::{
    AssignedClientIdentifier, MaximumQos, Packet, Properties, Property, Qos as WireQos, RetainAvailable,
    ServerKeepAlive, SessionExpiryInterval, SharedSubscriptionAvailable, SubscriptionIdentifierAvailable,
    WildcardSubscriptionAvailable, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, ConnectReturnCode, DisconnectReasonCode, PubackReasonCode, SubackReasonCode, SubackReturnCode,
    UnsubackReasonCode,
};

use super::session::CloseReason;
use super::{Qos, Refusal};

/// The MQTT version that the client's CONNECT chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.0.
    V5,
}

/// What an accepted 5.0 client is told beyond "yes".
#[derive(Default)]
pub(super) struct Terms {
    /// The name that the server gave to a client without one.
    pub(super) assigned_client_id: Option<String>,
    /// The keep-alive in seconds, if it is not the one asked for.
    pub(super) keep_alive_s: Option<u16>,
    /// The client asked for a session that outlives its connection.
    pub(super) wanted_expiry: bool,
}

pub(super) fn connack(version: Version, terms: Terms) -> Option<Packet> {
    match version {
        Version::V3 => {
            let connack = v3_1_1::Connack::builder().session_present(false).return_code(ConnectReturnCode::Accepted);
            Some(connack.build().ok()?.into())
        }
        Version::V5 => {
            // MQTT 5.0 3.2.2.3. The library adds packet size and receive maximum.
            let mut properties: Properties = vec![
                Property::MaximumQos(MaximumQos::new(1).ok()?),
                Property::RetainAvailable(RetainAvailable::new(0).ok()?),
                Property::WildcardSubscriptionAvailable(WildcardSubscriptionAvailable::new(0).ok()?),
                Property::SubscriptionIdentifierAvailable(SubscriptionIdentifierAvailable::new(0).ok()?),
                Property::SharedSubscriptionAvailable(SharedSubscriptionAvailable::new(0).ok()?),
            ];
            if terms.wanted_expiry {
                properties.push(Property::SessionExpiryInterval(SessionExpiryInterval::new(0).ok()?));
            }
            if let Some(seconds) = terms.keep_alive_s {
                properties.push(Property::ServerKeepAlive(ServerKeepAlive::new(seconds).ok()?));
            }
            if let Some(client_id) = terms.assigned_client_id {
                properties.push(Property::AssignedClientIdentifier(AssignedClientIdentifier::new(client_id).ok()?));
            }
            let connack = v5_0::Connack::builder()
                .session_present(false)
                .reason_code(ConnectReasonCode::Success)
                .props(properties);
            Some(connack.build().ok()?.into())
        }
    }
}

pub(super) fn refusal(version: Version, refusal: Refusal) -> Option<Packet> {
    match version {
        Version::V3 => {
            let code = match refusal {
                Refusal::BadCredentials => ConnectReturnCode::BadUserNameOrPassword,
                Refusal::NotAuthorized => ConnectReturnCode::NotAuthorized,
                Refusal::ClientId => ConnectReturnCode::IdentifierRejected,
                Refusal::Busy => ConnectReturnCode::ServerUnavailable,
            };
            Some(v3_1_1::Connack::builder().session_present(false).return_code(code).build().ok()?.into())
        }
        Version::V5 => {
            let code = match refusal {
                Refusal::BadCredentials => ConnectReasonCode::BadUserNameOrPassword,
                Refusal::NotAuthorized => ConnectReasonCode::NotAuthorized,
                Refusal::ClientId => ConnectReasonCode::ClientIdentifierNotValid,
                Refusal::Busy => ConnectReasonCode::QuotaExceeded,
            };
            Some(v5_0::Connack::builder().session_present(false).reason_code(code).build().ok()?.into())
        }
    }
}

/// `granted` holds one entry for each topic asked for, `None` where it is refused.
pub(super) fn suback(version: Version, packet_id: u16, granted: &[Option<Qos>]) -> Option<Packet> {
    match version {
        Version::V3 => {
            let code = |qos: &Option<Qos>| match qos {
                Some(Qos::AtMostOnce) => SubackReturnCode::SuccessMaximumQos0,
                Some(Qos::AtLeastOnce) => SubackReturnCode::SuccessMaximumQos1,
                None => SubackReturnCode::Failure,
            };
            let codes = granted.iter().map(code).collect();
            Some(v3_1_1::Suback::builder().packet_id(packet_id).return_codes(codes).build().ok()?.into())
        }
        Version::V5 => {
            let code = |qos: &Option<Qos>| match qos {
                Some(Qos::AtMostOnce) => SubackReasonCode::GrantedQos0,
                Some(Qos::AtLeastOnce) => SubackReasonCode::GrantedQos1,
                None => SubackReasonCode::NotAuthorized,
            };
            let codes = granted.iter().map(code).collect();
            Some(v5_0::Suback::builder().packet_id(packet_id).reason_codes(codes).build().ok()?.into())
        }
    }
}

/// `existed` says for each topic whether there was a subscription.
pub(super) fn unsuback(version: Version, packet_id: u16, existed: &[bool]) -> Option<Packet> {
    match version {
        Version::V3 => Some(v3_1_1::Unsuback::builder().packet_id(packet_id).build().ok()?.into()),
        Version::V5 => {
            let code = |existed: &bool| {
                if *existed { UnsubackReasonCode::Success } else { UnsubackReasonCode::NoSubscriptionExisted }
            };
            let codes = existed.iter().map(code).collect();
            Some(v5_0::Unsuback::builder().packet_id(packet_id).reason_codes(codes).build().ok()?.into())
        }
    }
}

/// MQTT 3.1.1 has no "no": [MQTT-3.3.5-2] leaves a positive answer or the end of the connection, and a
/// dropped message does not deserve the latter.
pub(super) fn puback(version: Version, packet_id: u16, allowed: bool) -> Option<Packet> {
    match version {
        Version::V3 => Some(v3_1_1::Puback::builder().packet_id(packet_id).build().ok()?.into()),
        Version::V5 if allowed => Some(v5_0::Puback::builder().packet_id(packet_id).build().ok()?.into()),
        Version::V5 => {
            let puback = v5_0::Puback::builder().packet_id(packet_id).reason_code(PubackReasonCode::NotAuthorized);
            Some(puback.build().ok()?.into())
        }
    }
}

pub(super) fn pingresp(version: Version) -> Packet {
    match version {
        Version::V3 => v3_1_1::Pingresp::new().into(),
        Version::V5 => v5_0::Pingresp::new().into(),
    }
}

pub(super) fn publish(version: Version, packet_id: u16, topic: &str, payload: &[u8]) -> Option<Packet> {
    match version {
        Version::V3 => {
            let publish = v3_1_1::Publish::builder().topic_name(topic).ok()?.qos(WireQos::AtLeastOnce);
            Some(publish.packet_id(packet_id).payload(payload).build().ok()?.into())
        }
        Version::V5 => {
            let publish = v5_0::Publish::builder().topic_name(topic).ok()?.qos(WireQos::AtLeastOnce);
            Some(publish.packet_id(packet_id).payload(payload).build().ok()?.into())
        }
    }
}

/// The last word to a 5.0 client; 3.1.1 servers hang up in silence.
pub(super) fn disconnect(version: Version, reason: CloseReason) -> Option<Packet> {
    let code = match reason {
        CloseReason::Ended => DisconnectReasonCode::AdministrativeAction,
        CloseReason::TakenOver => DisconnectReasonCode::SessionTakenOver,
        CloseReason::KeepAlive => DisconnectReasonCode::KeepAliveTimeout,
        CloseReason::Retained => DisconnectReasonCode::RetainNotSupported,
        CloseReason::ExactlyOnce => DisconnectReasonCode::QosNotSupported,
        CloseReason::Protocol => DisconnectReasonCode::ProtocolError,
        CloseReason::TooLarge => DisconnectReasonCode::PacketTooLarge,
        CloseReason::ByClient
        | CloseReason::NoConnect
        | CloseReason::NotConnect
        | CloseReason::Refused(_)
        | CloseReason::SlowReader => return None,
    };
    match version {
        Version::V3 => None,
        Version::V5 => Some(v5_0::Disconnect::builder().reason_code(code).build().ok()?.into()),
    }
}
