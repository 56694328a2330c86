//! What is known of file systems by their numbers.

use rustix::fd::AsFd;

/// A kind of file system; 0 if it does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind(u64);

// Source: Linux, `include/uapi/linux/magic.h`; OpenZFS, `include/sys/fs/zfs.h`; bcachefs, `fs/bcachefs/bcachefs_format.h`.
impl Kind {
    pub(crate) const BCACHEFS: Self = Self(0xca45_1a4e);
    pub(crate) const BTRFS: Self = Self(0x9123_683e);
    /// And its forerunners.
    pub(crate) const EXT4: Self = Self(0xef53);
    pub(crate) const F2FS: Self = Self(0xf2f5_2010);
    pub(crate) const FAT: Self = Self(0x4d44);
    pub(crate) const OVERLAY: Self = Self(0x794c_7630);
    pub(crate) const TMPFS: Self = Self(0x0102_1994);
    pub(crate) const XFS: Self = Self(0x5846_5342);
    pub(crate) const ZFS: Self = Self(0x2fc1_2fc1);

    pub(crate) fn of(fd: impl AsFd) -> Self {
        Self(rustix::fs::fstatfs(fd).map_or(0, |stat| stat.f_type as u64))
    }

    /// Whether it survives nothing: there is no disk below it.
    pub(crate) fn is_memory(self) -> bool {
        self == Self::TMPFS
    }

    /// Whether zeros can be given their blocks while others write to the file. ZFS cuts the file then, whose end others have moved
    /// meanwhile (OpenZFS, `zpl_fallocate_common`), and an overlay may lie on it; Btrfs makes a file's length durable with the first of what
    /// was written to it.
    pub(crate) fn allocates_zeros(self) -> bool {
        [Self::EXT4, Self::XFS].contains(&self)
    }

    /// Whether `O_DIRECT` means the disk below. Servers wait for each request then, and some file systems write through the page cache
    /// all the same (Btrfs with checksums, FAT, compressed files).
    pub(crate) fn writes_directly(self) -> bool {
        [Self::EXT4, Self::XFS].contains(&self)
    }

    /// Whether it keeps pages of what is on a disk, and says whether it does.
    #[cfg(test)]
    pub(crate) fn tells_what_is_cached(self) -> bool {
        [Self::BTRFS, Self::EXT4, Self::XFS].contains(&self)
    }

    /// Whether it is known to take everything an inode has, and to say at once what it does not take. Servers and file systems
    /// of programs may do so when a file is closed, or never.
    pub(crate) fn is_plain(self) -> bool {
        [Self::BCACHEFS, Self::BTRFS, Self::EXT4, Self::F2FS, Self::OVERLAY, Self::TMPFS, Self::XFS, Self::ZFS]
            .contains(&self)
    }
}
