//! Encrypts what is kept for mount units with systemd-creds(1), so that a backup or a copy of the state directory holds no
//! password in clear. PID 1 decrypts it for the unit (`LoadCredentialEncrypted=`).
//!
//! With the host's own key (`/var/lib/systemd/credential.secret`) and not with the TPM's: a secret bound to the TPM is
//! lost when the firmware is updated (PCR 7), and with it the volume. Who wants that binds a credential of their own and
//! names it in `password_file`.

use crate::volume::secret::Secret;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use zeroize::Zeroizing;

/// systemd-creds, where it and systemd as PID 1 are there.
#[derive(Debug)]
pub struct Sealer {
    program: Option<PathBuf>,
}

impl Sealer {
    /// What this host has: systemd 250 or later.
    #[must_use]
    pub fn of_this_host() -> Self {
        let program = Path::new("/usr/bin/systemd-creds");
        let usable = libsystemd::daemon::booted() && program.exists();
        Self { program: usable.then(|| program.to_owned()) }
    }

    /// For where nothing decrypts.
    #[must_use]
    pub fn none() -> Self {
        Self { program: None }
    }

    /// Encrypts `secret` for the credential `id`, under no other name of which systemd will decrypt it. None where the host
    /// cannot.
    #[must_use]
    pub fn seal(&self, id: &str, secret: &Secret) -> Option<io::Result<Vec<u8>>> {
        let program = self.program.as_ref()?;
        let arguments = ["encrypt", "--with-key=host", &format!("--name={id}"), "-", "-"];
        Some(run(program, &arguments, secret.expose().as_bytes()).map(|sealed| sealed.to_vec()))
    }

    /// Decrypts what [`Self::seal`] made.
    pub fn unseal(&self, id: &str, sealed: &[u8]) -> io::Result<Secret> {
        let program = self.program.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        let text = run(program, &["decrypt", &format!("--name={id}"), "-", "-"], sealed)?;
        let text = std::str::from_utf8(&text).map_err(io::Error::other)?;
        Ok(Secret::new(text.to_owned()))
    }
}

fn run(program: &Path, arguments: &[&str], input: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Passwords are shorter than a pipe's buffer, also encrypted. Closed by this.
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input));
    let output = child.wait_with_output()?;
    let answer = Zeroizing::new(output.stdout);
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        return Err(io::Error::other(format!("systemd-creds: {reason}")));
    }
    written?;
    Ok(answer)
}
