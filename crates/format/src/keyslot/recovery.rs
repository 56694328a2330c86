//! The key of a recovery sheet: 160 random bits that a person can type from paper.
//!
//! Four lines of ten symbols of Crockford's base 32 (no I, L, O, U; read I and L as 1, O as 0). Of each line eight
//! symbols are key and two are check symbols of a Reed–Solomon code over GF(32), whose word is the line's number, the
//! key symbols and the check symbols: any one or two wrong symbols of a line are found, two neighbours swapped and
//! lines in the wrong order among them, and the line is named. What slips through the slot's key commitment refuses.
//!
//! Source: Crockford, "Base 32" (crockford.com/base32.html); Reed & Solomon, J. SIAM 8 (1960).

use crate::hash::Key32;
use decube_backup_core::world::Entropy;
use decube_backup_core::{Error, ErrorKind, Result};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const KEY_BYTES: usize = 20;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Lines of a written key.
pub const RECOVERY_LINES: usize = 4;
const KEY_SYMBOLS: usize = 8;
const LINE_SYMBOLS: usize = KEY_SYMBOLS + 2;
/// What the one-line form begins with.
const CODE_PREFIX: &str = "DECUBE-RECOVERY-1:";
/// What a line of the sheet that holds key begins with.
const LINE_PREFIX: &str = "key ";

/// The secret on a recovery sheet.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKey([u8; KEY_BYTES]);

impl std::fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl RecoveryKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// No entropy.
    pub fn generate(entropy: &dyn Entropy) -> Result<Self> {
        let mut key = Self([0; KEY_BYTES]);
        entropy.fill(&mut key.0)?;
        Ok(key)
    }

    pub(super) fn kek(&self, salt: &[u8; 16]) -> Key32 {
        let mut hasher = blake3::Hasher::new_derive_key("decube-backup 2026 v1 recovery KEK");
        hasher.update(&self.0).update(salt);
        Key32(*hasher.finalize().as_bytes())
    }

    /// The lines to print: `key 1: 01234 56789` to `key 4: …`.
    pub fn to_lines(&self) -> [Zeroizing<String>; RECOVERY_LINES] {
        std::array::from_fn(|line| {
            let symbols = self.line(line);
            let (left, right) = symbols.split_at(LINE_SYMBOLS / 2);
            Zeroizing::new(format!("{LINE_PREFIX}{}: {} {}", line + 1, shown(left), shown(right)))
        })
    }

    /// The same in one line, for a QR code: upper-case letters, digits, `-` and `:`.
    pub fn to_code(&self) -> Zeroizing<String> {
        let mut code = Zeroizing::new(String::with_capacity(CODE_PREFIX.len() + RECOVERY_LINES * LINE_SYMBOLS));
        code.push_str(CODE_PREFIX);
        (0..RECOVERY_LINES).for_each(|line| code.push_str(&shown(&self.line(line))));
        code
    }

    /// Reads a whole sheet, the four lines alone with or without their beginnings, or the one-line form.
    ///
    /// Case, blanks and dashes do not matter; other text of the sheet is passed over.
    ///
    /// # Errors
    /// `Invalid`, naming the line that is missing or mistyped.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((_, code)) = text.split_once(CODE_PREFIX) {
            let symbols: Vec<char> = code.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
            let lines: Vec<String> = symbols.chunks(LINE_SYMBOLS).map(|line| line.iter().collect()).collect();
            return Self::from_lines(lines.iter().map(String::as_str));
        }
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        let marked: Vec<&str> = lines().filter(|line| after_prefix(line).is_some()).collect();
        if marked.is_empty() { Self::from_lines(lines()) } else { Self::from_lines(marked.into_iter()) }
    }

    fn from_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Self> {
        let lines: Vec<&str> = lines.collect();
        if lines.len() != RECOVERY_LINES {
            return Err(Error::new(ErrorKind::Invalid, "recovery", "not a whole recovery key")
                .with("lines", lines.len())
                .with_hint(
                    "a recovery key has four lines, `key 1:` to `key 4:`; give the sheet's file or all of them",
                ));
        }
        let mut key = Self([0; KEY_BYTES]);
        for (number, (line, bytes)) in lines.into_iter().zip(key.0.chunks_mut(KEY_BYTES / RECOVERY_LINES)).enumerate() {
            let symbols = Self::check_line(number, line)?;
            let bits = symbols.iter().take(KEY_SYMBOLS).fold(0u64, |bits, symbol| bits << 5 | u64::from(*symbol));
            bytes.iter_mut().zip(bits.to_be_bytes().iter().skip(3)).for_each(|(to, from)| *to = *from);
        }
        Ok(key)
    }

    /// Checks one typed line, `number` from 0, as soon as it is there.
    ///
    /// # Errors
    /// `Invalid`, naming the line.
    pub fn check(number: usize, line: &str) -> Result<()> {
        Self::check_line(number, line).map(drop)
    }

    fn check_line(number: usize, line: &str) -> Result<Zeroizing<Vec<u8>>> {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Invalid, "recovery", format!("line {} of the recovery key {why}", number + 1))
                .with_hint("compare the line with the sheet, symbol by symbol; there is no I, L, O or U in it")
        };
        let typed = after_prefix(line).unwrap_or(line).chars().filter(|c| !c.is_whitespace() && *c != '-');
        let symbols: Option<Vec<u8>> = typed.map(symbol).collect();
        let symbols = Zeroizing::new(symbols.ok_or_else(|| wrong("has a character that is not of its alphabet"))?);
        if symbols.len() != LINE_SYMBOLS {
            return Err(wrong("does not have ten characters"));
        }
        let (sum, weighted) = sums(number, &symbols);
        if sum != 0 || weighted != 0 {
            return Err(wrong("is mistyped, or another line"));
        }
        Ok(symbols)
    }

    fn line(&self, number: usize) -> Zeroizing<Vec<u8>> {
        let bytes = self.0.chunks(KEY_BYTES / RECOVERY_LINES).nth(number).unwrap_or_default();
        let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
        let mut symbols = Zeroizing::new(Vec::with_capacity(LINE_SYMBOLS));
        symbols.extend((0..KEY_SYMBOLS).rev().map(|at| (bits >> (5 * at)) as u8 & 31));
        let (sum, weighted) = sums(number, &symbols);
        // Two unknowns: c0 + c1 = sum, a⁹·c0 + a¹⁰·c1 = weighted.
        let (a9, a10) = (power(KEY_SYMBOLS + 1), power(KEY_SYMBOLS + 2));
        let last = times(weighted ^ times(a9, sum), inverse(a9 ^ a10));
        symbols.extend([sum ^ last, last]);
        symbols
    }
}

