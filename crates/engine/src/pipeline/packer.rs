//! The packing stage: seals segments in order, closes packs, makes their parity, uploads both.

use super::{Failure, Ordered, Segment, WriterContext, WriterSettings};
use crossbeam_channel::Receiver;
use decube_backup_core::monitor::Progress;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::codec::Codec;
use decube_backup_format::ids::{self, PackKind, PackName, ParityId, ParityName, ShortId};
use decube_backup_format::log::{AddedObject, ObjectName};
use decube_backup_format::pack::{FinishedPack, Footer, PackWriter};
use decube_backup_format::parity::{Overhead, ParityEncoder};
use std::collections::VecDeque;
use tokio::task::JoinHandle;

/// A pack that is durable in the sink.
#[derive(Clone, Debug)]
pub struct AddedPack {
    /// Name.
    pub name: PackName,
    /// Length of the object.
    pub len: u64,
    /// BLAKE3 of the object.
    pub hash: [u8; 32],
    /// Table of contents.
    pub footer: Footer,
    /// Its parity object, durable too.
    pub parity: Option<AddedObject>,
}

impl AddedPack {
    /// Bytes in the store, parity included.
    pub fn stored_bytes(&self) -> u64 {
        self.len + self.parity.map_or(0, |parity| parity.len)
    }
}

/// A pack on its way to the sink.
struct Upload {
    pack: JoinHandle<Result<Vec<u8>>>,
    parity: Option<JoinHandle<Result<Vec<u8>>>>,
    added: AddedPack,
}

pub(super) struct Packer<'a> {
    context: WriterContext<'a>,
    settings: WriterSettings,
    pack_pool: Vec<Vec<u8>>,
    data: Option<PackWriter>,
    meta: Option<PackWriter>,
    parity: ParityEncoder,
    parity_pool: Vec<Vec<u8>>,
    uploads: VecDeque<Upload>,
    added: Vec<AddedPack>,
}

impl<'a> Packer<'a> {
    pub(super) fn new(context: WriterContext<'a>, settings: WriterSettings) -> Self {
        Self {
            context,
            settings,
            pack_pool: Vec::new(),
            data: None,
            meta: None,
            parity: ParityEncoder::new(),
            parity_pool: Vec::new(),
            uploads: VecDeque::new(),
            added: Vec::new(),
        }
    }

    pub(super) fn run(mut self, order: &Receiver<Ordered>, failure: &Failure) {
        self.work(order, failure);
        // What stays in a queue lives as long as the queue: who waits for the answer to a question in it would wait for
        // ever. So everything is taken out until nobody can ask any more. What became durable is told even now.
        for item in order {
            if let Ordered::Stop(answer) = item {
                let _ = answer.send(self.durable());
            }
        }
    }

    /// Until the end of the work, or a failure of this stage or one before it.
    fn work(&mut self, order: &Receiver<Ordered>, failure: &Failure) {
        for item in order {
            let result = match &item {
                Ordered::Segment(kind, result) => match result.recv() {
                    Ok(segment) => self.segment(*kind, segment),
                    Err(_) => return,
                },
                Ordered::Flush(answer) => self.flush().map(|added| {
                    let _ = answer.send(added);
                }),
                Ordered::Stop(answer) => {
                    let _ = answer.send(self.durable());
                    Ok(())
                }
            };
            // Before the item is dropped: who asked looks for the reason at once.
            if let Err(error) = result {
                return failure.set(error);
            }
        }
    }

    /// Appends `segment` to the open pack of `kind`. One that is stored as it is can be cut where its pack is best closed.
    fn segment(&mut self, kind: PackKind, segment: Segment) -> Result<()> {
        let target = self.target(kind);
        let Segment { body, codec, raw_len, chunks } = segment;
        let (mut chunks, mut body_at, mut raw_len) = (&chunks[..], 0, raw_len);
        while let Some(cut) = self.cut(kind, codec, chunks)? {
            let (taken, rest) = chunks.split_at(cut);
            let len = taken.iter().map(|&(_, len)| len).sum();
            let end = body_at + len as usize;
            let mut pack = self.take_pack(kind)?;
            pack.append(codec, body.get(body_at..end).unwrap_or_default(), len, taken)?;
            self.close(pack)?;
            (chunks, body_at, raw_len) = (rest, end, raw_len - len);
        }
        let mut pack = self.take_pack(kind)?;
        pack.append(codec, body.get(body_at..).unwrap_or_default(), raw_len, chunks)?;
        drop(body);
        if pack.is_full(target) {
            return self.close(pack);
        }
        *self.open_pack(kind) = Some(pack);
        Ok(())
    }

    /// How many of `chunks`, encoded by `codec`, still go into the open pack of `kind`, if it is to be closed between them.
    fn cut(&mut self, kind: PackKind, codec: Codec, chunks: &[(ShortId, u32)]) -> Result<Option<usize>> {
        if codec != Codec::Stored {
            return Ok(None);
        }
        let target = self.target(kind);
        let pack = self.take_pack(kind)?;
        let cut = pack.cut(chunks, target);
        *self.open_pack(kind) = Some(pack);
        Ok(cut)
    }

