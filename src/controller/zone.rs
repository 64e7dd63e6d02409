//! This computer's time of day and time zone, as a plug wants to be told.

use std::fs;
use std::path::{Component, Path};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::proto::calendar::{UnixMs, Zone};

/// The zone of this computer.
const LOCALTIME: &str = "/etc/localtime";
/// All zones, by name.
const ZONES: &str = "/usr/share/zoneinfo";

/// The time of day, which a time server should keep.
#[must_use]
pub fn unix_ms() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs::try_from(since.as_millis()).unwrap_or(UnixMs::MAX)
}

/// The zone of this user or of this computer.
#[must_use]
pub fn local() -> Option<Zone> {
    match std::env::var("TZ").ok().filter(|zone| !zone.is_empty()) {
        Some(zone) => named(zone.strip_prefix(':').unwrap_or(&zone)),
        None => of_file(Path::new(LOCALTIME)),
    }
}

/// The zone of that name, or of that POSIX TZ string.
#[must_use]
pub fn named(zone: &str) -> Option<Zone> {
    if let Ok(zone) = zone.parse() {
        return Some(zone);
    }
    // Out of the folder leads nothing.
    let name = Path::new(zone);
    let inside = name.components().all(|part| matches!(part, Component::Normal(_)));
    inside.then(|| of_file(&Path::new(ZONES).join(name))).flatten()
}

/// The last line of a zone file: the rules that hold from its last entry on (RFC 8536 section 3.3).
fn of_file(path: &Path) -> Option<Zone> {
    let file = fs::read(path).ok().filter(|file| file.starts_with(b"TZif"))?;
    let lines = file.strip_suffix(b"\n")?;
    let start = lines.iter().rposition(|byte| *byte == b'\n')? + 1;
    std::str::from_utf8(&lines[start..]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_read_from_the_end_of_its_file_or_from_its_rules() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("zone");
        fs::write(&path, b"TZif2\0\0\xff\nbinary\nCET-1CEST,M3.5.0,M10.5.0/3\n").expect("written");
        assert_eq!(of_file(&path).map(|zone| zone.to_string()).as_deref(), Some("CET-1CEST,M3.5.0,M10.5.0/3"));
        for wrong in [&b"CET-1\n"[..], b"TZif2\nx\n\n", b"TZif", b""] {
            fs::write(&path, wrong).expect("written");
            assert!(of_file(&path).is_none(), "{wrong:?}");
        }
        assert_eq!(named("<-03>3").map(|zone| zone.to_string()).as_deref(), Some("<-03>3"));
        for wrong in ["../../../etc/localtime", "/etc/localtime", "No/Such", ""] {
            assert!(named(wrong).is_none(), "{wrong}");
        }
    }
}
