//! Sizes, times and durations as people write and read them.

use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use decube_backup_engine::{retention, select};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, SpanRelativeTo, Zoned};

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// `1536` → `1.5 KiB`.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 9.995 => format!("{value:.2} {name}"),
        _ if value < 99.95 => format!("{value:.1} {name}"),
        _ => format!("{value:.0} {name}"),
    }
}

/// `64MiB`, `64M`, `1.5g`, `4096` → bytes; units are powers of 1024.
///
/// # Errors
/// What does not fit, for clap.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return Err(format!("{text:?} is not a size; write 4096, 64KiB or 1.5G")),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large"));
    }
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a size; write 4096, 64KiB or 1.5G"))?;
    Ok((value * (1u64 << shift) as f64) as u64)
}

/// Like [`parse_size`], for 32-bit options.
///
/// # Errors
/// What does not fit, for clap.
pub fn parse_size_u32(text: &str) -> Result<u32, String> {
    u32::try_from(parse_size(text)?).map_err(|_| format!("{text:?} is too large"))
}

/// `84.2` → `1m 24s`; short spans keep fractions.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds < 0.9995 => format!("{:.0}ms", seconds.max(0.0) * 1000.0),
        _ if seconds < 9.95 => format!("{:.1}s", seconds.max(0.0)),
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h {:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d {:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

/// `n` of `one`, with an s where there is more or less than one.
pub fn count(n: u64, one: &str) -> String {
    match (n, one.strip_suffix('y')) {
        (1, _) => format!("1 {one}"),
        (_, Some(stem)) => format!("{n} {stem}ies"),
        _ => format!("{n} {one}s"),
    }
}

/// UTC to the second: `2026-03-01T14:05:09Z`, as a selector takes it.
pub fn time(time: Timestamp) -> String {
    Timestamp { nanoseconds: 0, ..time }.to_string()
}

/// A point in time as written on the command line.
///
/// RFC 3339 (`2024-01-15T10:30:00Z`), in UTC `2024-01-15`, `2024-01-15 10:30[:00]`, `@` and Unix
/// seconds, `now`, or a span ago (`2h`, `3 days`, `1w`). A date means its first moment.
///
/// # Errors
/// What does not fit, for clap.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let wrong = || format!("{text:?} is not a time; write 2024-01-15T10:30:00Z, 2024-01-15, '2024-01-15 10:30' or 2h");
    if let Some(seconds) = text.strip_prefix('@') {
        return seconds.parse().map(|seconds| Timestamp { seconds, nanoseconds: 0 }).map_err(|_| wrong());
    }
    let now = now();
    let utc = |time: DateTime| time.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp());
    let found = if text == "now" {
        Some(now.timestamp())
    } else if let Ok(time) = text.parse::<jiff::Timestamp>() {
        Some(time)
    } else if let Ok(time) = text.parse::<Zoned>() {
        Some(time.timestamp())
    } else if let Ok(time) = text.parse::<DateTime>() {
        utc(time)
    } else if let Ok(date) = text.parse::<Date>() {
        utc(date.at(0, 0, 0, 0))
    } else {
        let span = text.parse::<Span>().ok();
        span.and_then(|span| now.checked_sub(span.abs()).ok()).map(|z| z.timestamp())
    };
    found.map(Timestamp::from).ok_or_else(wrong)
}

/// A point in time up to which versions count: as [`parse_time`], but a date or a second means its end, as in `NAME@TIME`.
///
/// # Errors
/// What does not fit, for clap.
pub fn parse_as_of(text: &str) -> Result<Timestamp, String> {
    select::parse_time(text.trim()).or_else(|_| parse_time(text))
}

fn now() -> Zoned {
    Zoned::now().with_time_zone(TimeZone::UTC)
}

/// A point in time to come, as written on the command line: `2032-12-31` (the end of that day, UTC), RFC 3339, in UTC
/// `2032-12-31 10:30`, or a span from now (`90d`, `8w`, `1y`).
///
/// # Errors
/// What does not fit, or is past, for clap.
pub fn parse_end(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    let end_of_day = text.parse::<Date>().ok().filter(|_| !text.contains([':', 'T', 't']));
    let end = if let Some(date) = end_of_day {
        date.at(23, 59, 59, 999_999_999).to_zoned(TimeZone::UTC).ok().map(|z| Timestamp::from(z.timestamp()))
    } else if let Ok(span) = retention::Span::parse(text).and_then(|span| span.as_calendar()) {
        now().checked_add(span).ok().map(|z| z.timestamp().into())
    } else {
        parse_time(text).ok()
    };
    match end {
        Some(end) if end > Timestamp::from(now().timestamp()) => Ok(end),
        Some(_) => Err(format!("{text:?} is past")),
        None => Err(format!("{text:?} is not a time to come; write 2032-12-31, 2032-12-31T10:30:00Z or 90d")),
    }
}

