//! Where a volume's ssh agent listens: a socket of the host.

use std::{
    fmt,
    path::{Component, Path, PathBuf},
};

/// The longest path of a socket, in bytes: `sun_path` of unix(7) without its final zero.
pub const LONGEST_SOCKET: usize = 107;

/// The value of `IdentityAgent`: the absolute path of a socket. Nothing in it is expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSocket(PathBuf);

/// Why a value is no agent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAgent {
    /// `none` of ssh_config(5).
    #[error("'IdentityAgent' must be the path of a socket; leave it out to use no agent")]
    None,
    /// `SSH_AUTH_SOCK`, `$NAME` or a path that is not absolute.
    #[error(
        "'IdentityAgent' must be the absolute path of the agent's socket on the Docker host (the driver is a service: \
         it has no SSH_AUTH_SOCK, no other variable of yours and no '~'; 'echo $SSH_AUTH_SOCK' shows the path)"
    )]
    Form,
    /// `..`, or what ssh_config(5) would expand.
    #[error(
        "the path in 'IdentityAgent' must not contain '..', '$', '%' or control characters: nothing is expanded"
    )]
    Character,
    /// No socket can have such a path.
    #[error("the path in 'IdentityAgent' is longer than {LONGEST_SOCKET} bytes, so no socket can be there")]
    Length,
}

impl AgentSocket {
    /// Reads an absolute path.
    pub fn parse(text: &str) -> Result<Self, InvalidAgent> {
        let path = Path::new(text);
        if text.eq_ignore_ascii_case("none") {
            return Err(InvalidAgent::None);
        }
        if !path.is_absolute() {
            return Err(InvalidAgent::Form);
        }
        let climbs = path.components().any(|component| component == Component::ParentDir);
        if climbs || text.chars().any(|c| c.is_control() || c == '$' || c == '%') {
            return Err(InvalidAgent::Character);
        }
        if text.len() > LONGEST_SOCKET {
            return Err(InvalidAgent::Length);
        }
        Ok(Self(path.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl fmt::Display for AgentSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_path_and_no_word_of_ssh() {
        for good in ["/run/user/1000/ssh-agent.socket", "/tmp/ssh-XXaB12/agent.4711", "/srv/a: b"] {
            assert_eq!(AgentSocket::parse(good).unwrap().path(), Path::new(good));
        }
        for (bad, why) in [
            ("none", InvalidAgent::None),
            ("NONE", InvalidAgent::None),
            ("", InvalidAgent::Form),
            ("SSH_AUTH_SOCK", InvalidAgent::Form),
            ("$SSH_AUTH_SOCK", InvalidAgent::Form),
            ("~/.ssh/agent", InvalidAgent::Form),
            ("agent", InvalidAgent::Form),
            ("/run/user/${UID}/agent", InvalidAgent::Character),
            ("/run/user/%i/agent", InvalidAgent::Character),
            ("/run/../root/agent", InvalidAgent::Character),
            ("/run/a\nb", InvalidAgent::Character),
        ] {
            assert_eq!(AgentSocket::parse(bad), Err(why), "{bad:?}");
        }
        let longest = format!("/{}", "x".repeat(LONGEST_SOCKET - 1));
        assert!(AgentSocket::parse(&longest).is_ok());
        assert_eq!(AgentSocket::parse(&format!("{longest}x")), Err(InvalidAgent::Length));
    }
}
