//! `make bench`: the driver beside the other ways to get SFTP into a container, on the same files in the same run. Needs root
//! and /dev/fuse; results go to `target/bench`.
//!
//! Arguments choose groups. `SSHFS_DOCKER_BENCH_ROUNDS` is how often each thing is measured after a warm-up, and
//! `SSHFS_DOCKER_BENCH_QUICK=1` makes everything so small that it only shows that the benches run: the tier
//! `bench` of `make test`. That goes to `target/bench-quick`.

// A panic is how a world tells that it cannot be.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "no caller is rude here")]
#[path = "../support/client.rs"]
mod client;
#[path = "../support/delay.rs"]
mod delay;
#[allow(dead_code, reason = "there is nothing to list")]
#[path = "../support/isolation.rs"]
mod isolation;
#[allow(dead_code, reason = "the load of the loopback tier is not made here")]
#[path = "../support/model.rs"]
mod model;

#[allow(dead_code, reason = "what the loopback tier does to its daemon is not done here")]
#[path = "../loopback/daemon.rs"]
mod daemon;
#[allow(dead_code, reason = "nobody logs in with a password here")]
#[path = "../loopback/host.rs"]
mod host;
#[allow(dead_code, reason = "what the loopback tier does to its server is not done here")]
#[path = "../loopback/sshd.rs"]
mod sshd;
#[allow(dead_code, reason = "what the loopback tier does to its world is not done here")]
#[path = "../loopback/world.rs"]
mod world;

mod caller;
mod contestant;
mod control;
mod cost;
mod data;
mod defaults;
mod lookups;
mod machine;
mod mapping;
mod metadata;
mod mounting;
mod plot;
mod processes;
mod rclone;
mod reason;
mod report;
mod results;
mod semantics;
mod settings;
mod stage;
mod variant;

use results::Results;
use settings::Settings;
use stage::Stage;
use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::OnceLock,
    time::Instant,
};

const TIER: isolation::Tier = isolation::Tier {
    name: "bench",
    tools: &[
        ("sshfs", "sshfs"),
        ("ssh", "openssh-client"),
        ("sshd", "openssh-server"),
        ("openssl", "openssl"),
        ("git", "git"),
        ("sqlite3", "sqlite3"),
    ],
};

/// A group of things to be measured, with the name that chooses it.
type Group = (&'static str, fn(&mut Stage, &mut Results));

const GROUPS: &[Group] = &[
    ("control", control::run),
    ("mounting", mounting::run),
    ("data", data::run),
    ("metadata", metadata::run),
    ("semantics", semantics::run),
    ("cost", cost::run),
    ("defaults", defaults::run),
];

/// The program that is measured: the one in the package.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/packages/binaries").join(architecture)
    })
}

/// Cargo's directory for what it builds.
fn target() -> &'static Path {
    let debug_program = Path::new(env!("CARGO_BIN_EXE_sshfs-docker"));
    debug_program.ancestors().nth(2).expect("a program in a directory of the target directory")
}

fn main() -> ExitCode {
    let groups = match chosen(env::args().skip(1)) {
        Ok(groups) => groups,
        Err(sentence) => {
            eprintln!("{sentence}");
            return ExitCode::from(2);
        }
    };
    TIER.run(
        || {
            let there = program().exists();
            there.then_some(()).ok_or_else(|| format!("there is no {} (make deb)", program().display()))
        },
        Stage::sweep,
        || {
            host::share_mounts();
            host::add_users();
            run(&groups)
        },
    )
}

/// The groups that the arguments name; all, if they name none.
fn chosen(arguments: impl Iterator<Item = String>) -> Result<Vec<Group>, String> {
    let mut chosen = Vec::new();
    for argument in arguments {
        let group = GROUPS.iter().find(|(name, _)| *name == argument);
        let known: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
        chosen.push(
            *group
                .ok_or_else(|| format!("there is no group {argument:?}; there are: {}", known.join(", ")))?,
        );
    }
    if chosen.is_empty() {
        chosen.extend(GROUPS);
    }
    Ok(chosen)
}

fn run(groups: &[Group]) -> ExitCode {
    let settings = Settings::from_environment();
    let mut results = Results::new(&settings);
    // What means nothing must not replace what a night has measured.
    let directory = target().join(if settings.quick { "bench-quick" } else { "bench" });
    let mut table = String::new();
    for (name, group) in groups {
        let begun = Instant::now();
        // Each group has a world of its own: nothing that one leaves is measured in the next.
        group(&mut Stage::new(&settings), &mut results);
        eprintln!("{name}: took {:.0} s", begun.elapsed().as_secs_f64());
        // After each: what breaks the next must not take what there is.
        table = match report::write(&results, &settings, &directory) {
            Ok(table) => table,
            Err(error) => {
                eprintln!("cannot write the report: {error:#}");
                return ExitCode::FAILURE;
            }
        };
    }
    println!("{table}");
    if settings.quick { verdict(&results) } else { ExitCode::SUCCESS }
}

/// A quick run is a test: the driver must have done all that was asked of it. Its last line is what `tests/total` reads.
fn verdict(results: &Results) -> ExitCode {
    let failures = results.failures();
    for failure in &failures {
        eprintln!("{failure}");
    }
    let failed = failures.len();
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {failed} failed;", results.measured());
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
