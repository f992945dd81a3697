//! The fuzz tier: everything that reads what others wrote, given what is nearly right, for as long as there is time
//! (`SSHFS_DOCKER_FUZZ_SECONDS` per target).
//!
//! Inputs are mutated from good examples with knowledge of what they are, not guided by coverage: cargo-fuzz needs a
//! nightly toolchain, and this must run wherever the others do. A run is repeated with its seed, which is printed:
//! `SSHFS_DOCKER_SEED=N`. An input that fails is made shorter, printed and kept; to try it again:
//! `SSHFS_DOCKER_FUZZ_INPUT=target/fuzz/TARGET cargo test --test fuzz -- TARGET`.

// A panic is how a case fails.
#![allow(clippy::unwrap_used)]

#[path = "../support/random.rs"]
mod random;

mod calls;
mod files;
mod mutate;
mod words;

use libtest_mimic::{Arguments, Failed, Trial};
use mutate::{Mutator, shrink};
use nix::time::{ClockId, clock_gettime};
use random::Random;
use std::{
    cell::RefCell,
    env, fs,
    panic::{AssertUnwindSafe, catch_unwind, set_hook},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Judges one input; a panic is a failure.
type Check = Box<dyn FnMut(&[u8])>;

/// Prepares a check.
type Open = Box<dyn Fn() -> Check + Send>;

/// Something that reads what others wrote.
struct Target {
    name: &'static str,
    /// Good examples, and bad ones that went wrong before.
    seeds: fn() -> Vec<Vec<u8>>,
    /// Words that mean something in them.
    words: fn() -> Vec<&'static str>,
    open: Open,
    needs_root: bool,
}

/// The daemon has one thread: what takes longer, everybody waits for. Processor time, of a build that is not optimised.
const LONGEST: Duration = Duration::from_secs(5);

/// How often a long run shows that it is alive.
const PROGRESS: Duration = Duration::from_secs(30);

thread_local! {
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn main() -> ExitCode {
    set_hook(Box::new(|panic| LAST_PANIC.set(panic.to_string())));
    let targets = [calls::targets(), files::targets(), words::targets()].into_iter().flatten();
    let is_root = nix::unistd::Uid::effective().is_root();
    let trials = targets.map(|target| {
        let ignored = target.needs_root && !is_root;
        Trial::test(target.name, move || run(&target)).with_ignored_flag(ignored)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

fn run(target: &Target) -> Result<(), Failed> {
    let Target { name, .. } = target;
    let mut check = (target.open)();
    if let Some(file) = env::var_os("SSHFS_DOCKER_FUZZ_INPUT") {
        return attempt(&mut check, &fs::read(file)?).map_err(Failed::from);
    }
    let (seed, seeds, words) = (Random::seed(), (target.seeds)(), (target.words)());
    println!("fuzz: {name}: SSHFS_DOCKER_SEED={seed}");
    let mut mutator = Mutator::new(Random::new(seed), &seeds, &words);
    let (started, mut shown, mut inputs) = (Instant::now(), Duration::ZERO, 0_u64);
    let mut examples = seeds.iter().cloned();
    while started.elapsed() < budget() || examples.len() > 0 {
        let input = examples.next().unwrap_or_else(|| mutator.next());
        inputs += 1;
        if let Err(complaint) = attempt(&mut check, &input) {
            println!("\nfault-count: case=fuzz_{name} fuzzed_inputs={inputs} crashes=1");
            return Err(explain(target, &input, &complaint, seed).into());
        }
        if started.elapsed() > shown + PROGRESS {
            shown = started.elapsed();
            println!("fuzz: {name}: {inputs} inputs in {} s", shown.as_secs());
        }
    }
    println!("\nfault-count: case=fuzz_{name} fuzzed_inputs={inputs} crashes=0");
    Ok(())
}

fn budget() -> Duration {
    let given = env::var("SSHFS_DOCKER_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(2))
}

fn attempt(check: &mut Check, input: &[u8]) -> Result<(), String> {
    let before = processor_time();
    catch_unwind(AssertUnwindSafe(|| check(input))).map_err(|_| LAST_PANIC.take())?;
    let took = processor_time().saturating_sub(before);
    if took < LONGEST { Ok(()) } else { Err(format!("it took {took:?} of a processor")) }
}

/// Of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The shortest input with the same complaint, and how to try it again.
fn explain(target: &Target, input: &[u8], complaint: &str, seed: u64) -> String {
    let place = |complaint: &str| complaint.lines().next().unwrap_or_default().to_owned();
    // Anew for each: an earlier failure may have left something behind.
    let fails = |input: &[u8]| {
        attempt(&mut (target.open)(), input).is_err_and(|other| place(&other) == place(complaint))
    };
    let shortest = shrink(input, fails);
    let file = format!("target/fuzz/{}", target.name);
    _ = fs::create_dir_all("target/fuzz").and_then(|()| fs::write(&file, &shortest));
    format!("{complaint}\nseed {seed}, input in {file}: b\"{}\"", shortest.escape_ascii())
}

/// What a user may be shown: one line, with nothing that a terminal obeys.
fn assert_readable(text: &str) {
    let bad = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!text.is_empty() && !text.contains(bad), "not one readable line: {text:?}");
}

/// Text of a mutated input.
fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// Seeds that are written as text.
fn examples(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}
