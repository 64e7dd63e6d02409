//! What a person reads on the model of the glass.

use std::sync::{Arc, Mutex};

use super::bus::Bus;
use super::model::{Model, ModelBus, ModelLine, Pin, look};
use super::*;
use crate::proto::message::OutletState;

fn screen(outlet: OutletState) -> Screen {
    Screen::Online { name: "Kitchen".parse().expect("a name"), outlet }
}

fn access_point(seconds: u64) -> Screen {
    Screen::AccessPoint {
        ssid: "SecT-4F7K".to_owned(),
        passcode: "0123456789ABCDEF".parse().expect("a passcode"),
        left: Duration::from_secs(seconds),
    }
}

fn bus(address: u8) -> ModelBus {
    ModelBus { model: Model::power_on(), address: Arc::new(Mutex::new(Some(address))) }
}

fn read(model: &Mutex<Model>) -> Option<[String; 2]> {
    let model = look(model);
    assert!(model.violations.is_empty(), "{:?}", model.violations);
    model.shown()
}

fn text(upper: &str, lower: &str) -> Option<[String; 2]> {
    Some([format!("{upper:<16}"), format!("{lower:<16}")])
}

fn pull(bus: &ModelBus, address: Option<u8>) {
    *bus.address.lock().expect("no test panics with it") = address;
}

#[test]
fn a_backpack_at_either_address_is_found_and_shows_every_screen() {
    for address in ADDRESSES {
        let bus = bus(address);
        let mut panel = Panel::new(Backpack::new(bus.clone(), None));
        assert_eq!(read(&bus.model), None);
        panel.show(&access_point(600));
        assert_eq!(read(&bus.model), text("SecT-4F7K  10:00", "0123456789ABCDEF"));
        panel.show(&screen(OutletState::On));
        assert_eq!(read(&bus.model), text("Kitchen", "on"));
        panel.show(&Screen::Fault(crate::proto::action::Fault::Outlet));
        assert_eq!(read(&bus.model), text("FAULT", "outlet: see log"));
        assert!(!panel.health.failed);
    }
}

#[test]
fn six_wires_do_as_well() {
    let model = Model::power_on();
    let line = |pin| ModelLine { model: model.clone(), pin };
    let data = [0, 1, 2, 3].map(|place| line(Pin::Data(place)));
    let mut panel = Panel::new(Wires::new(line(Pin::Rs), line(Pin::Enable), data));
    panel.show(&access_point(59));
    assert_eq!(read(&model), text("SecT-4F7K   0:59", "0123456789ABCDEF"));
}

#[test]
fn a_countdown_does_not_flicker() {
    let bus = bus(0x27);
    let mut panel = Panel::new(Backpack::new(bus.clone(), None));
    panel.show(&access_point(600));
    let clears = look(&bus.model).clears;
    panel.show(&access_point(590));
    assert_eq!(read(&bus.model), text("SecT-4F7K   9:50", "0123456789ABCDEF"));
    assert_eq!(look(&bus.model).clears, clears);
}

#[test]
fn what_a_relay_has_garbled_is_right_again_after_the_switching() {
    let bus = bus(0x3f);
    let mut panel = Panel::new(Backpack::new(bus.clone(), Some(0x3f)));
    panel.show(&screen(OutletState::Off));
    look(&bus.model).disturb();
    panel.show(&screen(OutletState::On));
    assert_eq!(read(&bus.model), text("Kitchen", "on"));
}

#[test]
fn a_display_that_is_pulled_off_stops_nothing_and_shows_again_when_it_is_back() {
    let bus = bus(0x27);
    let mut panel = Panel::new(Backpack::new(bus.clone(), None));
    pull(&bus, None);
    panel.show(&screen(OutletState::On));
    assert!(panel.health.failed);
    pull(&bus, Some(0x3f));
    panel.show(&screen(OutletState::Off));
    assert!(!panel.health.failed);
    assert_eq!(read(&bus.model), text("Kitchen", "off"));
    pull(&bus, None);
    panel.show(&screen(OutletState::On));
    panel.show(&screen(OutletState::On));
    pull(&bus, Some(0x27));
    panel.show(&screen(OutletState::On));
    assert_eq!(read(&bus.model), text("Kitchen", "on"));
}

#[test]
fn the_thread_draws_the_newest_screen_before_it_ends() {
    let bus = bus(0x27);
    let mut display = LcdDisplay::start(Backpack::new(bus.clone(), None)).expect("starts");
    let before = std::time::Instant::now();
    for _ in 0..100 {
        display.show(&screen(OutletState::On));
        display.show(&screen(OutletState::Off));
    }
    // Nobody waits for the glass: drawing one of these takes some 10 ms.
    assert!(before.elapsed() < Duration::from_millis(500));
    drop(display);
    assert_eq!(read(&bus.model), text("Kitchen", "off"));
}

#[test]
fn the_model_notices_haste() {
    let bus = bus(0x27);
    let mut hasty = bus.clone();
    for byte in [0x3c, 0x38, 0x3c, 0x38] {
        hasty.write(0x27, byte).expect("there");
    }
    assert!(!look(&bus.model).violations.is_empty());
}
