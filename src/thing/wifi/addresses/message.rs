//! The messages of DHCP, as far as a plug reads and writes them (RFC 2131 section 2, RFC 2132).

use std::net::Ipv4Addr;

/// Bytes before the options.
const FIXED: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// What stations of the time of BOOTP expect at least.
const SHORTEST: usize = 300;

const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const ETHERNET: u8 = 1;

const OPTION_PAD: u8 = 0;
const OPTION_MASK: u8 = 1;
const OPTION_REQUESTED: u8 = 50;
const OPTION_LEASE: u8 = 51;
const OPTION_KIND: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_END: u8 = 255;

/// A station, by its radio's address.
pub(super) type Hardware = [u8; 6];

/// What a station asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// Who gives addresses here?
    Discover,
    /// This address, please.
    Request,
    /// Somebody else has the address that I was given.
    Decline,
    /// I have an address; what else is there?
    Inform,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// You may have this one.
    Offer = 2,
    /// It is yours.
    Ack = 5,
    /// It is not.
    Nak = 6,
}

/// A station's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) ask: Ask,
    pub(super) hardware: Hardware,
    /// The address that the station answers for already.
    pub(super) current: Option<Ipv4Addr>,
    /// The one that it would like.
    pub(super) requested: Option<Ipv4Addr>,
    /// Whom it asks, if it does not ask all.
    pub(super) server: Option<Ipv4Addr>,
    transaction: [u8; 4],
    flags: [u8; 2],
}

impl Question {
    /// Reads a message; `None` for one that is none, that a relay sent, or that wants no answer.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        let (fixed, rest) = message.split_at_checked(FIXED)?;
        let options = rest.strip_prefix(&COOKIE)?;
        let ethernet = fixed[..3] == [BOOT_REQUEST, ETHERNET, 6];
        let relayed = fixed[24..28] != [0; 4];
        if !ethernet || relayed {
            return None;
        }
        let ask = match option(options, OPTION_KIND)? {
            [1] => Ask::Discover,
            [3] => Ask::Request,
            [4] => Ask::Decline,
            [8] => Ask::Inform,
            _ => return None,
        };
        let address =
            |kind| option(options, kind).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Ipv4Addr::from);
        Some(Self {
            ask,
            hardware: fixed[28..34].try_into().ok()?,
            current: Some(Ipv4Addr::from(<[u8; 4]>::try_from(&fixed[12..16]).ok()?))
                .filter(|one| !one.is_unspecified()),
            requested: address(OPTION_REQUESTED),
            server: address(OPTION_SERVER),
            transaction: fixed[4..8].try_into().ok()?,
            flags: fixed[10..12].try_into().ok()?,
        })
    }

    /// Writes the answer of the server `own`: without `lease`, in seconds, no address is given.
    pub(super) fn reply(&self, answer: Answer, own: Ipv4Addr, given: Option<(Ipv4Addr, u32)>) -> Vec<u8> {
        let mut message = vec![0; FIXED];
        message[..3].copy_from_slice(&[BOOT_REPLY, ETHERNET, 6]);
        message[4..8].copy_from_slice(&self.transaction);
        message[10..12].copy_from_slice(&self.flags);
        message[28..34].copy_from_slice(&self.hardware);
        if answer == Answer::Ack
            && let Some(current) = self.current
        {
            message[12..16].copy_from_slice(&current.octets());
        }
        if let Some((address, _)) = given {
            message[16..20].copy_from_slice(&address.octets());
        }
        message.extend(COOKIE);
        message.extend([OPTION_KIND, 1, answer as u8]);
        message.extend([OPTION_SERVER, 4]);
        message.extend(own.octets());
        if let Some((_, lease)) = given {
            message.extend([OPTION_LEASE, 4]);
            message.extend(lease.to_be_bytes());
        }
        if answer != Answer::Nak {
            message.extend([OPTION_MASK, 4, 255, 255, 255, 0]);
        }
        message.push(OPTION_END);
        message.resize(message.len().max(SHORTEST), OPTION_PAD);
        message
    }
}

/// What the first option of this kind says.
fn option(mut options: &[u8], wanted: u8) -> Option<&[u8]> {
    loop {
        let (&kind, rest) = options.split_first()?;
        match kind {
            OPTION_PAD => options = rest,
            OPTION_END => return None,
            _ => {
                let (&length, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked(length.into())?;
                if kind == wanted {
                    return Some(value);
                }
                options = rest;
            }
        }
    }
}
