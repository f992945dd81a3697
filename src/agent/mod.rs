//! The ssh agent of a volume, which is a socket of the host that the mount's user may not use.
//!
//! systemd listens for the mount in a directory that only this mount has (`sshfs-docker-agent@NAME.socket`), and starts
//! [`relay`] when ssh calls. What passes is decided in [`filter`]. So it works while the daemon is away, too.

pub mod filter;
pub mod relay;

use filter::{FAILURE, IDENTITIES_ANSWER, REQUEST_IDENTITIES};
use std::{io, os::unix::net::UnixStream, path::Path, time::Duration};

/// How long an agent may take to list its keys; nobody is asked for that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for the keys as ssh will, because ssh itself passes over an agent that does not answer. How many there are does
/// not matter. The error is for the user.
pub fn ask(socket: &Path) -> Result<(), String> {
    let reply = list_keys(socket).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it does not answer".to_owned(),
        _ => format!("its relay does not answer ({e})"),
    })?;
    match reply.split_first() {
        Some((&IDENTITIES_ANSWER, _)) => Ok(()),
        Some((&FAILURE, reason)) if !reason.is_empty() => Err(String::from_utf8_lossy(reason).into_owned()),
        _ => Err("it does not list its keys".to_owned()),
    }
}

fn list_keys(socket: &Path) -> io::Result<Vec<u8>> {
    let mut relay = UnixStream::connect(socket)?;
    relay.set_read_timeout(Some(PATIENCE))?;
    relay.set_write_timeout(Some(PATIENCE))?;
    filter::write_message(&mut relay, &[REQUEST_IDENTITIES])?;
    filter::read_message(&mut relay)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
