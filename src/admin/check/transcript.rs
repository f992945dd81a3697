//! How far ssh is, from what it says with LogLevel=DEBUG1. Pure.
//!
//! The lines are those of OpenSSH 8.4 to 10. A server can put lines of its own between them, with a banner for example:
//! what is read here is shown and decides nothing. What counts for a step is the first line that tells of it, and a banner
//! comes after the check of the host key.

/// Something that ssh has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The name has this address, and a connection to it is being made.
    Resolved {
        /// As the configuration of ssh has it.
        host: String,
        /// What it stands for.
        address: String,
        /// The TCP port.
        port: String,
    },
    /// There is a TCP connection.
    Connected,
    /// The server has shown its key.
    KeyShown(HostKey),
    /// The key is the one that this line of a `known_hosts` file has: `FILE:LINE`.
    KeyFound(String),
    /// The key was none that had to be known.
    KeyAdded,
    /// The server would take this key of the user.
    KeyAccepted(UserKey),
    /// The login worked, with a method as the server calls it.
    LoggedIn {
        /// `publickey`, `password`, …; older versions say it in a line of its own.
        method: Option<String>,
    },
    /// The server has opened a session, and is asked for SFTP.
    SftpRequested,
}

/// An event, and whether it is about a jump host and not about the server of the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What happened.
    pub event: Event,
    /// On the way to the server.
    pub on_the_way: bool,
}

/// The key that a server shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// `ssh-ed25519`, …
    pub kind: String,
    /// `SHA256:…`
    pub fingerprint: String,
}

/// A key with which a user logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserKey {
    /// `ED25519`, …
    pub kind: String,
    /// `SHA256:…`
    pub fingerprint: String,
    /// Whether an agent has it.
    pub of_agent: bool,
}

/// Reads what ssh says, in the pieces in which it comes.
#[derive(Debug, Default)]
pub struct Transcript {
    rest: Vec<u8>,
    /// ssh starts another ssh for each jump host, and what they say comes through the same pipe. One after the other: none
    /// hears from its server before the way to it is there.
    jump_hosts: usize,
    logins: usize,
    told: usize,
    method: Option<String>,
}

/// ssh itself tells some ten for each host on the way. A server that has more to say is not listened to.
const MOST_EVENTS: usize = 1000;

/// No line of ssh is longer; a server's may be.
const LONGEST_LINE: usize = 4096;

impl Transcript {
    /// The events of the lines that end in `piece`.
    pub fn read(&mut self, piece: &[u8]) -> Vec<Told> {
        let mut events = Vec::new();
        for byte in piece {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.rest);
                    let told = self.read_line(String::from_utf8_lossy(&line).trim_end());
                    self.told += usize::from(told.is_some());
                    events.extend(told.filter(|_| self.told <= MOST_EVENTS));
                }
                _ if self.rest.len() < LONGEST_LINE => self.rest.push(*byte),
                _ => {}
            }
        }
        events
    }

    fn read_line(&mut self, line: &str) -> Option<Told> {
        let on_the_way = self.logins < self.jump_hosts;
        let tell = |event| Some(Told { event, on_the_way });
        if let Some(rest) = line.strip_prefix("Authenticated to ") {
            self.logins += 1;
            let method = rest.split_once("using \"").and_then(|(_, rest)| rest.split('"').next());
            let method = method.map(printable).or_else(|| self.method.take());
            return tell(Event::LoggedIn { method });
        }
        if line.starts_with("Warning: Permanently added ") {
            return tell(Event::KeyAdded);
        }
        let line = line.strip_prefix("debug1: ")?;
        if line.starts_with("Setting implicit ProxyCommand from ProxyJump") {
            self.jump_hosts += 1;
            return None;
        }
        if let Some(method) = line.strip_prefix("Authentication succeeded (") {
            self.method = method.split(')').next().map(printable);
            return None;
        }
        if line == "Connection established." {
            return tell(Event::Connected);
        }
        if let Some(rest) = line.strip_prefix("Connecting to ") {
            let (host, rest) = rest.split_once(" [")?;
            let (address, port) = rest.strip_suffix('.').unwrap_or(rest).split_once("] port ")?;
            let [host, address, port] = [host, address, port].map(printable);
            return tell(Event::Resolved { host, address, port });
        }
        if let Some(rest) = line.strip_prefix("Server host key: ") {
            let (kind, fingerprint) = rest.split_once(' ')?;
            let [kind, fingerprint] = [kind, fingerprint].map(printable);
            return tell(Event::KeyShown(HostKey { kind, fingerprint }));
        }
        if let Some(place) =
            line.strip_prefix("Found key in ").or_else(|| line.strip_prefix("Found CA key in "))
        {
            return tell(Event::KeyFound(printable(place)));
        }
        if let Some(key) = line.strip_prefix("Server accepts key: ") {
            return tell(Event::KeyAccepted(UserKey::read(key)?));
        }
        if line.starts_with("Sending subsystem: ") || line.starts_with("Sending command: ") {
            return tell(Event::SftpRequested);
        }
        None
    }
}

