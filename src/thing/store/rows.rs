//! Records to rows and back.

use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, params};

use crate::proto::credential::CtlrCredentials;
use crate::proto::id::Cid;
use crate::proto::keys::MasterKey;
use crate::proto::record::{self, Claim, ControllerRecord, Household, StoredIdentity};
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
pub(super) fn insert_claim(transaction: &Transaction<'_>, claim: &Claim) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO household (id, name, wifi_ssid, wifi_psk, joined_once, recovery_spki)
             VALUES (1, ?1, ?2, ?3, 0, ?4)",
        )?
        .execute(params![
            record::default_name().as_str(),
            claim.network.ssid.as_bytes(),
            claim.network.psk.expose(),
            claim.recovery.as_ref().map(|spki| spki.as_der().as_slice()),
        ])?;
    insert_controller(transaction, &claim.owner)?;
    set_generation(transaction, claim.generation)
}

/// The registration's generation never goes back.
pub(super) fn set_generation(transaction: &Transaction<'_>, generation: u64) -> Result<()> {
    let rows = transaction
        .prepare_cached("UPDATE registration SET generation = ?1 WHERE generation < ?1")?
        .execute([i64::try_from(generation).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?])?;
    if rows == 1 { Ok(()) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
}

pub(super) fn read_generation(database: &Connection) -> Result<u64> {
    let generation: i64 =
        database.prepare_cached("SELECT generation FROM registration")?.query_row([], |row| row.get(0))?;
    u64::try_from(generation).map_err(|error| unreadable(0, Type::Integer, error))
}

fn insert_controller(transaction: &Transaction<'_>, controller: &ControllerRecord) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO controller
                 (cid, name, role, spki, topic, ctlr_user, ctlr_password, epoch, master_key)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
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
        ])?;
    Ok(())
}

/// Fails when there is no household.
pub(super) fn mark_joined(transaction: &Transaction<'_>) -> Result<()> {
    match transaction.prepare_cached("UPDATE household SET joined_once = 1")?.execute([])? {
        0 => Err(rusqlite::Error::QueryReturnedNoRows),
        _ => Ok(()),
    }
}

pub(super) fn read_household(database: &Connection) -> Result<Option<Household>> {
    let household = database
        .prepare_cached("SELECT name, wifi_ssid, wifi_psk, joined_once FROM household")?
        .query_row([], |row| {
            let ssid = Ssid::new(bytes(row, 1)?).map_err(|error| unreadable(1, Type::Blob, error))?;
            Ok(Household {
                name: parse(row, 0)?,
                network: HomeNetwork { ssid, psk: parse(row, 2)? },
                joined_once: row.get(3)?,
                controllers: Vec::new(),
            })
        })
        .optional()?;
    let Some(mut household) = household else { return Ok(None) };
    household.controllers = database
        .prepare_cached(
            "SELECT cid, name, role, spki, topic, ctlr_user, ctlr_password, epoch, master_key
             FROM controller ORDER BY cid",
        )?
        .query_map([], read_controller)?
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
    })
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

fn parse<T>(row: &Row<'_>, column: usize) -> Result<T>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    let text = row.get_ref(column)?.as_str().map_err(|error| unreadable(column, Type::Text, error))?;
    text.parse().map_err(|error| unreadable(column, Type::Text, error))
}

fn unreadable(column: usize, kind: Type, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}
