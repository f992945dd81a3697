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

use family::{Family, Site};
pub(crate) use lab::stage::cases;
use lab::stage::{self, Programme};
use lab::{Pairing, Release};

const TIER: isolation::Tier = isolation::Tier { name: "packages", tools: lab::TOOLS };

type Case = stage::Case<Site>;

/// The order matters: Docker arrives on the way, and the volumes of later cases need it.
const THEMES: [(&str, &[Case]); 4] = [
    ("installing", installing::CASES),
    ("upgrading", upgrading::CASES),
    ("removing", removing::CASES),
    ("repository", repository::CASES),
];

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
    let mut programme = Programme::default();
    for (architecture, target) in
        [("amd64", "x86_64-unknown-linux-musl"), ("arm64", "aarch64-unknown-linux-musl")]
    {
        let name = format!("{architecture}::the_program_lists_the_crates_in_it");
        programme.add_alone(name, move || contents::the_program_lists_the_crates_in_it(architecture, target));
    }
    for release in Release::ALL {
        for family in Family::ALL {
            let hosts = format!("{family}_on_{release}");
            programme.add(&hosts, &THEMES, move || Site::start(release, family));
        }
    }
    programme.run()
}
