//! Replacing a file in one step: a reader, and a power cut, see the old content or the new, never a part.

use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process,
};

/// How much a replaced file must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: the data and the directory entry are on disk when the call returns.
    PowerCut,
    /// The end of this process; for files under /run, which a power cut takes away anyway.
    Process,
}

/// How temporary files begin: with a dot, which no volume name does. What follows is whose they are.
const TEMPORARY: &str = ".new-";

/// Writes `content` to `directory/file_name` with `mode`. Its temporary file is removed when anything fails.
pub fn replace(
    directory: &Path,
    file_name: &str,
    content: &[u8],
    mode: u32,
    durability: Durability,
) -> io::Result<()> {
    let mut file =
        tempfile::Builder::new().prefix(&format!("{TEMPORARY}{}-", process::id())).tempfile_in(directory)?;
    file.write_all(content)?;
    // Not when it is opened: the umask would apply.
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    if durability == Durability::PowerCut {
        file.as_file().sync_all()?;
    }
    file.persist(directory.join(file_name)).map_err(|e| e.error)?;
    if durability == Durability::PowerCut {
        sync_directory(directory)?;
    }
    Ok(())
}

/// Removes `directory/file_name`, durably; a file that is not there is fine.
pub fn remove(directory: &Path, file_name: &str, durability: Durability) -> io::Result<()> {
    match std::fs::remove_file(directory.join(file_name)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    if durability == Durability::PowerCut {
        sync_directory(directory)?;
    }
    Ok(())
}

/// Gives `directory/from` the name `to`, durably; one that has been given it already is fine.
pub fn rename(directory: &Path, from: &str, to: &str) -> io::Result<()> {
    match std::fs::rename(directory.join(from), directory.join(to)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => sync_directory(directory),
    }
}

/// Removes temporary files that killed processes left in `directory`. Those of others that live are about to be renamed. To be
/// called by who writes none meanwhile: his number may be that of a process which was killed.
pub fn remove_leftovers(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(writer) = name.to_str().and_then(|name| name.strip_prefix(TEMPORARY)) else { continue };
        if !writer.split_once('-').is_some_and(|(number, _)| is_another_that_lives(number)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn is_another_that_lives(number: &str) -> bool {
    let process = number.parse::<u32>().ok().filter(|process| *process != process::id());
    process.is_some_and(|process| Path::new("/proc").join(process.to_string()).exists())
}

/// A rename or an unlink is on disk only when the directory is.
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_has_the_new_content_and_mode_and_leaves_nothing_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        // More than the usual umask of 022 lets through, and less.
        for (content, mode) in [("old", 0o666), ("new", 0o600)] {
            replace(directory.path(), "f", content.as_bytes(), mode, Durability::PowerCut).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, mode);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn leftovers_of_a_killed_process_are_removed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let (before, of_parent) = (process::id(), nix::unistd::getppid());
        // Of an earlier version, of an earlier process with this number, and of one beyond the highest (PID_MAX_LIMIT).
        let left = [".new-abc".to_owned(), format!(".new-{before}-abc"), ".new-4194305-abc".to_owned()];
        let mut kept =
            [format!(".new-{of_parent}-abc"), "data.json".to_owned(), "new-4194305-abc".to_owned()];
        for file in left.iter().chain(&kept) {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        remove_leftovers(directory.path()).unwrap();
        let there = std::fs::read_dir(directory.path()).unwrap();
        let mut there: Vec<_> = there.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        there.sort();
        kept.sort();
        assert_eq!(there, kept);
    }
}
