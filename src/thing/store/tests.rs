use std::cell::Cell;
use std::io::{Seek, SeekFrom, Write};

use sha2::{Digest, Sha256};

use super::mark::MARK;
use super::*;
use crate::proto::credential::CtlrCredentials;
use crate::proto::id::Cid;
use crate::proto::keys::MasterKey;
use crate::proto::operation::argument::{Bounded, Days, PowerOn, Schedule};
use crate::proto::record::{ControllerRecord, Household, KeyAge, NextTopic, StoredSchedule};
use crate::proto::secret::Secret;
use crate::proto::signature::SigningKey;
use crate::proto::testing::Counter;
use crate::proto::topic::TToken;
use crate::proto::user::Role;
use crate::proto::wifi::{HomeNetwork, Ssid};

mod hold;
mod wipe;

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("lib/sect");
    (dir, path)
}

fn identity() -> StoredIdentity {
    StoredIdentity { key: Secret::random(&mut Counter::new(7)), certificate: vec![0x30, 0x03, 1, 2, 3] }
}

/// A household that uses every column.
fn household(joined_once: bool) -> Household {
    let rng = &mut Counter::new(1);
    let owner = ControllerRecord {
        cid: Cid::random(rng),
        name: "Mia’s phone".parse().expect("a name"),
        role: Role::Owner,
        spki: SigningKey::random(rng).spki(),
        topic: TToken::random(rng),
        credentials: CtlrCredentials::random(rng),
        epoch: u32::MAX,
        master: MasterKey::from_stored(Secret::random(rng)),
        key_age: KeyAge { uptime_s: 7, accepted: u32::MAX },
        next: Some(NextTopic {
            topic: "NextNextNextNextNextNext1".parse().expect("a topic"),
            password: "NextNextNextNextNextNext2".parse().expect("a password"),
        }),
        left_s: None,
    };
    Household {
        name: "plug".parse().expect("a name"),
        network: HomeNetwork {
            ssid: Ssid::new(b"caf\xe9 \0\xff").expect("7 bytes"),
            psk: "correct 'horse'".parse().expect("a passphrase"),
        },
        joined_once,
        recovery: Some(SigningKey::random(rng).spki()),
        power_on: PowerOn::Last,
        zone: Some("CET-1CEST,M3.5.0,M10.5.0/3".to_owned()),
        schedules: vec![StoredSchedule {
            id: 3,
            schedule: Schedule {
                days: Days(Bounded::new(127).expect("in range")),
                at: Bounded::new(1439).expect("in range"),
                on: true,
            },
        }],
        next_schedule: 9,
        controllers: vec![owner, guest()],
    }
}

fn guest() -> ControllerRecord {
    let rng = &mut Counter::new(2);
    ControllerRecord {
        cid: Cid::new([0; 8]),
        name: "Ben".parse().expect("a name"),
        role: Role::Viewer,
        spki: SigningKey::random(rng).spki(),
        topic: TToken::random(rng),
        credentials: CtlrCredentials::random(rng),
        epoch: 0,
        master: MasterKey::from_stored(Secret::random(rng)),
        key_age: KeyAge::default(),
        next: None,
        left_s: Some(60),
    }
}

fn as_stored(generation: u64, household: Option<Household>) -> Stored {
    Stored { identity: identity(), generation, household, wiping: false, outlet: None }
}

fn open(folder: &Path) -> Result<(Store, Stored), StoreError> {
    Store::open(folder, || panic!("the identity was there already"))
}

fn open_new(folder: &Path) -> Store {
    let (store, stored) = Store::open(folder, identity).expect("opens");
    assert_eq!(stored, as_stored(0, None));
    store
}

fn claimed(folder: &Path) {
    open_new(folder).claim(&household(false), 5).expect("claims");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

/// What lies in the folder, by SHA-256; an empty journal holds nothing and does not count.
fn contents(folder: &Path) -> Vec<(std::ffi::OsString, [u8; 32])> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry"));
    let mut contents: Vec<_> = entries
        .map(|entry| (entry.file_name(), fs::read(entry.path()).expect("a file")))
        .filter(|(name, bytes)| name != "thing.db-wal" || !bytes.is_empty())
        .map(|(name, bytes)| (name, Sha256::digest(bytes).into()))
        .collect();
    contents.sort();
    contents
}

