//! Cases that share booted hosts, run in order: hosts are booted for the first case that wants them, and are gone before
//! a case wants others, which have the same addresses.

use std::any::Any;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Failed, Trial};

use super::Lab;

/// A promise the product makes, and how to see on the hosts `S` whether it is kept.
#[derive(Debug)]
pub struct Case<S> {
    /// The promise, as a function's name.
    pub name: &'static str,
    /// Fails if it is broken.
    pub check: fn(&S) -> Result<()>,
}

/// What is booted for cases.
pub trait Hosts: Send + 'static {
    /// Each Docker host with its SSH server.
    fn labs(&self) -> Vec<&Lab>;
}

impl Hosts for Lab {
    fn labs(&self) -> Vec<&Lab> {
        vec![self]
    }
}

/// Makes `CASES` of functions, with their names. Without hosts before a colon, they are those of the test program's `Case`.
macro_rules! cases {
    ($hosts:ty: $($name:ident),+ $(,)?) => {
        pub const CASES: &[$crate::lab::stage::Case<$hosts>] =
            &[$($crate::lab::stage::Case { name: stringify!($name), check: $name }),+];
    };
    ($($name:ident),+ $(,)?) => {
        pub const CASES: &[$crate::Case] = &[$($crate::Case { name: stringify!($name), check: $name }),+];
    };
}
pub(crate) use cases;

/// All cases of a test program.
#[derive(Default)]
pub struct Programme {
    stage: Arc<Mutex<Stage>>,
    trials: Vec<Trial>,
}

/// The hosts whose turn it is, by their name; none if they did not come up.
#[derive(Default)]
struct Stage {
    name: String,
    hosts: Option<Box<dyn Any + Send>>,
}

impl Programme {
    /// Adds the cases of `themes` on the hosts that `start` boots. `hosts` names them and begins the cases' names.
    pub fn add<S: Hosts>(
        &mut self,
        hosts: &str,
        themes: &[(&str, &'static [Case<S>])],
        start: impl Fn() -> Result<S> + Clone + Send + 'static,
    ) {
        for (theme, cases) in themes {
            for case in *cases {
                let (stage, start, hosts) = (Arc::clone(&self.stage), start.clone(), hosts.to_owned());
                let name = format!("{hosts}::{theme}::{}", case.name);
                self.trials.push(Trial::test(name, move || run(&stage, &hosts, &start, case)));
            }
        }
    }

    /// Adds a case that needs no hosts.
    pub fn add_alone(&mut self, name: String, check: impl FnOnce() -> Result<()> + Send + 'static) {
        self.trials.push(Trial::test(name, || check().map_err(|error| format!("{error:#}").into())));
    }

    /// Runs those that the command line names.
    pub fn run(self) -> ExitCode {
        let mut arguments = Arguments::from_args();
        // One after the other, in the order given: they share hosts.
        arguments.test_threads = Some(1);
        libtest_mimic::run(&arguments, self.trials).exit_code()
    }
}

impl Stage {
    fn hosts<S: Send + 'static>(&mut self, name: &str, start: impl Fn() -> Result<S>) -> Result<&S> {
        if self.name != name {
            // The hosts before must be gone: the addresses are the same.
            *self = Self { name: name.to_owned(), hosts: None };
            self.hosts = Some(Box::new(start()?));
        }
        // The first case has told why; the others only tell that.
        let hosts = self.hosts.as_ref().context("the hosts did not come up, see above")?;
        hosts.downcast_ref().context("one name for two kinds of hosts")
    }
}

fn run<S: Hosts>(
    stage: &Mutex<Stage>,
    hosts: &str,
    start: impl Fn() -> Result<S>,
    case: &Case<S>,
) -> Result<(), Failed> {
    // A case that panicked has been reported as such; the hosts are still there for the next one.
    let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
    let hosts = stage.hosts(hosts, start).map_err(|error| format!("{error:#}"))?;
    let started: Vec<_> = hosts.labs().into_iter().map(Lab::now).collect();
    (case.check)(hosts).map_err(|error| {
        let journals = hosts.labs().into_iter().zip(&started).map(|(lab, started)| {
            let (host, journal) = (lab.host.name(), lab.journal_since(started));
            format!("\njournal of the driver on {host} since the case began:\n{journal}\n")
        });
        format!("{error:#}\n{}", journals.collect::<String>()).into()
    })
}
