//! Five kinds of data and how each changes: generated, seeded, the same everywhere.
//!
//! | corpus | at scale 1 | change |
//! |---|---|---|
//! | text | 24,000 text files, log-normal sizes, about 210 MiB | 1.5 % edited, 1 % added, 0.5 % deleted, 0.5 % moved |
//! | large | one file of 384 MiB: text, random, zeros, repeats | scattered writes, bytes inserted at 40 %, 2 % appended |
//! | pages | one file of 192 MiB of 8 KiB pages | 3 % of the pages: half scattered, half in runs |
//! | incompressible | 12 random files of 16 MiB | one with bytes inserted, one rewritten, one renamed, one added |
//! | tiny | 50,000 files of 0–2 KiB | 1 % edited, 1 % added, 0.5 % deleted, 0.5 % moved |
//!
//! Changes happen in place: an unchanged file keeps its inode and all its times.

use super::random::{Prose, Random};
use crate::Result;
use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

pub(super) const NAMES: [&str; 5] = ["text", "large", "pages", "incompressible", "tiny"];

const PAGE: usize = 8 << 10;
const MIB: f64 = (1 << 20) as f64;

/// One corpus in one folder, of a given scale.
pub(super) struct Corpus {
    name: &'static str,
    pub(super) folder: PathBuf,
    scale: f64,
    random: Random,
    prose: Prose,
}

impl Corpus {
    /// Generation 1 of `name` in a new `folder`.
    pub(super) fn generate(name: &str, folder: &Path, scale: f64) -> Result<Self> {
        let at = NAMES.iter().position(|known| *known == name);
        let at = at.ok_or_else(|| format!("no such corpus: {name}; known: {}", NAMES.join(", ")))?;
        let mut random = Random::new(at as u64 + 1);
        let prose = Prose::new(&mut random);
        fs::create_dir_all(folder)?;
        let mut corpus = Self { name: NAMES[at], folder: folder.to_owned(), scale, random, prose };
        match corpus.name {
            "text" => corpus.many_files(24_000.0, log_normal)?,
            "tiny" => corpus.many_files(50_000.0, |random| random.below(2049) as usize)?,
            "large" => corpus.large()?,
            "pages" => corpus.pages()?,
            _ => (0..12).try_for_each(|n| {
                let content = corpus.blob();
                fs::write(folder.join(format!("blob-{n:03}")), content)
            })?,
        }
        Ok(corpus)
    }

    /// Turns generation 1 into generation 2, in place.
    pub(super) fn mutate(&mut self) -> Result {
        match self.name {
            "text" => self.change_files(0.015, log_normal),
            "tiny" => self.change_files(0.01, |random| random.below(2049) as usize),
            "large" => self.change_large(),
            "pages" => self.change_pages(),
            _ => self.change_blobs(),
        }
    }

    /// `at_scale_1` scaled, at least 1.
    fn count(&self, at_scale_1: f64) -> usize {
        ((at_scale_1 * self.scale) as usize).max(1)
    }

    fn many_files(&mut self, at_scale_1: f64, size: fn(&mut Random) -> usize) -> Result {
        for n in 0..self.count(at_scale_1) {
            let (area, folder) = (n / 2000, n / 40 % 50);
            let folder = self.folder.join(format!("area-{area:02}/module-{folder:02}"));
            if n % 40 == 0 {
                fs::create_dir_all(&folder)?;
            }
            let len = size(&mut self.random);
            fs::write(folder.join(format!("file-{n:06}.txt")), self.prose.text(&mut self.random, len))?;
        }
        Ok(())
    }

    fn change_files(&mut self, edited: f64, size: fn(&mut Random) -> usize) -> Result {
        let mut files = Vec::new();
        collect_files(&self.folder, &mut files)?;
        files.sort();
        for (n, file) in files.iter().enumerate() {
            let dice = self.random.fraction();
            if dice < edited {
                let mut content = fs::read(file)?;
                let at = self.random.below(content.len() as u64 + 1) as usize;
                let added = self.prose.text(&mut self.random, 120);
                match n % 3 {
                    0 => content.extend_from_slice(&added),
                    1 => drop(content.splice(at..at, added)),
                    _ => drop(content.splice(at..content.len().min(at + added.len()), added)),
                }
                fs::write(file, content)?;
            } else if dice < edited + 0.01 {
                let len = size(&mut self.random);
                fs::write(file.with_extension("new"), self.prose.text(&mut self.random, len))?;
            } else if dice < edited + 0.015 {
                fs::remove_file(file)?;
            } else if dice < edited + 0.02 {
                fs::rename(file, file.with_extension("moved"))?;
            }
        }
        Ok(())
    }

