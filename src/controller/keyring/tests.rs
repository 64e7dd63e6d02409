//! The keyring on a real disk.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tempfile::TempDir;

use super::testing::entry;
use super::*;

const NOW: Duration = Duration::ZERO;

fn keyring() -> (TempDir, Keyring) {
    let folder = tempfile::tempdir().expect("a folder");
    let keyring = Keyring::at(folder.path().join("data/sect")).expect("a keyring");
    (folder, keyring)
}

async fn save(keyring: &Keyring, entry: &Entry) -> Result<(), KeyringError> {
    keyring.lock(&entry.binding.thing, NOW).await.expect("free").save(entry)
}

fn names(keyring: &Keyring) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(&keyring.folder)
        .expect("listed")
        .map(|found| found.expect("found").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").mode() & 0o777
}

#[tokio::test]
async fn what_is_saved_is_read_back_by_alias() {
    let (_folder, keyring) = keyring();
    assert!(keyring.contents().expect("read").entries.is_empty());
    let (kitchen, attic) = (entry("Kitchen", 1), entry("Attic", 2));
    save(&keyring, &kitchen).await.expect("saved");
    save(&keyring, &attic).await.expect("saved");
    let contents = keyring.contents().expect("read");
    assert_eq!(contents.entries, [attic, kitchen]);
    assert!(contents.refused.is_empty());
}

#[tokio::test]
async fn a_later_save_takes_the_place_of_an_earlier_one() {
    let (_folder, keyring) = keyring();
    let mut kitchen = entry("Kitchen", 1);
    save(&keyring, &kitchen).await.expect("saved");
    kitchen.binding.confirmed = true;
    kitchen.alias = "Stove".parse().expect("a name");
    save(&keyring, &kitchen).await.expect("saved");
    assert_eq!(keyring.contents().expect("read").entries, [kitchen]);
}

