//! The rules of a policy. Names and meanings are restic's, where restic has them.
//!
//! Source: restic, `internal/restic/snapshot_policy.go` (`ApplyPolicy`), and its `--keep-within` durations.

use decube_backup_core::{Error, ErrorKind, Result};
use jiff::tz::TimeZone;
use std::fmt;

/// How many of something are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Limit {
    /// None: the rule is not there.
    #[default]
    Off,
    /// The newest so many, at least 1.
    Newest(u32),
    /// All.
    Unlimited,
}

impl Limit {
    /// Parses a number, or `unlimited` or `-1`; 0 is [`Limit::Off`].
    ///
    /// # Errors
    /// `Invalid`.
    pub fn parse(text: &str) -> Result<Self> {
        match text.trim() {
            "unlimited" | "-1" => Ok(Self::Unlimited),
            number => number.parse::<u32>().map(Self::from).map_err(|_| {
                Error::new(ErrorKind::Invalid, "retention", "not a number of snapshots to keep")
                    .with("value", format!("{text:?}"))
                    .with_hint("give a number, or unlimited")
            }),
        }
    }
}

impl From<u32> for Limit {
    fn from(n: u32) -> Self {
        if n == 0 { Self::Off } else { Self::Newest(n) }
    }
}

/// Stretches of calendar time of which the newest snapshot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Period {
    /// An hour on the wall clock; the one that comes twice when summer time ends counts twice.
    Hour,
    /// A day from midnight to midnight.
    Day,
    /// An ISO 8601 week, Monday to Sunday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// All, shortest first.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// `hour`, `day`, …
    pub fn noun(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// `hourly`, `daily`, …
    pub fn adverb(self) -> &'static str {
        match self {
            Self::Hour => "hourly",
            Self::Day => "daily",
            Self::Week => "weekly",
            Self::Month => "monthly",
            Self::Year => "yearly",
        }
    }

    fn at(self) -> usize {
        self as usize
    }
}

/// A length of calendar time: years, months, weeks, days, hours; not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
    hours: u32,
}

impl Span {
    /// Parses `1y6m14d`, `8w`, `36h`: numbers with `y`, `m` (months, as in restic, or `mo`), `w`, `d`, `h`; spaces do not count.
    ///
    /// # Errors
    /// `Invalid`; minutes and seconds are not taken, so that nobody mistakes the one `m` for the other.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::new(ErrorKind::Invalid, "retention", "not a span of time")
                .with("value", format!("{text:?}"))
                .with_hint("write 36h, 14d, 8w, 6m (months) or 1y6m; at least one hour")
        };
        let mut span = Self::default();
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let mut rest = compact.as_str();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            // Bounded so that no calendar arithmetic ever leaves its range.
            let number: u32 = number.parse().ok().filter(|n| *n <= 100_000).ok_or_else(wrong)?;
            let field = match unit {
                "y" | "year" | "years" => &mut span.years,
                "m" | "mo" | "month" | "months" => &mut span.months,
                "w" | "week" | "weeks" => &mut span.weeks,
                "d" | "day" | "days" => &mut span.days,
                "h" | "hour" | "hours" => &mut span.hours,
                _ => return Err(wrong()),
            };
            if *field != 0 {
                return Err(wrong());
            }
            *field = number;
            rest = tail;
        }
        if span == Self::default() { Err(wrong()) } else { Ok(span) }
    }

    /// As calendar units.
    ///
    /// # Errors
    /// `Invalid` beyond the calendar's range.
    pub fn as_calendar(&self) -> Result<jiff::Span> {
        let span = jiff::Span::new()
            .try_years(self.years)
            .and_then(|s| s.try_months(self.months))
            .and_then(|s| s.try_weeks(self.weeks))
            .and_then(|s| s.try_days(self.days))
            .and_then(|s| s.try_hours(self.hours));
        span.map_err(|e| {
            Error::new(ErrorKind::Invalid, "retention", "span of time too long").with("span", self).with_source(e)
        })
    }

    /// The moment this long before `from` on the calendar of `zone`; `None` if that is before every moment there is.
    pub(super) fn before(&self, from: jiff::Timestamp, zone: &TimeZone) -> Option<jiff::Timestamp> {
        let earlier = from.to_zoned(zone.clone()).checked_sub(self.as_calendar().ok()?);
        Some(earlier.ok()?.timestamp())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [(self.years, 'y'), (self.months, 'm'), (self.weeks, 'w'), (self.days, 'd'), (self.hours, 'h')];
        parts.iter().filter(|(n, _)| *n > 0).try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

/// What is kept of each group. A snapshot stays if any rule keeps it.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The newest so many.
    pub last: Limit,
    /// The newest of each of the newest so many periods that have a snapshot; by [`Period`].
    pub limits: [Limit; 5],
    /// Everything this much younger than the group's newest.
    pub within: Option<Span>,
    /// The newest of each period in that span before the group's newest; by [`Period`].
    pub spans: [Option<Span>; 5],
    /// What has all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
    /// Whose calendar it is.
    pub zone: TimeZone,
}

