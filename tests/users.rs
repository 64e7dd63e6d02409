//! Several people with one plug: who is invited, who is removed, and what a second holder of the QR code gets
//! (SecT STEP 16, 17), over real links.

mod support;

use std::fs;
use std::time::{Duration, Instant};

use sect::mqtt::client::{Link, LinkError};
use sect::proto::invitation::Invitation;
use sect::proto::message::ReturnCode;
use sect::proto::operation::Operation;
use sect::proto::operation::argument::{UserAdd, UserDel};
use sect::proto::pairing::binding::Binding;
use sect::proto::user::Role;
use support::cloud::Cloud;
use support::line::{self, Line, PATIENCE};
use support::{Plug, SOON, files};

/// Removed users are out within this.
const AT_ONCE: Duration = Duration::from_secs(1);

async fn at_home() -> (Plug, Binding) {
    let mut plug = Plug::new();
    plug.power_on();
    let owner = line::claim(&plug).await;
    (plug, owner)
}

async fn at_home_with(cloud: &Cloud) -> (Plug, Binding) {
    let mut plug = Plug::new();
    cloud.provision(&plug);
    plug.power_on();
    let owner = line::claim(&plug).await;
    (plug, owner)
}

/// The text of an invitation for Ben.
async fn invitation(owner: &mut Line) -> String {
    invitation_for(owner, "Ben").await
}

async fn invitation_for(owner: &mut Line, name: &str) -> String {
    let guest = UserAdd { name: name.parse().expect("a name"), role: Role::Operator, ttl_s: None };
    let said = owner.ask(&Operation::UserAdd(guest)).await;
    assert_eq!(said.rc, Some(ReturnCode::Ok));
    said.result.expect("an invitation")["inv"].as_str().expect("text").to_owned()
}

async fn remove(owner: &mut Line, who: &Binding) {
    let said = owner.ask(&Operation::UserDel(UserDel { cid: who.cid })).await;
    assert_eq!(said.rc, Some(ReturnCode::Ok));
}

