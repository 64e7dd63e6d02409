//! Reading an invitation from a picture of its QR code: a PNG or a JPEG, a screenshot or a photograph.

use std::io::Cursor;

use png::{ColorType, Transformations};
use rqrr::PreparedImage;
use thiserror::Error;
use zeroize::Zeroizing;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::proto::invitation::Invitation;
use crate::proto::secret::SecretString;

/// Bytes of a picture file at most: a telephone's photographs have some 10 MB.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;
/// Pixels of a side at most, so that a small file cannot ask for the whole memory.
const MAX_SIDE: usize = 10_000;
/// The side to which large pictures are reduced first: noise goes, and a code stays readable.
const HANDY_SIDE: usize = 1600;

/// Why a picture gives no invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PictureError {
    /// Neither PNG nor JPEG.
    #[error("only PNG and JPEG pictures can be read")]
    Format,
    /// It says to be one, and is not.
    #[error("the picture is damaged")]
    Damaged,
    /// It is far larger than a photograph.
    #[error("the picture is too large")]
    TooLarge,
    /// Nothing in it looks like a QR code.
    #[error("there is no QR code in the picture, or it cannot be read")]
    NoCode,
    /// There is a code, and it is something else.
    #[error("the QR code in the picture is no invitation of a SecT plug")]
    Foreign,
    /// More than one invitation.
    #[error("there are several invitations in the picture")]
    Several,
}

/// Brightness, row by row; 0 is black.
struct Grey {
    width: usize,
    height: usize,
    pixels: Zeroizing<Vec<u8>>,
}

/// Finds the text of the one invitation in a picture.
///
/// # Errors
///
/// [`PictureError`].
pub fn read(file: &[u8]) -> Result<SecretString, PictureError> {
    let grey = match file {
        [0x89, b'P', b'N', b'G', ..] => of_png(file)?,
        [0xff, 0xd8, 0xff, ..] => of_jpeg(file)?,
        _ => return Err(PictureError::Format),
    };
    let handy = grey.reduced();
    let found = handy.as_ref().map(Grey::texts).filter(|texts| !texts.is_empty());
    choose(&found.unwrap_or_else(|| grey.texts()))
}

/// Of all codes in a picture the one that is an invitation.
fn choose(texts: &[SecretString]) -> Result<SecretString, PictureError> {
    let mut invitations = texts.iter().filter(|text| text.expose().parse::<Invitation>().is_ok());
    match (invitations.next(), texts.is_empty()) {
        (Some(first), _) if invitations.all(|other| other == first) => Ok(first.clone()),
        (Some(_), _) => Err(PictureError::Several),
        (None, true) => Err(PictureError::NoCode),
        (None, false) => Err(PictureError::Foreign),
    }
}

fn of_png(file: &[u8]) -> Result<Grey, PictureError> {
    let limits = png::Limits { bytes: MAX_SIDE * MAX_SIDE };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(file), limits);
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|_| PictureError::Damaged)?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    expect_size(width, height)?;
    let bytes = reader.output_buffer_size().ok_or(PictureError::TooLarge)?;
    let mut raw = Zeroizing::new(vec![0; bytes]);
    let info = reader.next_frame(&mut raw).map_err(|_| PictureError::Damaged)?;
    let pixels: Vec<u8> = match info.color_type {
        ColorType::Grayscale => raw.to_vec(),
        ColorType::GrayscaleAlpha => raw.chunks_exact(2).map(|pixel| on_white(pixel[0], pixel[1])).collect(),
        ColorType::Rgb => raw.chunks_exact(3).map(|pixel| brightness(pixel[0], pixel[1], pixel[2])).collect(),
        ColorType::Rgba => {
            raw.chunks_exact(4).map(|pixel| on_white(brightness(pixel[0], pixel[1], pixel[2]), pixel[3])).collect()
        }
        // The transformations have replaced the palette by its colours.
        ColorType::Indexed => return Err(PictureError::Damaged),
    };
    Grey::new(width, height, pixels)
}

fn of_jpeg(file: &[u8]) -> Result<Grey, PictureError> {
    let options = DecoderOptions::default()
        .set_max_width(MAX_SIDE)
        .set_max_height(MAX_SIDE)
        .jpeg_set_out_colorspace(ColorSpace::Luma);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(file), options);
    decoder.decode_headers().map_err(|_| PictureError::Damaged)?;
    let (width, height) = decoder.dimensions().ok_or(PictureError::Damaged)?;
    expect_size(width, height)?;
    let pixels = decoder.decode().map_err(|_| PictureError::Damaged)?;
    Grey::new(width, height, pixels)
}

