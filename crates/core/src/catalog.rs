//! The queryable record of snapshots.
//!
//! A repository's own log is the truth; a catalog is a view of one or several repositories that can
//! be dropped and rebuilt. Implementations may be stale, never wrong about what they hold.

use crate::entry::Timestamp;
use crate::error::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One snapshot as the catalog knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEntry {
    /// Content id, lower-case hex.
    pub id: String,
    /// Series name; versions of one name are ordered by time.
    pub name: String,
    /// Host it was taken on.
    pub host: String,
    /// Repository id, lower-case hex.
    pub repository: String,
    /// When its backup began.
    pub time: Timestamp,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Root of the tree, lower-case hex: the snapshot's Merkle root.
    pub tree: String,
    /// Bytes of content.
    pub bytes: u64,
    /// Number of entries.
    pub entries: u64,
}

/// Which entries to list; empty fields match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CatalogFilter {
    /// Exact name.
    pub name: Option<String>,
    /// Exact host.
    pub host: Option<String>,
    /// Labels that must all be present with these values.
    pub labels: BTreeMap<String, String>,
    /// Not newer than this.
    pub until: Option<Timestamp>,
    /// At most this many, newest first; `None` for all.
    pub limit: Option<usize>,
}

/// The queryable record of snapshots.
#[async_trait]
pub trait Catalog: Send + Sync + 'static {
    /// Adds or replaces an entry; idempotent.
    ///
    /// # Errors
    /// The catalog cannot be written.
    async fn put(&self, entry: CatalogEntry) -> Result<()>;

    /// The entry with this id.
    ///
    /// # Errors
    /// The catalog cannot be read.
    async fn get(&self, id: &str) -> Result<Option<CatalogEntry>>;

    /// Matching entries, newest first.
    ///
    /// # Errors
    /// The catalog cannot be read.
    async fn list(&self, filter: &CatalogFilter) -> Result<Vec<CatalogEntry>>;

    /// The newest entry of `name` at or before `time`.
    ///
    /// # Errors
    /// The catalog cannot be read.
    async fn at(&self, name: &str, time: Timestamp) -> Result<Option<CatalogEntry>> {
        let filter = CatalogFilter {
            name: Some(name.to_owned()),
            until: Some(time),
            limit: Some(1),
            ..CatalogFilter::default()
        };
        Ok(self.list(&filter).await?.into_iter().next())
    }

    /// Drops an entry from the view; idempotent. The repository is untouched.
    ///
    /// # Errors
    /// The catalog cannot be written.
    async fn forget(&self, id: &str) -> Result<()>;

    /// Root hash over all entries: equal roots mean equal catalogs.
    ///
    /// # Errors
    /// The catalog cannot be read.
    async fn merkle_root(&self) -> Result<[u8; 32]>;
}