#[tokio::test]
async fn folder_and_files_are_the_users_alone() {
    let (_folder, keyring) = keyring();
    let kitchen = entry("Kitchen", 1);
    save(&keyring, &kitchen).await.expect("saved");
    assert_eq!(mode(&keyring.folder), 0o700);
    for name in names(&keyring) {
        assert_eq!(mode(&keyring.folder.join(&name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_half_written_file_changes_nothing_and_is_cleared_away() {
    let (_folder, keyring) = keyring();
    let kitchen = entry("Kitchen", 1);
    save(&keyring, &kitchen).await.expect("saved");
    let new = keyring.new_path(&kitchen.binding.thing);
    fs::write(&new, "{\"alias\":\"Kit").expect("written");
    assert_eq!(keyring.contents().expect("read").entries, std::slice::from_ref(&kitchen));
    let place = keyring.lock(&kitchen.binding.thing, NOW).await.expect("free");
    assert!(!new.exists());
    assert_eq!(place.read().expect("read"), Some(kitchen));
}

#[tokio::test]
async fn one_process_at_a_time_uses_a_thing() {
    let (_folder, keyring) = keyring();
    let (kitchen, attic) = (entry("Kitchen", 1), entry("Attic", 2));
    let place = keyring.lock(&kitchen.binding.thing, NOW).await.expect("free");
    let busy = keyring.lock(&kitchen.binding.thing, Duration::from_millis(60)).await.expect_err("busy");
    assert!(matches!(busy, KeyringError::Busy));
    keyring.lock(&attic.binding.thing, NOW).await.expect("another thing is free");

    // Who waits gets it when it becomes free.
    let waiting = tokio::spawn({
        let keyring = keyring.clone();
        async move { keyring.lock(&kitchen.binding.thing, Duration::from_secs(10)).await.map(|_| ()) }
    });
    tokio::task::yield_now().await;
    drop(place);
    waiting.await.expect("ran").expect("free");
}

#[tokio::test]
async fn forget_leaves_nothing_of_the_thing() {
    let (_folder, keyring) = keyring();
    let (kitchen, attic) = (entry("Kitchen", 1), entry("Attic", 2));
    save(&keyring, &kitchen).await.expect("saved");
    save(&keyring, &attic).await.expect("saved");
    keyring.lock(&kitchen.binding.thing, NOW).await.expect("free").forget().expect("forgotten");
    let thing = kitchen.binding.thing.to_string();
    assert!(names(&keyring).iter().all(|name| !name.contains(&thing)), "{:?}", names(&keyring));
    assert_eq!(keyring.contents().expect("read").entries, [attic]);
}

#[tokio::test]
async fn who_waits_for_a_forgotten_thing_gets_a_lock_that_locks() {
    let (_folder, keyring) = keyring();
    let thing = entry("Kitchen", 1).binding.thing;
    let place = keyring.lock(&thing, NOW).await.expect("free");
    let waiting = tokio::spawn({
        let keyring = keyring.clone();
        async move {
            let second = keyring.lock(&thing, Duration::from_secs(10)).await.expect("free");
            let third = keyring.lock(&thing, NOW).await.map(|_| ());
            drop(second);
            third
        }
    });
    tokio::task::yield_now().await;
    place.forget().expect("forgotten");
    let third = waiting.await.expect("ran");
    assert!(matches!(third, Err(KeyringError::Busy)), "{third:?}");
}

#[tokio::test]
async fn files_that_others_can_read_are_refused_and_kept() {
    let (_folder, keyring) = keyring();
    let kitchen = entry("Kitchen", 1);
    save(&keyring, &kitchen).await.expect("saved");
    let path = keyring.path(&kitchen.binding.thing);
    fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("set");
    let before = fs::read(&path).expect("read");

    let contents = keyring.contents().expect("read");
    assert!(contents.entries.is_empty());
    assert!(matches!(&contents.refused[..], [Refused { reason: KeyringError::Loose { mode: 0o640, .. }, .. }]));
    let refused = save(&keyring, &kitchen).await.expect_err("refused");
    assert_eq!(refused.to_string(), format!("others can read {0} (mode 640): run `chmod 600 {0}`", path.display()));
    assert_eq!(fs::read(&path).expect("read"), before);
}

#[tokio::test]
async fn foreign_content_is_refused_and_kept() {
    let (_folder, keyring) = keyring();
    let (kitchen, attic) = (entry("Kitchen", 1), entry("Attic", 2));
    save(&keyring, &kitchen).await.expect("saved");
    let path = keyring.path(&kitchen.binding.thing);
    let whole = fs::read_to_string(&path).expect("read");
    let other_version = whole.replacen("\"v\":1", "\"v\":2", 1);
    let unknown_member = whole.replacen('{', "{\"colour\":\"red\",", 1);
    for content in ["", "{", &whole[..whole.len() / 2], &other_version, &unknown_member] {
        assert_ne!(content, whole);
        fs::write(&path, content).expect("written");
        let contents = keyring.contents().expect("read");
        assert!(matches!(&contents.refused[..], [Refused { reason: KeyringError::Content(_), .. }]), "{content}");
        assert!(matches!(save(&keyring, &kitchen).await, Err(KeyringError::Content(_))));
        assert_eq!(fs::read_to_string(&path).expect("read"), content);
    }
    // One thing's file under another one's name.
    fs::write(&path, &whole).expect("written");
    fs::copy(&path, keyring.path(&attic.binding.thing)).expect("copied");
    let contents = keyring.contents().expect("read");
    assert_eq!((contents.entries.len(), contents.refused.len()), (1, 1));
}

#[tokio::test]
async fn links_and_folders_are_no_entries() {
    let (folder, keyring) = keyring();
    let (kitchen, attic) = (entry("Kitchen", 1), entry("Attic", 2));
    save(&keyring, &kitchen).await.expect("saved");
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(keyring.path(&kitchen.binding.thing), &elsewhere).expect("moved");
    symlink(&elsewhere, keyring.path(&kitchen.binding.thing)).expect("linked");
    fs::create_dir(keyring.path(&attic.binding.thing)).expect("made");
    let contents = keyring.contents().expect("read");
    assert!(contents.entries.is_empty());
    assert!(contents.refused.iter().all(|refused| matches!(refused.reason, KeyringError::Kind(_))), "{contents:?}");
    assert_eq!(contents.refused.len(), 2);
}

#[test]
fn a_folder_that_others_can_enter_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("set");
    let refused = Keyring::at(folder.path().to_owned()).expect_err("refused");
    assert!(matches!(refused, KeyringError::Loose { mode: 0o755, wanted: 0o700, .. }), "{refused:?}");
}

#[tokio::test]
async fn an_alias_belongs_to_one_thing() {
    let (_folder, keyring) = keyring();
    save(&keyring, &entry("Kitchen", 1)).await.expect("saved");
    let taken = save(&keyring, &entry("kitchen", 2)).await.expect_err("taken");
    assert_eq!(taken.to_string(), "there is a plug called kitchen already");
    assert_eq!(keyring.contents().expect("read").entries.len(), 1);
}

#[tokio::test]
async fn what_the_keyring_prints_holds_no_secret() {
    let entry = entry("Kitchen", 1);
    let shown = format!("{entry:?}");
    assert!(
        !shown.contains(entry.binding.credentials.password.expose()) && !shown.contains(entry.binding.topic.as_str())
    );
}

#[test]
fn runs_that_are_cut_off_one_after_the_other_never_cost_the_keys_that_worked() {
    let mut worked = entry("Lamp", 1);
    worked.binding.confirmed = true;
    let cid = worked.binding.cid;
    let mut kept = worked;
    for runs in 1..=10 {
        kept = kept.with_unconfirmed("Lamp".parse().expect("a name"), entry("Lamp", 1).binding);
        assert!(!kept.binding.confirmed);
        assert_eq!(kept.others.len(), runs.min(MAX_UNCONFIRMED + 1));
        assert!(kept.others.iter().any(|other| other.cid == cid && other.confirmed), "{runs}");
    }
}
