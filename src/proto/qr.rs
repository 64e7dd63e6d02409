//! The QR code of an invitation, drawn by the thing so that a controller needs no encoder (SecT STEP 16;
//! protocol section 9).

use qrcode::bits::Bits;
use qrcode::{EcLevel, QrCode, Version};

use super::invitation::Invitation;

/// Modules on each side: version 4.
pub const SIDE: usize = 33;
/// Bytes of a drawing.
pub const BYTES: usize = (SIDE * SIDE).div_ceil(8);

/// A QR code: row by row, most significant bit first, 1 = dark. The bits beyond the last module are zero.
///
/// # Security
///
/// It holds the secret of the invitation as much as its text does.
pub type Drawing = [u8; BYTES];

/// Draws an invitation as version 4-M in alphanumeric mode.
#[must_use]
pub fn draw(invitation: &Invitation) -> Drawing {
    let mut bits = Bits::new(Version::Normal(4));
    let drawn = bits
        .push_alphanumeric_data(invitation.text().expose().as_bytes())
        .and_then(|()| bits.push_terminator(EcLevel::M))
        .and_then(|()| QrCode::with_bits(bits, EcLevel::M))
        .expect("version 4-M holds 90 alphanumeric characters, an invitation has 85");
    let mut drawing = [0; BYTES];
    for (place, color) in drawn.to_colors().into_iter().enumerate() {
        drawing[place / 8] |= color.select(0x80, 0) >> (place % 8);
    }
    drawing
}

/// Whether a module is dark; those outside are not.
#[must_use]
pub fn is_dark(drawing: &Drawing, row: usize, column: usize) -> bool {
    let place = row * SIDE + column;
    row < SIDE && column < SIDE && drawing[place / 8] & (0x80 >> (place % 8)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::id::{InviteId, SpkiHash};
    use crate::proto::secret::Secret;

    fn drawing() -> Drawing {
        draw(&Invitation::of(&SpkiHash::new([0xca; 32]), InviteId::new([1; 8]), Secret::new([2; 16])))
    }

    #[test]
    fn the_finder_patterns_stand_in_three_corners_and_not_in_the_fourth() {
        let drawing = drawing();
        let finder = |row: usize, column: usize| {
            (0..7).all(|r| {
                (0..7).all(|c| {
                    let ring = r == 0 || r == 6 || c == 0 || c == 6;
                    let heart = (2..5).contains(&r) && (2..5).contains(&c);
                    is_dark(&drawing, row + r, column + c) == (ring || heart)
                })
            })
        };
        assert!(finder(0, 0) && finder(0, SIDE - 7) && finder(SIDE - 7, 0));
        assert!(!finder(SIDE - 7, SIDE - 7));
        // The timing pattern between them.
        assert!((8..SIDE - 8).all(|place| is_dark(&drawing, 6, place) == (place % 2 == 0)));
        assert!((8..SIDE - 8).all(|place| is_dark(&drawing, place, 6) == (place % 2 == 0)));
    }

    #[test]
    fn the_bits_beyond_the_last_module_are_zero() {
        assert_eq!(SIDE * SIDE, 8 * BYTES - 7);
        assert_eq!(drawing()[BYTES - 1] & 0x7f, 0);
        assert!(!is_dark(&[0xff; BYTES], SIDE, 0) && !is_dark(&[0xff; BYTES], 0, SIDE));
    }

    /// A decoder of a few lines for this one version, level and mode: what was drawn is what is read.
    #[test]
    fn what_is_drawn_reads_back() {
        let invitation = Invitation::of(&SpkiHash::new([0x5a; 32]), InviteId::new([7; 8]), Secret::new([9; 16]));
        assert_eq!(read(&draw(&invitation)), invitation.text().expose());
    }

    fn read(drawing: &Drawing) -> String {
        const CHARACTERS: &[u8; 45] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:";
        // Format information, right of and below the finder in the upper left corner (ISO 18004 7.9).
        let format = (0..6).map(|c| (8, c)).chain([(8, 7), (8, 8), (7, 8)]).chain((0..6).rev().map(|r| (r, 8)));
        let format = format.fold(0u16, |bits, (r, c)| bits << 1 | u16::from(is_dark(drawing, r, c))) ^ 0x5412;
        assert_eq!(format >> 13, 0, "error correction level M");
        let pattern = |r: usize, c: usize| match format >> 10 & 7 {
            0 => (r + c) % 2,
            1 => r % 2,
            2 => c % 3,
            3 => (r + c) % 3,
            4 => (r / 2 + c / 3) % 2,
            5 => r * c % 2 + r * c % 3,
            6 => (r * c % 2 + r * c % 3) % 2,
            _ => ((r + c) % 2 + r * c % 3) % 2,
        };
        let masked = |r, c| pattern(r, c) == 0;
        let reserved = |r: usize, c: usize| {
            r < 9 && !(9..SIDE - 8).contains(&c) || r >= SIDE - 8 && c < 9 || r == 6 || c == 6
                // The one alignment pattern of version 4.
                || (24..29).contains(&r) && (24..29).contains(&c)
        };
        // Two columns at a time from the right, up and down in turn, leaving out the timing column.
        let mut bits = Vec::new();
        for (turn, right) in (0..SIDE).rev().filter(|&c| c != 6).step_by(2).enumerate() {
            let left = if right == 7 { 5 } else { right - 1 };
            let rows: Vec<_> = if turn % 2 == 0 { (0..SIDE).rev().collect() } else { (0..SIDE).collect() };
            for row in rows {
                for column in [right, left] {
                    if !reserved(row, column) {
                        bits.push(is_dark(drawing, row, column) ^ masked(row, column));
                    }
                }
            }
        }
        // Two blocks of 32 data codewords each, byte by byte in turn.
        let codewords: Vec<u8> =
            bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |byte, &bit| byte << 1 | u8::from(bit))).collect();
        let data: Vec<u8> =
            [0, 1].into_iter().flat_map(|block| (0..32).map(move |n| 2 * n + block)).map(|n| codewords[n]).collect();
        let mut bits = data.iter().flat_map(|byte| (0..8).rev().map(move |bit| usize::from(byte >> bit & 1)));
        let mut take = |count: usize| (0..count).fold(0, |number, _| number << 1 | bits.next().expect("enough"));
        assert_eq!(take(4), 2, "alphanumeric mode");
        let length = take(9);
        let mut text = String::new();
        while text.len() < length {
            if length - text.len() == 1 {
                text.push(char::from(CHARACTERS[take(6)]));
            } else {
                let pair = take(11);
                text.extend([pair / 45, pair % 45].map(|n| char::from(CHARACTERS[n])));
            }
        }
        text
    }
}
