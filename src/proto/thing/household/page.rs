//! Lists that are longer than one answer: how much of them fits.

use serde::Serialize;

/// Bytes of JSON that the items of a list may take. An answer has 1983 in all (protocol section 4.2); beside
/// the items stand its head, with two names of 32 bytes, and what follows them in `r`, with a zone of 64.
const ROOM: usize = 1500;

/// One page of a list.
pub(super) struct Page<Item> {
    items: Vec<Item>,
    used: usize,
}

impl<Item: Serialize> Page<Item> {
    /// Takes items as long as they fit. Gives them, and the first one that did not fit.
    pub(super) fn fill(items: impl IntoIterator<Item = Item>) -> (Vec<Item>, Option<Item>) {
        let mut page = Self { items: Vec::new(), used: 0 };
        for item in items {
            let bytes = serde_json::to_string(&item).expect("items are maps with string keys").len() + ",".len();
            if page.used + bytes > ROOM {
                return (page.items, Some(item));
            }
            page.used += bytes;
            page.items.push(item);
        }
        (page.items, None)
    }
}
