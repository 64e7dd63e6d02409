//! The audit log: lines wait in memory and go to the disk together, and old ones make room for new ones.

use std::collections::{BTreeSet, VecDeque};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Result, Row, Transaction, params};

use super::rows::{counted, integer, parse};
use crate::proto::id::Cid;
use crate::proto::record::{Logged, Note};

/// Lines kept of each controller, and of what the thing did by itself (protocol section 2.1).
const KEPT_OF_EACH: u64 = 1000;
/// Lines kept in all: those of 16 controllers and of the thing. Controllers that were removed share this room.
const KEPT: u64 = 17 * KEPT_OF_EACH;
/// Lines that wait at most; one more takes the place of the oldest of the same controller.
const MAX_WAITING: usize = 1024;

/// Lines that are not on the disk yet, oldest first.
#[derive(Debug)]
pub(super) struct Waiting {
    lines: VecDeque<Logged>,
    last_place: u64,
}

impl Waiting {
    /// Goes on after the last line on the disk.
    pub(super) const fn after(last_place: u64) -> Self {
        Self { lines: VecDeque::new(), last_place }
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn note(&mut self, note: Note) {
        if self.lines.len() == MAX_WAITING {
            let cid = |note: &Note| note.by.as_ref().map(|(cid, _)| *cid);
            let same = self.lines.iter().position(|line| cid(&line.note) == cid(&note));
            self.lines.remove(same.unwrap_or(0));
        }
        self.last_place += 1;
        self.lines.push_back(Logged { place: self.last_place, note });
    }

    pub(super) fn take(&mut self) -> Vec<Logged> {
        self.lines.drain(..).collect()
    }

    /// They were not taken after all. Nothing was noted meanwhile.
    pub(super) fn put_back(&mut self, lines: Vec<Logged>) {
        self.lines.extend(lines);
    }

    /// As [`Journal::read`](crate::proto::port::Journal::read), of what waits.
    pub(super) fn read(&self, from: u64, cid: Option<&Cid>, limit: usize) -> Vec<Logged> {
        let wanted = |line: &&Logged| {
            (from == 0 || line.place <= from)
                && cid.is_none_or(|cid| line.note.by.as_ref().is_some_and(|(by, _)| by == cid))
        };
        self.lines.iter().rev().filter(wanted).take(limit).cloned().collect()
    }
}

/// The place of the last line that ever was on the disk.
pub(super) fn last_place(database: &Connection) -> Result<u64> {
    let last = database
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'history'")?
        .query_row([], |row| counted(row, 0))
        .optional()?;
    Ok(last.unwrap_or(0))
}

/// Writes lines and drops those that are too many.
pub(super) fn insert(transaction: &Transaction<'_>, lines: &[Logged]) -> Result<()> {
    let mut insert = transaction
        .prepare_cached("INSERT INTO history (seq, unix, up, cid, who, what) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for Logged { place, note: Note { unix_s, up_s, by, what } } in lines {
        insert.execute(params![
            integer(*place)?,
            unix_s.map(integer).transpose()?,
            integer(*up_s)?,
            by.as_ref().map(|(cid, _)| cid.as_bytes()),
            by.as_ref().map(|(_, who)| who.as_str()),
            what,
        ])?;
    }
    let whose: BTreeSet<Option<Cid>> = lines.iter().map(|line| line.note.by.as_ref().map(|(cid, _)| *cid)).collect();
    let mut trim = transaction.prepare_cached(
        "DELETE FROM history WHERE cid IS ?1 AND seq <=
             (SELECT seq FROM history WHERE cid IS ?1 ORDER BY seq DESC LIMIT 1 OFFSET ?2)",
    )?;
    for cid in whose {
        trim.execute(params![cid.map(|cid| cid.as_bytes().to_vec()), integer(KEPT_OF_EACH)?])?;
    }
    transaction
        .prepare_cached(
            "DELETE FROM history WHERE seq <= (SELECT seq FROM history ORDER BY seq DESC LIMIT 1 OFFSET ?1)",
        )?
        .execute([integer(KEPT)?])?;
    Ok(())
}

/// As [`Journal::read`](crate::proto::port::Journal::read), of what is on the disk.
pub(super) fn read(database: &Connection, from: u64, cid: Option<&Cid>, limit: usize) -> Result<Vec<Logged>> {
    let from = if from == 0 { i64::MAX } else { i64::try_from(from).unwrap_or(i64::MAX) };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let columns = "SELECT seq, unix, up, cid, who, what FROM history WHERE seq <= ?1";
    let order = "ORDER BY seq DESC LIMIT ?2";
    match cid {
        None => database
            .prepare_cached(&format!("{columns} {order}"))?
            .query_map(params![from, limit], read_line)?
            .collect(),
        Some(cid) => database
            .prepare_cached(&format!("{columns} AND cid = ?3 {order}"))?
            .query_map(params![from, limit, Value::Blob(cid.as_bytes().to_vec())], read_line)?
            .collect(),
    }
}

fn read_line(row: &Row<'_>) -> Result<Logged> {
    let what: String = row.get(5)?;
    let cid: Option<[u8; 8]> = row.get(3)?;
    let by = match cid {
        Some(cid) => Some((Cid::new(cid), parse(row, 4)?)),
        None => None,
    };
    let unix_s = row.get::<_, Option<i64>>(1)?.and_then(|unix_s| u64::try_from(unix_s).ok());
    Ok(Logged { place: counted(row, 0)?, note: Note { unix_s, up_s: counted(row, 2)?, by, what: what.into() } })
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;
    use crate::proto::port::Journal as _;
    use crate::proto::record::StoredIdentity;
    use crate::proto::secret::Secret;

    fn open(folder: &std::path::Path) -> Store {
        let identity = || StoredIdentity { key: Secret::new([1; 32]), certificate: vec![1] };
        Store::open(folder, identity).expect("opens").0
    }

    fn note(by: Option<u8>, up_s: u64) -> Note {
        let by = by.map(|n| (Cid::new([n; 8]), format!("User {n}").parse().expect("a name")));
        Note { unix_s: up_s.is_multiple_of(2).then_some(up_s + 100), up_s, by, what: "on".into() }
    }

    fn ups(lines: &[Logged]) -> Vec<u64> {
        lines.iter().map(|line| line.note.up_s).collect()
    }

    #[test]
    fn lines_are_read_newest_first_whether_they_are_on_the_disk_or_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = open(dir.path());
        for up_s in 1..=4 {
            store.note(note((up_s % 2 == 0).then_some(7), up_s));
        }
        store.flush();
        for up_s in 5..=6 {
            store.note(note((up_s % 2 == 0).then_some(7), up_s));
        }
        assert_eq!(store.waiting(), 2);
        let all = store.read(0, None, 10).expect("read");
        assert_eq!(ups(&all), [6, 5, 4, 3, 2, 1]);
        assert_eq!(all[0].note, note(Some(7), 6));
        assert_eq!(ups(&store.read(all[1].place, None, 3).expect("read")), [5, 4, 3]);
        assert_eq!(ups(&store.read(0, Some(&Cid::new([7; 8])), 10).expect("read")), [6, 4, 2]);
        assert_eq!(ups(&store.read(all[2].place, Some(&Cid::new([7; 8])), 1).expect("read")), [4]);
        assert_eq!(store.read(0, Some(&Cid::new([8; 8])), 10), Ok(Vec::new()));
    }

