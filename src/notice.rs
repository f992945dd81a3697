//! What `connect` tells its supervisor, and both the daemon, between the lines of what ssh and sshfs say.
//!
//! A notice is a line that begins with [`MARK`]: a word for its kind, a blank, and its text. `connect` takes the mark out
//! of what ssh says, part of which is a server's words, so none of them can be taken for a notice.

/// Begins a notice.
const MARK: char = '\u{1}';

/// Longer than every notice: the longest is a sentence with two fingerprints, a path and a command.
pub const LONGEST: usize = 2_000;

/// Something that is known for sure, unlike what ssh says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Why a host key is not accepted, in the words that the user reads.
    HostKey(String),
    /// Why the agent of the volume cannot be used, in such words.
    Agent(String),
    /// Which key the server has refused, as [`crate::diagnosis::OfferedKey`] is written.
    Key(String),
    /// The login worked, and what the server started then has ended already.
    LoggedIn,
    /// ssh has a session. The server has one of these keys, as far as they are known: fingerprint and kind.
    Connected(Vec<String>),
    /// The session has ended.
    Lost,
    /// There was none, for this reason.
    Failed(String),
}

impl Notice {
    /// The notice as it is written: on a line of its own, whatever was said before it without an end.
    #[must_use]
    pub fn line(&self) -> String {
        let (kind, text) = match self {
            Self::HostKey(sentence) => ("host-key", sentence.clone()),
            Self::Agent(sentence) => ("agent", sentence.clone()),
            Self::Key(key) => ("key", key.clone()),
            Self::LoggedIn => ("logged-in", String::new()),
            Self::Connected(keys) => ("connected", keys.join(", ")),
            Self::Lost => ("lost", String::new()),
            Self::Failed(reason) => ("failed", reason.clone()),
        };
        format!("\n{MARK}{kind} {}\n", one_line(&text))
    }

    /// The notice in a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix(MARK)?;
        let (kind, text) = line.split_once(' ').unwrap_or((line, ""));
        let text = one_line(text);
        Some(match kind {
            "host-key" if !text.is_empty() => Self::HostKey(text),
            "agent" if !text.is_empty() => Self::Agent(text),
            "key" if !text.is_empty() => Self::Key(text),
            "connected" => {
                Self::Connected(text.split(", ").filter(|key| !key.is_empty()).map(str::to_owned).collect())
            }
            "logged-in" => Self::LoggedIn,
            "lost" => Self::Lost,
            "failed" => Self::Failed(text),
            _ => return None,
        })
    }

    /// All notices in what was said.
    pub fn all(said: &str) -> impl DoubleEndedIterator<Item = Self> {
        said.lines().filter_map(Self::parse)
    }

    /// Whether one tells that a login worked.
    #[must_use]
    pub fn tells_of_login(said: &str) -> bool {
        Self::all(said).any(|notice| matches!(notice, Self::LoggedIn | Self::Connected(_)))
    }

    /// The last one that tells the user why.
    #[must_use]
    pub fn last_sentence(said: &str) -> Option<Self> {
        Self::all(said).rfind(|notice| matches!(notice, Self::HostKey(_) | Self::Agent(_)))
    }
}

/// The words of a sentence are ours, what they quote is not.
fn one_line(text: &str) -> String {
    let line: String = text.chars().filter(|c| !c.is_control()).collect();
    line.trim().chars().take(LONGEST).collect::<String>().trim_end().to_owned()
}

/// What was said without the notices in it.
#[must_use]
pub fn without(said: &str) -> String {
    said.split_inclusive('\n').filter(|line| Notice::parse(line).is_none()).collect()
}

/// Takes out of `text` what could be taken for a notice.
pub fn unmark(text: &mut Vec<u8>) {
    text.retain(|byte| char::from(*byte) != MARK);
}

/// Sorts what comes in pieces into notices and the rest.
#[derive(Debug, Default)]
pub struct Sorter {
    /// The line that has no end yet.
    line: Vec<u8>,
}

impl Sorter {
    /// Takes the next piece; returns the notices that are complete, and the whole lines of the rest.
    pub fn take(&mut self, piece: &[u8]) -> (Vec<Notice>, Vec<u8>) {
        let (mut notices, mut rest) = (Vec::new(), Vec::new());
        for byte in piece {
            self.line.push(*byte);
            // A line without an end must not grow for ever.
            if *byte == b'\n' || self.line.len() > 4 * LONGEST {
                self.end(&mut notices, &mut rest);
            }
        }
        (notices, rest)
    }

    /// The line that never ended.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut line = std::mem::take(&mut self.line);
        unmark(&mut line);
        line
    }

    fn end(&mut self, notices: &mut Vec<Notice>, rest: &mut Vec<u8>) {
        let mut line = std::mem::take(&mut self.line);
        if let Some(notice) = Notice::parse(&String::from_utf8_lossy(&line)) {
            notices.push(notice);
        } else {
            unmark(&mut line);
            rest.append(&mut line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some() -> Vec<Notice> {
        vec![
            Notice::HostKey("it has changed; run: x".to_owned()),
            Notice::Agent("it is gone".to_owned()),
            Notice::Key("usable ED25519 SHA256:abc".to_owned()),
            Notice::Connected(vec!["SHA256:abc (ED25519)".to_owned(), "SHA256:def (RSA)".to_owned()]),
            Notice::Connected(Vec::new()),
            Notice::LoggedIn,
            Notice::Lost,
            Notice::Failed("connection refused".to_owned()),
        ]
    }

    #[test]
    fn a_notice_reads_back_as_it_was_written() {
        for notice in some() {
            let line = notice.line();
            assert_eq!(Notice::parse(line.trim_matches('\n')), Some(notice), "{line}");
        }
    }

    #[test]
    fn the_last_sentence_is_the_reason() {
        let said: String = some().iter().map(Notice::line).collect();
        assert_eq!(Notice::last_sentence(&said), Some(Notice::Agent("it is gone".to_owned())));
        assert_eq!(Notice::last_sentence("host-key x\n\u{1}nonsense x\n\u{1}host-key \n"), None);
    }

    proptest! {
        #[test]
        fn notices_are_found_however_the_text_is_cut(cuts in prop::collection::vec(1..40_usize, 0..40), banner in "[a-z\n]{0,40}") {
            let text: String = some().iter().map(|notice| banner.clone() + &notice.line()).collect();
            let (mut sorter, mut found, mut rest) = (Sorter::default(), Vec::new(), Vec::new());
            let mut left = text.as_bytes();
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = left.split_at(cut.min(left.len()));
                let (notices, text) = sorter.take(piece);
                found.extend(notices);
                rest.extend(text);
                left = after;
            }
            prop_assert_eq!(found, some());
            let said: String = String::from_utf8(rest).unwrap().split('\n').collect();
            let expected: String = banner.repeat(some().len()).split('\n').collect();
            prop_assert_eq!(said, expected);
        }
    }
}
