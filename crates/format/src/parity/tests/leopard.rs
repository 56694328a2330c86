//! The code of the recovery shards as docs/format/parity.md spells it out, without any fast transform.

use super::noise;

const BASIS: [u16; 16] = [
    0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012, 0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34,
    0xFF38, 0x991E,
];

fn phi(x: usize) -> u16 {
    (0..16).filter(|bit| x >> bit & 1 == 1).fold(0, |sum, bit| sum ^ BASIS[bit])
}

/// In GF(2)[x]/0x1002D.
fn product(a: u16, b: u16) -> u16 {
    let (mut a, mut sum) = (u32::from(a), 0);
    for bit in 0..16 {
        if b >> bit & 1 == 1 {
            sum ^= a;
        }
        a <<= 1;
        if a >= 0x10000 {
            a ^= 0x1002D;
        }
    }
    sum as u16
}

/// a to the power of 2¹⁶ − 2.
fn inverse(a: u16) -> u16 {
    let (mut square, mut result) = (a, 1);
    for _ in 1..16 {
        square = product(square, square);
        result = product(result, square);
    }
    result
}

/// What the values at `points` are multiplied by so that their sum is the value at `x` of the polynomial through them.
fn weights(points: &[u16], x: u16) -> Vec<u16> {
    let weight = |at: &u16| {
        let others = points.iter().filter(|other| *other != at);
        others.fold(1, |weight, other| product(weight, product(x ^ other, inverse(at ^ other))))
    };
    points.iter().map(weight).collect()
}

/// Blocks of 64 bytes: 32 low bytes of 32 elements, then their high bytes.
fn elements(shard: &[u8]) -> Vec<u16> {
    let blocks = shard.chunks(64).map(|block| (0..32).map(|i| u16::from_le_bytes([block[i], block[32 + i]])));
    blocks.flatten().collect()
}

fn documented(originals: &[Vec<u8>], recovery: usize) -> Vec<Vec<u16>> {
    let (n, r) = (originals.len().next_power_of_two(), recovery.next_power_of_two());
    let high = n > r || (n == r && originals.len() <= recovery);
    let (m, first_original, first_recovery) = if high { (r, r, 0) } else { (n, 0, n) };
    let groups: Vec<&[Vec<u8>]> = originals.chunks(m).collect();
    let mut coordinates = vec![0; 1 << 16];
    (0..1 << 16).for_each(|x| coordinates[usize::from(phi(x))] = x as u16);
    let shard = |j: usize| {
        let mut sum = vec![0; originals[0].len() / 2];
        for (group, shards) in groups.iter().enumerate() {
            let points: Vec<u16> = (0..m).map(|k| phi(first_original + group * m + k)).collect();
            let weights = weights(&points, phi(first_recovery + j));
            // What is filled up with zeros adds nothing.
            for (weight, shard) in weights.into_iter().zip(*shards) {
                let values = elements(shard).into_iter().map(|x| product(weight, phi(usize::from(x))));
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum ^= value);
            }
        }
        sum.into_iter().map(|value| coordinates[usize::from(value)]).collect()
    };
    (0..recovery).map(shard).collect()
}

#[test]
fn recovery_shards_are_those_documented_at_both_rates() {
    let sizes = [(1, 1), (3, 2), (2, 3), (4, 3), (3, 4), (4, 4), (5, 4), (17, 5), (8, 5), (5, 20), (33, 1), (20, 17)];
    for (n, r) in sizes {
        let originals: Vec<Vec<u8>> = (0..n).map(|k| noise(k as u8, 128)).collect();
        let encoded = reed_solomon_simd::encode(n, r, &originals).expect("encodes");
        let encoded: Vec<Vec<u16>> = encoded.iter().map(|shard| elements(shard)).collect();
        assert!(documented(&originals, r) == encoded, "{n} and {r}");
    }
}
