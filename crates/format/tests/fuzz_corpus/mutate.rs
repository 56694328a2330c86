//! Seeded mutations: what bit rot, truncation and people with a hex editor do, and numbers at the edges.

/// Values that decoders are likely to get wrong: as a byte, and as the varints and fixed integers of lengths.
const EDGES: [&[u8]; 10] = [
    &[0],
    &[1],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff, 0x7f],
    &[0x80, 0x80, 0x80, 0x80, 0x08],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0x80],
];

/// Makes one mutant; the same one for the same decoder and round.
pub struct Mutator(blake3::OutputReader);

impl Mutator {
    pub fn new(name: &str, round: u32) -> Self {
        Self(blake3::Hasher::new().update(name.as_bytes()).update(&round.to_le_bytes()).finalize_xof())
    }

    /// A seed after one to four changes; once in a while plain noise.
    pub fn mutant(mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
        if self.below(64) == 0 {
            let mut noise = vec![0; self.below(400)];
            self.0.fill(&mut noise);
            return noise;
        }
        let mut bytes = seeds[self.below(seeds.len())].clone();
        for _ in 0..=self.below(4) {
            let other = &seeds[self.below(seeds.len())];
            self.change(&mut bytes, other);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let (at, end) = self.range(bytes.len());
        match self.below(9) {
            0 | 1 if !bytes.is_empty() => {
                let at = self.below(bytes.len());
                bytes[at] ^= 1 << self.below(8);
            }
            2 if !bytes.is_empty() => {
                let (at, step) = (self.below(bytes.len()), self.below(7) as u8);
                bytes[at] = bytes[at].wrapping_add(step).wrapping_sub(3);
            }
            3 => {
                let edge = EDGES[self.below(EDGES.len())];
                let end = (at + edge.len()).min(bytes.len());
                bytes.splice(at..end, edge.iter().copied());
            }
            4 => {
                let edge = EDGES[self.below(EDGES.len())];
                bytes.splice(at..at, edge.iter().copied());
            }
            5 => drop(bytes.drain(at..end)),
            6 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            7 => bytes.truncate(at),
            _ => {
                let (from, to) = self.range(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }

    /// A range within `len`, most often a short one.
    fn range(&mut self, len: usize) -> (usize, usize) {
        let at = self.below(len + 1);
        let longest = if self.below(4) == 0 { len - at } else { (len - at).min(16) };
        (at, at + self.below(longest + 1))
    }

    /// Uniform enough below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        let mut word = [0; 8];
        self.0.fill(&mut word);
        (u64::from_le_bytes(word) % bound as u64) as usize
    }
}
