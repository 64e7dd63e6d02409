//! The way to a thing through a cloud server (SecT STEP 14, 15): which the thing named when it was bound,
//! with a password that only this one server knows.

use std::time::Duration;

use super::exit::{Exit, Failure};
use super::reach::draw_client_id;
use crate::mqtt::client::{CheckDates, CloudDestination, CloudError, CloudLogin, Delivery, Link, LinkError, Step};
use crate::proto::pairing::binding::Binding;
use crate::proto::pairing::message::CloudServer;
use crate::proto::registration::cloud_password;
use crate::proto::topic::TToken;

/// Seconds after which an idle link shows that it is alive: home routers forget a quiet connection.
const KEEP_ALIVE_SECONDS: u16 = 45;

/// What opens a link to a cloud server of a bound thing.
#[must_use]
pub fn destination(binding: &Binding, server: &CloudServer) -> CloudDestination {
    CloudDestination {
        host: server.host.clone(),
        port: server.port,
        pin: server.pin,
        login: CloudLogin::Password {
            user: binding.credentials.user.expose().to_owned(),
            password: cloud_password(&binding.credentials, &binding.thing, &server.pin),
        },
        client_id: draw_client_id(),
        dates: CheckDates::Yes,
        keep_alive_seconds: KEEP_ALIVE_SECONDS,
    }
}

/// Opens a link with whichever login the server knows by now, and subscribes to what the thing says to this
/// controller; gives the topic too. Each step may take `patience`.
///
/// # Errors
///
/// [`CloudError`]; a refused or silent subscription counts as a refused or silent login.
pub async fn open(binding: &Binding, server: &CloudServer, patience: Duration) -> Result<(Link, TToken), CloudError> {
    if let Some(next) = binding.next.clone() {
        match open_one(&binding.clone().with_topic(next), server, patience).await {
            Err(CloudError::LoginRefused(_)) => {}
            opened => return opened,
        }
    }
    open_one(binding, server, patience).await
}

async fn open_one(binding: &Binding, server: &CloudServer, patience: Duration) -> Result<(Link, TToken), CloudError> {
    let mut link = Link::open_cloud(&destination(binding, server), patience).await?;
    link.subscribe(&binding.topic.t2c(), Delivery::AtMostOnce, patience).await.map_err(|error| match error {
        LinkError::SubscriptionRefused => CloudError::LoginRefused("not for this topic"),
        LinkError::TimedOut(step) => CloudError::TimedOut(step),
        other => CloudError::Closed { during: Step::Subscription, reason: other.to_string() },
    })?;
    Ok((link, binding.topic.clone()))
}

/// Where a cloud server is, for people.
#[must_use]
pub fn place(server: &CloudServer) -> String {
    format!("{}:{}", server.host, server.port)
}

/// What it means that there is no link to a cloud server, and what to do.
#[must_use]
pub fn failure(server: &CloudServer, error: &CloudError) -> Failure {
    let host = &server.host;
    let said = |exit, next: &str| Failure::new(exit, format!("{host}: {error}")).next(next);
    match error {
        CloudError::Dns { .. } | CloudError::TimedOut(Step::Lookup) => {
            said(Exit::NotFound, "is this computer on the Internet, and is that still the server's name?")
        }
        CloudError::Unreachable { .. } | CloudError::TimedOut(Step::Reaching) => said(
            Exit::NotFound,
            "is the server running, and does a firewall here let its port through? Who runs it can tell",
        ),
        CloudError::NotTls => said(Exit::Crypto, "this network may want you to log in first, in a browser"),
        CloudError::TlsVersion => said(Exit::Crypto, "the server, or something on the way to it, needs an update"),
        CloudError::WrongAuthority => said(
            Exit::Crypto,
            "somebody may sit between you and it, or it was set up anew: who runs it can tell; it got no password",
        ),
        CloudError::WrongName(_) | CloudError::WrongPurpose => {
            said(Exit::Crypto, "who runs the server must give it the right certificate; it got no password")
        }
        CloudError::Expired => {
            said(Exit::Crypto, "is this computer's date right? If so, who runs the server must renew its certificate")
        }
        CloudError::NotYetValid => said(Exit::Crypto, "is this computer's date right?"),
        CloudError::Handshake(_) => said(Exit::Crypto, "who runs the server can see why in its log"),
        CloudError::LoginRefused(_) | CloudError::CertificateRefused(_) => said(
            Exit::Denied,
            "were you removed from the plug's users, or has the plug not been online since you were added?",
        ),
        CloudError::TimedOut(_) | CloudError::Closed { .. } => said(Exit::Timeout, "try again in a minute"),
        CloudError::Setup(_) => said(Exit::Other, "pair the plug again: what it said about its server does not do"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::keyring::testing::entry;
    use crate::proto::id::SpkiHash;

    fn server(pin: u8) -> CloudServer {
        CloudServer { host: "cloud.example".to_owned(), port: 8884, pin: SpkiHash::new([pin; 32]) }
    }

    #[test]
    fn each_server_gets_its_own_password_and_never_that_of_the_home_network() {
        let binding = entry("Kitchen", 1).binding;
        let password = |pin| match destination(&binding, &server(pin)).login {
            CloudLogin::Password { user, password } => {
                assert_eq!(user, binding.credentials.user.expose());
                password.expose().to_owned()
            }
            CloudLogin::Certificate(_) => panic!("a controller has none"),
        };
        assert_ne!(password(1), password(2));
        assert!(![1, 2].map(password).iter().any(|password| password == binding.credentials.password.expose()));
    }

    #[test]
    fn each_failure_has_its_exit_code_and_a_next_step() {
        for (error, exit) in [
            (CloudError::TimedOut(Step::Lookup), Exit::NotFound),
            (CloudError::TimedOut(Step::Reaching), Exit::NotFound),
            (CloudError::WrongAuthority, Exit::Crypto),
            (CloudError::WrongName("cloud.example".to_owned()), Exit::Crypto),
            (CloudError::Expired, Exit::Crypto),
            (CloudError::TlsVersion, Exit::Crypto),
            (CloudError::LoginRefused("not authorized"), Exit::Denied),
            (CloudError::TimedOut(Step::Login), Exit::Timeout),
        ] {
            let failure = failure(&server(1), &error);
            assert_eq!(failure.exit, exit, "{failure:?}");
            assert!(failure.message.starts_with("cloud.example: ") && failure.next.is_some(), "{failure:?}");
        }
    }
}
