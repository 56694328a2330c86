//! One sink per way to break the contract: a memory sink with exactly one flaw.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, Capabilities, ObjectMeta, PutMode, PutOutcome, Rope, Sink};
use decube_backup_core::{Error, ErrorKind, Key, Result};
use decube_backup_testkit::MemorySink;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::yield_now;

/// Ways to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    LosesTheLastByteOfBlocks,
    LosesEmptyObjects,
    MixesManyPieces,
    CutsAtSixtyFourMiB,
    TrimsTrailingDots,
    CutsLongKeys,
    StatCountsBlocks,
    OverwriteKeepsTheTail,
    GetOfAbsentIsAnError,
    StatOfAbsentIsAnError,
    RangeOfAbsentIsEmpty,
    FolderIsAnObject,
    DeleteIsForgotten,
    DeleteOfAbsentIsAnError,
    RangeIsLongerThanAsked,
    RangePastTheEndIsAnError,
    SecondCreateWins,
    EqualBytesCountAsCreated,
    DeletedNamesStayTaken,
    RacingCreatesBothWin,
    ListStopsAfterAPage,
    ListRepeatsAnObject,
    ListTellsNoLength,
    ListWantsAFolder,
    ListOfNothingIsAnError,
    ListFollowsDots,
    PutIsVisibleHalfDone,
    OverwriteDeletesFirst,
    NewFoldersCollide,
    DroppedPutIsTorn,
    PutBlocks,
    ListBlocks,
}

/// Each flaw and the check that must catch it.
pub const FLAWS: [(Flaw, &str); 32] = [
    (Flaw::LosesTheLastByteOfBlocks, "a_put_object_comes_back_whole"),
    (Flaw::LosesEmptyObjects, "an_empty_object_is_an_object"),
    (Flaw::MixesManyPieces, "a_rope_of_many_pieces_keeps_its_order"),
    (Flaw::CutsAtSixtyFourMiB, "the_largest_object_comes_back_whole"),
    (Flaw::TrimsTrailingDots, "every_legal_key_names_its_own_object"),
    (Flaw::CutsLongKeys, "every_legal_key_names_its_own_object"),
    (Flaw::StatCountsBlocks, "stat_tells_the_length"),
    (Flaw::OverwriteKeepsTheTail, "overwrite_replaces_the_whole_object"),
    (Flaw::GetOfAbsentIsAnError, "get_of_an_absent_key_is_none"),
    (Flaw::StatOfAbsentIsAnError, "stat_of_an_absent_key_is_none"),
    (Flaw::RangeOfAbsentIsEmpty, "a_range_of_an_absent_key_is_none"),
    (Flaw::FolderIsAnObject, "an_object_is_no_folder_and_a_folder_no_object"),
    (Flaw::DeleteIsForgotten, "a_deleted_object_is_gone"),
    (Flaw::DeleteOfAbsentIsAnError, "delete_of_an_absent_key_is_ok"),
    (Flaw::RangeIsLongerThanAsked, "a_range_is_exactly_the_bytes_asked_for"),
    (Flaw::RangePastTheEndIsAnError, "a_range_past_the_end_is_short_or_empty"),
    (Flaw::SecondCreateWins, "create_new_loses_to_an_existing_object"),
    (Flaw::EqualBytesCountAsCreated, "create_new_loses_to_an_existing_object"),
    (Flaw::DeletedNamesStayTaken, "create_new_succeeds_after_a_delete"),
    (Flaw::RacingCreatesBothWin, "of_racing_creates_exactly_one_wins"),
    (Flaw::ListStopsAfterAPage, "list_is_complete_however_many_objects"),
    (Flaw::ListRepeatsAnObject, "list_is_complete_however_many_objects"),
    (Flaw::ListTellsNoLength, "list_tells_the_length"),
    (Flaw::ListWantsAFolder, "list_prefix_is_a_plain_string"),
    (Flaw::ListOfNothingIsAnError, "list_of_nothing_is_empty"),
    (Flaw::ListFollowsDots, "a_prefix_no_key_can_have_lists_nothing"),
    (Flaw::PutIsVisibleHalfDone, "no_reader_sees_part_of_an_object"),
    (Flaw::OverwriteDeletesFirst, "an_overwrite_is_never_seen_half_done"),
    (Flaw::NewFoldersCollide, "concurrent_puts_into_new_folders_all_land"),
    (Flaw::DroppedPutIsTorn, "a_dropped_put_leaves_nothing_torn"),
    (Flaw::PutBlocks, "no_call_puts_the_executor_to_sleep"),
    (Flaw::ListBlocks, "no_call_puts_the_executor_to_sleep"),
];