/// A session at the cloud server through which the plug has answered.
async fn answering(cloud: &Cloud, binding: &Binding) -> Line {
    let started = Instant::now();
    loop {
        assert!(started.elapsed() < SOON, "the plug does not answer through the cloud server");
        if let Ok(mut line) = Line::open_remote(cloud, binding).await
            && line.try_status(Duration::from_millis(300)).await.is_some()
        {
            return line;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the cloud server does not know somebody's login any more.
async fn forgotten(cloud: &Cloud, binding: &Binding) {
    let started = Instant::now();
    while Line::open_remote(cloud, binding).await.is_ok() {
        assert!(started.elapsed() < SOON, "the cloud server still knows the login");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_removed_user_with_live_sessions_is_out_within_1_s_and_does_not_come_back() {
    let cloud = Cloud::running();
    let (mut plug, owner) = at_home_with(&cloud).await;
    let mut ana = Line::open(&plug, &owner).await.expect("a session");
    let text = invitation(&mut ana).await;
    let ben = line::accept(&plug, &text).await.expect("a guest");
    assert_eq!(ana.event("joined").await["name"], "Ben");
    let mut near = Line::open(&plug, &ben).await.expect("a session at home");
    let mut far = answering(&cloud, &ben).await;
    let mut away = answering(&cloud, &owner).await;
    assert_eq!(near.switch(true).await.1.rc, Some(ReturnCode::Ok));
    // What the others are told of that is over before the removal.
    assert_eq!(far.hear().await.st.who.expect("somebody").as_str(), "Ben");

    remove(&mut ana, &ben).await;
    let (at_home, elsewhere) = tokio::join!(near.over(), far.over());
    assert!(at_home < AT_ONCE && elsewhere < AT_ONCE, "{at_home:?} {elsewhere:?}");
    // The owner's sessions go on, and the one that is away is told.
    assert_eq!(away.event("left").await["cid"], ben.cid.to_string());
    assert_eq!(ana.switch(false).await.1.rc, Some(ReturnCode::Ok));
    assert_eq!(away.switch(true).await.1.rc, Some(ReturnCode::Ok));

    // Neither PSK nor passwords, now or after a power cut; and nobody was given a ticket to resume with.
    for _ in 0..2 {
        assert!(matches!(Line::open(&plug, &ben).await, Err(LinkError::KeyRefused)));
        assert!(Line::open_remote(&cloud, &ben).await.is_err());
        assert!(line::accept(&plug, &text).await.is_err());
        plug.power_cut();
        plug.power_on();
        plug.wait_until_online();
    }
    // Another user's key does not carry his login.
    let stolen = Binding { credentials: ben.credentials.clone(), topic: ben.topic.clone(), ..owner.clone() };
    assert!(matches!(Line::open(&plug, &stolen).await, Err(LinkError::LoginRefused(_))));
    // Nothing of his is left on the card.
    plug.power_cut();
    for file in files(&plug.state()) {
        let bytes = fs::read(&file).expect("readable");
        for secret in [ben.topic.as_str().as_bytes(), ben.credentials.password.expose().as_bytes(), ben.master.expose()]
        {
            let found = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "a secret of who was removed is in {}", file.display());
        }
    }
}

#[tokio::test]
async fn a_removal_reaches_the_cloud_server_although_both_were_away_in_between() {
    let mut cloud = Cloud::running();
    let (mut plug, owner) = at_home_with(&cloud).await;
    let mut ana = Line::open(&plug, &owner).await.expect("a session");
    let text = invitation(&mut ana).await;
    let ben = line::accept(&plug, &text).await.expect("a guest");
    answering(&cloud, &ben).await;

    cloud.power_cut();
    remove(&mut ana, &ben).await;
    plug.power_cut();
    cloud.start();
    // The server has not heard of it; the plug has, and answers nobody whom it does not know.
    assert!(Line::open_remote(&cloud, &ben).await.is_ok());
    plug.power_on();
    forgotten(&cloud, &ben).await;
    assert!(answering(&cloud, &owner).await.switch(true).await.1.st.on);
}

#[tokio::test]
async fn who_removes_himself_is_answered_first() {
    let (plug, owner) = at_home().await;
    let mut ana = Line::open(&plug, &owner).await.expect("a session");
    let text = invitation(&mut ana).await;
    let ben = line::accept(&plug, &text).await.expect("a guest");
    let mut line = Line::open(&plug, &ben).await.expect("a session");
    remove(&mut line, &ben).await;
    assert!(line.over().await < AT_ONCE);
    assert_eq!(ana.event("left").await["cid"], ben.cid.to_string());
    assert!(matches!(Line::open(&plug, &ben).await, Err(LinkError::KeyRefused)));
}

#[tokio::test]
async fn a_photographed_qr_code_is_refused_and_the_owner_is_told() {
    let (mut plug, owner) = at_home().await;
    let mut ana = Line::open(&plug, &owner).await.expect("a session");
    let text = invitation(&mut ana).await;
    let ben = line::accept(&plug, &text).await.expect("a guest");
    assert_eq!(ana.event("joined").await["cid"], ben.cid.to_string());
    assert!(line::accept(&plug, &text).await.is_err());
    assert_eq!(ana.event("invite.reuse").await["name"], "Ben");
    // Whoever knows the identity alone is nobody.
    let known: Invitation = text.parse().expect("an invitation");
    let mut guess = line::invited_destination(plug.home(), &known);
    guess.psk = sect::proto::secret::Secret::new([0; 32]);
    assert!(matches!(Link::open(&guess, PATIENCE).await, Err(LinkError::KeyRefused)));

    // An open one does not outlive a restart either.
    let second = invitation_for(&mut ana, "Cleo").await;
    plug.power_cut();
    plug.power_on();
    plug.wait_until_online();
    for text in [text, second] {
        assert!(matches!(line::accept(&plug, &text).await, Err(LinkError::KeyRefused)));
    }
}
