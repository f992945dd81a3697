//! A process as messages describe it: who it is, and which container it belongs to.

use super::containers;
use crate::diagnosis;
use serde::Serialize;
use std::{fmt, fs, path::Path};

/// A process of the host or of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// The first digits of its container's id; null for a process outside of containers.
    pub container: Option<String>,
    /// As the host counts.
    pub pid: u32,
    /// Its name, fit for a terminal.
    pub command: String,
}

impl Process {
    /// The one that has this number now.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let command = command(&Path::new("/proc").join(pid.to_string()));
        Self { container: containers::of_process(pid), pid, command }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { container, pid, command } = self;
        match container {
            Some(id) => write!(f, "container {id} ({command}, pid {pid})"),
            None => write!(f, "process {pid} ({command})"),
        }
    }
}

/// The name of a process, from its directory in /proc. It chose that itself (`PR_SET_NAME`), from any bytes.
pub(super) fn command(process: &Path) -> String {
    diagnosis::clean(&String::from_utf8_lossy(&fs::read(process.join("comm")).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        process::{Command, Stdio},
    };

    #[test]
    fn a_name_that_would_write_to_the_terminal_does_not() {
        let mut child = Command::new("sh")
            .args(["-c", r"printf '\033[2Jgo\nod\377' > /proc/self/comm; echo; read line"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        let process = Process::of(child.id());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(process.command, "[2Jgood\u{fffd}");
        let of_a_container = Process { container: Some("3f2a1b0c9d8e".to_owned()), pid: 7, ..process };
        assert_eq!(of_a_container.to_string(), "container 3f2a1b0c9d8e ([2Jgood\u{fffd}, pid 7)");
    }
}