impl Default for Policy {
    /// No rule at all, UTC.
    fn default() -> Self {
        Self {
            last: Limit::Off,
            limits: [Limit::Off; 5],
            within: None,
            spans: [None; 5],
            tags: Vec::new(),
            zone: TimeZone::UTC,
        }
    }
}

impl Policy {
    /// What the guide advises: 30 days, 12 weeks, 12 months, 7 years.
    #[must_use]
    pub fn guide() -> Self {
        Self::default()
            .keeping(Period::Day, Limit::Newest(30))
            .keeping(Period::Week, Limit::Newest(12))
            .keeping(Period::Month, Limit::Newest(12))
            .keeping(Period::Year, Limit::Newest(7))
    }

    /// With this limit on periods.
    #[must_use]
    pub fn keeping(mut self, period: Period, limit: Limit) -> Self {
        if let Some(slot) = self.limits.get_mut(period.at()) {
            *slot = limit;
        }
        self
    }

    /// With the newest of each period within `span`.
    #[must_use]
    pub fn keeping_within(mut self, period: Period, span: Option<Span>) -> Self {
        if let Some(slot) = self.spans.get_mut(period.at()) {
            *slot = span;
        }
        self
    }

    /// The limit on `period`.
    pub fn limit(&self, period: Period) -> Limit {
        self.limits.get(period.at()).copied().unwrap_or_default()
    }

    /// The span in which the newest of each `period` is kept.
    pub fn span(&self, period: Period) -> Option<Span> {
        self.spans.get(period.at()).copied().flatten()
    }

    /// Whether it has no rule, so that it would keep nothing.
    pub fn is_empty(&self) -> bool {
        self.last == Limit::Off
            && self.limits.iter().all(|limit| *limit == Limit::Off)
            && self.within.is_none()
            && self.spans.iter().all(Option::is_none)
            && self.tags.is_empty()
    }
}

/// The time zone `name`: `UTC`, `local`, `Area/City`, or a POSIX rule such as `CET-1CEST,M3.5.0,M10.5.0/3`.
///
/// # Errors
/// `Invalid` if there is none, or the system has no time zone database.
pub fn zone_named(name: &str) -> Result<TimeZone> {
    let unknown = || {
        Error::new(ErrorKind::Invalid, "retention", "no such time zone is known here")
            .with("timezone", format!("{name:?}"))
            .with_hint(
                "give UTC, local or a name such as Europe/Berlin; names need the system's time zone database (tzdata)",
            )
    };
    match name {
        "UTC" | "utc" => Ok(TimeZone::UTC),
        // As everywhere in this program: a system that does not say is in UTC.
        "local" => Ok(TimeZone::system()),
        _ => {
            TimeZone::get(name).or_else(|e| TimeZone::posix(name).map_err(|_| e)).map_err(|e| unknown().with_source(e))
        }
    }
}
