//! What anybody on the machine may send us, and what must not come of it.

use zbus::wire::Endian;

use super::*;
use crate::thing::wifi::network_manager::progress::{Reason, Signal};
use crate::thing::wifi::network_manager::signals::{AT_ONCE, MAX_QUEUED};
use crate::thing::wifi::network_manager::stream::MAX_MESSAGE;

const UP: Signal = Signal::Device { state: 100, reason: Reason(0) };

#[tokio::test]
async fn signals_of_a_stranger_are_not_kept_and_keep_nobody_waiting() {
    let (mut manager, mut bus) = Bus::with_manager().await;
    for _ in 0..MAX_QUEUED {
        // In other people's names, and in NetworkManager's own words.
        bus.say(&device_state(STRANGER, 120, 7)).await;
        bus.say(&connection_state(STRANGER, "/a/2", 4)).await;
        bus.say(&owner_changed(STRANGER, NAME, "")).await;
        bus.say(&owner_changed(OWNER, NAME, "")).await;
        bus.say(&properties_changed(STRANGER, PLUG_DEVICE, "any.Interface", "Any")).await;
    }
    bus.say(&device_state(OWNER, 100, 0)).await;
    bus.is_heard(&manager).await;
    assert_eq!(manager.next().await, UP);
}

/// As [`device_state`], with another body.
fn signal_of<B: Serialize + DynamicType>(sender: &str, endian: Endian, body: &B) -> Message {
    let signal = Message::signal(PLUG_DEVICE, DEVICE, "StateChanged").sender(sender).endian(endian);
    signal.build(body).expect("a signal")
}

fn deep(levels: usize) -> Variant<'static> {
    (0..levels).fold(Variant::U8(1), |inner, _| Variant::Variant(Box::new(inner)))
}

#[tokio::test]
async fn what_is_large_deep_foreign_or_of_no_known_kind_ends_nothing() {
    let (mut manager, mut bus) = Bus::with_manager().await;
    let state = (100_u32, 0_u32, 0_u32);
    for sender in [STRANGER, OWNER] {
        bus.say(&signal_of(sender, Endian::Little, &vec![7_u8; MAX_MESSAGE])).await;
        bus.say(&signal_of(sender, Endian::Big, &vec![7_u8; 8 * MAX_MESSAGE])).await;
        bus.say(&signal_of(sender, Endian::Little, &deep(60))).await;
        bus.say(&signal_of(sender, Endian::Big, &("text", vec![0_u64; 9]))).await;
        bus.say(&signal_of(sender, Endian::Little, &())).await;
        // A kind of message that is still to be invented.
        let mut unknown = signal_of(sender, Endian::Little, &state).data().to_vec();
        unknown[1] = 5;
        bus.say_raw(&unknown);
        // A body that is not what its signature says.
        let mut garbled = signal_of(sender, Endian::Little, &"text").data().to_vec();
        let body = garbled.len() - 9;
        garbled[body..].fill(0xff);
        bus.say_raw(&garbled);
        bus.is_heard(&manager).await;
    }
    bus.say(&signal_of(STRANGER, Endian::Big, &state)).await;
    bus.say(&signal_of(OWNER, Endian::Big, &(110_u32, 0_u32, 1_u32))).await;
    bus.say(&signal_of(OWNER, Endian::Little, &state)).await;
    assert_eq!(manager.next().await, Signal::Device { state: 110, reason: Reason(1) });
    assert_eq!(manager.next().await, UP);
}

#[tokio::test]
async fn a_message_that_is_just_small_enough_is_read() {
    let (manager, mut bus) = Bus::with_manager().await;
    // A state that is none: what matters is that it comes.
    let long = Variant::from(vec![7_u8; MAX_MESSAGE - 200]);
    let (state, _) = tokio::join!(manager.state(), bus.answer("Get", &long));
    assert!(matches!(state, Err(Trouble::Refused(LinkError::Unexpected))), "{state:?}");
}

#[tokio::test]
async fn more_signals_than_can_be_kept_keep_no_answer_waiting_and_end_the_run() {
    let (mut manager, mut bus) = Bus::with_manager().await;
    for state in 0..4 * u32::try_from(MAX_QUEUED).expect("a few") {
        bus.say(&device_state(OWNER, 1000 + state, 0)).await;
    }
    // It wants no more of them, and says so, rule by rule.
    for _ in 0..3 {
        bus.answer("RemoveMatch", &()).await;
    }
    bus.is_heard(&manager).await;
    let mut heard = 0;
    loop {
        match manager.next().await {
            Signal::Device { state, .. } => assert_eq!(state, 1000 + heard, "none is missing in between"),
            Signal::Ended => break,
            other => panic!("{other:?}"),
        }
        heard += 1;
    }
    assert_eq!(usize::try_from(heard), Ok(MAX_QUEUED));
    assert_eq!(manager.next().await, Signal::Ended, "and it stays so");
}

#[tokio::test]
async fn what_came_while_the_radio_rested_is_forgotten_and_an_end_is_not() {
    let (mut manager, mut bus) = Bus::with_manager().await;
    for _ in 0..MAX_QUEUED {
        bus.say(&device_state(OWNER, 30, 0)).await;
    }
    bus.is_heard(&manager).await;
    assert!(manager.forget_signals());
    bus.say(&device_state(OWNER, 100, 0)).await;
    let mut before = 0;
    while manager.next().await != UP {
        before += 1;
    }
    assert!(before <= AT_ONCE.get(), "{before}: more than were still on their way");

    bus.say(&owner_changed(BUS, NAME, "")).await;
    bus.is_heard(&manager).await;
    bus.say(&device_state(OWNER, 30, 0)).await;
    let noticed = async {
        while manager.forget_signals() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), noticed).await.expect("it has ended");
}

#[tokio::test]
async fn a_radio_that_rested_for_so_long_that_signals_were_lost_knows_it() {
    let (mut manager, mut bus) = Bus::with_manager().await;
    for _ in 0..4 * MAX_QUEUED {
        bus.say(&device_state(OWNER, 30, 0)).await;
    }
    for _ in 0..3 {
        bus.answer("RemoveMatch", &()).await;
    }
    assert!(!manager.forget_signals());
}

#[tokio::test]
async fn signals_that_come_before_all_rules_are_there_keep_no_answer_waiting() {
    let (link, mut bus) = Bus::with_link().await;
    let asked = async {
        bus.be_looked_at().await;
        for _ in 0..2 {
            bus.answer("AddMatch", &()).await;
        }
        // By now the first two hold.
        let third = bus.called("AddMatch").await;
        for state in 0..100 {
            bus.say(&device_state(OWNER, 1000 + state, 0)).await;
        }
        bus.connection.reply(&third.header(), &()).await.expect("answered");
        bus.answer("GetNameOwner", &OWNER).await;
    };
    let found = async { tokio::join!(Manager::at(link, None), asked).0 };
    let mut manager = timeout(Duration::from_secs(20), found).await.expect("in time").expect("found");
    for state in 0..100 {
        assert_eq!(manager.next().await, Signal::Device { state: 1000 + state, reason: Reason(0) });
    }
}
