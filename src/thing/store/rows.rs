//! Records to rows and back.

use rusqlite::types::{FromSqlError, Type, ValueRef};
use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, params};

use crate::proto::credential::CtlrCredentials;
use crate::proto::id::Cid;
use crate::proto::keys::MasterKey;
use crate::proto::message::OutletState;
use crate::proto::operation::argument::{Bounded, Days, Schedule};
use crate::proto::record::{ControllerRecord, Household, KeyAge, NextTopic, StoredIdentity, StoredSchedule};
use crate::proto::secret::Secret;
use crate::proto::signature::Spki;
use crate::proto::wifi::{HomeNetwork, Ssid};

pub(super) fn insert_identity(transaction: &Transaction<'_>, identity: &StoredIdentity) -> Result<()> {
    transaction
        .prepare_cached("INSERT INTO identity (id, ca_key, ca_certificate) VALUES (1, ?1, ?2)")?
        .execute(params![identity.key.expose(), identity.certificate])?;
    Ok(())
}

pub(super) fn read_identity(database: &Connection) -> Result<Option<StoredIdentity>> {
    database
        .prepare_cached("SELECT ca_key, ca_certificate FROM identity")?
        .query_row([], |row| Ok(StoredIdentity { key: secret(row, 0)?, certificate: row.get(1)? }))
        .optional()
}

/// Fails when there is a household already: its one row has a fixed key.
pub(super) fn insert_household(transaction: &Transaction<'_>, household: &Household) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO household
                 (id, name, wifi_ssid, wifi_psk, joined_once, recovery_spki, power_on, zone, next_schedule)
             VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            household.name.as_str(),
            household.network.ssid.as_bytes(),
            household.network.psk.expose(),
            household.joined_once,
            household.recovery.as_ref().map(|spki| spki.as_der().as_slice()),
            household.power_on.as_str(),
            household.zone,
            integer(household.next_schedule)?,
        ])?;
    household.controllers.iter().try_for_each(|controller| insert_controller(transaction, controller))?;
    household.schedules.iter().try_for_each(|schedule| insert_schedule(transaction, schedule))
}

/// Fails when there is no household.
pub(super) fn delete_household(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute("DELETE FROM controller", [])?;
    transaction.execute("DELETE FROM schedule", [])?;
    match transaction.execute("DELETE FROM household", [])? {
        1 => Ok(()),
        _ => Err(rusqlite::Error::QueryReturnedNoRows),
    }
}

fn insert_schedule(transaction: &Transaction<'_>, StoredSchedule { id, schedule }: &StoredSchedule) -> Result<()> {
    transaction
        .prepare_cached("INSERT INTO schedule (id, days, minute, switch_on) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![integer(*id)?, schedule.days.0.get(), schedule.at.get(), schedule.on])?;
    Ok(())
}

/// The registration's generation never goes back.
pub(super) fn set_generation(transaction: &Transaction<'_>, generation: u64) -> Result<()> {
    let rows = transaction
        .prepare_cached("UPDATE registration SET generation = ?1 WHERE generation <= ?1")?
        .execute([integer(generation)?])?;
    if rows == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

/// From now on the thing is to be wiped.
pub(super) fn begin_wipe(transaction: &Transaction<'_>, generation: u64) -> Result<()> {
    set_generation(transaction, generation)?;
    transaction.execute("UPDATE registration SET wiping = 1", [])?;
    Ok(())
}

/// Whatever was kept for a household; done twice it is done once.
pub(super) fn wipe(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute_batch(
        "DELETE FROM controller; DELETE FROM schedule; DELETE FROM household; DELETE FROM outlet;
         DELETE FROM history; DELETE FROM sqlite_sequence;",
    )
}

pub(super) fn end_wipe(transaction: &Transaction<'_>) -> Result<()> {
    transaction.execute("UPDATE registration SET wiping = 0", [])?;
    Ok(())
}

/// The registration's generation, and whether a wipe has begun.
pub(super) fn read_registration(database: &Connection) -> Result<(u64, bool)> {
    let (generation, wiping): (i64, bool) = database
        .prepare_cached("SELECT generation, wiping FROM registration")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((u64::try_from(generation).map_err(|error| unreadable(0, Type::Integer, error))?, wiping))
}

/// What the load has, for the next time that power comes back.
pub(super) fn set_outlet(transaction: &Transaction<'_>, state: OutletState) -> Result<()> {
    transaction
        .prepare_cached("INSERT INTO outlet (id, is_on) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET is_on = ?1")?
        .execute([state.is_on()])?;
    Ok(())
}

/// What the load had last.
pub(super) fn read_outlet(database: &Connection) -> Result<Option<OutletState>> {
    let on: Option<bool> =
        database.prepare_cached("SELECT is_on FROM outlet")?.query_row([], |row| row.get(0)).optional()?;
    Ok(on.map(OutletState::from_on))
}

fn insert_controller(transaction: &Transaction<'_>, controller: &ControllerRecord) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO controller
                 (cid, name, role, spki, topic, ctlr_user, ctlr_password, epoch, master_key,
                  key_uptime_s, key_accepted, next_topic, next_password, left_s)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            controller.cid.as_bytes(),
            controller.name.as_str(),
            controller.role.as_str(),
            controller.spki.as_der(),
            controller.topic.as_str(),
            controller.credentials.user.expose(),
            controller.credentials.password.expose(),
            controller.epoch,
            controller.master.expose(),
            controller.key_age.uptime_s,
            controller.key_age.accepted,
            controller.next.as_ref().map(|next| next.topic.as_str()),
            controller.next.as_ref().map(|next| next.password.expose()),
            controller.left_s,
        ])?;
    Ok(())
}

