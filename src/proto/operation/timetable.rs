//! Schedules and days as people write them: `mon-fri 07:30 on`, `daily`, `sat,sun`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::argument::{Bounded, Days, Schedule};

/// The days, from Monday.
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Text that is no schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// Not days, a time, and on or off.
    #[error("a schedule has days, a time, and on or off, as in `mon-fri 07:30 on`")]
    Form,
    /// No days of the week.
    #[error("days are `daily`, or mon, tue, wed, thu, fri, sat, sun as in `mon-fri` or `sat,sun`")]
    Days,
    /// No time of day.
    #[error("a time of day is 00:00 to 23:59")]
    Time,
    /// Neither on nor off.
    #[error("a schedule ends with on or off")]
    State,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, on) = (self.at.get(), if self.on { "on" } else { "off" });
        write!(f, "{} {:02}:{:02} {on}", self.days, at / 60, at % 60)
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [days, time, state] = words[..] else { return Err(ScheduleError::Form) };
        let on = match state.to_ascii_lowercase().as_str() {
            "on" => true,
            "off" => false,
            _ => return Err(ScheduleError::State),
        };
        Ok(Self { days: days.parse()?, at: minute(time)?, on })
    }
}

fn minute(text: &str) -> Result<Bounded<0, 1_439>, ScheduleError> {
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let is_number = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|_| is_number)
    };
    let (hour, minute) = text.split_once(':').ok_or(ScheduleError::Time)?;
    match (number(hour, 1..=2), number(minute, 2..=2)) {
        (Some(hour @ 0..=23), Some(minute @ 0..=59)) => Bounded::new(hour * 60 + minute).ok_or(ScheduleError::Time),
        _ => Err(ScheduleError::Time),
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.get() == 127 {
            return f.write_str("daily");
        }
        let has = |day: usize| day < NAMES.len() && self.0.get() >> day & 1 == 1;
        let (mut day, mut separator) = (0, "");
        while day < NAMES.len() {
            let first = day;
            while has(day) {
                day += 1;
            }
            match day - first {
                0 => {
                    day += 1;
                    continue;
                }
                1 => write!(f, "{separator}{}", NAMES[first])?,
                2 => write!(f, "{separator}{},{}", NAMES[first], NAMES[day - 1])?,
                _ => write!(f, "{separator}{}-{}", NAMES[first], NAMES[day - 1])?,
            }
            separator = ",";
        }
        Ok(())
    }
}

impl FromStr for Days {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let text = text.to_ascii_lowercase();
        let day = |name: &str| NAMES.iter().position(|day| *day == name).ok_or(ScheduleError::Days);
        let mut bits = 0;
        for part in text.split(',') {
            let (first, last) = match part.split_once('-') {
                _ if part == "daily" => (0, 6),
                Some((first, last)) => (day(first)?, day(last)?),
                None => (day(part)?, day(part)?),
            };
            // `sat-mon` goes over the end of the week.
            let mut at = first;
            loop {
                bits |= 1 << at;
                if at == last {
                    break;
                }
                at = (at + 1) % NAMES.len();
            }
        }
        Bounded::new(bits).map(Self).ok_or(ScheduleError::Days)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_reads_back() {
        for (text, written, bits, minute, on) in [
            ("mon-fri 07:30 on", "mon-fri 07:30 on", 0b001_1111, 450, true),
            ("daily 0:00 off", "daily 00:00 off", 127, 0, false),
            ("Sat,SUN 23:59 OFF", "sat,sun 23:59 off", 0b110_0000, 1439, false),
            ("sat-mon 9:05 on", "mon,sat,sun 09:05 on", 0b110_0001, 545, true),
            ("mon,wed,fri-sun 12:00 on", "mon,wed,fri-sun 12:00 on", 0b111_0101, 720, true),
            ("tue 12:00 on", "tue 12:00 on", 2, 720, true),
        ] {
            let schedule: Schedule = text.parse().expect("a schedule");
            assert_eq!((schedule.days.0.get(), schedule.at.get(), schedule.on), (bits, minute, on), "{text}");
            assert_eq!(schedule.to_string(), written);
            assert_eq!(written.parse(), Ok(schedule));
        }
        for bits in 1..=127 {
            let days = Days(Bounded::new(bits).expect("in range"));
            assert_eq!(days.to_string().parse(), Ok(days));
        }
    }

    #[test]
    fn what_is_no_schedule_says_what_is_wrong() {
        for (text, error) in [
            ("", ScheduleError::Form),
            ("07:30 on", ScheduleError::Form),
            ("mon 07:30 on off", ScheduleError::Form),
            ("mon 07:30 maybe", ScheduleError::State),
            ("mo 07:30 on", ScheduleError::Days),
            ("mon, 07:30 on", ScheduleError::Days),
            ("mon-fri-sat 07:30 on", ScheduleError::Days),
            ("mon 24:00 on", ScheduleError::Time),
            ("mon 7:3 on", ScheduleError::Time),
            ("mon 0730 on", ScheduleError::Time),
            ("mon +7:30 on", ScheduleError::Time),
        ] {
            assert_eq!(text.parse::<Schedule>(), Err(error), "{text:?}");
        }
    }
}
