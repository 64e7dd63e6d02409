//! Nothing of a household is left once its owner has given the thing up, wherever the power was cut.

use super::*;
use crate::proto::message::OutletState;

/// Everything by which somebody would recognise the household, as it would lie on the disk.
fn traces() -> Vec<Vec<u8>> {
    let Household { network, recovery, zone, controllers, .. } = household(true);
    let mut traces = vec![
        network.psk.expose().as_bytes().to_vec(),
        network.ssid.as_bytes().to_vec(),
        recovery.expect("one").as_der()[27..].to_vec(),
        zone.expect("one").into_bytes(),
    ];
    for one in controllers {
        traces.extend([
            one.cid.as_bytes().to_vec(),
            one.name.as_str().as_bytes().to_vec(),
            one.spki.as_der()[27..].to_vec(),
            one.topic.as_str().as_bytes().to_vec(),
            one.credentials.user.expose().as_bytes().to_vec(),
            one.credentials.password.expose().as_bytes().to_vec(),
            one.master.expose().to_vec(),
        ]);
        if let Some(NextTopic { topic, password }) = one.next {
            traces.extend([topic.as_str().as_bytes().to_vec(), password.expose().as_bytes().to_vec()]);
        }
    }
    // The guest's id is eight zeros, which lie everywhere.
    traces.retain(|trace| trace.iter().any(|byte| *byte != 0));
    traces
}

/// How many of the traces are found in any file of the folder.
fn found(folder: &Path) -> usize {
    let files: Vec<Vec<u8>> = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| fs::read(entry.expect("an entry").path()).expect("a file"))
        .collect();
    let holds =
        |trace: &&Vec<u8>| files.iter().any(|file| file.windows(trace.len()).any(|part| part == trace.as_slice()));
    traces().iter().filter(holds).count()
}

/// A claimed store that has been used: saved again, with an outlet and a line of the audit log.
fn used(folder: &Path) -> Store {
    claimed(folder);
    let (mut store, _) = open(folder).expect("opens");
    store.save(&household(true), 6).expect("saves");
    store.remember(OutletState::On).expect("remembers");
    let line = "INSERT INTO history (unix, up, cid, who, what) VALUES (5, 5, x'0102030405060708', 'Ben', 'outlet.set')";
    store.database.execute(line, []).expect("noted");
    store
}

/// As it came from the factory, but for the generation of its registration.
fn expect_factory_state(folder: &Path) {
    let (store, stored) = open(folder).expect("opens");
    assert!(!mark::stands(folder).expect("readable"));
    assert_eq!(stored, as_stored(7, None));
    for table in ["household", "controller", "schedule", "outlet", "history", "sqlite_sequence"] {
        let rows: i64 =
            store.database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("counts");
        assert_eq!(rows, 0, "{table}");
    }
    drop(store);
    assert_eq!(found(folder), 0, "{folder:?}");
}

#[test]
fn a_wiped_store_holds_nothing_of_its_household() {
    let (_dir, folder) = folder();
    let mut store = used(&folder);
    assert_eq!(found(&folder), traces().len(), "the search would find them");
    store.begin_wipe(7).expect("begins");
    store.wipe().expect("wipes");
    assert_eq!(found(&folder), 0, "while the store is open");
    store.wipe().expect("done twice is done once");
    drop(store);
    expect_factory_state(&folder);
    // And the next owner claims it as if it were new.
    let (mut store, _) = open(&folder).expect("opens");
    store.claim(&household(false), 8).expect("claims");
    drop(store);
    assert_eq!(open(&folder).expect("opens").1, as_stored(8, Some(household(false))));
}

#[test]
fn a_restart_goes_on_wherever_the_power_was_cut() {
    type Cut = fn(&mut Store);
    let begun: Cut = |store| store.begin_wipe(7).expect("begins");
    let rows: Cut = |store| {
        store
            .database
            .execute_batch("BEGIN; DELETE FROM controller; DELETE FROM schedule; DELETE FROM household; COMMIT")
            .expect("deletes")
    };
    let emptied: Cut = |store| empty_journal(&store.database).expect("empties");
    let unmarked: Cut = |store| mark::remove(&store.folder).expect("removes");
    for cuts in [&[begun][..], &[begun, rows], &[begun, rows, emptied], &[begun, rows, emptied, unmarked]] {
        let (_dir, folder) = folder();
        let mut store = used(&folder);
        cuts.iter().for_each(|cut| cut(&mut store));
        drop(store);
        expect_factory_state(&folder);
    }
}

#[test]
fn what_is_lost_without_a_wipe_is_still_a_fault() {
    let (_dir, folder) = folder();
    let mut store = used(&folder);
    store.begin_wipe(7).expect("begins");
    drop(store);
    // Somebody takes the database away in the middle of it.
    fs::remove_file(folder.join(DATABASE)).expect("removed");
    let _ = fs::remove_file(folder.join("thing.db-wal"));
    assert!(matches!(Store::open(&folder, identity), Err(StoreError::ClaimedButLost)));
}

#[test]
fn a_mark_that_cannot_be_removed_keeps_the_thing_unclaimable() {
    let (_dir, folder) = folder();
    let mut store = used(&folder);
    store.begin_wipe(7).expect("begins");
    fs::remove_file(folder.join(MARK)).expect("removed");
    fs::create_dir(folder.join(MARK)).expect("in its way");
    assert!(store.wipe().is_err());
    drop(store);
    assert!(Store::open(&folder, identity).is_err());
    fs::remove_dir(folder.join(MARK)).expect("out of the way");
    expect_factory_state(&folder);
}