    /// Size at which a pack of `kind` is closed, bytes.
    fn target(&self, kind: PackKind) -> usize {
        match kind {
            PackKind::Data => self.settings.data_pack_bytes,
            PackKind::Meta => self.settings.meta_pack_bytes,
        }
    }

    fn open_pack(&mut self, kind: PackKind) -> &mut Option<PackWriter> {
        match kind {
            PackKind::Data => &mut self.data,
            PackKind::Meta => &mut self.meta,
        }
    }

    /// The open pack of `kind`, or a new one.
    fn take_pack(&mut self, kind: PackKind) -> Result<PackWriter> {
        self.open_pack(kind).take().map_or_else(|| self.new_pack(kind), Ok)
    }

    fn new_pack(&mut self, kind: PackKind) -> Result<PackWriter> {
        let mut buffer = self.pack_pool.pop().unwrap_or_default();
        // Grown by doubling, a buffer would end up twice as large as the pack.
        buffer.clear();
        let target = self.target(kind);
        buffer.reserve_exact(target + self.settings.segment_bytes + target / 16);
        self.context.sealer.begin(self.context.repository, kind, self.context.entropy, buffer)
    }

    fn close(&mut self, pack: PackWriter) -> Result<()> {
        if self.uploads.len() >= self.settings.uploads {
            self.wait_oldest()?;
        }
        let pack = pack.finish()?;
        let len = pack.bytes.len() as u64;
        let parity = match self.settings.parity {
            none if none.is_none() => None,
            overhead => Some(self.parity_of(&pack, overhead)?),
        };
        let task = self.context.store.start_put_new(ids::pack_key(&pack.name)?, pack.bytes);
        let (parity, object) = match parity {
            Some((bytes, object)) => (Some(self.context.store.start_put_new(object.name.key()?, bytes)), Some(object)),
            None => (None, None),
        };
        let added = AddedPack { name: pack.name, len, hash: pack.hash, footer: pack.footer, parity: object };
        self.uploads.push_back(Upload { pack: task, parity, added });
        Ok(())
    }

    /// The parity object of `pack`, and what a record says of it.
    fn parity_of(&mut self, pack: &FinishedPack, overhead: Overhead) -> Result<(Vec<u8>, AddedObject)> {
        let mut id = ParityId::default();
        self.context.entropy.fill(&mut id.0)?;
        let mut bytes = self.parity_pool.pop().unwrap_or_default();
        self.parity.encode(self.context.repository, pack.name, &pack.bytes, pack.hash, overhead, &mut bytes)?;
        let object = AddedObject::of(ObjectName::Parity(ParityName { pack: pack.name, id }), &bytes);
        Ok((bytes, object))
    }

    fn wait_oldest(&mut self) -> Result<()> {
        if let Some(Upload { pack, parity, added }) = self.uploads.pop_front() {
            let buffer = self.context.store.wait(pack).map_err(|e| explain_upload(e, &added.name))?;
            if let Some(kept) = self.context.kept {
                kept.keep(&added.name, &buffer);
            }
            self.pack_pool.push(buffer);
            if let Some(parity) = parity {
                let buffer = self.context.store.wait(parity).map_err(|e| explain_upload(e, &added.name))?;
                self.parity_pool.push(buffer);
            }
            self.context.monitor.advance(Progress::BytesStored, added.stored_bytes());
            self.added.push(added);
        }
        Ok(())
    }

    /// What was added since the last answer: the uploads that succeed, whatever becomes of others. Packs that are not full
    /// are given up.
    fn durable(&mut self) -> Vec<AddedPack> {
        (self.data, self.meta) = (None, None);
        while !self.uploads.is_empty() {
            if let Err(error) = self.wait_oldest() {
                tracing::debug!(error = %error.chain(), "one more pack was not stored");
            }
        }
        std::mem::take(&mut self.added)
    }

    fn flush(&mut self) -> Result<Vec<AddedPack>> {
        for pack in [self.data.take(), self.meta.take()].into_iter().flatten() {
            self.close(pack)?;
        }
        while !self.uploads.is_empty() {
            self.wait_oldest()?;
        }
        Ok(std::mem::take(&mut self.added))
    }
}

fn explain_upload(error: Error, name: &PackName) -> Error {
    let (kind, retry, hint) = (error.kind(), error.retry(), error.hint().map(str::to_owned));
    let hint = match (kind, hint) {
        (ErrorKind::NoSpace, _) => {
            "the repository's storage is full: free space there and run the backup again; earlier snapshots are untouched; what \
             this run had stored, `decube-backup prune --leftovers-older-than 0` deletes"
                .into()
        }
        (_, Some(hint)) => hint,
        _ => "no snapshot was written; earlier snapshots are untouched; run the backup again".into(),
    };
    Error::new(kind, "upload", "cannot store a pack")
        .with("pack", name.id)
        .with_retry(retry)
        .with_hint(hint)
        .with_source(error)
}
