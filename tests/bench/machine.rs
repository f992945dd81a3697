//! What it was measured on and with, in general words: no name of a host, and nothing about its files.

use std::{fs, process::Command};

/// One sentence.
pub fn words() -> String {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let (cpus, memory, kernel) =
        (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/sys/kernel/osrelease"));
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("a processor");
    let count = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or_default();
    let model = model.trim_matches(|c: char| c == ':' || c.is_whitespace());
    // Nearest: the kernel keeps some for itself.
    let gib = (kib + (1 << 19)) >> 20;
    format!(
        "{count} × {model}, {gib} GiB of memory, Linux {}; sshfs {}, {}, rclone {}",
        version(kernel.trim()),
        word_after(&said(&["sshfs", "--version"]), "SSHFS version "),
        said(&["ssh", "-V"]).split([',', ' ']).next().unwrap_or_default().replace('_', " "),
        word_after(&said(&["rclone", "version"]), "rclone v"),
    )
}

/// The numbers of a kernel's release; who built it is behind them.
fn version(release: &str) -> &str {
    release.split('-').next().unwrap_or(release)
}

/// What a program says about itself, on whichever output.
fn said(command: &[&str]) -> String {
    let [program, arguments @ ..] = command else { return String::new() };
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
    )
}

fn word_after<'a>(text: &'a str, before: &str) -> &'a str {
    text.split_once(before)
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .unwrap_or("of unknown version")
}
