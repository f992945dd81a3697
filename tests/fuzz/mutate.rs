//! Inputs that are nearly right: good examples, changed here and there.

use crate::random::Random;

/// Longer inputs are refused before anybody reads them (`MOST_BODY` in protocol/server.rs).
const LONGEST: usize = 1 << 20;

/// Pieces that have a meaning to somebody on the way.
const NASTY: &[&[u8]] = &[
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"\x1b[2J",
    b"\x7f",
    b"\xff",
    b"\xc3",
    b"\xe2\x80\xae",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\xc3\xa9",
    b"-",
    b"--",
    b"-oProxyCommand=id",
    b"..",
    b"../../",
    b"/",
    b"//",
    b"~",
    b"%h",
    b"${HOME}",
    b"$(id)",
    b"`id`",
    b";",
    b"|",
    b"&",
    b"*",
    b"@",
    b":",
    b"=",
    b",",
    b"\\",
    b"\\\\",
    b"\"",
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"(",
    b")",
    b"0",
    b"-1",
    b"4294967295",
    b"4294967296",
    b"18446744073709551616",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b"[]",
    b"{}",
];

/// Makes one input after another.
pub struct Mutator<'a> {
    random: Random,
    seeds: &'a [Vec<u8>],
    words: &'a [&'a str],
}

impl<'a> Mutator<'a> {
    pub fn new(random: Random, seeds: &'a [Vec<u8>], words: &'a [&'a str]) -> Self {
        Self { random, seeds, words }
    }

    /// A changed seed.
    pub fn next(&mut self) -> Vec<u8> {
        let mut input = self.seed();
        for _ in 0..=self.random.below(5) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn seed(&mut self) -> Vec<u8> {
        self.random.pick(self.seeds).cloned().unwrap_or_default()
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.range(input.len());
        match self.random.below(12) {
            0 => drop(input.drain(from..to)),
            1 => input.truncate(from),
            2 => {
                let part = input[from..to].to_vec();
                self.insert(input, &part);
            }
            3 => {
                let part = input[from..to].to_vec();
                // Now and then so often that the depth of a recursion or the square of a length shows.
                let times = if self.random.below(200) == 0 { LONGEST / (part.len() + 1) } else { 20 };
                let times = usize::try_from(self.random.below(times as u64)).unwrap_or(1);
                input.splice(from..from, part.repeat(times));
            }
            4 => {
                let other = self.seed();
                let (from_other, to_other) = self.range(other.len());
                input.splice(from..to, other[from_other..to_other].iter().copied());
            }
            5 if from < to => input[from] = self.byte(),
            6 if from < to => input[from] ^= 1 << self.random.below(8),
            7 => input[from..to]
                .iter_mut()
                .for_each(|byte| *byte ^= 0x20 * u8::from(byte.is_ascii_alphabetic())),
            8 => {
                let nasty = self.random.pick(NASTY).copied().unwrap_or_default();
                input.splice(from..to, nasty.iter().copied());
            }
            9 => {
                let nasty = self.random.pick(NASTY).copied().unwrap_or_default();
                self.insert(input, nasty);
            }
            _ => {
                let word = self.random.pick(self.words).copied().unwrap_or_default();
                self.insert(input, word.as_bytes());
            }
        }
    }

    fn insert(&mut self, input: &mut Vec<u8>, part: &[u8]) {
        let (at, _) = self.range(input.len());
        input.splice(at..at, part.iter().copied());
    }

    /// Mostly a short one.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let mut below = |end: usize| usize::try_from(self.random.below(end as u64 + 1)).unwrap_or(0);
        let from = below(length);
        let longest = if below(3) == 0 { length - from } else { (length - from).min(8) };
        (from, from + below(longest))
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.random.below(256)).unwrap_or(0)
    }
}

/// The shortest input found that still fails, leaving out parts of it.
pub fn shrink(input: &[u8], mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut shortest = input.to_vec();
    let mut part = shortest.len() / 2;
    let mut attempts = 0;
    while part > 0 && attempts < 2_000 {
        let mut from = 0;
        while from < shortest.len() && attempts < 2_000 {
            let mut candidate = shortest.clone();
            candidate.drain(from..(from + part).min(shortest.len()));
            attempts += 1;
            if fails(&candidate) { shortest = candidate } else { from += part }
        }
        part /= 2;
    }
    shortest
}