#[test]
fn the_identity_is_drawn_once() {
    let (_dir, folder) = folder();
    let drawn = Cell::new(0);
    let draw = || {
        drawn.set(drawn.get() + 1);
        identity()
    };
    for _ in 0..3 {
        let (_, stored) = Store::open(&folder, draw).expect("opens");
        assert_eq!(stored, as_stored(0, None));
    }
    assert_eq!(drawn.get(), 1);
}

#[test]
fn a_claim_comes_back_whole() {
    let (_dir, folder) = folder();
    claimed(&folder);
    let (mut store, stored) = open(&folder).expect("opens");
    assert_eq!(stored, as_stored(5, Some(household(false))));

    assert_eq!(store.save(&household(true), 5), Ok(()));
    assert_eq!(store.save(&household(true), 5), Ok(()));
    drop(store);
    let (_, stored) = open(&folder).expect("opens");
    assert_eq!(stored.household, Some(household(true)));
}

/// What a power cut leaves: the files as they are while the store is open.
fn power_cut(folder: &Path, after: &Path) {
    fs::create_dir_all(after).expect("made");
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), after.join(entry.file_name())).expect("copied");
    }
}

#[test]
fn a_claim_outlives_a_power_cut() {
    let (dir, folder) = folder();
    let mut store = open_new(&folder);
    let before = dir.path().join("before");
    power_cut(&folder, &before);
    store.claim(&household(false), 5).expect("claims");
    let after = dir.path().join("after");
    power_cut(&folder, &after);
    store.save(&household(true), 5).expect("noted");
    let joined = dir.path().join("joined");
    power_cut(&folder, &joined);
    for (folder, generation, expected) in
        [(before, 0, None), (after, 5, Some(household(false))), (joined, 5, Some(household(true)))]
    {
        assert_eq!(open(&folder).expect("opens").1, as_stored(generation, expected));
    }
}

#[test]
fn a_damaged_database_keeps_its_journal() {
    let (dir, folder) = folder();
    let mut store = open_new(&folder);
    store.claim(&household(false), 5).expect("claims");
    let after = dir.path().join("after");
    power_cut(&folder, &after);
    let path = after.join(DATABASE);
    let mut database = fs::read(&path).expect("there");
    database[..16].fill(0xa5);
    fs::write(&path, &database).expect("mine");
    let before = contents(&after);
    assert!(before.iter().any(|(name, _)| name == "thing.db-wal"));
    assert!(open(&after).is_err());
    assert_eq!(contents(&after), before);
}

#[test]
fn a_link_to_the_state_folder_is_followed() {
    let (dir, folder) = folder();
    claimed(&folder);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&folder, &link).expect("laid");
    assert_eq!(open(&link).expect("opens").1.household, Some(household(false)));
}

#[test]
fn what_the_owner_has_not_set_comes_back_unset() {
    let (_dir, folder) = folder();
    let mut store = open_new(&folder);
    let mut bare = Household { recovery: None, zone: None, schedules: Vec::new(), ..household(false) };
    bare.controllers[0].next = None;
    assert_eq!(store.claim(&bare, 1), Ok(()));
    drop(store);
    assert_eq!(open(&folder).expect("opens").1.household, Some(bare));
}

