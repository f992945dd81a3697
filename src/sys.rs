//! The only unsafe code.
#![allow(unsafe_code)]

use nix::{
    errno::Errno,
    sys::{prctl, signal::Signal},
};
use std::{
    ffi::c_int,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
};

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

/// Makes a file descriptor non-blocking that some library opened and keeps to itself.
pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: these two commands of fcntl(2) take and return integers only; a number that is no open file is an error.
    unsafe {
        let flags = Errno::result(libc::fcntl(fd, libc::F_GETFL))?;
        Errno::result(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(())
}

/// Sets `attributes` (`MOUNT_ATTR_*`) of the mount that `tree` is the root of, and makes it private
/// (mount_setattr(2), Linux 5.12).
pub fn restrict_mount(tree: &impl AsFd, attributes: u64) -> io::Result<()> {
    // How access times are kept is one choice among several: setting one must clear the others.
    let attr_clr = if attributes & libc::MOUNT_ATTR__ATIME == 0 { 0 } else { libc::MOUNT_ATTR__ATIME };
    let attr =
        libc::mount_attr { attr_set: attributes, attr_clr, propagation: libc::MS_PRIVATE, userns_fd: 0 };
    // SAFETY: the path is a literal that ends with a zero byte, and the pointer and length are those of one live value of
    // the type that the kernel reads; it writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as c_int,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result)?;
    Ok(())
}

/// Takes from this process and all that it will start the way to processes outside of them: they can no longer signal
/// those, nor connect to their abstract sockets (landlock(7), scopes, Linux 6.12).
pub fn keep_to_ourselves() -> io::Result<()> {
    /// `struct landlock_ruleset_attr`: no file and no port is handled, so none is forbidden.
    #[repr(C)]
    struct Ruleset {
        handled_access_fs: u64,
        handled_access_net: u64,
        scoped: u64,
    }
    const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1 << 0;
    const SCOPE_SIGNAL: u64 = 1 << 1;
    let scoped = SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL;
    let ruleset = Ruleset { handled_access_fs: 0, handled_access_net: 0, scoped };
    // A condition of the kernel's. In a unit it is so already.
    prctl::set_no_new_privs()?;
    // SAFETY: the pointer and length are those of one live value of the type that the kernel reads; it writes nothing. The
    // descriptor is new, and nobody else's.
    let ruleset = unsafe {
        let (attributes, no_flags) = (&raw const ruleset, 0 as c_int);
        let fd = libc::syscall(libc::SYS_landlock_create_ruleset, attributes, size_of::<Ruleset>(), no_flags);
        OwnedFd::from_raw_fd(Errno::result(RawFd::try_from(fd).unwrap_or(-1))?)
    };
    // SAFETY: only integers are passed.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0 as c_int) };
    Errno::result(result)?;
    Ok(())
}