    fn large(&mut self) -> Result {
        let bytes_max = (384.0 * MIB * self.scale) as u64;
        let mut out = BufWriter::with_capacity(1 << 20, File::create(self.folder.join("disk.img"))?);
        let mut repeated = self.random.bytes(700_001);
        let mut written = 0;
        while written < bytes_max {
            let len = self.random.between(64 << 10, 3 << 20).min(bytes_max - written) as usize;
            match self.random.below(8) {
                0..=3 => out.write_all(&self.prose.text(&mut self.random, len))?,
                4 | 5 => out.write_all(&self.random.bytes(len))?,
                6 => out.write_all(&vec![0; len])?,
                _ => {
                    repeated.rotate_left(11); // repeats that no fixed-size block finds
                    out.write_all(&repeated.iter().copied().cycle().take(len).collect::<Vec<_>>())?;
                }
            }
            written += len as u64;
        }
        Ok(out.flush()?)
    }

    fn change_large(&mut self) -> Result {
        let path = self.folder.join("disk.img");
        let file = File::options().read(true).write(true).open(&path)?;
        let len = file.metadata()?.len();
        for _ in 0..self.count(96.0) {
            let size = self.random.between(4 << 10, 64 << 10);
            let at = self.random.below(len.saturating_sub(size)) & !4095;
            file.write_all_at(&self.prose.text(&mut self.random, size as usize), at)?;
        }
        let mut content = fs::read(&path)?;
        let at = content.len() * 2 / 5;
        let tail = content.split_off(at);
        let mut file = file;
        file.seek(SeekFrom::Start(at as u64))?;
        file.write_all(&self.random.bytes(777))?;
        file.write_all(&tail)?;
        file.write_all(&self.prose.text(&mut self.random, len as usize / 50))?;
        Ok(())
    }

    /// A page as databases keep them: header, rows of text with keys, free space in the middle.
    fn page(&mut self, number: u64) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        let used = self.random.between(3000, 5600) as usize;
        let rows = self.prose.text(&mut self.random, used);
        let keys = self.random.bytes(640);
        page[..8].copy_from_slice(&number.to_le_bytes());
        page[8..8 + keys.len()].copy_from_slice(&keys);
        page[PAGE - used..].copy_from_slice(&rows);
        page
    }

    fn pages(&mut self) -> Result {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(self.folder.join("table.db"))?);
        for number in 0..self.count(192.0 * MIB / PAGE as f64) {
            let page = self.page(number as u64);
            out.write_all(&page)?;
        }
        Ok(out.flush()?)
    }

    fn change_pages(&mut self) -> Result {
        let file = File::options().write(true).open(self.folder.join("table.db"))?;
        let pages = file.metadata()?.len() / PAGE as u64;
        let changed = (pages as f64 * 0.015) as u64;
        let scattered: Vec<u64> = (0..changed).map(|_| self.random.below(pages)).collect();
        let runs = (0..changed / 50).flat_map(|_| {
            let first = self.random.below(pages.saturating_sub(50));
            first..(first + 50).min(pages)
        });
        let runs: Vec<u64> = runs.collect();
        for number in scattered.into_iter().chain(runs) {
            let page = self.page(number);
            file.write_all_at(&page, number * PAGE as u64)?;
        }
        Ok(())
    }

    fn blob(&mut self) -> Vec<u8> {
        let len = self.count(16.0 * MIB);
        self.random.bytes(len)
    }

    fn change_blobs(&mut self) -> Result {
        let mut files = Vec::new();
        collect_files(&self.folder, &mut files)?;
        files.sort();
        for (n, file) in files.iter().enumerate() {
            match n % 12 {
                1 => {
                    let mut content = fs::read(file)?;
                    let at = content.len() / 3;
                    content.splice(at..at, self.random.bytes(501));
                    fs::write(file, content)?;
                }
                2 => fs::write(file, self.blob())?,
                3 => fs::rename(file, file.with_extension("renamed"))?,
                _ => {}
            }
        }
        Ok(fs::write(self.folder.join("added"), self.blob())?)
    }
}

/// Median 3.6 KiB, mean about 9 KiB, at most 2 MiB: like a tree of source code.
fn log_normal(random: &mut Random) -> usize {
    let gauss: f64 = (0..12).map(|_| random.fraction()).sum::<f64>() - 6.0; // near enough to a normal deviate
    ((8.2 + 1.35 * gauss).exp() as usize).min(2 << 20)
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result {
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            collect_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corpus_is_the_same_each_time_and_its_change_is_small() {
        for name in NAMES {
            let scratch = tempfile::tempdir().expect("a folder");
            let mut sizes = Vec::new();
            for copy in ["a", "b"] {
                let mut corpus = Corpus::generate(name, &scratch.path().join(copy), 0.01).expect("generated");
                let first = crate::host::tree_size(&corpus.folder, &[]).expect("size");
                corpus.mutate().expect("mutated");
                sizes.push((first, crate::host::tree_size(&corpus.folder, &[]).expect("size")));
            }
            assert_eq!(sizes[0], sizes[1], "{name}");
            assert!(sizes[0].0.1 > 100_000, "{name}: {sizes:?}");
        }
    }
}
