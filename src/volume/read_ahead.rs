//! How much the kernel reads ahead in a mount.
//!
//! What is read in order waits for one round trip per read-ahead: to fill a link, it must be more than the link holds. But
//! where a file is mapped, the kernel reads as much around each page that is missing (mm/filemap.c, `do_sync_mmap_readahead`),
//! and all of it comes before the page counts as there: programs that start from the volume, databases and git read so.
//! docs/benchmarks.md has what each size gives and costs.

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};
use std::{fmt, str::FromStr, time::Duration};

/// Up to this round trip, in milliseconds, this much, in KiB.
const STEPS: [(u64, u32); 2] = [(2, 1024), (8, 2048)];

/// Beyond the last step. ssh has no more than 2 MiB on the way (OpenSSH channels.h, `CHAN_SES_WINDOW_DEFAULT`), and a
/// reader needs some while the next comes.
const MOST: u32 = 4096;

/// What somebody decided on, written as a number of KiB or `auto`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadAhead {
    /// By the round trip to the server, measured when the volume is mounted.
    #[default]
    Auto,
    /// This much.
    Kib(u32),
}

/// It is neither a number nor `auto`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number of KiB or 'auto'")]
pub struct NoReadAhead;

impl ReadAhead {
    /// The read-ahead in KiB for a server that far away; for one of which that is not known, enough for all.
    #[must_use]
    pub fn kib(self, round_trip: Option<Duration>) -> u32 {
        if let Self::Kib(kib) = self {
            return kib;
        }
        let near = |round_trip: Duration| {
            STEPS.iter().find(|(millis, _)| round_trip <= Duration::from_millis(*millis)).map(|(_, kib)| *kib)
        };
        round_trip.and_then(near).unwrap_or(MOST)
    }
}

impl FromStr for ReadAhead {
    type Err = NoReadAhead;

    fn from_str(text: &str) -> Result<Self, NoReadAhead> {
        match text {
            "auto" => Ok(Self::Auto),
            // parse() would take a sign.
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().map(Self::Kib).map_err(|_| NoReadAhead)
            }
            _ => Err(NoReadAhead),
        }
    }
}

impl fmt::Display for ReadAhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Kib(kib) => kib.fmt(f),
        }
    }
}

/// As in config.toml, where a number has no quotes.
impl<'de> Deserialize<'de> for ReadAhead {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InToml)
    }
}

struct InToml;

impl Visitor<'_> for InToml {
    type Value = ReadAhead;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&NoReadAhead, f)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ReadAhead, E> {
        let kib = u32::try_from(number);
        kib.map(ReadAhead::Kib).map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ReadAhead, E> {
        text.parse().map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
impl serde::Serialize for ReadAhead {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Kib(kib) => serializer.serialize_u32(*kib),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_the_way_the_more_is_read_ahead() {
        let after = |micros| ReadAhead::Auto.kib(Some(Duration::from_micros(micros)));
        assert_eq!([0, 200, 2_000].map(after), [1024; 3]);
        assert_eq!([2_001, 5_000, 8_000].map(after), [2048; 3]);
        assert_eq!([8_001, 20_000, 3_000_000].map(after), [4096; 3]);
        assert_eq!(ReadAhead::Auto.kib(None), 4096);
        assert_eq!(ReadAhead::Kib(64).kib(Some(Duration::from_secs(1))), 64);
    }

    #[test]
    fn a_read_ahead_is_a_number_or_auto() {
        for (text, expected) in [
            ("auto", Ok(ReadAhead::Auto)),
            ("0", Ok(ReadAhead::Kib(0))),
            ("16384", Ok(ReadAhead::Kib(16_384))),
            ("", Err(NoReadAhead)),
            ("+1", Err(NoReadAhead)),
            ("4294967296", Err(NoReadAhead)),
            ("Auto", Err(NoReadAhead)),
        ] {
            assert_eq!(text.parse::<ReadAhead>(), expected, "{text}");
        }
    }
}
