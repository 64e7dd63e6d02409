//! The display: blocks, all characters, every screen.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::bench::{Bench, Halt};
use super::{board, prepare_folder};
use crate::thing::config::{Config, DisplayDriverName};
use crate::thing::display::{ADDRESSES, COLUMNS, Glass, Picture, examples, neighbours, open_glass, picture};

/// How it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct DisplayArgs {
    /// How long each picture stands, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1500, value_parser = clap::value_parser!(u16).range(0..))]
    show_ms: u16,
}

const BLOCKS: Picture = [[0xff; COLUMNS]; 2];
const BLANK: Picture = [[b' '; COLUMNS]; 2];

const DARK: &str = "no blocks at all: turn the contrast screw on the backpack (or the potentiometer at VO) slowly from \
    end to end; no light either: check 5 V and ground, and the jumper of the backlight";
const GARBLED: &str = "wrong or missing characters: check D4 to D7, RS and enable one by one; on I2C, shorten the \
    wires and see docs/guide/raspberry-pi.md about 5 V and level shifting";

pub(super) async fn test(bench: &mut Bench, config: &Config, args: &DisplayArgs) -> Result<(), Halt> {
    let driver = config.display.driver;
    bench.begin("display", &describe(config));
    if driver == DisplayDriverName::File && !prepare_folder(bench, config) {
        return Ok(());
    }
    bench.announce("It shows blocks everywhere, then all characters, then each screen of a plug.").await?;
    let mut glass = match open_glass(config) {
        Ok(glass) => glass,
        Err(error) => {
            bench.fail("opens", error.to_string(), "choose another display.driver");
            return Ok(());
        }
    };
    if let Err(error) = glass.draw(&BLOCKS) {
        let (detail, todo) = trouble(config, &error);
        bench.fail("blocks", detail, todo);
        return Ok(());
    }
    let detail = match glass.address() {
        Some(address) => format!("drawn, at address {address:#04x}"),
        None => "drawn".to_owned(),
    };
    let show = Duration::from_millis(args.show_ms.into());
    bench.pause(show).await?;
    let seen = bench.look("blocks", detail, "Do you see 2 rows of 16 full blocks?", DARK).await?;
    let shown = if seen { show_all(bench, &mut *glass, config, show).await } else { Ok(()) };
    // Nothing of the test stays; the daemon draws what holds.
    let cleared = glass.draw(&BLANK);
    shown?;
    if let Err(error) = cleared {
        let (detail, todo) = trouble(config, &error);
        bench.fail("cleared", detail, todo);
    }
    Ok(())
}

async fn show_all(bench: &mut Bench, glass: &mut dyn Glass, config: &Config, show: Duration) -> Result<(), Halt> {
    let characters = pages();
    let screens: Vec<Picture> = examples().iter().map(picture).collect();
    for (step, pictures, question) in [
        ("characters", &characters, "Did you see all letters, digits and signs? (\\ and ~ may look otherwise)"),
        ("screens", &screens, "Could you read each screen, from `SecT starting` to `FAULT 3 Wi-Fi`?"),
    ] {
        for picture in pictures {
            if let Err(error) = glass.draw(picture) {
                let (detail, todo) = trouble(config, &error);
                bench.fail(step, detail, todo);
                return Ok(());
            }
            bench.pause(show).await?;
        }
        bench.look(step, format!("{} pictures drawn", pictures.len()), question, GARBLED).await?;
    }
    Ok(())
}

/// All printable characters of ASCII, 32 to a picture.
fn pages() -> Vec<Picture> {
    (b' '..=b'~')
        .collect::<Vec<_>>()
        .chunks(2 * COLUMNS)
        .map(|page| {
            let mut picture = BLANK;
            picture.as_flattened_mut()[..page.len()].copy_from_slice(page);
            picture
        })
        .collect()
}

fn describe(config: &Config) -> String {
    let display = &config.display;
    match display.driver {
        DisplayDriverName::File => format!("the file {}", config.display_path().display()),
        DisplayDriverName::Terminal => "a box on the terminal".to_owned(),
        DisplayDriverName::LcdI2c => {
            let at = |address: u8| format!("{address:#04x}");
            let addresses = display.address.map_or_else(|| ADDRESSES.map(at).join(" or "), at);
            format!("a PCF8574 on {} at {addresses}", bus(config).display())
        }
        DisplayDriverName::LcdRppal | DisplayDriverName::LcdGpiocdev => {
            let places = display.places().into_iter().flatten();
            let names = ["RS", "enable", "D4", "D5", "D6", "D7"];
            let wires: Vec<_> = places.zip(names).map(|(place, name)| format!("{name} {}", place.pin)).collect();
            format!("six wires: {}", wires.join(", "))
        }
    }
}

fn bus(config: &Config) -> PathBuf {
    format!("/dev/i2c-{}", config.display.bus).into()
}

/// What failed, and what to do about it.
fn trouble(config: &Config, error: &io::Error) -> (String, String) {
    let todo = match config.display.driver {
        DisplayDriverName::File => "see that the folder takes files".to_owned(),
        DisplayDriverName::Terminal => "run it in a terminal".to_owned(),
        DisplayDriverName::LcdI2c => bus_trouble(config),
        DisplayDriverName::LcdRppal | DisplayDriverName::LcdGpiocdev => {
            let first = config.display.places().map(|[first, ..]| first);
            first.map_or_else(String::new, |place| board::trouble("display", &place, error))
        }
    };
    (error.to_string(), todo)
}

fn bus_trouble(config: &Config) -> String {
    let bus = bus(config);
    let path = bus.display();
    if !bus.exists() {
        return format!(
            "there is no {path}: put dtparam=i2c_arm=on into /boot/firmware/config.txt and restart the board; if it \
             stays away, the module i2c-dev is not loaded"
        );
    }
    match neighbours(config.display.bus) {
        Err(_) => format!("{path} does not open: run it as the daemon's user, who is in the group i2c"),
        Ok(found) if found.is_empty() => format!(
            "nothing answers on {path}: check 5 V, ground, SDA (header pin 3) and SCL (header pin 5), which are \
             easily swapped; `i2cdetect -y {}` must show a number",
            config.display.bus
        ),
        Ok(found) => {
            let found: Vec<_> = found.iter().map(|address| format!("{address:#04x}")).collect();
            format!("these answer on {path}: {}; set display.address to the backpack's", found.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_on_one_of_the_pages() {
        let pages = pages();
        assert_eq!(pages.len(), 3);
        let shown: Vec<u8> = pages.iter().flat_map(|page| page.as_flattened()).copied().collect();
        assert!((b' '..=b'~').all(|character| shown.contains(&character)));
    }
}