pub(super) fn read_household(database: &Connection) -> Result<Option<Household>> {
    let household = database
        .prepare_cached(
            "SELECT name, wifi_ssid, wifi_psk, joined_once, recovery_spki, power_on, zone, next_schedule FROM household",
        )?
        .query_row([], |row| {
            let ssid = Ssid::new(bytes(row, 1)?).map_err(|error| unreadable(1, Type::Blob, error))?;
            Ok(Household {
                name: parse(row, 0)?,
                network: HomeNetwork { ssid, psk: parse(row, 2)? },
                joined_once: row.get(3)?,
                recovery: match row.get_ref(4)? {
                    ValueRef::Null => None,
                    _ => Some(Spki::from_der(bytes(row, 4)?).map_err(|error| unreadable(4, Type::Blob, error))?),
                },
                power_on: parse(row, 5)?,
                zone: row.get(6)?,
                schedules: Vec::new(),
                next_schedule: counted(row, 7)?,
                controllers: Vec::new(),
            })
        })
        .optional()?;
    let Some(mut household) = household else { return Ok(None) };
    household.controllers = database
        .prepare_cached(
            "SELECT cid, name, role, spki, topic, ctlr_user, ctlr_password, epoch, master_key,
                 key_uptime_s, key_accepted, next_topic, next_password, left_s
             FROM controller ORDER BY place",
        )?
        .query_map([], read_controller)?
        .collect::<Result<_>>()?;
    household.schedules = database
        .prepare_cached("SELECT id, days, minute, switch_on FROM schedule ORDER BY id")?
        .query_map([], read_schedule)?
        .collect::<Result<_>>()?;
    Ok(Some(household))
}

fn read_controller(row: &Row<'_>) -> Result<ControllerRecord> {
    Ok(ControllerRecord {
        cid: Cid::new(row.get(0)?),
        name: parse(row, 1)?,
        role: parse(row, 2)?,
        spki: Spki::from_der(bytes(row, 3)?).map_err(|error| unreadable(3, Type::Blob, error))?,
        topic: parse(row, 4)?,
        credentials: CtlrCredentials { user: parse(row, 5)?, password: parse(row, 6)? },
        epoch: row.get(7)?,
        master: MasterKey::from_stored(secret(row, 8)?),
        key_age: KeyAge { uptime_s: row.get(9)?, accepted: row.get(10)? },
        next: match row.get_ref(11)? {
            ValueRef::Null => None,
            _ => Some(NextTopic { topic: parse(row, 11)?, password: parse(row, 12)? }),
        },
        left_s: row.get(13)?,
    })
}

fn read_schedule(row: &Row<'_>) -> Result<StoredSchedule> {
    Ok(StoredSchedule {
        id: counted(row, 0)?,
        schedule: Schedule { days: Days(bounded(row, 1)?), at: bounded(row, 2)?, on: row.get(3)? },
    })
}

/// To a column of SQLite's signed integers.
pub(super) fn integer(number: u64) -> Result<i64> {
    i64::try_from(number).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// From a column that never holds a negative number.
pub(super) fn counted(row: &Row<'_>, column: usize) -> Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|error| unreadable(column, Type::Integer, error))
}

fn bounded<const MIN: u32, const MAX: u32>(row: &Row<'_>, column: usize) -> Result<Bounded<MIN, MAX>> {
    let number: u32 = row.get(column)?;
    Bounded::new(number).ok_or_else(|| unreadable(column, Type::Integer, FromSqlError::OutOfRange(number.into())))
}

/// A secret goes from the page straight into memory that wipes itself.
fn secret<const N: usize>(row: &Row<'_>, column: usize) -> Result<Secret<N>> {
    let stored = bytes(row, column)?;
    let mut secret = Secret::new([0; N]);
    if stored.len() != N {
        let error = FromSqlError::InvalidBlobSize { expected_size: N, blob_size: stored.len() };
        return Err(unreadable(column, Type::Blob, error));
    }
    secret.expose_mut().copy_from_slice(stored);
    Ok(secret)
}

fn bytes<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row [u8]> {
    row.get_ref(column)?.as_blob().map_err(|error| unreadable(column, Type::Blob, error))
}

pub(super) fn parse<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text = row.get_ref(column)?.as_str().map_err(|error| unreadable(column, Type::Text, error))?;
    text.parse().map_err(|error| unreadable(column, Type::Text, error))
}

fn unreadable(column: usize, kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}
