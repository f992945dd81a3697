//! The key of a mount, looked at when a login was refused: which one it is, and whether it opens. ssh tells neither, and
//! only here, inside the mount's unit, can the file and its passphrase be read.

use crate::{
    diagnosis::{KeyState, OfferedKey},
    launcher::{ASKPASS_CREDENTIAL, CREDENTIALS_DIRECTORY, credential_path},
};
use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// No private key is larger.
const LARGEST: u64 = 64 * 1024;

/// How long ssh-keygen may take: the mount has failed already, and somebody waits for the reason.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether it has ended.
const INTERVAL: Duration = Duration::from_millis(5);

/// The key that ssh was told to use by these arguments, if it is a credential of the unit.
#[must_use]
pub fn offered(arguments: &[OsString]) -> Option<OfferedKey> {
    let path = arguments.iter().find_map(|argument| credential(argument.as_bytes()))?;
    let has_agent = arguments.iter().any(|argument| argument.as_bytes().starts_with(b"-oIdentityAgent="));
    let state = match state(&path) {
        // It chooses one of the agent's.
        KeyState::Public if has_agent => KeyState::Usable,
        state => state,
    };
    Some(OfferedKey { name: name(&path), state })
}

fn credential(argument: &[u8]) -> Option<PathBuf> {
    let path = std::str::from_utf8(argument.strip_prefix(b"-oIdentityFile=")?).ok()?;
    let id = path.strip_prefix(&credential_path(""))?;
    Some(Path::new(&env::var_os(CREDENTIALS_DIRECTORY)?).join(id))
}

/// The public half is in clear, also where the other one has a passphrase.
fn name(path: &Path) -> Option<String> {
    let listed = keygen(&["-l", "-f"], path).ok()?;
    OfferedKey::name_of(&String::from_utf8_lossy(&listed.stdout))
}

fn state(path: &Path) -> KeyState {
    let given = env::var_os(ASKPASS_CREDENTIAL).is_some();
    // Asks for the passphrase as ssh does, by the program in SSH_ASKPASS. Where that has none to tell, an empty one is given:
    // ssh-keygen would ask the terminal, if the driver runs in one.
    let arguments: &[&str] = if given { &["-y", "-f"] } else { &["-y", "-P", "", "-f"] };
    let Ok(loaded) = keygen(arguments, path) else { return KeyState::Usable };
    if loaded.status.success() {
        return KeyState::Usable;
    }
    if String::from_utf8_lossy(&loaded.stderr).contains("incorrect passphrase") {
        return if given { KeyState::PassphraseWrong } else { KeyState::PassphraseMissing };
    }
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut content));
    // Of a file that cannot be read nothing is known.
    if read.is_ok() { KeyState::of_unusable(&content) } else { KeyState::Usable }
}

/// What it says is short enough for the pipes, so that it is read in the end.
fn keygen(arguments: &[&str], path: &Path) -> io::Result<Output> {
    let mut command = Command::new("ssh-keygen");
    command.args(arguments).arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        sleep(INTERVAL);
    }
    child.wait_with_output()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_key_with_a_passphrase_is_told_from_one_without_and_nobody_is_asked() {
        let directory = tempfile::tempdir().unwrap();
        for (passphrase, expected) in [("hunter2", KeyState::PassphraseMissing), ("", KeyState::Usable)] {
            let path = directory.path().join(format!("key{passphrase}"));
            let made = keygen(&["-q", "-t", "ed25519", "-N", passphrase, "-f"], &path).unwrap();
            assert!(made.status.success(), "{made:?}");
            // The public half in a file of its own must not be what is read.
            fs::remove_file(path.with_extension("pub")).unwrap();
            assert_eq!(state(&path), expected);
        }
    }

    #[test]
    fn what_does_not_come_to_an_end_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let hung = keygen(&["-y", "-P", "", "-f"], &path);
        assert_eq!(hung.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
