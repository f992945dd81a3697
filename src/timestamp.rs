//! Dates as Docker reads them.

use serde::{Serialize, Serializer};
use std::{fmt, time::SystemTime};

/// A date that is written as RFC 3339 to the second: dockerd treats a volume whose date it cannot parse as gone
/// (go-plugins-helpers#108).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(pub SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(self.0).fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_date_has_no_fraction_that_somebody_could_not_parse() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_000_000_999);
        assert_eq!(serde_json::to_string(&Timestamp(at)).unwrap(), "\"2026-11-18T11:06:40Z\"");
    }
}
