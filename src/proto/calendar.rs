//! Wall-clock time for a thing that has none of its own: what it was told, and when a weekly schedule is due.
//!
//! Each day of a schedule has exactly one moment. In the hour that a clock skips it is the end of the gap,
//! in the hour that it repeats it is the first time round, so moments keep the order of their minutes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use thiserror::Error;

use super::operation::argument::{Days, Schedule};
use super::time::Micros;

/// Milliseconds since 1970-01-01T00:00:00Z.
pub type UnixMs = u64;

/// The latest time of day that is believed: the end of the year 9000. Sums with it do not overflow.
pub const MAX_UNIX_MS: UnixMs = 221_845_392_000_000;

/// Who told the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClockSource {
    /// The owner's controller.
    Owner,
    /// The machine's own clock, which a time server keeps.
    System,
}

/// The time of day, as it was told at a moment of thing time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallClock {
    /// Who told it.
    pub source: ClockSource,
    unix_ms: UnixMs,
    at: Micros,
}

impl WallClock {
    /// It was `unix_ms` at `at`; `None` for a time that nobody lives in.
    #[must_use]
    pub fn new(source: ClockSource, unix_ms: UnixMs, at: Micros) -> Option<Self> {
        (unix_ms <= MAX_UNIX_MS).then_some(Self { source, unix_ms, at })
    }

    /// The time of day at a moment that is not before the one at which it was told.
    #[must_use]
    pub fn unix_ms(&self, now: Micros) -> UnixMs {
        let passed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(MAX_UNIX_MS);
        self.unix_ms.saturating_add(passed).min(MAX_UNIX_MS)
    }

    /// When it is, was or will be that time of day; `None` before the thing's start.
    #[must_use]
    pub fn moment(&self, unix_ms: UnixMs) -> Option<Micros> {
        if unix_ms >= self.unix_ms {
            Some(self.at.after(Duration::from_millis(unix_ms - self.unix_ms)))
        } else {
            let before = (self.unix_ms - unix_ms).checked_mul(1000)?;
            self.at.get().checked_sub(before).map(Micros::new)
        }
    }
}

/// A time zone with its rules, from a POSIX TZ string (POSIX.1-2024 section 8.3).
#[derive(Debug, Clone)]
pub struct Zone {
    text: String,
    rules: TimeZone,
}

/// Text that is no POSIX TZ string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no time zone of the form CET-1CEST,M3.5.0,M10.5.0/3")]
pub struct ZoneError;

impl Zone {
    /// Bytes at most; the longest in use have some 50.
    pub const MAX_BYTES: usize = 64;

    /// The TZ string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Date and time of day there.
    #[must_use]
    pub fn local(&self, unix_ms: UnixMs) -> DateTime {
        self.rules.to_datetime(timestamp(unix_ms))
    }

    /// When a local time comes: once, whatever the clocks do that night.
    fn instant(&self, local: DateTime) -> Option<UnixMs> {
        let ambiguous = self.rules.to_ambiguous_timestamp(local);
        let instant = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok()?,
            // `earlier` lies before the gap, `later` behind it, and between them the clock is set.
            AmbiguousOffset::Gap { .. } => {
                let earlier = ambiguous.earlier().ok()?;
                self.rules.following(earlier).next()?.timestamp()
            }
        };
        UnixMs::try_from(instant.as_millisecond()).ok()
    }
}

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        if text.is_empty() || text.len() > Self::MAX_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ZoneError);
        }
        let rules = TimeZone::posix(text).map_err(|_| ZoneError)?;
        Ok(Self { text: text.to_owned(), rules })
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

/// One day of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Occurrence {
    /// When it comes.
    pub unix_ms: UnixMs,
    /// What the clock on the wall was to show then; orders those that a gap brings together.
    pub local: DateTime,
}

impl Occurrence {
    /// The day that it belongs to.
    #[must_use]
    pub fn date(&self) -> Date {
        self.local.date()
    }
}

/// The days of a schedule from the one on which `unix_ms` lies, for a little more than a week.
pub fn occurrences<'a>(
    schedule: &'a Schedule,
    zone: &'a Zone,
    unix_ms: UnixMs,
) -> impl Iterator<Item = Occurrence> + 'a {
    let minute = schedule.at.get();
    let (hour, minute) = (i8::try_from(minute / 60).unwrap_or(0), i8::try_from(minute % 60).unwrap_or(0));
    let first = zone.local(unix_ms).date();
    // A day more than a week: today's may be over, and clocks may be set in between.
    std::iter::successors(Some(first), |date| date.tomorrow().ok())
        .take(9)
        .filter(|date| schedule.days.has(*date))
        .filter_map(move |date| {
            let local = date.at(hour, minute, 0, 0);
            Some(Occurrence { unix_ms: zone.instant(local)?, local })
        })
}

impl Days {
    /// Whether this is one of them.
    #[must_use]
    pub fn has(self, date: Date) -> bool {
        let day = u32::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
        self.0.get() >> day & 1 == 1
    }
}