fn expect_size(width: usize, height: usize) -> Result<(), PictureError> {
    if width.max(height) > MAX_SIDE || width * height > MAX_SIDE * MAX_SIDE / 2 {
        return Err(PictureError::TooLarge);
    }
    Ok(())
}

/// Green counts most to the eye (ITU-R BT.601).
fn brightness(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue);
    u8::try_from(sum / 1000).expect("a weighted mean of bytes")
}

/// What is transparent lets white through.
fn on_white(grey: u8, alpha: u8) -> u8 {
    let (grey, alpha) = (u32::from(grey), u32::from(alpha));
    u8::try_from((grey * alpha + 255 * (255 - alpha)) / 255).expect("a weighted mean of bytes")
}

impl Grey {
    fn new(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self, PictureError> {
        let pixels = Zeroizing::new(pixels);
        if pixels.len() == width * height { Ok(Self { width, height, pixels }) } else { Err(PictureError::Damaged) }
    }

    /// A smaller one of the mean of each square, where this is large.
    fn reduced(&self) -> Option<Self> {
        let by = self.width.max(self.height).div_ceil(HANDY_SIDE);
        let (width, height) = (self.width / by, self.height / by);
        if by < 2 || width == 0 || height == 0 {
            return None;
        }
        let mean = |x: usize, y: usize| {
            let rows = (y * by..(y + 1) * by).map(|row| &self.pixels[row * self.width + x * by..][..by]);
            let sum: usize = rows.flatten().map(|pixel| usize::from(*pixel)).sum();
            u8::try_from(sum / (by * by)).expect("a mean of bytes")
        };
        let pixels = (0..width * height).map(|place| mean(place % width, place / width)).collect();
        Some(Self { width, height, pixels: Zeroizing::new(pixels) })
    }

    /// The text of every code that can be read.
    fn texts(&self) -> Vec<SecretString> {
        let mut prepared =
            PreparedImage::prepare_from_greyscale(self.width, self.height, |x, y| self.pixels[y * self.width + x]);
        let read = |grid: &rqrr::Grid<_>| {
            let mut text = Vec::with_capacity(rqrr::MAX_PAYLOAD_SIZE);
            let read = grid.decode_to(&mut text);
            let text = Zeroizing::new(text);
            read.ok().and_then(|_| std::str::from_utf8(&text).ok().map(|text| SecretString::new(text.to_owned())))
        };
        prepared.detect_grids().iter().filter_map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::clock;
    use crate::controller::qr::testing::code;
    use crate::proto::id::SpkiHash;

    fn text() -> SecretString {
        Invitation::random(&SpkiHash::new([0xca; 32]), &mut clock::rng()).text()
    }

    fn png_of(width: usize, height: usize, color: ColorType, pixels: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header().and_then(|mut writer| writer.write_image_data(pixels)).expect("written");
        file
    }

    /// The code in the middle of a larger picture, each of its pixels `scale` wide.
    fn photograph(text: &SecretString, scale: usize, color: ColorType) -> Vec<u8> {
        let grey = of_png(&code(text.expose()).to_png()).expect("a picture");
        let side = grey.width * scale * 2;
        let from = side / 4;
        let mut pixels = Vec::new();
        for place in 0..side * side {
            let (x, y) = (place % side, place / side);
            let inside = |at: usize| (from..from + grey.width * scale).contains(&at);
            // Uneven light, as in a room.
            let shade = u8::try_from(40 * x / side).expect("small");
            let value = if inside(x) && inside(y) {
                grey.pixels[(y - from) / scale * grey.width + (x - from) / scale].saturating_sub(shade).max(30)
            } else {
                140
            };
            match color {
                ColorType::Grayscale => pixels.push(value),
                ColorType::Rgb => pixels.extend([value; 3]),
                ColorType::Rgba => pixels.extend([value, value, value, 255]),
                other => panic!("{other:?} is not drawn here"),
            }
        }
        png_of(side, side, color, &pixels)
    }

    #[test]
    fn the_picture_that_was_written_is_read_back() {
        let text = text();
        assert_eq!(read(&code(text.expose()).to_png()), Ok(text));
    }

    #[test]
    fn a_code_somewhere_in_a_photograph_is_found_small_and_large() {
        let text = text();
        for (scale, color) in [(1, ColorType::Grayscale), (1, ColorType::Rgba), (3, ColorType::Rgb)] {
            assert_eq!(read(&photograph(&text, scale, color)), Ok(text.clone()), "{scale} {color:?}");
        }
    }

    #[test]
    fn a_photograph_held_askew_is_read() {
        let text = "SECT1:AEASGRLHRGV433YBENCWPCNLZXXQEAQCAIBAEAQCAAAQEAYEAUDAOEARCIJRIFIWC4MBSGQ3DQOR4HY";
        let photograph = include_bytes!("../../tests/vectors/invitation.jpg");
        assert_eq!(read(photograph), Ok(SecretString::new(text.to_owned())));
        let torn = read(&photograph[..photograph.len() / 3]).expect_err("most of it is missing");
        assert!(matches!(torn, PictureError::NoCode | PictureError::Damaged), "{torn}");
    }

    #[test]
    fn transparency_is_white() {
        let text = text();
        let grey = of_png(&code(text.expose()).to_png()).expect("a picture");
        let pixels: Vec<u8> = grey.pixels.iter().flat_map(|value| [0, 255 - value]).collect();
        let file = png_of(grey.width, grey.height, ColorType::GrayscaleAlpha, &pixels);
        assert_eq!(read(&file), Ok(text));
    }

    #[test]
    fn each_picture_without_an_invitation_has_its_reason() {
        assert_eq!(read(b""), Err(PictureError::Format));
        assert_eq!(read(b"GIF89a"), Err(PictureError::Format));
        assert_eq!(read(b"\x89PNG\r\n\x1a\n"), Err(PictureError::Damaged));
        assert_eq!(read(&[0xff, 0xd8, 0xff, 0xe0]), Err(PictureError::Damaged));
        let whole = code(text().expose()).to_png();
        assert_eq!(read(&whole[..whole.len() / 2]), Err(PictureError::Damaged));
        let white = png_of(100, 100, ColorType::Grayscale, &[255; 10_000]);
        assert_eq!(read(&white), Err(PictureError::NoCode));
        assert_eq!(read(&code("HTTPS://EXAMPLE.ORG/").to_png()), Err(PictureError::Foreign));
    }

    #[test]
    fn a_small_file_cannot_ask_for_the_whole_memory() {
        // A header that promises 60000 x 60000 pixels.
        let mut file = code(text().expose()).to_png();
        file[16..20].copy_from_slice(&60_000_u32.to_be_bytes());
        file[20..24].copy_from_slice(&60_000_u32.to_be_bytes());
        let crc = crc_of(&file[12..29]);
        file[29..33].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(read(&file), Err(PictureError::TooLarge));
    }

    /// PNG's checksum (ISO/IEC 15948 annex D).
    fn crc_of(bytes: &[u8]) -> u32 {
        let step = |crc: u32, byte: &u8| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
        };
        !bytes.iter().fold(!0, step)
    }

    #[test]
    fn of_several_codes_the_one_invitation_counts_and_two_do_not() {
        let (first, second) = (text(), text());
        let foreign = SecretString::new("https://example.org".to_owned());
        assert_eq!(choose(&[foreign.clone(), first.clone(), first.clone()]), Ok(first.clone()));
        assert_eq!(choose(&[first, second]), Err(PictureError::Several));
        assert_eq!(choose(&[foreign]), Err(PictureError::Foreign));
        assert_eq!(choose(&[]), Err(PictureError::NoCode));
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 100, failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_file_breaks_the_reader(
            png in proptest::bool::ANY,
            changes in proptest::collection::vec((proptest::arbitrary::any::<proptest::sample::Index>(), proptest::num::u8::ANY), 1..6),
            length in proptest::arbitrary::any::<proptest::sample::Index>(),
            cut in proptest::bool::weighted(0.3),
        ) {
            let photograph = include_bytes!("../../tests/vectors/invitation.jpg");
            let mut file = if png { code("SECT1:").to_png() } else { photograph.to_vec() };
            for (place, byte) in changes {
                let length = file.len();
                file[place.index(length)] = byte;
            }
            if cut {
                file.truncate(length.index(file.len()));
            }
            // Whatever it says, it says it in time and without taking the program down.
            if let Ok(text) = read(&file) {
                proptest::prop_assert!(text.expose().parse::<Invitation>().is_ok());
            }
        }
    }
}
