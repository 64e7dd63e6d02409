//! The QR code of an invitation: what a plug drew, checked, and shown on a terminal or in a file
//! (SecT STEP 16; protocol section 9).
//!
//! A plug that draws another code than the text that it sends has a bug, or is not the plug that one
//! thinks it is: [`Code::says`] tells before anybody scans it.

use std::fmt::{self, Write as _};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::proto::secret::SecretString;

/// Modules of a side: version 4.
const SIDE: usize = 33;
/// Bytes of its bits, row by row.
const BYTES: usize = (SIDE * SIDE).div_ceil(8);
/// Light modules around the code (ISO/IEC 18004 section 6.3.8): without them many readers find nothing.
const QUIET: usize = 4;
/// Pixels of a module in a picture.
const PIXELS: usize = 8;

/// A QR code of 33 x 33 modules.
///
/// # Security
///
/// It is an invitation, and as secret as its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(Zeroizing<[u8; BYTES]>);

/// Bytes that are no QR code of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not the 33 x 33 modules of a QR code")]
pub struct NotACode;

impl Code {
    /// Takes the bits of `user.add`: row by row, most significant bit first, 1 = dark.
    ///
    /// # Errors
    ///
    /// [`NotACode`] when these are not 137 bytes that end in zero bits.
    pub fn from_bits(bits: &[u8]) -> Result<Self, NotACode> {
        let bits: [u8; BYTES] = bits.try_into().map_err(|_| NotACode)?;
        let unused = BYTES * 8 - SIDE * SIDE;
        if bits[BYTES - 1] & ((1 << unused) - 1) == 0 { Ok(Self(Zeroizing::new(bits))) } else { Err(NotACode) }
    }

    /// What a reader reads in it; nothing where it is unreadable.
    #[must_use]
    pub fn says(&self) -> Option<SecretString> {
        let grid = rqrr::Grid::new(rqrr::SimpleGrid::from_func(SIDE, |x, y| self.is_dark(x, y)));
        let mut text = Vec::with_capacity(rqrr::MAX_PAYLOAD_SIZE);
        let read = grid.decode_to(&mut text);
        let text = Zeroizing::new(text);
        read.ok()?;
        std::str::from_utf8(&text).ok().map(|text| SecretString::new(text.to_owned()))
    }

    /// Half blocks for a terminal: always black on white by fixed colours of the 256-colour palette, with the
    /// quiet zone drawn, so that it can be scanned on dark and on light backgrounds.
    #[must_use]
    pub fn to_terminal(&self) -> String {
        let mut text = String::with_capacity(32 * 1024);
        for row in (0..SIDE + 2 * QUIET).step_by(2) {
            // 16 and 231 are black and white in every theme, unlike the first 16 colours.
            text.push_str("\x1b[38;5;16;48;5;231m");
            for column in 0..SIDE + 2 * QUIET {
                text.push(match (self.is_dark_drawn(column, row), self.is_dark_drawn(column, row + 1)) {
                    (false, false) => ' ',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (true, true) => '█',
                });
            }
            text.push_str("\x1b[0m\n");
        }
        text.truncate(text.trim_end_matches('\n').len());
        text
    }

    /// A picture without a fixed size.
    #[must_use]
    pub fn to_svg(&self) -> String {
        let side = SIDE + 2 * QUIET;
        let mut text = String::with_capacity(32 * 1024);
        let _ = write!(
            text,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" shape-rendering=\"crispEdges\">\
             <path fill=\"#fff\" d=\"M0 0h{side}v{side}H0z\"/><path d=\""
        );
        for y in 0..side {
            for x in (0..side).filter(|x| self.is_dark_drawn(*x, y)) {
                let _ = write!(text, "M{x} {y}h1v1h-1z");
            }
        }
        text.push_str("\"/></svg>\n");
        text
    }

