//! Somebody who records, repeats and forges what goes over the owner's own link.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::time::timeout;

use crate::controller::{clock, cloud as remote, reach};
use crate::mqtt::client::{Delivery, Destination, Link, LinkError};
use crate::proto::envelope::{self, Sealed};
use crate::proto::id::{Boot, Nonce, PskId};
use crate::proto::json;
use crate::proto::keys::{EpochKeys, TlsPsk, pairing_psk};
use crate::proto::message::{Response, ReturnCode, Status};
use crate::proto::operation::Operation;
use crate::proto::pairing::PAIR_IDENTITY;
use crate::proto::pairing::binding::Binding;
use crate::proto::passcode::Passcode;
use crate::proto::secret::Secret;
use crate::proto::time::Micros;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// When the same bytes go out again.
const RESEND: Duration = Duration::from_secs(1);
/// How long silence must last to count as silence.
const SILENCE: Duration = Duration::from_millis(300);

/// A link on the owner's topic, on which anything can be sent.
pub(super) struct Wire {
    link: Link,
    keys: EpochKeys,
    c2t: String,
}

/// What the thing answered.
pub(super) struct Answer {
    pub(super) code: ReturnCode,
    pub(super) boot: Boot,
    pub(super) ts: Micros,
    pub(super) jwe: Vec<u8>,
    pub(super) result: Option<String>,
    pub(super) round_trip: Duration,
}

impl Wire {
    /// Opens a session with the owner's keys.
    pub(super) async fn open(address: std::net::SocketAddr, binding: &Binding) -> anyhow::Result<Self> {
        let mut link = Link::open(&reach::destination(binding, address), PATIENCE).await?;
        link.subscribe(&binding.topic.t2c(), Delivery::AtMostOnce, PATIENCE).await?;
        Ok(Self { link, keys: binding.keys(), c2t: binding.topic.c2t() })
    }

    /// Opens a session at the cloud server, which is all that a hostile one needs: it reads and writes
    /// the very topics that this session may.
    pub(super) async fn open_remote(binding: &Binding) -> anyhow::Result<Self> {
        let server = binding.clouds.first().context("the binding names no cloud server")?;
        let mut link = Link::open_cloud(&remote::destination(binding, server), PATIENCE).await?;
        link.subscribe(&binding.topic.t2c(), Delivery::AtMostOnce, PATIENCE).await?;
        Ok(Self { link, keys: binding.keys(), c2t: binding.topic.c2t() })
    }

    /// Where the thing says that it stands with its cloud server.
    pub(super) async fn cloud_state(&mut self) -> anyhow::Result<Option<String>> {
        let answer = self.ask(&self.status()?).await?;
        let result = answer.result.context("the thing tells nothing of cloud servers")?;
        let result: serde_json::Value = serde_json::from_str(&result)?;
        Ok(result["clouds"][0]["state"].as_str().map(str::to_owned))
    }

    /// Seals a status request.
    pub(super) fn status(&self) -> anyhow::Result<Vec<u8>> {
        self.seal(&json::encode(&Status { id: Nonce::random(&mut clock::rng()) }))
    }

    /// Seals a command, as the owner's controller does.
    pub(super) fn command(&self, on: bool, boot: Boot, ts: Micros) -> anyhow::Result<Vec<u8>> {
        self.seal(&Operation::outlet(on).command(boot, ts))
    }

    fn seal(&self, text: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(self.keys.c2t.seal(text, &mut clock::rng())?)
    }

    /// Sends bytes and waits for the answer to them; sends them again each second, as a controller does:
    /// a cloud server drops what exceeds ten messages a second.
    pub(super) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let sent = Instant::now();
            self.send(request).await?;
            if let Ok(answer) = timeout(RESEND, self.answer_to(request, sent)).await {
                return answer;
            }
        }
        bail!("no answer")
    }

    async fn answer_to(&mut self, request: &[u8], sent: Instant) -> anyhow::Result<Answer> {
        let re = envelope::request_id(request);
        loop {
            let jwe = self.link.receive().await?.payload;
            let round_trip = sent.elapsed();
            let opened = Sealed::parse(&jwe)?.open(&self.keys.t2c)?;
            // Events come in between.
            if let Ok(response) = json::read::<Response<'_>>(opened.bytes())
                && response.re == re
            {
                let Response { rc: code, boot, ts, r, .. } = response;
                let result = r.map(|r| r.get().to_owned());
                return Ok(Answer { code, boot, ts, jwe, result, round_trip });
            }
        }
    }

    /// Whether the plug ends this session, and sends nothing before it does.
    pub(super) async fn ends_within(&mut self, limit: Duration) -> bool {
        matches!(timeout(limit, self.link.receive()).await, Ok(Err(_)))
    }

    /// Sends bytes that nobody must answer, and sees that nobody does.
    pub(super) async fn send_into_silence(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        self.send(payload).await?;
        match timeout(SILENCE, self.link.receive()).await {
            Err(_) => Ok(()),
            Ok(Ok(_)) => bail!("the thing answered"),
            Ok(Err(error)) => Err(error.into()),
        }
    }

    /// Passes over what is still on its way, such as events.
    pub(super) async fn drain(&mut self) {
        while let Ok(Ok(_)) = timeout(SILENCE, self.link.receive()).await {}
    }

    async fn send(&self, payload: &[u8]) -> anyhow::Result<()> {
        Ok(self.link.publish(&self.c2t, Delivery::AtMostOnce, payload.to_vec()).await?)
    }
}

/// Tries a handshake that must fail, and gives the word it failed with.
pub(super) async fn knock(address: std::net::SocketAddr, psk_identity: &str, psk: TlsPsk) -> anyhow::Result<LinkError> {
    let client_id = reach::draw_client_id();
    let destination = Destination { address, psk_identity: psk_identity.to_owned(), psk, login: None, client_id };
    match Link::open(&destination, PATIENCE).await {
        Ok(_) => bail!("a stranger was let in"),
        Err(error) => Ok(error),
    }
}

/// Knocks as somebody who stands on the access point and guesses the passcode.
pub(super) async fn knock_with_passcode(
    address: std::net::SocketAddr,
    passcode: &Passcode,
) -> anyhow::Result<LinkError> {
    knock(address, PAIR_IDENTITY, pairing_psk(passcode)).await
}

/// A key that nobody has.
pub(super) fn made_up_key() -> TlsPsk {
    Secret::random(&mut clock::rng())
}

/// An identity that nobody has.
pub(super) fn made_up_identity() -> String {
    PskId::random(&mut clock::rng()).to_string()
}
