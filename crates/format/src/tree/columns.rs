//! Column codecs: runs, ids, times. A decoder here may accept more than its encoder yields; the
//! node decoders encode again and compare, which leaves exactly one encoding per node.

use crate::ids::ChunkId;
use crate::wire::{Reader, Writer};
use decube_backup_core::{Result, Timestamp};

/// Bytes a decoder may still allocate for variable parts.
pub(super) struct Budget(pub(super) usize);

impl Budget {
    pub(super) fn spend(&mut self, bytes: usize, reader: &Reader<'_>) -> Result<()> {
        self.0 = self.0.checked_sub(bytes).ok_or_else(|| reader.corrupt())?;
        Ok(())
    }
}

/// Writes `(value, length − 1)` for each run of equal values.
pub(super) fn encode_runs(out: &mut Vec<u8>, values: impl Iterator<Item = u64>) {
    let mut flush = |(value, more): (u64, u64)| {
        out.write_varint(value);
        out.write_varint(more);
    };
    let mut open: Option<(u64, u64)> = None;
    for value in values {
        match &mut open {
            Some((same, more)) if *same == value => *more += 1,
            _ => {
                if let Some(run) = open.replace((value, 0)) {
                    flush(run);
                }
            }
        }
    }
    if let Some(run) = open {
        flush(run);
    }
}

/// Reads runs until every target got its value.
pub(super) fn decode_runs<T>(
    reader: &mut Reader<'_>,
    mut targets: impl ExactSizeIterator<Item = T>,
    mut each: impl FnMut(T, u64) -> Result<()>,
) -> Result<()> {
    let mut left = targets.len() as u64;
    while left > 0 {
        let value = reader.varint()?;
        let more = reader.varint()?;
        if more >= left {
            return Err(reader.corrupt());
        }
        left -= more + 1;
        for target in targets.by_ref().take(more as usize + 1) {
            each(target, value)?;
        }
    }
    Ok(())
}

/// Reads one id.
pub(super) fn decode_id(reader: &mut Reader<'_>) -> Result<ChunkId> {
    Ok(ChunkId(reader.array()?))
}

/// How a time column is coded: the step's form, and against what.
#[derive(Clone, Copy)]
struct TimeMode {
    form: TimeForm,
    base: TimeBase,
}

#[derive(Clone, Copy, PartialEq)]
enum TimeForm {
    /// Seconds only; all nanoseconds are 0.
    Seconds,
    /// Seconds as varints, then nanoseconds as a 4-byte column.
    Split,
    /// Nanoseconds as one varint.
    Joint,
}

#[derive(Clone, Copy, PartialEq)]
enum TimeBase {
    /// The column's previous value; 0 before the first.
    Previous,
    /// The same entry's modification time.
    Own,
}

const TIME_MODES: [TimeMode; 6] = [
    TimeMode { form: TimeForm::Seconds, base: TimeBase::Previous },
    TimeMode { form: TimeForm::Split, base: TimeBase::Previous },
    TimeMode { form: TimeForm::Joint, base: TimeBase::Previous },
    TimeMode { form: TimeForm::Seconds, base: TimeBase::Own },
    TimeMode { form: TimeForm::Split, base: TimeBase::Own },
    TimeMode { form: TimeForm::Joint, base: TimeBase::Own },
];

/// Which modes a column may use.
#[derive(Clone, Copy)]
pub(super) enum TimeColumn {
    Modified,
    Birth,
}

impl TimeColumn {
    fn modes(self) -> &'static [TimeMode] {
        match self {
            Self::Modified => TIME_MODES.get(..3).unwrap_or_default(),
            Self::Birth => &TIME_MODES,
        }
    }
}

/// Writes the smallest coding of `times`, given as `(value, the entry's modification time)`; of
/// equally small ones the first. Nothing for an empty column.
pub(super) fn encode_times(
    out: &mut Vec<u8>,
    column: TimeColumn,
    times: impl Iterator<Item = (Timestamp, Timestamp)> + Clone,
) {
    if times.clone().next().is_none() {
        return;
    }
    let sized = column.modes().iter().enumerate().filter_map(|(i, m)| Some((m.size(times.clone())?, i, m)));
    let Some((_, number, mode)) = sized.min_by_key(|(size, i, _)| (*size, *i)) else { return };
    out.write_u8(number as u8);
    for (value, base) in mode.based(times.clone()) {
        match mode.form {
            TimeForm::Joint => out.write_signed((nanos(value) - nanos(base)) as i64),
            _ => out.write_signed(value.seconds.wrapping_sub(base.seconds)),
        }
    }
    if mode.form == TimeForm::Split {
        times.for_each(|(value, _)| out.write_u32(value.nanoseconds));
    }
}

/// Reads one time per element of `own`, the entries' modification times (any value for that column itself).
pub(super) fn decode_times(reader: &mut Reader<'_>, column: TimeColumn, own: &[Timestamp]) -> Result<Vec<Timestamp>> {
    if own.is_empty() {
        return Ok(Vec::new());
    }
    let mode = *column.modes().get(usize::from(reader.u8()?)).ok_or_else(|| reader.corrupt())?;
    let mut times = Vec::with_capacity(own.len());
    let mut previous = Timestamp::default();
    for own in own {
        let base = if mode.base == TimeBase::Own { *own } else { previous };
        let step = reader.signed()?;
        previous = match mode.form {
            TimeForm::Joint => from_nanos(nanos(base) + i128::from(step)).ok_or_else(|| reader.corrupt())?,
            _ => Timestamp { seconds: base.seconds.wrapping_add(step), nanoseconds: 0 },
        };
        times.push(previous);
    }
    if mode.form == TimeForm::Split {
        for time in &mut times {
            time.nanoseconds = reader.u32()?;
        }
    }
    Ok(times)
}

impl TimeMode {
    fn based(
        self,
        times: impl Iterator<Item = (Timestamp, Timestamp)>,
    ) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let mut previous = Timestamp::default();
        times.map(move |(value, own)| {
            let base = if self.base == TimeBase::Own { own } else { previous };
            previous = value;
            (value, base)
        })
    }

    /// Encoded size, bytes; `None` if this mode cannot say it.
    fn size(self, times: impl Iterator<Item = (Timestamp, Timestamp)>) -> Option<usize> {
        self.based(times).try_fold(0, |sum, (value, base)| {
            let seconds = signed_size(value.seconds.wrapping_sub(base.seconds));
            Some(
                sum + match self.form {
                    TimeForm::Seconds => (value.nanoseconds == 0).then_some(seconds)?,
                    TimeForm::Split => seconds + 4,
                    TimeForm::Joint => signed_size(i64::try_from(nanos(value) - nanos(base)).ok()?),
                },
            )
        })
    }
}

fn signed_size(value: i64) -> usize {
    let zigzag = (value << 1 ^ value >> 63) as u64;
    ((u64::BITS - (zigzag | 1).leading_zeros()) as usize).div_ceil(7)
}

fn nanos(time: Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds)
}

fn from_nanos(nanos: i128) -> Option<Timestamp> {
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).ok()?;
    Some(Timestamp { seconds, nanoseconds: nanos.rem_euclid(1_000_000_000) as u32 })
}