/// What stands behind `key 1:`.
fn after_prefix(line: &str) -> Option<&str> {
    let (head, rest) = line.trim().split_once(':')?;
    let number = head.to_ascii_lowercase();
    number.strip_prefix(LINE_PREFIX)?.trim().parse::<u8>().ok().map(|_| rest)
}

fn shown(symbols: &[u8]) -> String {
    symbols.iter().filter_map(|symbol| ALPHABET.get(usize::from(*symbol))).map(|c| char::from(*c)).collect()
}

fn symbol(typed: char) -> Option<u8> {
    let upper = match typed.to_ascii_uppercase() {
        'I' | 'L' => '1',
        'O' => '0',
        other => other,
    };
    ALPHABET.iter().position(|c| char::from(*c) == upper).and_then(|at| u8::try_from(at).ok())
}

/// Plain and weighted sum of a word: its number first, then `symbols`; both are zero for a whole word.
fn sums(number: usize, symbols: &[u8]) -> (u8, u8) {
    let word = std::iter::once((number % 32) as u8).chain(symbols.iter().copied());
    word.enumerate().fold((0, 0), |(sum, weighted), (at, s)| (sum ^ s, weighted ^ times(power(at), s)))
}

/// Product in GF(32), polynomial x⁵ + x² + 1.
fn times(a: u8, b: u8) -> u8 {
    let product = (0..5).filter(|bit| b >> bit & 1 == 1).fold(0u16, |sum, bit| sum ^ u16::from(a) << bit);
    (5..9).rev().fold(product, |p, bit| if p >> bit & 1 == 1 { p ^ 0b10_0101 << (bit - 5) } else { p }) as u8
}

/// Power of the generator 2.
fn power(exponent: usize) -> u8 {
    (0..exponent).fold(1, |value, _| times(value, 2))
}

fn inverse(a: u8) -> u8 {
    // a³¹ = 1.
    (0..30).fold(1, |value, _| times(value, a))
}
