//! A strict sink in memory.
//!
//! It holds callers to the contract more tightly than most stores do: objects over the bound are
//! refused, and so is a name inside another object's name (`a` and `a/b`), which a file system could
//! not hold. Every operation is one step under one lock, so `CreateNew` is linearizable.

use async_trait::async_trait;
use bytes::Bytes;
use decube_backup_core::limits::OBJECT_BYTES_MAX;
use decube_backup_core::sink::{
    ByteRange, Capabilities, Distance, ObjectMeta, PutMode, PutOutcome, Rope, Sink, Support,
};
use decube_backup_core::{Error, ErrorKind, Key, Result};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Objects in memory. See the module docs for what it refuses.
#[derive(Debug, Default)]
pub struct MemorySink {
    objects: Mutex<BTreeMap<Key, Bytes>>,
}

impl MemorySink {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store that holds `objects`: the other half of [`MemorySink::objects`] for crash tests.
    pub fn from_objects(objects: BTreeMap<Key, Bytes>) -> Self {
        Self { objects: Mutex::new(objects) }
    }

    /// Everything it holds at this moment; cheap, the bytes are shared.
    pub fn objects(&self) -> BTreeMap<Key, Bytes> {
        self.lock().clone()
    }

    /// Inverts every bit of the byte at `offset`.
    ///
    /// # Errors
    /// `NotFound` if there is no such object, `Invalid` if it is shorter.
    pub fn flip_byte(&self, key: &Key, offset: usize) -> Result<()> {
        self.damage(key, |bytes| {
            let mut bytes = bytes.to_vec();
            let byte = bytes.get_mut(offset)?;
            *byte = !*byte;
            Some(bytes.into())
        })
    }

    /// Keeps only the first `len` bytes.
    ///
    /// # Errors
    /// `NotFound` if there is no such object, `Invalid` if it is not longer than `len`.
    pub fn truncate(&self, key: &Key, len: usize) -> Result<()> {
        self.damage(key, |bytes| (len < bytes.len()).then(|| bytes.slice(..len)))
    }

    /// Takes the object away.
    ///
    /// # Errors
    /// `NotFound` if there is no such object.
    pub fn remove(&self, key: &Key) -> Result<()> {
        self.lock().remove(key).map(drop).ok_or_else(|| missing(key))
    }

    fn damage(&self, key: &Key, change: impl FnOnce(&Bytes) -> Option<Bytes>) -> Result<()> {
        let mut objects = self.lock();
        let bytes = objects.get_mut(key).ok_or_else(|| missing(key))?;
        *bytes = change(bytes)
            .ok_or_else(|| Error::new(ErrorKind::Invalid, "damage", "object is too short").with("key", key))?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn missing(key: &Key) -> Error {
    Error::new(ErrorKind::NotFound, "damage", "no such object").with("key", key)
}

/// Whether one of the names would be a folder of the other.
fn nested(objects: &BTreeMap<Key, Bytes>, key: &Key) -> bool {
    let name = key.as_str();
    let below = format!("{name}/");
    let inside = objects
        .range::<Key, _>((std::ops::Bound::Excluded(key), std::ops::Bound::Unbounded))
        .take_while(|(other, _)| other.as_str().starts_with(name))
        .any(|(other, _)| other.as_str().starts_with(&below));
    let mut folders = name.match_indices('/').filter_map(|(at, _)| name.get(..at));
    inside || folders.any(|folder| Key::new(folder).is_ok_and(|folder| objects.contains_key(&folder)))
}

/// The part of `bytes` that `range` asks for.
pub(crate) fn cut(bytes: &Bytes, range: ByteRange) -> Bytes {
    match range {
        ByteRange::Full => bytes.clone(),
        ByteRange::From { offset, len } => {
            let clamp = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(bytes.len());
            bytes.slice(clamp(offset)..clamp(offset.saturating_add(len)))
        }
    }
}

fn meta(key: &Key, bytes: &Bytes) -> ObjectMeta {
    ObjectMeta { key: key.clone(), len: bytes.len() as u64, modified_ms: None }
}

#[async_trait]
impl Sink for MemorySink {
    async fn put(&self, key: &Key, bytes: Rope, mode: PutMode) -> Result<PutOutcome> {
        let refused = |why: &str| Error::new(ErrorKind::Invalid, "put", why).with("key", key);
        if bytes.len() > OBJECT_BYTES_MAX {
            return Err(refused("object is larger than any sink has to take").with("bytes", bytes.len()));
        }
        let bytes = bytes.into_bytes();
        let mut objects = self.lock();
        if mode == PutMode::CreateNew && objects.contains_key(key) {
            return Ok(PutOutcome::AlreadyExists);
        }
        if nested(&objects, key) {
            return Err(refused("object name is inside another object's name"));
        }
        objects.insert(key.clone(), bytes);
        Ok(PutOutcome::Created)
    }

    async fn get(&self, key: &Key, range: ByteRange) -> Result<Option<Bytes>> {
        Ok(self.lock().get(key).map(|bytes| cut(bytes, range)))
    }

    async fn stat(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        Ok(self.lock().get(key).map(|bytes| meta(key, bytes)))
    }

    fn list(&self, prefix: &str) -> BoxStream<'_, Result<ObjectMeta>> {
        let objects = self.lock();
        let found = objects.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        let found: Vec<_> = found.map(|(key, bytes)| Ok(meta(key, bytes))).collect();
        stream::iter(found).boxed()
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.lock().remove(key);
        Ok(())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { conditional_create: Support::Yes, mutable: Support::Yes, distance: Distance::Local }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    fn key(name: &str) -> Key {
        Key::new(name).expect("legal")
    }

    fn sink_with(objects: &[(&str, &'static str)]) -> MemorySink {
        MemorySink::from_objects(objects.iter().map(|(k, v)| (key(k), Bytes::from_static(v.as_bytes()))).collect())
    }

    #[test]
    fn too_large_and_nested_names_are_refused() {
        let sink = sink_with(&[("a", "x"), ("b/c", "x"), ("b-d", "x")]);
        let mut large = Rope::new();
        let piece = Bytes::from(vec![0; 1 << 20]);
        (0..=OBJECT_BYTES_MAX >> 20).for_each(|_| large.push(piece.clone()));
        for (name, bytes) in [("a/b", "x".into()), ("a/b/c", "x".into()), ("b", "x".into()), ("big", large)] {
            let error = block_on(sink.put(&key(name), bytes, PutMode::Overwrite)).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        }
        assert_eq!(block_on(sink.put(&key("b-"), "x".into(), PutMode::CreateNew)).ok(), Some(PutOutcome::Created));
    }

    #[test]
    fn damage_changes_exactly_one_object() {
        let sink = sink_with(&[("a", "abc"), ("b", "abc"), ("c", "abc"), ("d", "abc")]);
        sink.flip_byte(&key("a"), 1).expect("there");
        sink.truncate(&key("b"), 2).expect("there");
        sink.remove(&key("c")).expect("there");
        assert!(sink.truncate(&key("d"), 3).is_err() && sink.remove(&key("x")).is_err());
        let objects: Vec<_> = sink.objects().into_iter().map(|(k, v)| (k.to_string(), v.to_vec())).collect();
        let expected: [(&str, &[u8]); 3] = [("a", &[b'a', !b'b', b'c']), ("b", b"ab"), ("d", b"abc")];
        assert_eq!(objects, expected.map(|(k, v)| (k.to_owned(), v.to_vec())));
    }
}