impl UserKey {
    /// `FILE KIND SHA256:… [explicit] [agent]`, where a file or a comment of an agent's key may have blanks in it.
    fn read(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split(' ').collect();
        let at = words.iter().rposition(|word| word.starts_with("SHA256:") || word.starts_with("MD5:"))?;
        let kind = printable(words.get(at.checked_sub(1)?)?);
        let of_agent = words[at + 1..].contains(&"agent");
        Some(Self { kind, fingerprint: printable(words[at]), of_agent })
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// OpenSSH 9.2, a server that is not known yet; between the lines that are read are those that are not.
    const NEW: &str = "debug1: Reading configuration data /run/x/ssh-config/data\r\n\
        debug1: Connecting to storage [10.0.0.1] port 2299.\r\n\
        debug1: Connection established.\r\n\
        debug1: identity file /run/credentials/x/_identity type 3\r\n\
        debug1: Authenticating to storage:2299 as 'alice'\r\n\
        debug1: Server host key: ssh-ed25519 SHA256:QN/Cvn0ylzT8SJjfmkZarVvR4cFX/SCdjj4K/WZmd5A\r\n\
        debug1: checking without port identifier\r\n\
        Warning: Permanently added '[storage]:2299' (ED25519) to the list of known hosts.\r\n\
        debug1: Offering public key: /run/credentials/x/_identity ED25519 SHA256:5YqSWpYr explicit\r\n\
        debug1: Server accepts key: /run/credentials/x/_identity ED25519 SHA256:5YqSWpYr explicit\r\n\
        Authenticated to storage ([10.0.0.1]:2299) using \"publickey\".\r\n\
        debug1: channel 0: new session [client-session] (inactive timeout: 0)\r\n\
        debug1: Remote: /home/alice/.ssh/authorized_keys:1: key options: pty\r\n\
        debug1: Sending subsystem: sftp\r\n";

    /// OpenSSH 9.2, with a jump host, and the line that 10.0 begins with. Both servers are known.
    const JUMP: &str = "debug1: OpenSSH_10.0p2 Debian-7+deb13u4, OpenSSL 3.5.7 9 Jun 2026\r\n\
        debug1: Setting implicit ProxyCommand from ProxyJump: ssh -l root -p 2299 -F cf -W '[%h]:%p' gate\r\n\
        debug1: Executing proxy command: exec ssh -l root -p 2299 -F cf -W '[storage]:2299' gate\r\n\
        debug1: Connecting to gate [10.0.0.9] port 2299.\r\n\
        debug1: Connection established.\r\n\
        debug1: Server host key: ssh-rsa SHA256:gate\r\n\
        debug1: Host '[gate]:2299' is known and matches the RSA host key.\r\n\
        debug1: Found key in /etc/sshfs-docker/known_hosts:1\r\n\
        Authenticated to gate ([10.0.0.9]:2299) using \"publickey\".\r\n\
        debug1: channel_connect_stdio_fwd: storage:2299\r\n\
        debug1: Authenticating to storage:2299 as 'root'\r\n\
        debug1: Server host key: ssh-ed25519 SHA256:storage\r\n\
        debug1: Found key in /var/lib/sshfs-docker/home/known_hosts:7\r\n\
        debug1: Server accepts key: a key of alice ED25519 SHA256:5YqS agent\r\n\
        Authenticated to storage (via proxy) using \"publickey\".\r\n\
        debug1: Sending subsystem: sftp\r\n";

    fn read(text: &str) -> Vec<Told> {
        Transcript::default().read(text.as_bytes())
    }

    fn key(kind: &str, fingerprint: &str) -> Event {
        Event::KeyShown(HostKey { kind: kind.to_owned(), fingerprint: fingerprint.to_owned() })
    }

    fn logged_in(method: &str) -> Event {
        Event::LoggedIn { method: Some(method.to_owned()) }
    }

    #[test]
    fn the_way_to_a_new_server() {
        let events: Vec<_> = read(NEW).into_iter().map(|told| told.event).collect();
        assert_eq!(
            events,
            [
                Event::Resolved {
                    host: "storage".to_owned(),
                    address: "10.0.0.1".to_owned(),
                    port: "2299".to_owned()
                },
                Event::Connected,
                key("ssh-ed25519", "SHA256:QN/Cvn0ylzT8SJjfmkZarVvR4cFX/SCdjj4K/WZmd5A"),
                Event::KeyAdded,
                Event::KeyAccepted(UserKey {
                    kind: "ED25519".to_owned(),
                    fingerprint: "SHA256:5YqSWpYr".to_owned(),
                    of_agent: false
                }),
                logged_in("publickey"),
                Event::SftpRequested,
            ]
        );
    }

    #[test]
    fn a_jump_host_is_told_apart_from_the_server() {
        let (jump, server): (Vec<_>, Vec<_>) = read(JUMP).into_iter().partition(|told| told.on_the_way);
        let events = |told: Vec<Told>| told.into_iter().map(|told| told.event).collect::<Vec<_>>();
        let jump = events(jump);
        assert_eq!(jump.len(), 5, "{jump:?}");
        assert_eq!(jump[2], key("ssh-rsa", "SHA256:gate"));
        let of_agent =
            UserKey { kind: "ED25519".to_owned(), fingerprint: "SHA256:5YqS".to_owned(), of_agent: true };
        assert_eq!(
            events(server),
            [
                key("ssh-ed25519", "SHA256:storage"),
                Event::KeyFound("/var/lib/sshfs-docker/home/known_hosts:7".to_owned()),
                Event::KeyAccepted(of_agent),
                logged_in("publickey"),
                Event::SftpRequested,
            ]
        );
    }

    #[test]
    fn older_versions_tell_the_method_in_a_line_of_its_own() {
        let old = "debug1: Authentication succeeded (password).\r\nAuthenticated to h ([10.0.0.1]:22).\r\n";
        assert_eq!(read(old), [Told { event: logged_in("password"), on_the_way: false }]);
    }

    #[test]
    fn a_server_cannot_say_more_than_is_listened_to() {
        let banner = "debug1: Connection established.\n".repeat(5 * MOST_EVENTS);
        assert_eq!(read(&banner).len(), MOST_EVENTS);
    }

    proptest! {
        #[test]
        fn the_pieces_in_which_it_comes_do_not_matter(cuts in proptest::collection::vec(1..200_usize, 0..40)) {
            let (mut transcript, mut events, mut rest) = (Transcript::default(), Vec::new(), JUMP.as_bytes());
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                events.extend(transcript.read(piece));
                rest = behind;
            }
            events.extend(transcript.read(rest));
            prop_assert_eq!(events, read(JUMP));
        }

        #[test]
        fn whatever_is_said_is_shown_without_control_characters(said in "(debug1: )?(Connecting to |Server accepts key: )?.{0,40}\n") {
            for told in read(&said) {
                let shown = format!("{told:?}");
                prop_assert!(!shown.contains(char::is_control));
            }
        }
    }
}
