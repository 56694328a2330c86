//! Seeded pseudo-random numbers: the same corpus on any machine.

/// `SplitMix64`. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 ..< `bound`; 0 for a bound of 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// `from` ..= `to`.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// 0.0 ..< 1.0.
    pub(super) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// `len` incompressible bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 8);
        while out.len() < len {
            out.extend_from_slice(&self.next().to_le_bytes());
        }
        out.truncate(len);
        out
    }
}

/// Makes text of words and lines; zstd 3 shrinks it to about 30 %.
pub(super) struct Prose(Vec<Vec<u8>>);

impl Prose {
    pub(super) fn new(random: &mut Random) -> Self {
        let word = |random: &mut Random| {
            let len = random.between(2, 11);
            (0..len).map(|_| b'a' + random.below(26) as u8).collect()
        };
        Self((0..6000).map(|_| word(random)).collect())
    }

    /// `len` bytes of indented lines; frequent words are frequent (a power law).
    pub(super) fn text(&self, random: &mut Random, len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 64);
        let mut column = 0;
        while out.len() < len {
            if column == 0 {
                out.resize(out.len() + 4 * random.below(5) as usize, b' ');
            }
            let rank = random.fraction().powi(4) * self.0.len() as f64;
            let word = self.0.get(rank as usize).map_or(&b"x"[..], Vec::as_slice);
            out.extend_from_slice(word);
            column += word.len();
            let end_of_line = column > 60 || random.below(9) == 0;
            out.extend_from_slice(if end_of_line { b";\n" } else { b" " });
            column = if end_of_line { 0 } else { column };
        }
        out.truncate(len);
        out
    }
}
