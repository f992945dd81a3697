//! The only unsafe code.
#![allow(unsafe_code)]

use nix::sys::{prctl, signal::Signal};
use std::{io, os::unix::process::CommandExt, process::Command};

/// Makes the kernel kill the child when the thread that starts it ends. The caller must start it on a thread that
/// lives as long as the process.
pub fn die_with_parent(command: &mut Command) {
    let request = || prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from);
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed. It makes one
    // system call and neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(request);
    }
}
