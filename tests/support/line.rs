//! A controller by hand, over a real link: for tests that send what `sect` never would.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sect::mqtt::client::{CheckDates, CloudDestination, CloudLogin, Delivery, Destination, Link, LinkError};
use sect::proto::envelope::{self, EnvelopeKey, Sealed};
use sect::proto::id::{Boot, Nonce, RequestId};
use sect::proto::invitation::Invitation;
use sect::proto::json;
use sect::proto::keys::{PairingCode, pairing_psk};
use sect::proto::message::{Event, Response, ReturnCode, State, Status};
use sect::proto::operation::Operation;
use sect::proto::pairing::PAIR_IDENTITY;
use sect::proto::pairing::binding::Binding;
use sect::proto::pairing::controller::{Run, Step};
use sect::proto::passcode::Passcode;
use sect::proto::registration::cloud_password;
use sect::proto::secret::SecretString;
use sect::proto::time::Micros;
use sect::proto::topic::{PAIR_C2T, PAIR_T2C};
use sect::proto::wifi::HomeNetwork;
use sect::radio;
use sect::thing::clock::os_rng;

use super::cloud::Cloud;
use super::{HOME_PASSPHRASE, HOME_SSID, Plug, wait_for};

/// How long a step may take.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long silence must last to count as silence.
pub const SILENCE: Duration = Duration::from_millis(400);

/// The link that a passcode opens.
pub fn pairing_destination(address: SocketAddr, passcode: &str) -> Destination {
    Destination {
        address,
        psk_identity: PAIR_IDENTITY.to_owned(),
        psk: pairing_psk(&passcode.parse().expect("a passcode")),
        login: None,
        client_id: client_id(),
    }
}

/// The link that a binding opens.
pub fn destination(address: SocketAddr, binding: &Binding) -> Destination {
    let (psk_id, psk) = binding.psk();
    Destination {
        address,
        psk_identity: psk_id.to_string(),
        psk,
        login: Some(binding.credentials.clone()),
        client_id: client_id(),
    }
}

/// The session that a binding opens at a cloud server.
pub fn remote_destination(cloud: &Cloud, binding: &Binding) -> CloudDestination {
    let pin = cloud.pki.servers.pin();
    let user = binding.credentials.user.expose().to_owned();
    let password = cloud_password(&binding.credentials, &binding.thing, &pin);
    CloudDestination {
        host: super::cloud::HOST.to_owned(),
        port: cloud.for_controllers().port(),
        pin,
        login: CloudLogin::Password { user, password },
        client_id: client_id(),
        dates: CheckDates::Yes,
        keep_alive_seconds: 30,
    }
}

/// A client id that nobody else has.
pub fn client_id() -> String {
    Nonce::random(&mut os_rng()).to_string()
}

/// Joins the access point and claims the plug, as `sect pair` does.
pub async fn claim(plug: &Plug) -> Binding {
    let (ssid, passcode) = plug.wait_for_passcode();
    claim_with(plug, ssid, passcode).await
}

/// The same with what the display has shown before.
pub async fn claim_with(plug: &Plug, ssid: String, passcode: String) -> Binding {
    // The display is a moment ahead of the radio, and the radio of the local server.
    wait_for("the access point", || std::net::TcpStream::connect(plug.access_point()).ok());
    radio::join_simulated(&plug.radio(), &ssid, &SecretString::new(passcode.clone())).await.expect("joined");
    let mut rng = os_rng();
    let passcode: Passcode = passcode.parse().expect("a passcode");
    let network = HomeNetwork { ssid: HOME_SSID.parse().expect("valid"), psk: HOME_PASSPHRASE.parse().expect("valid") };
    let mut link =
        Link::open(&pairing_destination(plug.access_point(), passcode.expose()), PATIENCE).await.expect("a link");
    link.subscribe(PAIR_T2C, Delivery::AtLeastOnce, PATIENCE).await.expect("subscribed");
    let run = Run::new(PairingCode::of_passcode(&passcode), network, "Ana".parse().expect("valid"), None, &mut rng);
    let binding = complete(run, &mut link).await;
    link.close().await;
    plug.wait_until_online();
    binding
}

