//! The lab tier: the package on a real host with a real Docker engine, and a real SSH server.
//!
//! Needs root and /dev/fuse. Every case runs twice, once with each Debian release as the Docker host and
//! the other as the SSH server. Cases of a pairing share two booted hosts and run in order; each makes the
//! volumes it needs and removes them. One can be run alone: `cargo test --test lab -- NAME`.

#[path = "../support/error_page.rs"]
mod error_page;
#[path = "../support/hostile_sftp.rs"]
mod hostile_sftp;
#[path = "../support/isolation.rs"]
mod isolation;
#[path = "../support/lab/mod.rs"]
mod lab;
#[path = "../support/pages.rs"]
mod pages;

mod admin;
mod agent;
mod boot;
mod causes;
mod check;
mod connection;
mod container_faults;
mod containers;
mod dark;
mod data;
mod docs;
mod engine;
mod errors;
mod escapes;
mod healing;
mod hostile;
mod idle;
mod import;
mod inspect;
mod journal;
mod killed;
mod leaks;
mod load;
mod metrics;
mod package;
mod policies;
mod reboot;
mod restart;
mod restarts;
mod sandbox;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use lab::stage::cases;
use lab::stage::{self, Programme};
use lab::{Lab, Pairing, Release};

const TIER: isolation::Tier = isolation::Tier { name: "lab", tools: lab::TOOLS };

/// Each stable release is the Docker host once.
const PAIRINGS: [Pairing; 2] = [Pairing::full(Release::Bookworm), Pairing::full(Release::Trixie)];

type Case = stage::Case<Lab>;

/// What the package does when it is installed, upgraded or removed is a tier of its own (tests/packages).
const THEMES: [(&str, &[Case]); 30] = [
    ("package", package::CASES),
    ("docs", docs::CASES),
    ("data", data::CASES),
    ("containers", containers::CASES),
    ("container_faults", container_faults::CASES),
    ("sandbox", sandbox::CASES),
    ("escapes", escapes::CASES),
    ("leaks", leaks::CASES),
    ("hostile", hostile::CASES),
    ("agent", agent::CASES),
    ("errors", errors::CASES),
    ("causes", causes::CASES),
    ("check", check::CASES),
    ("import", import::CASES),
    ("restarts", restarts::CASES),
    ("idle", idle::CASES),
    ("connection", connection::CASES),
    ("dark", dark::CASES),
    ("healing", healing::CASES),
    ("restart", restart::CASES),
    ("journal", journal::CASES),
    ("admin", admin::CASES),
    ("inspect", inspect::CASES),
    ("metrics", metrics::CASES),
    ("killed", killed::CASES),
    ("load", load::CASES),
    ("engine", engine::CASES),
    ("policies", policies::CASES),
    ("reboot", reboot::CASES),
    ("boot", boot::CASES),
];

fn start(pairing: Pairing) -> Result<Lab> {
    let lab = Lab::start(pairing)?;
    lab.install_package()?;
    lab.enable_driver()?;
    Ok(lab)
}

fn main() -> ExitCode {
    if let Some(code) = hostile_sftp::serve_if_asked() {
        return code;
    }
    if isolation::only_listing() {
        return run_cases();
    }
    TIER.run(prepare, lab::sweep, run_cases)
}

fn prepare() -> Result<(), String> {
    lab::dirs::deb().map_err(|error| format!("{error:#}"))?;
    lab::prepare(&PAIRINGS)
}

fn run_cases() -> ExitCode {
    let mut programme = Programme::default();
    for pairing in PAIRINGS {
        programme.add(&pairing.to_string(), &THEMES, move || start(pairing));
    }
    programme.run()
}
