//! The compression stage.

use super::{Failure, Job, Lane, Pools, Segment, WriterSettings};
use crossbeam_channel::Receiver;
use decube_backup_core::Result;
use decube_backup_format::codec::{Codec, Compressor};
use decube_backup_format::pack::compress_segment;

pub(super) fn run(jobs: &Receiver<Job>, settings: WriterSettings, pools: &Pools, failure: &Failure) {
    let mut compressor = None;
    for Job { lane, mut segment, done } in jobs {
        if lane != Lane::Stored
            && let Err(error) = compress(&mut segment, &mut compressor, settings, pools)
        {
            failure.set(error);
            // The packer waits for this segment and stops when it sees that it never comes; who hands over the next ones must
            // not wait for a worker either.
            drop(done);
            return jobs.iter().for_each(drop);
        }
        let _ = done.send(segment);
    }
}

/// Compresses a segment if that pays.
fn compress(
    segment: &mut Segment,
    compressor: &mut Option<Compressor>,
    settings: WriterSettings,
    pools: &Pools,
) -> Result<()> {
    let compressor = match compressor {
        Some(ready) => ready,
        none => none.insert(Compressor::new(settings.effort, settings.segment_bytes)?),
    };
    let mut packed = pools.packed.take(segment.body.len());
    segment.codec = compress_segment(&segment.body, compressor, &mut packed)?;
    if segment.codec == Codec::Zstd {
        segment.body = packed;
    }
    Ok(())
}
