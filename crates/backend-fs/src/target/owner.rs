//! Who owns what is restored.

use decube_backup_core::entry::Metadata;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Who owns what is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ownership {
    /// The recorded numbers.
    #[default]
    Numeric,
    /// The recorded names where this system knows them, else the numbers.
    ByName,
    /// Whoever runs the restore.
    Keep,
}

type Known = Mutex<HashMap<Arc<str>, Option<u32>>>;

/// Turns recorded owners into this system's numbers.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    ownership: Ownership,
    users: Known,
    groups: Known,
}

impl Owners {
    pub(crate) fn new(ownership: Ownership) -> Self {
        Self { ownership, ..Self::default() }
    }

    /// User and group `meta` is to be owned by; `None` leaves them.
    pub(crate) fn of(&self, meta: &Metadata) -> Option<(u32, u32)> {
        match self.ownership {
            Ownership::Keep => None,
            Ownership::Numeric => Some((meta.uid, meta.gid)),
            Ownership::ByName => {
                let user = known(&self.users, &meta.user, |n| uzers::get_user_by_name(n).map(|u| u.uid()));
                let group = known(&self.groups, &meta.group, |n| uzers::get_group_by_name(n).map(|g| g.gid()));
                Some((user.unwrap_or(meta.uid), group.unwrap_or(meta.gid)))
            }
        }
    }
}

fn known(names: &Known, name: &Arc<str>, look_up: impl Fn(&str) -> Option<u32>) -> Option<u32> {
    if name.is_empty() {
        return None;
    }
    let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
    *names.entry(name.clone()).or_insert_with(|| look_up(name))
}