/// A positive span such as `1h`, `30m`, `7 days`, in seconds.
///
/// # Errors
/// `Invalid`.
pub fn parse_span_seconds(text: &str) -> Result<u64> {
    match seconds_of(text) {
        Some(seconds) if seconds >= 1.0 => Ok(seconds as u64),
        _ => Err(Error::new(ErrorKind::Invalid, "config", "not a time span; write 1h, 30m or 7d")
            .with("value", format!("{text:?}"))),
    }
}

/// A span such as `12h`, or none: `0`, `0s`; in seconds.
///
/// # Errors
/// What does not fit, for clap.
pub fn parse_span_or_none(text: &str) -> Result<u64, String> {
    match seconds_of(text) {
        Some(seconds) if seconds >= 0.0 => Ok(seconds.ceil() as u64),
        None if text.trim() == "0" => Ok(0),
        _ => Err(format!("{text:?} is no duration; write 0, 30m, 12h or 2d")),
    }
}

fn seconds_of(text: &str) -> Option<f64> {
    let span: Span = text.trim().parse().ok()?;
    span.total((jiff::Unit::Second, SpanRelativeTo::days_are_24_hours())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_written() {
        for (text, bytes) in [("0", 0), ("4096", 4096), ("64MiB", 64 << 20), ("1.5k", 1536), ("2 G", 2 << 30)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for bad in ["", "x", "1q", "-1", "1.2.3", "99999999999P"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        let shown = [(0, "0 B"), (999, "999 B"), (1000, "0.98 KiB"), (1536, "1.50 KiB"), (152 << 20, "152 MiB")];
        for (bytes, text) in shown {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn times_read() {
        let cases = [
            ("1970-01-01T00:00:01Z", (1, 0)),
            ("@-5", (-5, 0)),
            ("1969-12-31T23:59:59.5Z", (-1, 500_000_000)),
            ("2024-01-15T10:30:00+01:00", (1_705_311_000, 0)),
            ("2024-01-15 10:30", (1_705_314_600, 0)),
            ("2024-01-15", (1_705_276_800, 0)),
        ];
        for (text, (seconds, nanoseconds)) in cases {
            assert_eq!(parse_time(text), Ok(Timestamp { seconds, nanoseconds }), "{text}");
        }
        for text in ["now", "2024-01-15", "2024-01-15 10:30", "2h", "3 days", "1w"] {
            assert!(parse_time(text).is_ok(), "{text}");
        }
        for text in ["2024-01-15", "2024-01-15 10:30", "2024-01-15T10:30:00Z"] {
            assert_eq!(parse_as_of(text).ok(), select::parse_time(text).ok(), "{text}");
        }
        assert_eq!(parse_as_of("@5"), Ok(Timestamp { seconds: 5, nanoseconds: 0 }));
        assert_eq!(time(Timestamp { seconds: 1_705_314_600, nanoseconds: 7 }), "2024-01-15T10:30:00Z");
        assert!(parse_time("yesterday-ish").is_err());
        assert!(parse_time("1d") < parse_time("1h"));
    }

    #[test]
    fn times_to_come_are_read() {
        for text in ["2199-12-31", "2199-12-31T10:30:00Z", "2199-12-31 10:30", "90d", "1y6m"] {
            assert!(parse_end(text).is_ok(), "{text}");
        }
        assert!(parse_end("1d") < parse_end("1m"), "m is months");
        let (day, next) = (parse_end("2199-12-30"), parse_end("2199-12-31 00:00"));
        assert!(day < next && next < parse_end("2199-12-31"), "{day:?} {next:?}");
        for bad in ["2001-01-01", "now", "soon", "0d"] {
            assert!(parse_end(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans_and_counts() {
        assert_eq!(parse_span_seconds("1h").ok(), Some(3600));
        assert_eq!(parse_span_seconds("7 days").ok(), Some(604_800));
        assert!(["soon", "0s", "-1h", "0"].into_iter().all(|bad| parse_span_seconds(bad).is_err()));
        for (text, seconds) in [("0", 0), ("0s", 0), ("90s", 90), ("500ms", 1), ("2d", 172_800)] {
            assert_eq!(parse_span_or_none(text), Ok(seconds), "{text}");
        }
        assert!(["soon", "", "-1h", "5"].into_iter().all(|bad| parse_span_or_none(bad).is_err()));
        assert_eq!(
            [duration(0.042), duration(1.42), duration(84.2), duration(7300.0)],
            ["42ms", "1.4s", "1m 24s", "2h 01m"]
        );
        assert_eq!(
            [count(1, "file"), count(2, "directory"), count(0, "entry")],
            ["1 file", "2 directories", "0 entries"]
        );
    }
}