#[test]
fn what_a_household_no_longer_holds_is_gone_from_the_disk() {
    let (_dir, folder) = folder();
    let mut store = open_new(&folder);
    store.claim(&household(false), 5).expect("claims");
    let mut smaller = household(true);
    let gone = smaller.controllers.pop().expect("a guest");
    let next = smaller.controllers[0].next.take().expect("a next topic");
    smaller.controllers[0].master = MasterKey::from_stored(Secret::new([9; 64]));
    store.save(&smaller, 6).expect("saves");
    let earlier = household(true).controllers.swap_remove(0);
    let secrets: [&[u8]; 6] = [
        gone.master.expose(),
        gone.topic.as_str().as_bytes(),
        gone.credentials.password.expose().as_bytes(),
        next.topic.as_str().as_bytes(),
        next.password.expose().as_bytes(),
        earlier.master.expose(),
    ];
    let holds = |secret: &[u8]| {
        let files = fs::read_dir(&folder).expect("a folder").map(|entry| fs::read(entry.expect("an entry").path()));
        files.map(|file| file.expect("a file")).any(|file| file.windows(secret.len()).any(|at| at == secret))
    };
    for (number, secret) in secrets.into_iter().enumerate() {
        assert!(!holds(secret), "secret {number} is still on the disk");
    }
    // The search does find what is there.
    assert!(holds(smaller.controllers[0].master.expose()));
    drop(store);
    assert_eq!(open(&folder).expect("opens").1, as_stored(6, Some(smaller)));
}

#[test]
fn a_claimed_thing_is_not_claimed_again() {
    let (_dir, folder) = folder();
    claimed(&folder);
    let (mut store, _) = open(&folder).expect("opens");
    let mut second = household(false);
    second.controllers = vec![ControllerRecord { cid: Cid::new([9; 8]), ..guest() }];
    assert_eq!(store.claim(&second, 6), Err(VaultFault));
    drop(store);
    assert_eq!(open(&folder).expect("opens").1.household, Some(household(false)));
}

#[test]
fn an_unclaimed_thing_has_nothing_to_change() {
    let (_dir, folder) = folder();
    let mut store = open_new(&folder);
    assert_eq!(store.save(&household(true), 5), Err(VaultFault));
    assert!(!folder.join(MARK).exists());
}

#[test]
fn folder_and_files_are_their_owners_alone() {
    let (_dir, folder) = folder();
    let mut store = open_new(&folder);
    store.claim(&household(false), 5).expect("claims");
    let check = || {
        assert_eq!(mode(&folder), 0o700);
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).expect("a folder") {
            let entry = entry.expect("an entry");
            assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.file_name());
            names.push(entry.file_name().into_string().expect("ASCII"));
        }
        names.sort();
        names
    };
    assert_eq!(check(), ["claimed", "thing.db", "thing.db-wal"]);
    drop(store);
    // Somebody loosened them: the next start takes that back.
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).expect("mine");
    fs::set_permissions(folder.join(DATABASE), Permissions::from_mode(0o644)).expect("mine");
    let _store = open(&folder).expect("opens");
    check();
}

