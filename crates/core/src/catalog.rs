//! The queryable record of snapshots.
//!
//! A repository's own log is the truth; a catalog is a view of one or several repositories that can
//! be dropped and rebuilt. Nothing implements this trait yet: it is the seam at which a service that
//! knows many repositories will meet the rest. What one repository holds, its log tells.
//!
//! # Contract
//! 1. **A view.** Everything in it comes from repositories' logs and can be had from them again; losing it loses time.
//! 2. **Stale, never wrong.** It may lack the newest snapshots and still name forgotten ones; an entry it gives is, field for
//!    field, what was put.
//! 3. **Idempotent.** `put` and `forget` repeated, or done in another order for different ids, end in the same catalog.
//! 4. **Absent is not an error.** `get` and `at` of what is not there are `Ok(None)`; `Err` means "could not tell".
//! 5. **Ordered and whole.** `list` is newest first, ties by id, and never silently truncated below `limit`.
//! 6. **Comparable.** `merkle_root` depends on the entries alone: equal catalogs have equal roots, however they came to be.
//! 7. **Authorises nothing.** Nobody deletes, forgets or commits because of what a catalog says.

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
    /// Adds the entry, or replaces the one with its id (contracts 2, 3).
    ///
    /// # Errors
    /// The catalog cannot be written.
    async fn put(&self, entry: CatalogEntry) -> Result<()>;

    /// The entry with this id (contract 4).
    ///
    /// # Errors
    /// The catalog cannot be read.
    async fn get(&self, id: &str) -> Result<Option<CatalogEntry>>;

    /// Matching entries, newest first (contract 5).
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

    /// Drops an entry from the view (contract 3). The repository is untouched.
    ///
    /// # Errors
    /// The catalog cannot be written.
    async fn forget(&self, id: &str) -> Result<()>;

    /// Root hash over all entries: equal roots mean equal catalogs (contract 6).
    ///
    /// # Errors
    /// The catalog cannot be read.
    async fn merkle_root(&self) -> Result<[u8; 32]>;
}