fn timestamp(unix_ms: UnixMs) -> Timestamp {
    let ms = i64::try_from(unix_ms.min(MAX_UNIX_MS)).unwrap_or(0);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::operation::argument::Bounded;

    const BERLIN: &str = "CET-1CEST,M3.5.0,M10.5.0/3";
    const SYDNEY: &str = "AEST-10AEDT,M10.1.0,M4.1.0/3";

    fn zone(text: &str) -> Zone {
        text.parse().expect("a zone")
    }

    fn schedule(days: u32, at: u32) -> Schedule {
        Schedule { days: Days(Bounded::new(days).expect("days")), at: Bounded::new(at).expect("a minute"), on: true }
    }

    fn unix(text: &str) -> UnixMs {
        let timestamp: Timestamp = text.parse().expect("a time");
        u64::try_from(timestamp.as_millisecond()).expect("after 1970")
    }

    /// Each moment as UTC, with the wall clock that it was meant for.
    fn days(schedule: &Schedule, zone: &Zone, from: &str) -> Vec<String> {
        occurrences(schedule, zone, unix(from))
            .map(|one| format!("{} = {}", one.local, timestamp(one.unix_ms)))
            .collect()
    }

    #[test]
    fn a_weekly_schedule_comes_on_its_days_at_local_time() {
        // 2026-11-20 is a Friday.
        let found = days(&schedule(0b001_0001, 450), &zone(BERLIN), "2026-11-20T06:00:00Z");
        assert_eq!(
            found,
            [
                "2026-11-20T07:30:00 = 2026-11-20T06:30:00Z",
                "2026-11-23T07:30:00 = 2026-11-23T06:30:00Z",
                "2026-11-27T07:30:00 = 2026-11-27T06:30:00Z"
            ]
        );
        // Saturday begins earlier in Sydney.
        let found = days(&schedule(0b010_0000, 0), &zone(SYDNEY), "2026-11-20T12:00:00Z");
        assert_eq!(found[0], "2026-11-21T00:00:00 = 2026-11-20T13:00:00Z");
    }

    #[test]
    fn in_the_hour_that_is_skipped_it_comes_once_when_the_gap_ends() {
        for (zone_text, from, before, within, later, gap_ends, expected_before, expected_later) in [
            (
                BERLIN,
                "2026-03-29T00:00:00Z",
                119,
                150,
                180,
                "2026-03-29T01:00:00Z",
                "2026-03-29T00:59:00Z",
                "2026-03-29T01:00:00Z",
            ),
            (
                SYDNEY,
                "2026-10-03T14:00:00Z",
                119,
                150,
                195,
                "2026-10-03T16:00:00Z",
                "2026-10-03T15:59:00Z",
                "2026-10-03T16:15:00Z",
            ),
        ] {
            let zone = zone(zone_text);
            let first = |at| occurrences(&schedule(127, at), &zone, unix(from)).next().expect("one");
            assert_eq!(timestamp(first(before).unix_ms).to_string(), expected_before, "{zone_text}");
            assert_eq!(timestamp(first(within).unix_ms).to_string(), gap_ends, "{zone_text}");
            assert_eq!(timestamp(first(later).unix_ms).to_string(), expected_later, "{zone_text}");
            assert!(first(before) < first(within) && first(within) < first(later), "the order of the minutes holds");
            let dates: Vec<_> = occurrences(&schedule(127, within), &zone, unix(from)).map(|one| one.date()).collect();
            assert!(dates.windows(2).all(|pair| pair[0].tomorrow().ok() == Some(pair[1])), "once a day");
        }
    }

    #[test]
    fn in_the_hour_that_is_repeated_it_comes_the_first_time_round() {
        let found = days(&schedule(127, 150), &zone(BERLIN), "2026-10-24T22:00:00Z");
        assert_eq!(found[0], "2026-10-25T02:30:00 = 2026-10-25T00:30:00Z");
        assert_eq!(found[1], "2026-10-26T02:30:00 = 2026-10-26T01:30:00Z");
        let found = days(&schedule(127, 150), &zone(SYDNEY), "2026-04-04T14:00:00Z");
        assert_eq!(found[0], "2026-04-05T02:30:00 = 2026-04-04T15:30:00Z");
        assert_eq!(found[1], "2026-04-06T02:30:00 = 2026-04-05T16:30:00Z");
    }

    #[test]
    fn the_leap_day_is_a_day() {
        // 2028-02-29 is a Tuesday.
        let found = days(&schedule(0b000_0010, 720), &zone(BERLIN), "2028-02-27T00:00:00Z");
        assert_eq!(found, ["2028-02-29T12:00:00 = 2028-02-29T11:00:00Z"]);
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        for text in ["UTC0", "<-03>3", "NZST-12NZDT,M9.5.0,M4.1.0/3", "IST-1GMT0,M10.5.0,M3.5.0/1"] {
            assert_eq!(zone(text).as_str(), text);
        }
        for text in ["", "Europe/Berlin", "CET", "CET-1 CEST", ":CET-1", "CET-1\n", &"A".repeat(65)] {
            assert_eq!(text.parse::<Zone>().err(), Some(ZoneError), "{text:?}");
        }
    }

    #[test]
    fn wall_clock_and_thing_time_lead_to_each_other() {
        let told = WallClock::new(ClockSource::Owner, 1_000_000, Micros::new(5_000_000)).expect("a time");
        assert_eq!(told.unix_ms(Micros::new(7_000_000)), 1_002_000);
        assert_eq!(told.moment(1_002_000), Some(Micros::new(7_000_000)));
        assert_eq!(told.moment(996_000), Some(Micros::new(1_000_000)));
        assert_eq!(told.moment(994_000), None, "the thing was not there yet");
        assert_eq!(WallClock::new(ClockSource::Owner, MAX_UNIX_MS + 1, Micros::ZERO), None);
        assert_eq!(told.unix_ms(Micros::new(u64::MAX)), MAX_UNIX_MS);
    }
}
