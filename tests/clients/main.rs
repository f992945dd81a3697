//! The clients tier: whatever speaks the volume plugin protocol, as its users use it.
//!
//! Needs root and /dev/fuse. Docker's own scenarios for volume drivers, images, Compose and podman run on each Debian
//! release, with its versions of them; Swarm on three hosts. Cases of a host run in order; each makes the volumes it needs
//! and removes them. One can be run alone: `cargo test --test clients -- NAME`.

#[path = "../support/isolation.rs"]
mod isolation;
#[path = "../support/lab/mod.rs"]
mod lab;

mod calls;
mod forms;
mod images;
mod store;
mod subpaths;
mod users;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use lab::stage::cases;
use lab::stage::{self, Programme};
use lab::{Lab, Pairing, Release};

const TIER: isolation::Tier = isolation::Tier { name: "clients", tools: lab::TOOLS };

/// A promise of the driver to its clients.
type Case = stage::Case<Lab>;

/// What runs on each release.
const THEMES: [(&str, &[Case]); 4] =
    [("store", store::CASES), ("images", images::CASES), ("forms", forms::CASES), ("users", users::CASES)];

/// What runs where Docker knows of it.
const SUBPATHS: (&str, &[Case]) = ("subpaths", subpaths::CASES);

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
        let mut themes = THEMES.to_vec();
        if release.knows_subpaths() {
            themes.push(SUBPATHS);
        }
        programme.add(&pairing.to_string(), &themes, move || start(pairing));
    }
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
