//! Where each thing was reached last: a hint that makes the next command fast.
//!
//! Losing the file costs a discovery, so nothing here fails: it logs and goes on.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::proto::id::ThingId;

/// More than a household has things; a larger file is not read.
const MAX_BYTES: u64 = 64 * 1024;

/// The cache file, `$XDG_CACHE_HOME/sect/addresses.json`.
#[derive(Debug, Clone)]
pub struct Addresses(Option<PathBuf>);

impl Addresses {
    /// The one of this user; without a home nothing is remembered.
    #[must_use]
    pub fn of_user() -> Self {
        Self(xdg("XDG_CACHE_HOME", ".cache").map(|folder| folder.join("addresses.json")))
    }

    /// One that stands elsewhere.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self(Some(path))
    }

    /// Where the thing was reached last.
    #[must_use]
    pub fn last(&self, thing: &ThingId) -> Option<SocketAddr> {
        self.read().get(&thing.to_string()).copied()
    }

    /// Remembers where the thing was reached.
    pub fn remember(&self, thing: &ThingId, address: SocketAddr) {
        if self.last(thing) != Some(address) {
            let mut all = self.read();
            all.insert(thing.to_string(), address);
            self.write(&all);
        }
    }

    /// Forgets a thing.
    pub fn forget(&self, thing: &ThingId) {
        let mut all = self.read();
        if all.remove(&thing.to_string()).is_some() {
            self.write(&all);
        }
    }

    fn read(&self) -> BTreeMap<String, SocketAddr> {
        let Some(path) = &self.0 else { return BTreeMap::new() };
        let small = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() <= MAX_BYTES);
        let text = if small { fs::read(path).unwrap_or_default() } else { Vec::new() };
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn write(&self, all: &BTreeMap<String, SocketAddr>) {
        let Some((path, folder)) = self.0.as_deref().and_then(|path| Some((path, path.parent()?))) else { return };
        let written = fs::create_dir_all(folder).and_then(|()| {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(&serde_json::to_vec(all)?)?;
            file.persist(path).map_err(|error| error.error)
        });
        if let Err(error) = written {
            tracing::debug!(%error, "address is not remembered");
        }
    }
}

/// `$NAME/sect`, or `~/FALLBACK/sect`; relative paths do not count (XDG Base Directory Specification).
pub(super) fn xdg(name: &str, fallback: &str) -> Option<PathBuf> {
    let set = std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set.or_else(|| {
        std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute()).map(|home| home.join(fallback))
    })?;
    Some(base.join("sect"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_of_each_thing_is_remembered_until_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let addresses = Addresses::at(folder.path().join("new").join("addresses.json"));
        let (first, second) = ("0123456789abcdef".parse().expect("id"), "fedcba9876543210".parse().expect("id"));
        assert_eq!(addresses.last(&first), None);

        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        addresses.remember(&first, address(1));
        addresses.remember(&second, address(2));
        addresses.remember(&first, address(3));
        assert_eq!((addresses.last(&first), addresses.last(&second)), (Some(address(3)), Some(address(2))));

        addresses.forget(&first);
        assert_eq!((addresses.last(&first), addresses.last(&second)), (None, Some(address(2))));
    }

    #[test]
    fn a_broken_cache_is_an_empty_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("addresses.json");
        fs::write(&path, "{\"0123456789abcdef\": 7").expect("written");
        let addresses = Addresses::at(path);
        let thing = "0123456789abcdef".parse().expect("id");
        assert_eq!(addresses.last(&thing), None);
        addresses.remember(&thing, SocketAddr::from(([127, 0, 0, 1], 1)));
        assert!(addresses.last(&thing).is_some());
    }
}
