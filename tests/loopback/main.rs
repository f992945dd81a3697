//! The loopback tier: the real daemon under socket activation, spoken to over its socket as dockerd does, with a
//! real sshd on a loopback port. Needs root and /dev/fuse; whole hosts are the lab tier's job.
//!
//! Each case has a world of its own and runs beside the others. One can be run alone:
//! `cargo test --test loopback -- NAME`.

// A panic is how a case fails.
#![allow(clippy::unwrap_used)]

#[path = "../support/client.rs"]
mod client;
#[path = "../support/delay.rs"]
mod delay;
#[path = "../support/error_page.rs"]
mod error_page;
#[path = "../support/isolation.rs"]
mod isolation;
#[path = "../support/model.rs"]
mod model;
#[path = "../support/hostile_sftp.rs"]
mod sftp;
#[path = "../support/sshfs_command.rs"]
mod sshfs_command;
#[path = "../support/trials.rs"]
mod trials;

mod daemon;
mod host;
mod ssh_command;
mod sshd;
mod world;

mod admin;
mod arguments;
mod causes;
mod check;
mod disk;
mod errors;
mod host_keys;
mod hostile;
mod hung;
mod idle;
mod import;
mod killed;
mod load;
mod mounts;
mod policy;
mod protocol;
mod references;
mod restarts;
mod secrets;
mod status;
mod volumes;

use libtest_mimic::Arguments;
use std::{path::Path, process::ExitCode};
use trials::cases;

const TIER: isolation::Tier = isolation::Tier {
    name: "loopback",
    tools: &[("sshfs", "sshfs"), ("ssh", "openssh-client"), ("sshd", "openssh-server")],
};

/// The program under test.
fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_sshfs-docker"))
}

fn main() -> ExitCode {
    if let Some(code) = sftp::serve_if_asked() {
        return code;
    }
    if isolation::only_listing() {
        return run();
    }
    TIER.run(
        || Ok(()),
        || {},
        || {
            host::share_mounts();
            host::add_users();
            run()
        },
    )
}

fn run() -> ExitCode {
    // The long ones first: two of them at the end would have nothing beside them.
    let themes = [
        ("load", load::cases()),
        ("hung", hung::cases()),
        ("hostile", hostile::cases()),
        ("admin", admin::cases()),
        ("killed", killed::cases()),
        ("protocol", protocol::cases()),
        ("arguments", arguments::cases()),
        ("volumes", volumes::cases()),
        ("disk", disk::cases()),
        ("mounts", mounts::cases()),
        ("policy", policy::cases()),
        ("references", references::cases()),
        ("errors", errors::cases()),
        ("check", check::cases()),
        ("import", import::cases()),
        ("restarts", restarts::cases()),
        ("host_keys", host_keys::cases()),
        ("idle", idle::cases()),
        ("secrets", secrets::cases()),
        ("status", status::cases()),
    ];
    let trials = themes.into_iter().flat_map(|(theme, cases)| trials::of(theme, cases));
    let trials = trials.chain(causes::trials());
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