/// A memory sink with one flaw.
pub struct FlawedSink {
    memory: Arc<MemorySink>,
    flaw: Flaw,
    deleted: std::sync::Mutex<Vec<Key>>,
    making: std::sync::Mutex<Vec<String>>,
}

impl FlawedSink {
    pub fn new(flaw: Flaw) -> Self {
        Self { memory: Arc::default(), flaw, deleted: Default::default(), making: Default::default() }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn name(&self, key: &Key) -> Key {
        let name = key.as_str();
        let name = match self.flaw {
            Flaw::TrimsTrailingDots => name.trim_end_matches('.'),
            Flaw::CutsLongKeys if name.len() > 254 => &name[..254],
            _ => name,
        };
        Key::new(name).expect("still legal")
    }

    fn change(&self, bytes: Rope) -> Rope {
        let (len, many) = (bytes.len(), bytes.pieces().len() > 1024);
        match self.flaw {
            // Lengths only that check uses.
            Flaw::LosesTheLastByteOfBlocks if len == 4096 => bytes.into_bytes().slice(..4095).into(),
            Flaw::CutsAtSixtyFourMiB if len > 64 << 20 => bytes.into_bytes().slice(..64 << 20).into(),
            Flaw::MixesManyPieces if many => {
                let mut mixed = Rope::new();
                let (head, tail) = bytes.pieces().split_at(1024);
                tail.iter().chain(head).for_each(|piece| mixed.push(piece.clone()));
                mixed
            }
            _ => bytes,
        }
    }

    async fn exists(&self, key: &Key) -> Result<bool> {
        Ok(self.memory.stat(key).await?.is_some())
    }

    /// Stores the first half now and the whole a while later, in the background.
    async fn put_in_halves(&self, key: &Key, bytes: Rope, whole_later: bool) -> Result<PutOutcome> {
        let (memory, key) = (self.memory.clone(), key.clone());
        let whole = bytes.into_bytes();
        let work = async move {
            if whole_later {
                memory.put(&key, whole.slice(..whole.len() / 2).into(), PutMode::Overwrite).await?;
            } else {
                memory.delete(&key).await?;
            }
            for _ in 0..5 {
                yield_now().await;
            }
            memory.put(&key, whole.into(), PutMode::Overwrite).await
        };
        tokio::spawn(work).await.map_err(|e| failed("put").with_source(e))?
    }
}

fn failed(op: &'static str) -> Error {
    Error::new(ErrorKind::Io, op, "flawed")
}

/// Leaves half an object behind when dropped before it is disarmed.
struct TornOnDrop {
    memory: Arc<MemorySink>,
    armed: Option<(Key, Bytes)>,
}

impl Drop for TornOnDrop {
    fn drop(&mut self) {
        if let Some((key, bytes)) = self.armed.take() {
            let half = bytes.slice(..bytes.len() / 2);
            let _ = futures::executor::block_on(self.memory.put(&key, half.into(), PutMode::Overwrite));
        }
    }
}

#[async_trait]
impl Sink for FlawedSink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        let key = &self.name(key);
        let bytes = self.change(bytes);
        let exists = self.exists(key).await?;
        // Racers for one name are another check's business.
        let racing = key.as_str().contains("/race/");
        match self.flaw {
            Flaw::LosesEmptyObjects if bytes.is_empty() && !exists => return Ok(PutOutcome::Created),
            Flaw::OverwriteKeepsTheTail if mode == PutMode::Overwrite && exists && bytes.len() < 1000 => {
                let old = self.memory.get(key, ByteRange::Full).await?.unwrap_or_default();
                let mut mixed = bytes.clone();
                mixed.push(old.slice(bytes.len().min(old.len())..));
                return self.memory.put(key, mixed, mode).await;
            }
            Flaw::SecondCreateWins if exists && !racing => {
                return self.memory.put(key, bytes, PutMode::Overwrite).await;
            }
            Flaw::EqualBytesCountAsCreated if exists => {
                let same = self.memory.get(key, ByteRange::Full).await? == Some(bytes.clone().into_bytes());
                return if same { Ok(PutOutcome::Created) } else { self.memory.put(key, bytes, mode).await };
            }
            Flaw::DeletedNamesStayTaken if self.deleted.lock().expect("sound").contains(key) => {
                return Ok(PutOutcome::AlreadyExists);
            }
            Flaw::RacingCreatesBothWin if mode == PutMode::CreateNew && !exists => {
                yield_now().await;
                return self.memory.put(key, bytes, PutMode::Overwrite).await;
            }
            Flaw::PutIsVisibleHalfDone if !exists && bytes.len() > 1 << 20 => {
                return self.put_in_halves(key, bytes, true).await;
            }
            Flaw::OverwriteDeletesFirst if mode == PutMode::Overwrite && exists => {
                return self.put_in_halves(key, bytes, false).await;
            }
            Flaw::NewFoldersCollide => {
                let folder = key.as_str().rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
                if racing {
                    return self.memory.put(key, bytes, mode).await;
                }
                let new = self.memory.list(&format!("{folder}/")).next().await.is_none();
                if new && self.making.lock().expect("sound").contains(&folder) {
                    return Err(failed("put"));
                }
                self.making.lock().expect("sound").push(folder.clone());
                if new && folder.contains("/folder-") {
                    yield_now().await;
                }
                self.making.lock().expect("sound").retain(|other| *other != folder);
            }
            Flaw::DroppedPutIsTorn => {
                let mut guard = TornOnDrop { memory: self.memory.clone(), armed: None };
                if !exists {
                    guard.armed = Some((key.clone(), bytes.clone().into_bytes()));
                    yield_now().await;
                }
                guard.armed = None;
            }
            Flaw::PutBlocks => std::thread::sleep(Duration::from_micros(100)),
            _ => {}
        }
        self.memory.put(key, bytes, mode).await
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        let key = &self.name(key);
        let below = format!("{key}/");
        let answer = self.memory.get(key, range).await?;
        match (self.flaw, range, &answer) {
            // Only where the object is plainly absent: the neighbourhood is another check's business.
            (Flaw::GetOfAbsentIsAnError, ByteRange::Full, None) if key.as_str().ends_with("/nothing") => {
                Err(failed("get"))
            }
            (Flaw::RangeOfAbsentIsEmpty, ByteRange::From { .. }, None) => Ok(Some(Bytes::new())),
            (Flaw::FolderIsAnObject, ..) if self.memory.list(&below).next().await.is_some() => Ok(Some(Bytes::new())),
            (Flaw::RangeIsLongerThanAsked, ByteRange::From { offset, len }, Some(whole)) if len == 4096 => {
                assert_eq!(whole.len(), 4096);
                self.memory.get(key, ByteRange::From { offset, len: len + 1 }).await
            }
            (Flaw::RangePastTheEndIsAnError, ByteRange::From { offset, len }, Some(_)) => {
                let whole = self.memory.stat(key).await?.map_or(0, |meta| meta.len);
                if offset.saturating_add(len) > whole { Err(failed("get")) } else { Ok(answer) }
            }
            _ => Ok(answer),
        }
    }

    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        let answer = self.memory.stat(&self.name(key)).await?;
        match (self.flaw, answer) {
            (Flaw::StatOfAbsentIsAnError, None) if key.as_str().ends_with("/nothing") => Err(failed("stat")),
            (Flaw::StatCountsBlocks, Some(meta)) => {
                Ok(Some(ObjectMeta { len: meta.len.next_multiple_of(512), ..meta }))
            }
            (_, answer) => Ok(answer),
        }
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
        let all = match self.flaw {
            Flaw::ListWantsAFolder if !prefix.ends_with('/') => self.memory.list(&format!("{prefix}/")),
            Flaw::ListFollowsDots if prefix.ends_with("/..") || prefix == ".." => self.memory.list(folder),
            _ => self.memory.list(prefix),
        };
        match self.flaw {
            Flaw::ListStopsAfterAPage => all.take(1000).boxed(),
            Flaw::ListRepeatsAnObject => all
                .enumerate()
                .flat_map(|(n, item)| {
                    let again = item.as_ref().ok().filter(|_| n == 1000).cloned().map(Ok);
                    futures::stream::iter([item].into_iter().chain(again))
                })
                .boxed(),
            Flaw::ListTellsNoLength => all.map_ok(|meta| ObjectMeta { len: 0, ..meta }).boxed(),
            Flaw::ListOfNothingIsAnError if prefix.ends_with("folder/") => {
                all.chain(futures::stream::iter([Err(failed("list"))])).boxed()
            }
            Flaw::ListBlocks => all.inspect(|_| std::thread::sleep(Duration::from_micros(100))).boxed(),
            _ => all,
        }
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let key = &self.name(key);
        match self.flaw {
            // A repeated delete works, so that only the one check sees it.
            Flaw::DeleteIsForgotten if key.as_str().ends_with("gone") => Ok(()),
            Flaw::DeleteOfAbsentIsAnError if !self.exists(key).await? => Err(failed("delete")),
            _ => {
                if self.has(Flaw::DeletedNamesStayTaken) {
                    self.deleted.lock().expect("sound").push(key.clone());
                }
                self.memory.delete(key).await
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.memory.capabilities()
    }
}
