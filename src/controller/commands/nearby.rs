//! A plug nearby, in its own network: joining that, and the link that the code on its display opens
//! (SecT STEP 1, 2).

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::Context;
use crate::controller::exit::{Exit, Failure};
use crate::controller::reach::{self, draw_client_id};
use crate::controller::secrets::Prompt;
use crate::mqtt::client::{Delivery, Destination, Link, LinkError, Step};
use crate::proto::keys::pairing_psk;
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::passcode::Passcode;
use crate::proto::secret::SecretString;
use crate::proto::topic::PAIR_T2C;
use crate::proto::wifi::Ssid;
use crate::radio::{JoinError, join_simulated};

/// Where a plug is in its own network (protocol section 7).
const ACCESS_POINT: &str = "192.168.4.1:8883";
/// How long each step of the link to a plug nearby may take.
const NEARBY: Duration = Duration::from_secs(10);

/// A plug's own network, as its display shows it.
pub(super) struct Nearby<'a> {
    /// Its name.
    pub(super) ssid: &'a Ssid,
    /// What opens it.
    pub(super) passcode: &'a Passcode,
    /// The socket of a simulated plug's radio, instead of this computer's own.
    pub(super) radio: Option<&'a Path>,
}

impl Nearby<'_> {
    /// Joins the network (STEP 1), or asks the person to; gives the plug's address there.
    pub(super) async fn join(&self, context: &Context<'_>) -> Result<SocketAddr, Failure> {
        let Self { ssid, passcode, radio } = self;
        let mut address = None;
        if let Some(socket) = radio {
            let passphrase = SecretString::new(passcode.expose().to_owned());
            let ip = join_simulated(socket, &ssid.to_string(), &passphrase).await.map_err(|error| match error {
                JoinError::WrongPassword => wrong_code(),
                JoinError::NotFound => Failure::new(Exit::NotFound, format!("there is no network called {ssid}"))
                    .next("read its name again from the display: it changes together with the code"),
                JoinError::NoRadio(_) | JoinError::NoAnswer => Failure::new(Exit::NotFound, error.to_string()),
            })?;
            context.printer.step(&format!("Joined {ssid} (STEP 1)."));
            address = Some(SocketAddr::new(ip, reach::PORT));
        } else if Prompt::new(context.printer).is_possible() {
            Prompt::new(context.printer).wait_for_enter(&format!(
                "Now let this computer join the Wi-Fi network {ssid} with the code as its password, then press Enter."
            ))?;
        }
        match (context.global.address.as_deref(), address) {
            (None, Some(address)) => Ok(address),
            (given, _) => {
                let found = reach::resolve(given.unwrap_or(ACCESS_POINT)).await?;
                found.into_iter().next().ok_or_else(|| Failure::new(Exit::NotFound, "the plug has no address"))
            }
        }
    }
}

/// Opens the link under the code's PSK (STEP 2).
pub(super) async fn open(address: SocketAddr, passcode: &Passcode) -> Result<Link, LinkError> {
    let destination = Destination {
        address,
        psk_identity: PAIR_IDENTITY.to_owned(),
        psk: pairing_psk(passcode),
        login: None,
        client_id: draw_client_id(),
    };
    let mut link = Link::open(&destination, NEARBY).await?;
    link.subscribe(PAIR_T2C, Delivery::AtLeastOnce, NEARBY).await?;
    Ok(link)
}

pub(super) fn wrong_code() -> Failure {
    Failure::new(Exit::Crypto, "the code on the display has changed, or was mistyped")
        .next("read it again: name and code change every ten minutes")
}

/// `port_was_assumed`: the address is a simulated radio's, which tells no port.
pub(super) fn of_link(error: &LinkError, port_was_assumed: bool) -> Failure {
    match error {
        LinkError::Unreachable { .. } if port_was_assumed => {
            Failure::new(Exit::NotFound, format!("the plug was not reached: {error}"))
                .next("is its local-server.port another than 8883? Give --address")
        }
        LinkError::KeyRefused => wrong_code(),
        LinkError::NotTheThing => Failure::new(Exit::Crypto, "what answers there is not a plug that shows this code")
            .next("is this computer in the plug's own network?"),
        LinkError::Unreachable { .. } | LinkError::TimedOut(Step::Reaching) => {
            Failure::new(Exit::NotFound, format!("the plug was not reached: {error}"))
                .next("is this computer in the network that the display names? Its password is the code")
        }
        LinkError::Closed | LinkError::Lost(_) => Failure::new(Exit::Other, "the plug ended the connection")
            .next("another computer may be pairing it; wait a minute, read the code again"),
        LinkError::TimedOut(_) => {
            Failure::new(Exit::Timeout, "the plug does not answer").next("stand closer to it and try again")
        }
        LinkError::LoginRefused(_) | LinkError::SubscriptionRefused => {
            Failure::new(Exit::Denied, format!("the plug does not want to be paired: {error}"))
                .next("only a plug whose display shows a code can be claimed")
        }
        LinkError::Setup(_) => Failure::new(Exit::Other, error.to_string()),
    }
}