    #[test]
    fn a_power_cut_loses_what_waited_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = open(dir.path());
        store.note(note(None, 1));
        store.flush();
        assert_eq!(store.waiting(), 0);
        store.note(note(None, 2));
        drop(store);
        let mut store = open(dir.path());
        assert_eq!(store.read(0, None, 10).expect("read"), [Logged { place: 1, note: note(None, 1) }]);
        store.note(note(None, 3));
        store.flush();
        assert_eq!(ups(&store.read(0, None, 10).expect("read")), [3, 1]);
    }

    #[test]
    fn a_thousand_lines_of_each_are_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = open(dir.path());
        for up_s in 0..1500 {
            store.note(note(Some(1), up_s));
            if up_s < 10 {
                store.note(note(None, up_s));
            }
            if up_s % 700 == 0 {
                store.flush();
            }
        }
        store.flush();
        let of_user = store.read(0, Some(&Cid::new([1; 8])), 5000).expect("read");
        assert_eq!((of_user.len(), of_user[0].note.up_s, of_user[999].note.up_s), (1000, 1499, 500));
        assert_eq!(store.read(0, None, 5000).expect("read").len(), 1010, "who does much drowns nobody else");
        // Nor does somebody who never comes to an end of it fill the memory, or keep others out of it.
        store.note(note(Some(3), 7));
        for up_s in 0..5000 {
            store.note(note(Some(2), up_s));
        }
        assert_eq!(store.waiting(), MAX_WAITING);
        assert_eq!(ups(&store.read(0, Some(&Cid::new([3; 8])), 10).expect("read")), [7]);
    }

    #[test]
    fn controllers_that_come_and_go_fill_no_disk() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut store = open(dir.path());
        for user in 1..=19 {
            for up_s in 0..1000 {
                store.note(note(Some(user), up_s));
            }
            store.flush();
        }
        assert_eq!(store.read(0, None, 30_000).expect("read").len(), 17_000);
        assert_eq!(store.read(0, Some(&Cid::new([2; 8])), 10).expect("read"), [], "the oldest make room");
    }
}
