//! How long is waited, and what it is called when nothing comes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::*;
use crate::thing::wifi::network_manager::argument::Arguments;
use crate::thing::wifi::network_manager::progress::Signal;

#[tokio::test(start_paused = true)]
async fn a_bus_that_lets_nobody_in_is_not_waited_for_longer_than_5_s() {
    let (ours, _theirs) = UnixStream::pair().expect("a pair");
    let began = Instant::now();
    let link = Link::over(ours).await;
    assert!(matches!(link, Err(LinkError::NoAnswer)), "{link:?}");
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_bus_that_refuses_us_or_is_not_there_is_no_bus() {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let refused = async {
        let _ = theirs.read(&mut [0; 512]).await;
        theirs.write_all(b"REJECTED DBUS_COOKIE_SHA1 all of it\r\n").await.expect("said");
    };
    let (link, ()) = tokio::join!(Link::over(ours), refused);
    assert!(matches!(link, Err(LinkError::NoBus(_))), "{link:?}");
    let link = Link::open(std::path::Path::new("/nowhere/bus")).await;
    assert!(matches!(link, Err(LinkError::NoBus(_))), "{link:?}");
}

#[tokio::test]
async fn a_call_that_nobody_answers_is_given_up_after_30_s() {
    let (link, _bus) = Bus::with_link().await;
    tokio::time::pause();
    let began = Instant::now();
    let answer = link.call(BUS, "/", BUS, "GetNameOwner", [NAME].into()).await;
    assert!(matches!(answer, Err(LinkError::NoAnswer)), "{answer:?}");
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn a_call_is_made_where_it_is_dropped_at_once_and_after_those_before_it() {
    let (link, mut bus) = Bus::with_link().await;
    for member in ["First", "Second", "Third"] {
        drop(link.begin(BUS, "/", BUS, member, Arguments::default()));
    }
    for member in ["First", "Second", "Third"] {
        bus.called(member).await;
    }
}

#[tokio::test]
async fn a_bus_that_ends_ends_what_waits_for_it() {
    let (mut manager, bus) = Bus::with_manager().await;
    let (state, ()) = tokio::join!(manager.state(), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        bus.connection.close().await.expect("closed");
    });
    assert!(matches!(state, Err(Trouble::Ended)), "{state:?}");
    assert_eq!(manager.next().await, Signal::Ended);
    let after = manager.state().await;
    assert!(matches!(after, Err(Trouble::Ended)), "{after:?}");
}

#[tokio::test]
async fn a_refusal_says_who_has_to_do_something() {
    let (manager, mut bus) = Bus::with_manager().await;
    for (name, expected) in [
        ("org.freedesktop.DBus.Error.ServiceUnknown", "NetworkManager does not run"),
        ("org.freedesktop.DBus.Error.NameHasNoOwner", "NetworkManager does not run"),
        ("org.freedesktop.DBus.Error.AccessDenied", "NetworkManager does not obey this user"),
        ("org.freedesktop.NetworkManager.PermissionDenied", "NetworkManager does not obey this user"),
        ("org.freedesktop.DBus.Error.Failed", "NetworkManager says: org.freedesktop.DBus.Error.Failed: it hurts"),
        ("org.freedesktop.NetworkManager.Odd", "NetworkManager says: org.freedesktop.NetworkManager.Odd: it hurts"),
    ] {
        let (state, ()) = tokio::join!(manager.state(), bus.refuse("Get", name, "it hurts"));
        let trouble = state.expect_err("refused").to_string();
        assert!(trouble.starts_with(expected), "{trouble}");
    }
}
