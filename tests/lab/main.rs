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
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use lab::{Lab, Pairing, Release};

const TIER: isolation::Tier = isolation::Tier { name: "lab", tools: lab::TOOLS };

/// Each stable release is the Docker host once.
const PAIRINGS: [Pairing; 2] = [Pairing::full(Release::Bookworm), Pairing::full(Release::Trixie)];

/// A promise the product makes, and how to see whether it is kept.
#[derive(Debug)]
pub struct Case {
    name: &'static str,
    check: fn(&Lab) -> Result<()>,
}

/// Makes [`Case`]s of functions, with their names.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub const CASES: &[$crate::Case] = &[$($crate::Case { name: stringify!($name), check: $name }),+];
    };
}
pub(crate) use cases;

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

/// The lab of the pairing whose turn it is; none if it did not come up.
#[derive(Default)]
struct Stage(Option<(Pairing, Option<Lab>)>);

impl Stage {
    fn lab(&mut self, pairing: Pairing) -> Result<&Lab> {
        if self.0.as_ref().is_none_or(|(current, _)| *current != pairing) {
            // The hosts of the pairing before must be gone: the addresses are the same.
            self.0 = Some((pairing, None));
            self.0 = Some((pairing, Some(start(pairing)?)));
        }
        // The first case has told why; the others only tell that.
        self.0.as_ref().and_then(|(_, lab)| lab.as_ref()).context("the lab did not come up, see above")
    }
}

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
    let mut arguments = Arguments::from_args();
    // One after the other, in the order given: the cases of a pairing share its hosts.
    arguments.test_threads = Some(1);
    let stage = Arc::new(Mutex::new(Stage::default()));
    libtest_mimic::run(&arguments, trials(&stage)).exit_code()
}

fn trials(stage: &Arc<Mutex<Stage>>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for pairing in PAIRINGS {
        for (theme, cases) in THEMES {
            for case in cases {
                let stage = Arc::clone(stage);
                let name = format!("{pairing}::{theme}::{}", case.name);
                trials.push(Trial::test(name, move || run(&stage, pairing, case)));
            }
        }
    }
    trials
}

fn run(stage: &Mutex<Stage>, pairing: Pairing, case: &Case) -> Result<(), Failed> {
    // A case that panicked has been reported as such; the hosts are still there for the next one.
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = stage.lab(pairing).map_err(|error| format!("{error:#}"))?;
    let started = lab.now();
    (case.check)(lab).map_err(|error| {
        let journal = lab.journal_since(&started);
        format!("{error:#}\n\njournal of the driver since the case began:\n{journal}").into()
    })
}
