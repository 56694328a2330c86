//! The compression stage.

use super::{Failure, Job, Lane, Pool, WriterSettings};
use crossbeam_channel::Receiver;
use decube_backup_format::codec::{Codec, Compressor};
use decube_backup_format::ids::ShortId;
use decube_backup_format::pack::compress_segment;

/// A segment ready to be sealed. `packed` is empty when it is stored as it is.
pub(super) struct Compressed {
    pub raw: Vec<u8>,
    pub packed: Vec<u8>,
    pub codec: Codec,
    pub chunks: Vec<(ShortId, u32)>,
}

pub(super) fn run(jobs: &Receiver<Job>, settings: WriterSettings, pool: &Pool, failure: &Failure) {
    let mut compressor = None;
    for job in jobs {
        let mut packed = Vec::new();
        let mut codec = Codec::Stored;
        if job.lane != Lane::Stored {
            packed = pool.take();
            let result = match &mut compressor {
                Some(ready) => Ok(ready),
                none => Compressor::new(settings.effort, settings.segment_bytes).map(|new| none.insert(new)),
            }
            .and_then(|compressor| compress_segment(&job.raw, compressor, &mut packed));
            match result {
                Ok(chosen) => codec = chosen,
                // The packer sees the dropped channel and stops; what is still queued must not keep its own open.
                Err(error) => {
                    failure.set(error);
                    return jobs.iter().for_each(drop);
                }
            }
        }
        let _ = job.done.send(Compressed { raw: job.raw, packed, codec, chunks: job.chunks });
    }
}
