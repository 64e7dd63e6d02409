//! What a person reads on the model of the glass.

use std::sync::{Arc, Mutex};

use super::bus::Bus;
use super::model::{Model, ModelBus, ModelLine, Pin, look};
use super::*;
use crate::proto::message::OutletState;
use crate::thing::display::examples;

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
    ModelBus { model: Model::power_on(), address: Arc::new(Mutex::new(Some(address))), fails_after: Arc::default() }
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
        for screen in examples() {
            panel.show(&screen);
            assert_eq!(read(&bus.model), Some(render(&screen)), "{screen:?}");
        }
        assert!(!panel.health.failed);
    }
}

#[test]
fn six_wires_show_every_screen_as_well() {
    let model = Model::power_on();
    let line = |pin| ModelLine { model: model.clone(), pin };
    let data = [0, 1, 2, 3].map(|place| line(Pin::Data(place)));
    let mut panel = Panel::new(Wires::new(line(Pin::Rs), line(Pin::Enable), data));
    for screen in examples() {
        panel.show(&screen);
        assert_eq!(read(&model), Some(render(&screen)), "{screen:?}");
    }
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
    look(&bus.model).disturb(&[(false, 8)]);
    panel.show(&screen(OutletState::On));
    assert_eq!(read(&bus.model), text("Kitchen", "on"));
}

#[test]
fn whatever_a_spike_does_is_right_again_after_the_next_picture_without_a_flicker() {
    let bus = bus(0x27);
    let mut panel = Panel::new(Backpack::new(bus.clone(), None));
    panel.show(&access_point(600));
    let clears = look(&bus.model).clears;
    let halves = (0..16).flat_map(|nibble| [vec![(false, nibble)], vec![(true, nibble)]]);
    let bytes = [
        (0x0, 0x1),
        (0x0, 0x4),
        (0x0, 0x7),
        (0x0, 0x8),
        (0x0, 0xf),
        (0x1, 0x8),
        (0x1, 0xc),
        (0x2, 0x0),
        (0x3, 0x0),
        (0x3, 0x8),
        (0x4, 0x0),
        (0xc, 0x5),
    ];
    let bytes = bytes.into_iter().flat_map(|(upper, lower)| {
        [
            vec![(false, upper), (false, lower)],
            vec![(true, upper), (true, lower)],
            vec![(false, upper), (false, lower), (true, 5)],
        ]
    });
    let mut cleared_by_a_spike = 0;
    for (seconds, spike) in (0..600).zip(halves.chain(bytes)) {
        let before = look(&bus.model).clears;
        look(&bus.model).disturb(&spike);
        cleared_by_a_spike += look(&bus.model).clears - before;
        panel.show(&access_point(seconds));
        let expected = render(&access_point(seconds));
        assert_eq!(read(&bus.model), Some(expected), "{spike:?}");
    }
    assert_eq!(look(&bus.model).clears, clears + cleared_by_a_spike);
}

#[test]
fn a_display_whose_supply_broke_down_shows_again_with_the_next_picture() {
    let bus = bus(0x27);
    let mut panel = Panel::new(Backpack::new(bus.clone(), None));
    panel.show(&access_point(600));
    look(&bus.model).brown_out();
    assert_eq!(read(&bus.model), None);
    panel.show(&access_point(599));
    assert_eq!(read(&bus.model), text("SecT-4F7K   9:59", "0123456789ABCDEF"));
}

#[test]
fn a_bus_that_fails_in_the_middle_stops_nothing_and_leaves_nothing_behind() {
    let bus = bus(0x27);
    let mut panel = Panel::new(Backpack::new(bus.clone(), None));
    for taken in [0, 1, 2, 3, 5, 10, 20, 41, 42, 43, 44, 45, 60, 100, 150, 199] {
        *bus.fails_after.lock().expect("no test panics with it") = Some(taken);
        panel.show(&access_point(600));
        assert!(panel.health.failed, "{taken}");
        panel.show(&access_point(599));
        assert!(!panel.health.failed, "{taken}");
        assert_eq!(read(&bus.model), text("SecT-4F7K   9:59", "0123456789ABCDEF"), "{taken}");
    }
}

#[test]
fn what_stands_there_is_drawn_once_more_after_a_switching() {
    let bus = bus(0x27);
    let mut display = LcdDisplay::start(Backpack::new(bus.clone(), None)).expect("starts");
    display.show_again();
    display.show(&Screen::AccessPointOff);
    drop(display);
    assert_eq!(read(&bus.model), text("not paired", "press the button"));

    let mut display = LcdDisplay::start(Backpack::new(bus.clone(), None)).expect("starts");
    display.show(&Screen::AccessPointOff);
    let shows = |expected: &Option<[String; 2]>| {
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while look(&bus.model).shown() != *expected {
            assert!(std::time::Instant::now() < until, "{:?}", look(&bus.model).shown());
            std::thread::yield_now();
        }
    };
    shows(&text("not paired", "press the button"));
    // Off: nothing but drawing makes it readable again.
    look(&bus.model).disturb(&[(false, 0), (false, 8)]);
    assert_eq!(look(&bus.model).shown(), None);
    display.show_again();
    shows(&text("not paired", "press the button"));
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
