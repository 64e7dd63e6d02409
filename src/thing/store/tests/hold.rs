//! A store that is only looked at.

use std::collections::BTreeMap;

use super::*;

/// Every file of the folder, with what it holds and who may read it.
fn everything(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, u32)> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| {
            let mode = fs::metadata(&path).expect("there").permissions().mode();
            let bytes = fs::read(&path).expect("readable");
            (path, (bytes, mode))
        })
        .collect()
}

#[test]
fn a_store_that_is_held_is_left_as_it_was_and_kept_from_the_daemon() {
    let (_dir, folder) = folder();
    assert!(hold(&folder).expect("nothing there").is_none());
    assert!(!folder.exists(), "nothing is made");
    drop(Store::open(&folder, identity).expect("opens"));
    let before = everything(&folder);
    let held = hold(&folder).expect("sound").expect("there");
    assert!(!held.is_claimed());
    assert!(matches!(Store::open(&folder, identity), Err(StoreError::InUse)));
    drop(held);
    assert_eq!(everything(&folder), before);

    let (mut store, _) = Store::open(&folder, identity).expect("opens");
    assert_eq!(store.claim(&household(true), 1), Ok(()));
    assert!(matches!(hold(&folder), Err(StoreError::InUse)));
    drop(store);
    assert!(hold(&folder).expect("sound").expect("there").is_claimed());
}

#[test]
fn what_a_killed_daemon_left_in_its_journal_is_read_and_stays_there() {
    let (_dir, folder) = folder();
    let (mut store, _) = Store::open(&folder, identity).expect("opens");
    assert_eq!(store.claim(&household(true), 1), Ok(()));
    let killed = folder.with_file_name("killed");
    fs::create_dir(&killed).expect("made");
    for (path, (bytes, _)) in everything(&folder) {
        fs::write(killed.join(path.file_name().expect("a file")), bytes).expect("copied");
    }
    drop(store);
    let before = everything(&killed);
    let journal = before.get(&killed.join("thing.db-wal")).expect("a journal");
    assert!(!journal.0.is_empty(), "the claim is in there");
    assert!(hold(&killed).expect("sound").expect("there").is_claimed());
    assert_eq!(everything(&killed), before);
}

#[test]
fn a_store_that_is_lost_or_damaged_is_told_from_one_that_was_never_made() {
    let (_dir, folder) = folder();
    drop(Store::open(&folder, identity).expect("opens"));
    let path = folder.join(DATABASE);
    let mut bytes = fs::read(&path).expect("there");
    bytes[4096..4200].fill(0xa5);
    fs::write(&path, bytes).expect("damaged");
    let before = everything(&folder);
    assert!(matches!(hold(&folder), Err(StoreError::Corrupt { .. })));
    assert_eq!(everything(&folder), before);
    fs::remove_file(&path).expect("lost");
    assert!(hold(&folder).expect("never claimed").is_none());
    fs::write(folder.join(MARK), "").expect("marked");
    assert!(matches!(hold(&folder), Err(StoreError::ClaimedButLost)));
}
