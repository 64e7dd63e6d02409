//! What the kernel says of its radios, read from `/sys`: which there are, whose driver, whether one is blocked,
//! and for which country.

use std::fs;
use std::path::Path;

/// A network interface that is a radio.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    /// The kernel's driver, as in `brcmfmac`.
    pub(super) driver: Option<String>,
}

/// All radios, by name.
pub(super) fn interfaces(sys: &Path) -> Vec<Interface> {
    let entries = fs::read_dir(sys.join("class/net")).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.path().join("phy80211").exists())
        .map(|entry| {
            let driver = fs::read_link(entry.path().join("device/driver")).ok();
            let driver = driver.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
            Interface { name: entry.file_name().to_string_lossy().into_owned(), driver }
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// Whether a switch, or the system for want of a country, keeps a radio off the air.
pub(super) fn is_blocked(sys: &Path) -> bool {
    let entries = fs::read_dir(sys.join("class/rfkill")).into_iter().flatten().flatten();
    let says = |path: &Path, name: &str| fs::read_to_string(path.join(name)).unwrap_or_default().trim().to_owned();
    entries
        .map(|entry| entry.path())
        .any(|path| says(&path, "type") == "wlan" && (says(&path, "soft") == "1" || says(&path, "hard") == "1"))
}

/// The country that the kernel was started with, which says which channels and what power are allowed.
pub(super) fn country(sys: &Path) -> Option<String> {
    let text = fs::read_to_string(sys.join("module/cfg80211/parameters/ieee80211_regdom")).ok()?;
    Some(text.trim().to_owned()).filter(|country| !country.is_empty() && country != "00")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(sys: &Path, path: &str, text: &str) {
        let path = sys.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }

    #[test]
    fn a_radio_is_told_from_a_cable_and_its_driver_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let sys = dir.path();
        assert_eq!(interfaces(sys), []);
        write(sys, "class/net/eth0/address", "");
        write(sys, "class/net/wlan1/phy80211/name", "phy1");
        write(sys, "class/net/wlan0/phy80211/name", "phy0");
        fs::create_dir_all(sys.join("class/net/wlan0/device")).expect("made");
        symlink("../../../bus/sdio/drivers/brcmfmac", sys.join("class/net/wlan0/device/driver")).expect("linked");
        let interface =
            |name: &str, driver: Option<&str>| Interface { name: name.to_owned(), driver: driver.map(str::to_owned) };
        assert_eq!(interfaces(sys), [interface("wlan0", Some("brcmfmac")), interface("wlan1", None)]);
    }

    #[test]
    fn a_blocked_radio_is_seen_and_a_blocked_bluetooth_is_none() {
        let dir = tempfile::tempdir().expect("a folder");
        let sys = dir.path();
        assert!(!is_blocked(sys));
        for (at, kind, soft) in [("rfkill0", "bluetooth\n", "1\n"), ("rfkill1", "wlan\n", "0\n")] {
            write(sys, &format!("class/rfkill/{at}/type"), kind);
            write(sys, &format!("class/rfkill/{at}/soft"), soft);
            write(sys, &format!("class/rfkill/{at}/hard"), "0\n");
        }
        assert!(!is_blocked(sys));
        write(sys, "class/rfkill/rfkill1/soft", "1\n");
        assert!(is_blocked(sys));
    }

    #[test]
    fn a_country_is_two_letters_or_unknown() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(country(dir.path()), None);
        for (text, expected) in [("00\n", None), ("\n", None), ("DE\n", Some("DE".to_owned()))] {
            write(dir.path(), "module/cfg80211/parameters/ieee80211_regdom", text);
            assert_eq!(country(dir.path()), expected);
        }
    }
}
