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
};

/// No private key is larger.
const LARGEST: u64 = 64 * 1024;

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
    // It asks for the passphrase as ssh does, by the program in SSH_ASKPASS.
    let Ok(loaded) = keygen(&["-y", "-f"], path) else { return KeyState::Usable };
    if loaded.status.success() {
        return KeyState::Usable;
    }
    if String::from_utf8_lossy(&loaded.stderr).contains("incorrect passphrase") {
        let given = env::var_os(ASKPASS_CREDENTIAL).is_some();
        return if given { KeyState::PassphraseWrong } else { KeyState::PassphraseMissing };
    }
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut content));
    // Of a file that cannot be read nothing is known.
    if read.is_ok() { KeyState::of_unusable(&content) } else { KeyState::Usable }
}

fn keygen(arguments: &[&str], path: &Path) -> io::Result<Output> {
    Command::new("ssh-keygen").args(arguments).arg(path).stdin(Stdio::null()).output()
}
