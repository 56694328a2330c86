//! Which period of a calendar a moment is in.

use super::policy::Period;
use decube_backup_core::Timestamp;
use jiff::tz::TimeZone;

/// Names one period: equal within it, different outside.
///
/// Year, number in the year (month, week, day of the year), and for hours the hour and the offset from UTC, seconds: the hour that
/// comes twice when summer time ends has two offsets.
pub(super) type PeriodKey = (i16, i16, i8, i32);

/// `time` as jiff has it; what is beyond its calendar is its first or last moment.
pub(super) fn instant(time: Timestamp) -> jiff::Timestamp {
    let nanoseconds = i32::try_from(time.nanoseconds).unwrap_or(0);
    jiff::Timestamp::new(time.seconds, nanoseconds).unwrap_or(if time.seconds < 0 {
        jiff::Timestamp::MIN
    } else {
        jiff::Timestamp::MAX
    })
}

/// The `period` that `time` is in.
pub(super) fn key(period: Period, time: Timestamp, zone: &TimeZone) -> PeriodKey {
    let there = instant(time).to_zoned(zone.clone());
    match period {
        Period::Hour => (there.year(), there.day_of_year(), there.hour(), there.offset().seconds()),
        Period::Day => (there.year(), there.day_of_year(), 0, 0),
        Period::Week => {
            let week = there.date().iso_week_date();
            (week.year(), i16::from(week.week()), 0, 0)
        }
        Period::Month => (there.year(), i16::from(there.month()), 0, 0),
        Period::Year => (there.year(), 0, 0, 0),
    }
}