#[test]
fn a_transaction_is_as_durable_as_was_promised() {
    let (_dir, folder) = folder();
    let store = open_new(&folder);
    let pragma = |name: &str| -> String {
        store
            .database
            .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
            .map(|value| format!("{value:?}"))
            .expect("a pragma")
    };
    for (name, value) in [
        ("journal_mode", r#"Text("wal")"#),
        ("synchronous", "Integer(2)"),
        ("secure_delete", "Integer(1)"),
        ("temp_store", "Integer(2)"),
        ("locking_mode", r#"Text("exclusive")"#),
    ] {
        assert_eq!(pragma(name), value, "{name}");
    }
}

#[test]
fn a_second_daemon_is_refused() {
    let (_dir, folder) = folder();
    let _store = open_new(&folder);
    assert!(matches!(open(&folder), Err(StoreError::InUse)));
}

#[test]
fn a_missing_mark_of_a_claimed_thing_is_set_again() {
    let (_dir, folder) = folder();
    claimed(&folder);
    fs::remove_file(folder.join(MARK)).expect("there");
    let (store, stored) = open(&folder).expect("opens");
    assert_eq!(stored.household, Some(household(false)));
    drop(store);
    assert!(folder.join(MARK).exists());
}

#[test]
fn a_mark_without_a_household_is_a_fault_for_ever() {
    let draw = || panic!("a claimed thing draws no new identity");
    // The database is gone, with or without its journal.
    let (_dir, gone) = folder();
    claimed(&gone);
    fs::remove_file(gone.join(DATABASE)).expect("there");
    for _ in 0..2 {
        assert!(matches!(Store::open(&gone, draw), Err(StoreError::ClaimedButLost)));
    }
    assert_eq!(contents(&gone).len(), 1);
    // It is empty, as a power cut in the middle of a restore would leave it.
    fs::write(gone.join(DATABASE), []).expect("written");
    let before = contents(&gone);
    for _ in 0..2 {
        assert!(matches!(Store::open(&gone, draw), Err(StoreError::ClaimedButLost)));
        assert_eq!(contents(&gone), before, "left as it is");
    }
    // It is that of an unclaimed thing.
    let (_dir, other) = folder();
    drop(open_new(&other));
    fs::write(other.join(MARK), []).expect("written");
    let before = contents(&other);
    for _ in 0..2 {
        assert!(matches!(Store::open(&other, draw), Err(StoreError::ClaimedButLost)));
        assert_eq!(contents(&other), before, "left as it is");
    }
}

#[test]
fn a_mark_that_cannot_be_written_stops_no_household() {
    let (_dir, folder) = folder();
    claimed(&folder);
    fs::remove_file(folder.join(MARK)).expect("there");
    for _ in 0..2 {
        mark::THE_DISK_IS_FULL.set(true);
        assert_eq!(open(&folder).expect("opens").1.household, Some(household(false)));
        assert!(!folder.join(MARK).exists());
    }
    mark::THE_DISK_IS_FULL.set(false);
    drop(open(&folder).expect("opens"));
    assert!(folder.join(MARK).exists(), "the next start that can sets it");
}

#[test]
fn all_names_on_the_way_to_the_store_are_made_durable() {
    let (dir, folder) = folder();
    assert_eq!(parents_to_sync(&folder), [dir.path().join("lib"), dir.path().to_owned()]);
    drop(open_new(&folder));
    assert_eq!(parents_to_sync(&folder), [dir.path().join("lib")]);
    assert_eq!(parents_to_sync(Path::new("state")), [PathBuf::from(".")]);
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_is() {
    let (_dir, folder) = folder();
    claimed(&folder);
    let path = folder.join(DATABASE);
    let sound = fs::read(&path).expect("there");
    assert!(sound.len() >= 4096 * 4, "{}", sound.len());
    let damage: [(&str, u64, usize); 3] =
        [("its head", 0, 16), ("the list of its tables", 100, 40), ("the middle of it", 4096 * 2, 4096)];
    for (place, offset, length) in damage {
        let mut file = OpenOptions::new().write(true).open(&path).expect("mine");
        file.seek(SeekFrom::Start(offset)).expect("inside");
        file.write_all(&vec![0xa5; length]).expect("written");
        let before = contents(&folder);
        let error = open(&folder).expect_err(place);
        assert!(matches!(error, StoreError::Corrupt { .. }), "{place}: {error}");
        assert!(error.to_string().contains("restore it from a backup"), "{error}");
        assert_eq!(contents(&folder), before, "{place}");
        fs::write(&path, &sound).expect("mine");
    }
    assert_eq!(open(&folder).expect("sound again").1.household, Some(household(false)));
}

#[test]
fn a_row_that_no_machine_would_write_is_damage() {
    for change in [
        "UPDATE controller SET topic = 'short' WHERE place = 1",
        "UPDATE controller SET role = 'king'",
        "UPDATE controller SET spki = x'30'",
        "UPDATE household SET wifi_psk = 'short'",
        "UPDATE household SET wifi_ssid = x''",
        "DELETE FROM identity",
    ] {
        let (_dir, folder) = folder();
        claimed(&folder);
        Connection::open(folder.join(DATABASE)).expect("opens").execute(change, []).expect(change);
        let error = open(&folder).expect_err(change);
        assert!(matches!(error, StoreError::Corrupt { .. }), "{change}: {error}");
    }
}

#[test]
fn a_key_of_a_wrong_length_is_not_stored() {
    let (_dir, folder) = folder();
    claimed(&folder);
    let database = Connection::open(folder.join(DATABASE)).expect("opens");
    for change in [
        "UPDATE controller SET master_key = x'00'",
        "UPDATE controller SET cid = x'00'",
        "UPDATE controller SET epoch = -1",
        "UPDATE controller SET epoch = 'one'",
        "UPDATE identity SET ca_key = x'00'",
        "INSERT INTO household SELECT 2, name, wifi_ssid, wifi_psk, 0, NULL FROM household",
    ] {
        assert!(database.execute(change, []).is_err(), "{change}");
    }
}

#[test]
fn the_store_of_a_newer_daemon_is_refused() {
    let (_dir, folder) = folder();
    claimed(&folder);
    Connection::open(folder.join(DATABASE)).expect("opens").pragma_update(None, "user_version", 99).expect("set");
    assert!(matches!(open(&folder), Err(StoreError::Newer)));
}

#[test]
fn no_error_shows_a_secret() {
    let (_dir, folder) = folder();
    claimed(&folder);
    let passphrase = household(false).network.psk.expose().to_owned();
    Connection::open(folder.join(DATABASE))
        .expect("opens")
        .execute("UPDATE controller SET ctlr_password = 'hunter2'", [])
        .expect("changed");
    let error = open(&folder).expect_err("damaged");
    for text in [format!("{error}"), format!("{error:?}")] {
        assert!(!text.contains("hunter2") && !text.contains(&passphrase), "{text}");
    }
}

#[test]
fn the_generation_rises_and_never_goes_back() {
    let (_dir, folder) = folder();
    let mut store = open_new(&folder);
    store.claim(&household(false), 9).expect("claims");
    assert_eq!(store.save(&household(true), 9), Ok(()));
    assert_eq!(store.save(&household(false), 8), Err(VaultFault));
    drop(store);
    assert_eq!(open(&folder).expect("opens").1, as_stored(9, Some(household(true))));
}

#[test]
fn a_claimed_store_of_the_first_version_gets_its_first_generation() {
    let (_dir, folder) = folder();
    open_new(&folder).claim(&household(false), 5).expect("claims");
    // Back to how the first version left it.
    let mut plain = household(false);
    plain.controllers.truncate(1);
    let controller = &mut plain.controllers[0];
    (controller.next, controller.key_age) = (None, KeyAge::default());
    (plain.power_on, plain.zone, plain.schedules) = (PowerOn::Off, None, Vec::new());
    plain.next_schedule = 1;
    let database = Connection::open(folder.join(DATABASE)).expect("opens");
    database
        .execute_batch(
            "DROP TABLE registration; DROP TABLE schedule; DROP TABLE outlet; DROP TABLE history;
             ALTER TABLE household DROP COLUMN power_on; ALTER TABLE household DROP COLUMN zone;
             ALTER TABLE household DROP COLUMN next_schedule;
             CREATE TABLE first (
                cid BLOB PRIMARY KEY CHECK (length(cid) = 8), name TEXT NOT NULL, role TEXT NOT NULL,
                spki BLOB NOT NULL, topic TEXT NOT NULL UNIQUE, ctlr_user TEXT NOT NULL UNIQUE,
                ctlr_password TEXT NOT NULL, epoch INTEGER NOT NULL, master_key BLOB NOT NULL
             ) STRICT, WITHOUT ROWID;
             INSERT INTO first SELECT cid, name, role, spki, topic, ctlr_user, ctlr_password, epoch, master_key
                FROM controller WHERE role = 'owner';
             DROP TABLE controller;
             ALTER TABLE first RENAME TO controller;
             PRAGMA user_version = 1",
        )
        .expect("undone");
    drop(database);
    let stored = open(&folder).expect("migrated").1;
    assert_eq!((stored.generation, stored.household), (1, Some(plain)));
}
