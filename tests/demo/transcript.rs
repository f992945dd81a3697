//! Shows commands and what they answer, in colour where a terminal reads it.

use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use anyhow::Result;

use crate::lab::guest::Guest;

/// The demo's output.
#[derive(Debug)]
pub struct Transcript {
    started: Instant,
    coloured: bool,
}

impl Transcript {
    /// Begins to count the time.
    pub fn start() -> Self {
        Self { started: Instant::now(), coloured: io::stdout().is_terminal() }
    }

    /// What the demo itself does.
    pub fn progress(&self, text: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        Self::say(&self.paint("2", &format!("[{seconds:5.1} s] {text}")));
    }

    /// A heading.
    pub fn chapter(&self, title: &str) {
        Self::say(&format!("\n{}", self.paint("1", &format!("# {title}"))));
    }

    /// Runs a command on a host, shows both, and returns its output. One that fails ends the demo.
    pub fn run(&self, guest: &Guest, command: &str) -> Result<String> {
        let prompt = self.paint("1;32", &format!("root@{}:~#", guest.name()));
        Self::say(&format!("{prompt} {}", self.paint("1", command)));
        let output = guest.try_sh(&format!("cd ~\n{command}"))?;
        for line in output.stdout.lines() {
            // Where a program overwrites its line, the last version is what stays on a screen.
            Self::say(line.rsplit('\r').next().unwrap_or(line));
        }
        let took = format!("({:.1} s)", output.took.as_secs_f64());
        Self::say(&self.paint("2", &took));
        output.success()
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Written at once: the reader watches.
    fn say(text: &str) {
        let mut out = io::stdout().lock();
        // A reader who has gone needs no demo.
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}
