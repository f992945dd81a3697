//! Opening a file where somebody who is not trusted may have put something else in its place: a link to another file, a
//! pipe that nobody writes to, more than there is memory.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Opens a regular file of at most `largest` bytes for reading. What is told of it is of what was opened.
pub fn open(path: &Path, largest: u64) -> io::Result<(File, Metadata)> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > largest {
        return Err(io::Error::other(format!("it is larger than {largest} bytes")));
    }
    Ok((file, metadata))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::{sys::stat::Mode, unistd::mkfifo};
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn nothing_but_a_regular_file_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let [file, link, pipe] = ["file", "link", "pipe"].map(|name| directory.path().join(name));
        fs::write(&file, "1234").unwrap();
        symlink(&file, &link).unwrap();
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        assert_eq!(open(&file, 4).unwrap().1.len(), 4);
        for path in [&link, &pipe, directory.path(), Path::new("/dev/zero")] {
            assert!(open(path, 4).is_err(), "{}", path.display());
        }
        assert!(open(&file, 3).unwrap_err().to_string().contains("larger"));
    }
}
