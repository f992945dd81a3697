//! The clients tier: whatever speaks the volume plugin protocol, as its users use it.
//!
//! Needs root and /dev/fuse. Docker's own scenarios for volume drivers, images, Compose and podman run on each Debian
//! release, with its versions of them; Swarm on three hosts. Cases of a host run in order; each makes the volumes it needs
//! and removes them. One can be run alone: `cargo test --test clients -- NAME`. docs/clients.md lists them.

#[path = "../support/isolation.rs"]
mod isolation;
#[path = "../support/lab/mod.rs"]
mod lab;

mod calls;
mod compose;
mod containers;
mod engine;
mod store;
mod swarm;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use lab::stage::cases;
use lab::stage::{self, Programme};
use lab::{Lab, Pairing, Release};
use swarm::Swarm;

const TIER: isolation::Tier = isolation::Tier { name: "clients", tools: lab::TOOLS };

/// A promise of the driver to its clients.
type Case = stage::Case<Lab>;

/// What runs on each release.
const THEMES: [(&str, &[Case]); 4] = [
    ("store", store::CASES),
    ("containers", containers::CASES),
    ("engine", engine::CASES),
    ("compose", compose::CASES),
];

/// What runs on one: beyond that, what its versions can do and older ones cannot.
fn themes(release: Release) -> Vec<(&'static str, &'static [Case])> {
    let mut themes = THEMES.to_vec();
    if release.knows_subpaths() {
        themes.push(("compose", compose::WITH_SUBPATHS));
    }
    if release == Release::Forky {
        themes.push(("compose", compose::WITH_RECREATION));
    }
    themes
}

fn main() -> ExitCode {
    if isolation::only_listing() {
        return run_cases();
    }
    TIER.run(prepare, lab::sweep, run_cases)
}

fn prepare() -> Result<(), String> {
    lab::dirs::deb().map_err(|error| format!("{error:#}"))?;
    lab::prepare(&Release::ALL.map(Pairing::full))
}

fn run_cases() -> ExitCode {
    let mut programme = Programme::default();
    for release in Release::ALL {
        let pairing = Pairing::full(release);
        programme.add(&pairing.to_string(), &themes(release), move || start(pairing));
    }
    programme.add("swarm", &[("nodes", swarm::CASES)], Swarm::start);
    programme.run()
}

/// The driver logs each call, so that they can be counted.
fn start(pairing: Pairing) -> Result<Lab> {
    let lab = Lab::start(pairing)?;
    lab.install_package()?;
    calls::log_them(&lab)?;
    lab.enable_driver()?;
    Ok(lab)
}