/// The link that an invitation opens.
pub fn invited_destination(address: SocketAddr, invitation: &Invitation) -> Destination {
    Destination {
        address,
        psk_identity: invitation.psk_identity(),
        psk: invitation.psk(),
        login: None,
        client_id: client_id(),
    }
}

/// Joins the household of a plug at home, as `sect accept` does.
pub async fn accept(plug: &Plug, invitation: &str) -> Result<Binding, LinkError> {
    let invitation: Invitation = invitation.parse().expect("an invitation");
    let mut link = Link::open(&invited_destination(plug.home(), &invitation), PATIENCE).await?;
    link.subscribe(PAIR_T2C, Delivery::AtLeastOnce, PATIENCE).await?;
    let run = Run::invited(invitation, "somebody".parse().expect("valid"), &mut os_rng());
    let binding = complete(run, &mut link).await;
    link.close().await;
    Ok(binding)
}

async fn complete(mut run: Run, link: &mut Link) -> Binding {
    let mut rng = os_rng();
    let started = Instant::now();
    loop {
        while let Some(step) = run.poll_step() {
            match step {
                Step::TellUser(_) => {}
                Step::Persist(_) => run.persisted(&mut rng),
                Step::Done(binding) => return *binding,
                Step::Failed(error) => panic!("pairing failed: {error}"),
            }
        }
        let now = Micros::ZERO.after(started.elapsed());
        while let Some(payload) = run.poll_transmit(now) {
            link.publish(PAIR_C2T, Delivery::AtLeastOnce, payload).await.expect("open");
        }
        let publication = tokio::time::timeout(PATIENCE, link.receive()).await.expect("an answer").expect("open");
        run.handle_message(&publication.payload, &mut rng);
    }
}

/// A session of a controller that says whatever a test wants.
pub struct Line {
    link: Link,
    binding: Binding,
    c2t: EnvelopeKey,
    t2c: EnvelopeKey,
}

/// What the thing said.
#[derive(Debug)]
pub struct Said {
    /// What it answers; nothing in an event.
    pub re: Option<RequestId>,
    /// How that ended; nothing in an event.
    pub rc: Option<ReturnCode>,
    /// Its start.
    pub boot: Boot,
    /// Its time.
    pub ts: Micros,
    /// Its state.
    pub st: State,
    /// The kind of an event.
    pub kind: Option<String>,
    /// What else an answer or an event says.
    pub result: Option<serde_json::Value>,
    /// The bytes.
    pub jwe: Vec<u8>,
}

impl Line {
    /// Opens a session and subscribes.
    pub async fn open(plug: &Plug, binding: &Binding) -> Result<Self, LinkError> {
        let mut link = Link::open(&destination(plug.home(), binding), PATIENCE).await?;
        link.subscribe(&binding.topic.t2c(), Delivery::AtMostOnce, PATIENCE).await?;
        let keys = binding.keys();
        Ok(Self { link, binding: binding.clone(), c2t: keys.c2t, t2c: keys.t2c })
    }

    /// Opens a session at a cloud server, with the name and password that it knows the controller by.
    pub async fn open_remote(cloud: &Cloud, binding: &Binding) -> Result<Self, Box<dyn std::error::Error>> {
        let mut link = Link::open_cloud(&remote_destination(cloud, binding), PATIENCE).await?;
        link.subscribe(&binding.topic.t2c(), Delivery::AtMostOnce, PATIENCE).await?;
        let keys = binding.keys();
        Ok(Self { link, binding: binding.clone(), c2t: keys.c2t, t2c: keys.t2c })
    }

    /// Publishes bytes on the controller's topic.
    pub async fn send(&self, payload: &[u8]) {
        self.link.publish(&self.binding.topic.c2t(), Delivery::AtMostOnce, payload.to_vec()).await.expect("open");
    }

    /// Seals what it is given.
    pub fn seal(&self, text: &[u8]) -> Vec<u8> {
        self.c2t.seal(text, &mut os_rng()).expect("short")
    }

    /// A command for this start of the thing at this thing time.
    pub fn command(&self, on: bool, boot: Boot, ts: Micros) -> Vec<u8> {
        self.seal(&Operation::outlet(on).command(boot, ts))
    }

