//! The listening socket: passed by systemd, or made here for development.

use anyhow::{Context, Result, bail, ensure};
use listenfd::ListenFd;
use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use std::{
    fs, io,
    os::unix::{
        fs::FileTypeExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

/// Takes the listener. Must run before the first thread starts: it removes variables from the environment.
///
/// The socket that systemd passes is never unlinked: it belongs to sshfs-docker.socket and outlives this process.
pub fn listener(socket: Option<&Path>) -> Result<UnixListener> {
    let mut passed = ListenFd::from_env();
    let listener = match (passed.len(), socket) {
        (0, Some(path)) => bind(path).with_context(|| format!("cannot listen on {}", path.display()))?,
        (0, None) => bail!(
            "no socket was passed: this is started by sshfs-docker.socket \
             (systemctl enable --now sshfs-docker.socket); for development use --socket PATH"
        ),
        (1, None) => take(&mut passed)?,
        (1, Some(_)) => bail!("systemd passed a socket, --socket names another one"),
        (n, _) => bail!("systemd passed {n} sockets; sshfs-docker.socket must have exactly one"),
    };
    // tokio needs it, and systemd does not set it.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the listener that systemd passes to a unit which is started by nothing else. Must run early, too.
pub fn passed() -> Result<UnixListener> {
    let mut passed = ListenFd::from_env();
    ensure!(passed.len() == 1, "systemd passed {} sockets, not one: a socket unit starts this", passed.len());
    take(&mut passed)
}

fn take(passed: &mut ListenFd) -> Result<UnixListener> {
    let listener = passed
        .take_unix_listener(0)
        .context("the socket that was passed is no Unix stream socket")?
        .context("the socket that was passed is already taken")?;
    ensure!(
        getsockopt(&listener, AcceptConn)?,
        "the socket that was passed does not listen; Accept= must be no"
    );
    Ok(listener)
}

/// Listens on `path`, replacing a socket that nobody listens on.
fn bind(path: &Path) -> io::Result<UnixListener> {
    if path.symlink_metadata().is_ok_and(|m| m.file_type().is_socket()) {
        if UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    UnixListener::bind(path)
}
