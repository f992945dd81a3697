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
mod forms;
mod images;
mod podman;
mod store;
mod subpaths;
mod swarm;
mod users;

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
const THEMES: [(&str, &[Case]); 15] = [
    ("store", store::CASES),
    ("containers", containers::CASES),
    ("engine", engine::CASES),
    ("images", images::CASES),
    ("forms", forms::CASES),
    ("users", users::CASES),
    ("compose", compose::life::CASES),
    ("compose_options", compose::options::CASES),
    ("compose_mounts", compose::mounts::CASES),
    ("podman", podman::scenarios::CASES),
    ("podman_limits", podman::limits::CASES),
    ("podman_containers", podman::containers::CASES),
    ("podman_images", podman::images::CASES),
    ("podman_beside_docker", podman::beside_docker::CASES),
    ("podman_reboot", podman::reboot::CASES),
];

/// What Docker, Compose and podman of Debian 13 can do, and those of Debian 12 cannot.
const SINCE_TRIXIE: [(&str, &[Case]); 4] = [
    ("subpaths", subpaths::CASES),
    ("compose_subpaths", compose::subpaths::CASES),
    ("podman_recent", podman::recent::CASES),
    ("podman_quadlet", podman::quadlet::CASES),
];

/// What Compose of Debian 14 offers, and those before do not.
const SINCE_FORKY: [(&str, &[Case]); 1] = [("compose_recreation", compose::recreation::CASES)];

/// What runs on a release.
fn themes(release: Release) -> Vec<(&'static str, &'static [Case])> {
    let more: &[&[_]] = match release {
        Release::Bookworm => &[],
        Release::Trixie => &[&SINCE_TRIXIE],
        Release::Forky => &[&SINCE_TRIXIE, &SINCE_FORKY],
    };
    [&THEMES[..], &more.concat()].concat()
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