    /// A PNG of 328 x 328 pixels, black and white.
    #[must_use]
    pub fn to_png(&self) -> Vec<u8> {
        let side = (SIDE + 2 * QUIET) * PIXELS;
        let mut rows = vec![0; side * side / 8];
        for (place, byte) in rows.iter_mut().enumerate() {
            // Eight pixels, one module wide: PNG's 1 is white.
            let (x, y) = (place % (side / 8), place / (side / 8) / PIXELS);
            *byte = if self.is_dark_drawn(x, y) { 0 } else { 0xff };
        }
        let mut file = Vec::new();
        let pixels = u32::try_from(side).expect("328");
        let mut encoder = png::Encoder::new(&mut file, pixels, pixels);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&rows));
        written.expect("as many rows as the header says, written into memory");
        file
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        let place = y * SIDE + x;
        self.0[place / 8] & (0x80 >> (place % 8)) != 0
    }

    /// The same with the quiet zone around it, which goes on for ever.
    fn is_dark_drawn(&self, x: usize, y: usize) -> bool {
        let inside = |place: usize| (QUIET..QUIET + SIDE).contains(&place);
        inside(x) && inside(y) && self.is_dark(x - QUIET, y - QUIET)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

#[cfg(test)]
pub(in crate::controller) mod testing {
    //! QR codes for tests, drawn by another library than the one that reads them.

    use qrcode::{Color, EcLevel, QrCode, Version};

    use super::Code;

    /// The bits of version 4-M, as a plug sends them.
    pub(in crate::controller) fn bits(text: &str) -> Vec<u8> {
        let code = QrCode::with_version(text, Version::Normal(4), EcLevel::M).expect("short enough");
        let mut bits = vec![0; super::BYTES];
        for (place, color) in code.to_colors().into_iter().enumerate() {
            if color == Color::Dark {
                bits[place / 8] |= 0x80 >> (place % 8);
            }
        }
        bits
    }

    /// The code of a text.
    pub(in crate::controller) fn code(text: &str) -> Code {
        Code::from_bits(&bits(text)).expect("a code")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{bits, code};
    use super::*;
    use crate::controller::clock;
    use crate::proto::id::SpkiHash;
    use crate::proto::invitation::Invitation;

    fn text() -> SecretString {
        Invitation::random(&SpkiHash::new([0xca; 32]), &mut clock::rng()).text()
    }

    #[test]
    fn a_code_says_the_text_that_it_was_drawn_for() {
        let text = text();
        assert_eq!(code(text.expose()).says(), Some(text));
    }

    #[test]
    fn bits_that_are_no_code_are_refused_or_say_nothing() {
        let bits = bits(text().expose());
        assert_eq!(Code::from_bits(&bits[1..]), Err(NotACode));
        assert_eq!(Code::from_bits(&[&bits[..], &[0]].concat()), Err(NotACode));
        let mut longer = bits.clone();
        longer[BYTES - 1] |= 1;
        assert_eq!(Code::from_bits(&longer), Err(NotACode));
        for byte in [0, 0x80] {
            let mut empty = vec![byte; BYTES];
            empty[BYTES - 1] = 0;
            assert_eq!(Code::from_bits(&empty).expect("its size").says(), None);
        }
    }

    #[test]
    fn a_terminal_shows_every_module_and_the_quiet_zone_in_fixed_colours() {
        let code = code(text().expose());
        let shown = code.to_terminal();
        let rows: Vec<&str> = shown.lines().collect();
        assert_eq!(rows.len(), 21);
        for (place, row) in rows.iter().enumerate() {
            let blocks = row.strip_prefix("\x1b[38;5;16;48;5;231m").and_then(|row| row.strip_suffix("\x1b[0m"));
            let blocks: Vec<char> = blocks.expect("colours on and off again").chars().collect();
            assert_eq!(blocks.len(), 41);
            for (x, block) in blocks.into_iter().enumerate() {
                let halves = (code.is_dark_drawn(x, 2 * place), code.is_dark_drawn(x, 2 * place + 1));
                assert_eq!((matches!(block, '▀' | '█'), matches!(block, '▄' | '█')), halves);
            }
        }
        assert!(rows[..2].iter().all(|row| !row.contains(['▀', '▄', '█'])), "the quiet zone is light");
    }

    #[test]
    fn a_camera_reads_it_from_dark_and_from_light_terminals() {
        const CELL: usize = 6;
        let text = text();
        let shown = code(text.expose()).to_terminal();
        let rows: Vec<Vec<char>> =
            shown.lines().map(|row| row.chars().filter(|c| matches!(c, ' ' | '▀' | '▄' | '█')).collect()).collect();
        let module = |x: usize, y: usize| {
            let block = rows.get(y / 2)?.get(x)?;
            Some(matches!((block, y % 2), ('█', _) | ('▀', 0) | ('▄', 1)))
        };
        let margin = 10;
        let side = (SIDE + 2 * QUIET + 2 * margin) * CELL;
        for background in [0, 255] {
            let pixel = |x: usize, y: usize| {
                let inside = (x / CELL).checked_sub(margin).zip((y / CELL).checked_sub(margin));
                let dark = inside.and_then(|(x, y)| if y < SIDE + 2 * QUIET { module(x, y) } else { None });
                dark.map_or(background, |dark| if dark { 0 } else { 255 })
            };
            let mut picture = rqrr::PreparedImage::prepare_from_greyscale(side, side, pixel);
            let read: Vec<String> =
                picture.detect_grids().iter().map(|grid| grid.decode().expect("a code").1).collect();
            assert_eq!(read, [text.expose()], "on {background}");
        }
    }

    #[test]
    fn an_svg_has_a_square_for_each_dark_module_on_white() {
        let code = code(text().expose());
        let svg = code.to_svg();
        let dark = (0..SIDE * SIDE).filter(|place| code.is_dark(place % SIDE, place / SIDE)).count();
        assert_eq!(svg.matches("h1v1h-1z").count(), dark);
        // The corner of the first finder pattern.
        assert!(svg.contains("d=\"M4 4h1v1h-1zM5 4h1v1h-1z"), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", code(text().expose())), "Code(..)");
    }
}
