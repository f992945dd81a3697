//! The messages of the agent protocol (draft-ietf-sshm-ssh-agent), and which of them pass. Pure.
//!
//! ssh talks to the network. Should the network take it over, it could ask the agent for everything an agent can do, and
//! what it needs is to list the keys and to sign.

use std::io::{self, Read, Write};

/// SSH_AGENT_FAILURE: not done.
pub const FAILURE: u8 = 5;
/// SSH_AGENTC_REQUEST_IDENTITIES: list the keys.
pub const REQUEST_IDENTITIES: u8 = 11;
/// SSH_AGENT_IDENTITIES_ANSWER: the keys.
pub const IDENTITIES_ANSWER: u8 = 12;
/// SSH_AGENTC_SIGN_REQUEST: sign with one of them.
pub const SIGN_REQUEST: u8 = 13;
/// SSH_AGENTC_EXTENSION: what the name that follows says.
pub const EXTENSION: u8 = 27;

/// Tells the agent which server the keys are used for, so that those can be tied to it (`ssh-add -h`; OpenSSH's
/// PROTOCOL.agent).
const SESSION_BIND: &[u8] = b"session-bind@openssh.com";

/// The longest message; OpenSSH's own limit (`AGENT_MAX_LEN`, ssh-agent.c).
pub const LONGEST: usize = 256 * 1024;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The agent gets it.
    Forward,
    /// The agent never sees it.
    Refuse,
}

/// Judges a request, without its length.
#[must_use]
pub fn judge(request: &[u8]) -> Verdict {
    let passes = match request.split_first() {
        Some((&REQUEST_IDENTITIES, rest)) => rest.is_empty(),
        Some((&SIGN_REQUEST, _)) => true,
        Some((&EXTENSION, rest)) => first_string(rest) == Some(SESSION_BIND),
        _ => false,
    };
    if passes { Verdict::Forward } else { Verdict::Refuse }
}

/// A refusal. The protocol knows no reasons and ssh reads no further; [`super::ask`] does.
#[must_use]
pub fn failure(reason: &str) -> Vec<u8> {
    [&[FAILURE], reason.as_bytes()].concat()
}

/// `string` of RFC 4251: four bytes of length, and as many more.
fn first_string(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Reads a message; None where the other side hung up after the one before.
pub fn read_message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut length[1..])?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(1..=LONGEST).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Writes a message, in one piece.
pub fn write_message(to: &mut impl Write, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    to.write_all(&[&length.to_be_bytes(), message].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extension(name: &[u8]) -> Vec<u8> {
        let length = u32::try_from(name.len()).unwrap().to_be_bytes();
        [&[EXTENSION], &length[..], name].concat()
    }

    #[test]
    fn what_ssh_needs_to_log_in_passes() {
        for request in [vec![11], [&[13][..], b"\0\0\0\x01k\0\0\0\x01d\0\0\0\0"].concat()] {
            assert_eq!(judge(&request), Verdict::Forward, "{request:?}");
        }
        let bind = [extension(b"session-bind@openssh.com"), b"\0\0\0\x01k".to_vec()].concat();
        assert_eq!(judge(&bind), Verdict::Forward);
    }

    #[test]
    fn what_changes_the_agent_does_not() {
        for name in ["query", "restrict-destination-v00@openssh.com", "session-bind@openssh.co", ""] {
            assert_eq!(judge(&extension(name.as_bytes())), Verdict::Refuse, "{name}");
        }
        let mut cut = extension(SESSION_BIND);
        cut.pop();
        let huge = [&[EXTENSION][..], &[0xff; 4], SESSION_BIND].concat();
        // Version 1; add, remove, remove all; smart cards; lock, unlock; with constraints; nothing at all.
        let others = [1, 9, 17, 18, 19, 20, 21, 22, 23, 25, 26].map(|kind| vec![kind]);
        for request in [cut, huge, vec![], vec![EXTENSION], vec![11, 0]].into_iter().chain(others) {
            assert_eq!(judge(&request), Verdict::Refuse, "{request:?}");
        }
    }

    #[test]
    fn messages_are_read_one_by_one_and_bounded() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, &[11]).unwrap();
        write_message(&mut bytes, &failure("why")).unwrap();
        let mut from = &bytes[..];
        assert_eq!(read_message(&mut from).unwrap(), Some(vec![11]));
        assert_eq!(read_message(&mut from).unwrap(), Some(b"\x05why".to_vec()));
        assert_eq!(read_message(&mut from).unwrap(), None);
        for broken in [&b"\0\0\0\0"[..], b"\0\x04\0\x01x", b"\xff\xff\xff\xffx", b"\0\0", b"\0\0\0\x02x"] {
            assert!(read_message(&mut &broken[..]).is_err(), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_passes(mut request in proptest::collection::vec(any::<u8>(), 0..64), first in 0u8..32) {
            // Most bytes are no type at all; the interesting ones are small.
            if let Some(kind) = request.first_mut() {
                *kind = first;
            }
            let may_pass = request == [REQUEST_IDENTITIES]
                || request.first() == Some(&SIGN_REQUEST)
                || request.starts_with(&extension(SESSION_BIND));
            prop_assert_eq!(judge(&request) == Verdict::Forward, may_pass);
        }

        #[test]
        fn no_other_extension_passes(name in "[a-z@.-]{0,40}", rest in proptest::collection::vec(any::<u8>(), 0..32)) {
            prop_assume!(name.as_bytes() != SESSION_BIND);
            let request = [extension(name.as_bytes()), rest].concat();
            prop_assert_eq!(judge(&request), Verdict::Refuse);
        }

        #[test]
        fn what_is_read_is_what_was_written(message in proptest::collection::vec(any::<u8>(), 1..300)) {
            let mut bytes = Vec::new();
            write_message(&mut bytes, &message).unwrap();
            prop_assert_eq!(read_message(&mut &bytes[..]).unwrap(), Some(message));
        }
    }
}
