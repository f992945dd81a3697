//! The daemon's end of a report: what the supervisor of a mount passes on while the mount is being made.

use crate::supervisor::END_OF_REPORT;
use nix::fcntl::OFlag;
use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch, task::JoinHandle};

/// So much is kept of what was said last: the reason comes at the end, behind whatever the server has to say before.
const ENOUGH: usize = 16 * 1024;

/// Collects a report until it is dropped.
#[derive(Debug)]
pub struct Report {
    said: Arc<Mutex<Vec<u8>>>,
    ended: watch::Receiver<bool>,
    reader: JoinHandle<()>,
}

impl Report {
    /// A report and the end of its pipe that the supervisor gets.
    pub fn open() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let mut pipe = pipe::Receiver::from_owned_fd(reader)?;
        let said = Arc::new(Mutex::new(Vec::new()));
        let (ended_sender, ended) = watch::channel(false);
        let collected = Arc::clone(&said);
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
                let text = &buffer[..length];
                let end = text.iter().position(|byte| *byte == END_OF_REPORT);
                let mut collected = collected.lock().unwrap_or_else(PoisonError::into_inner);
                collected.extend_from_slice(&text[..end.unwrap_or(length)]);
                let too_much = collected.len().saturating_sub(ENOUGH);
                collected.drain(..too_much);
                if end.is_some() {
                    break;
                }
            }
            _ = ended_sender.send(true);
        });
        Ok((Self { said, ended, reader }, writer))
    }

    /// Waits until sshfs has ended.
    pub async fn end(&self) {
        _ = self.ended.clone().wait_for(|ended| *ended).await;
    }

    /// Whether sshfs has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// What was said up to now, or its end.
    #[must_use]
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        // Closes the pipe; the supervisor goes on without a listener.
        self.reader.abort();
    }
}