    /// The next thing that the thing says, opened.
    pub async fn hear(&mut self) -> Said {
        let publication =
            tokio::time::timeout(PATIENCE, self.link.receive()).await.expect("something said").expect("open");
        self.read(publication.payload)
    }

    /// The next answer; events on the way to it are passed over.
    pub async fn answer(&mut self) -> Said {
        loop {
            let said = self.hear().await;
            if said.re.is_some() {
                return said;
            }
        }
    }

    /// Fails the test unless nothing is heard for [`SILENCE`].
    pub async fn expect_silence(&mut self) {
        if let Ok(heard) = tokio::time::timeout(SILENCE, self.link.receive()).await {
            panic!("heard {heard:?}");
        }
    }

    /// A sealed question for the state.
    pub fn status_request(&self) -> Vec<u8> {
        self.seal(&json::encode(&Status { id: Nonce::random(&mut os_rng()) }))
    }

    /// Asks for the state, and learns start and thing time.
    pub async fn status(&mut self) -> Said {
        let request = self.status_request();
        self.send(&request).await;
        self.answer_to(&request).await
    }

    /// The answer to these bytes; what other sessions of this controller are told is passed over.
    pub async fn answer_to(&mut self, request: &[u8]) -> Said {
        let re = Some(envelope::request_id(request));
        loop {
            let said = self.hear().await;
            if said.re == re {
                return said;
            }
        }
    }

    /// Asks for the state, and gives up after a while: who asks through a server may ask in vain.
    pub async fn try_status(&mut self, patience: Duration) -> Option<Said> {
        tokio::time::timeout(patience, self.status()).await.ok()
    }

    /// Where the thing stands with its cloud servers, by what its status says.
    pub async fn cloud_states(&mut self) -> Vec<(String, String)> {
        let result = self.status().await.result.expect("a thing with cloud servers tells of them");
        let clouds = result["clouds"].as_array().expect("a list").clone();
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        clouds.iter().map(|cloud| (text(&cloud["host"]), text(&cloud["state"]))).collect()
    }

    /// Asks for something as an honest controller does.
    pub async fn ask(&mut self, operation: &Operation) -> Said {
        let status = self.status().await;
        let command = self.seal(&operation.command(status.boot, Micros::new(status.ts.get() + 1)));
        self.send(&command).await;
        self.answer_to(&command).await
    }

    /// The next event of a kind; whatever else is said is passed over.
    pub async fn event(&mut self, kind: &str) -> serde_json::Value {
        loop {
            let said = self.hear().await;
            if said.kind.as_deref() == Some(kind) {
                return said.result.unwrap_or_default();
            }
        }
    }

    /// How long it takes until the session is over; fails the test if it is told anything before.
    pub async fn over(&mut self) -> Duration {
        let started = Instant::now();
        match tokio::time::timeout(PATIENCE, self.link.receive()).await {
            Ok(Err(_)) => started.elapsed(),
            Ok(Ok(heard)) => panic!("heard {heard:?}"),
            Err(_) => panic!("the session goes on"),
        }
    }

    /// Switches as an honest controller does, and gives the command's bytes with the answer.
    pub async fn switch(&mut self, on: bool) -> (Vec<u8>, Said) {
        let status = self.status().await;
        let command = self.command(on, status.boot, Micros::new(status.ts.get() + 1));
        self.send(&command).await;
        let said = self.answer_to(&command).await;
        (command, said)
    }

    fn read(&self, jwe: Vec<u8>) -> Said {
        let opened = Sealed::parse(&jwe).expect("an envelope").open(&self.t2c).expect("authentic");
        if let Ok(response) = json::read::<Response<'_>>(opened.bytes()) {
            let Response { re, rc, boot, ts, st, r } = response;
            let result = r.map(|r| serde_json::from_str(r.get()).expect("JSON"));
            return Said { re: Some(re), rc: Some(rc), boot, ts, st, kind: None, result, jwe };
        }
        let Event { boot, ts, st, k, d } = json::read::<Event<'_>>(opened.bytes()).expect("an event");
        let (kind, result) = (Some(k.to_string()), d.map(|d| serde_json::from_str(d.get()).expect("JSON")));
        Said { re: None, rc: None, boot, ts, st, kind, result, jwe }
    }
}
