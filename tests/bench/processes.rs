//! What processes cost: memory and time on the processor, as the kernel counts them.

use std::{collections::BTreeSet, fs, iter};

/// Kernel ticks per second, which is 100 wherever Linux runs (`USER_HZ`).
const TICKS: f64 = 100.0;

/// Processes that are there now and were not `before`, without those of the server.
pub fn new_since(before: &BTreeSet<u32>) -> Vec<u32> {
    let of_the_server = |line: &str| line.starts_with("sshd") || line.starts_with("/usr/sbin/sshd");
    let all = crate::world::processes().into_iter();
    all.filter(|(pid, line)| !before.contains(pid) && !line.is_empty() && !of_the_server(line))
        .map(|(pid, _)| pid)
        .collect()
}

/// All processes of this namespace.
pub fn all() -> BTreeSet<u32> {
    crate::world::processes().into_iter().map(|(pid, _)| pid).collect()
}

/// MiB of memory that a process has for itself or shares, each page divided by how many share it.
pub fn pss(pid: u32) -> f64 {
    mib(&format!("/proc/{pid}/smaps_rollup"), "Pss:")
}

/// MiB of memory that are in use for a process, whoever else uses them.
pub fn rss(pid: u32) -> f64 {
    mib(&format!("/proc/{pid}/status"), "VmRSS:")
}

fn mib(file: &str, field: &str) -> f64 {
    let content = fs::read_to_string(file).unwrap_or_default();
    let line = content.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// Seconds that these processes have had a processor.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks_of = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name is in parentheses and may contain anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        // utime and stime are the 14th and 15th field (proc_pid_stat(5)), the third is the first behind the name.
        fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
    };
    pids.iter().map(ticks_of).chain(iter::once(0.0)).sum::<f64>() / TICKS
}

/// The program and its arguments.
pub fn command_line(pid: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}
