//! The packages tier: the life of a package, deb and rpm, on hosts where nothing of it is installed.
//!
//! Needs root and /dev/fuse, and what `make packages` made. Every case runs once for each Debian release and each family
//! of packages; no distribution with rpm can be had here, so Debian's own rpm and dnf install them, and run their
//! scriptlets for real. Cases of a host run in order. One can be run alone: `cargo test --test packages -- NAME`.

#[path = "../support/isolation.rs"]
mod isolation;
#[path = "../support/lab/mod.rs"]
mod lab;

mod contents;
mod family;
mod installing;
mod older;
mod removing;
mod repository;
mod upgrading;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use family::{Family, Site};
use lab::{Pairing, Release};

const TIER: isolation::Tier = isolation::Tier { name: "packages", tools: lab::TOOLS };

/// A promise that a package makes, and how to see whether it is kept.
#[derive(Debug)]
pub struct Case {
    name: &'static str,
    check: fn(&Site) -> Result<()>,
}

/// Makes [`Case`]s of functions, with their names.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub const CASES: &[$crate::Case] = &[$($crate::Case { name: stringify!($name), check: $name }),+];
    };
}
pub(crate) use cases;

/// The order matters: Docker arrives on the way, and the volumes of later cases need it.
const THEMES: [(&str, &[Case]); 4] = [
    ("installing", installing::CASES),
    ("upgrading", upgrading::CASES),
    ("removing", removing::CASES),
    ("repository", repository::CASES),
];

/// The host of the release and family whose turn it is; none if it did not come up.
#[derive(Default)]
struct Stage(Option<(Release, Family, Option<Site>)>);

impl Stage {
    fn site(&mut self, release: Release, family: Family) -> Result<&Site> {
        if self.0.as_ref().is_none_or(|(r, f, _)| (*r, *f) != (release, family)) {
            // The hosts before must be gone: the addresses are the same.
            self.0 = Some((release, family, None));
            self.0 = Some((release, family, Some(Site::start(release, family)?)));
        }
        // The first case has told why; the others only tell that.
        self.0.as_ref().and_then(|(_, _, site)| site.as_ref()).context("the host did not come up, see above")
    }
}

fn main() -> ExitCode {
    if isolation::only_listing() {
        return run_cases();
    }
    TIER.run(prepare, lab::sweep, run_cases)
}

fn prepare() -> Result<(), String> {
    let prepare = || {
        lab::dirs::deb()?;
        older::build(&lab::dirs::rpm()?)?;
        repository::build()
    };
    prepare().map_err(|error| format!("{error:#}"))?;
    lab::prepare(&Release::ALL.map(Pairing::bare))
}

fn run_cases() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One after the other, in the order given: the cases of a host share it.
    arguments.test_threads = Some(1);
    let stage = Arc::new(Mutex::new(Stage::default()));
    libtest_mimic::run(&arguments, trials(&stage)).exit_code()
}

fn trials(stage: &Arc<Mutex<Stage>>) -> Vec<Trial> {
    let targets = [("amd64", "x86_64-unknown-linux-musl"), ("arm64", "aarch64-unknown-linux-musl")];
    let mut trials: Vec<_> = targets
        .map(|(architecture, target)| {
            let name = format!("{architecture}::the_program_lists_the_crates_in_it");
            Trial::test(name, move || {
                let listed = contents::the_program_lists_the_crates_in_it(architecture, target);
                listed.map_err(|error| format!("{error:#}").into())
            })
        })
        .into();
    for release in Release::ALL {
        for family in Family::ALL {
            for (theme, cases) in THEMES {
                for case in cases {
                    let stage = Arc::clone(stage);
                    let name = format!("{family}_on_{release}::{theme}::{}", case.name);
                    trials.push(Trial::test(name, move || run(&stage, release, family, case)));
                }
            }
        }
    }
    trials
}

fn run(stage: &Mutex<Stage>, release: Release, family: Family, case: &Case) -> Result<(), Failed> {
    // A case that panicked has been reported as such; the hosts are still there for the next one.
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let site = stage.site(release, family).map_err(|error| format!("{error:#}"))?;
    let started = site.now();
    (case.check)(site).map_err(|error| {
        let journal = site.journal_since(&started);
        format!("{error:#}\n\njournal of the driver since the case began:\n{journal}").into()
    })
}
