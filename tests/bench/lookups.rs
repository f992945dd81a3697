//! Asking for attributes: what caches of names and attributes are for.

use crate::{data, settings::Settings, stage::run};
use anyhow::{Context, Result, ensure};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread::{self, sleep},
    time::{Duration, Instant},
};

/// How long two `ls -l` take, with some time in between that does not count.
pub fn list_twice(directory: &Path, pause: Duration) -> Result<f64> {
    let mut list = Command::new("ls");
    list.arg("-l").arg(directory);
    let begun = Instant::now();
    run(&mut list)?;
    sleep(pause);
    run(&mut list)?;
    Ok((begun.elapsed().saturating_sub(pause)).as_secs_f64())
}

/// Asks for the attributes of the same files again and again, the first time apart. Returns how many there were per second.
pub fn ask_again(settings: &Settings, paths: &[PathBuf]) -> Result<f64> {
    let ask = || paths.iter().try_for_each(|path| fs::metadata(path).map(drop));
    ask()?;
    let (begun, mut rounds) = (Instant::now(), 0);
    while rounds == 0 || begun.elapsed() < settings.random {
        ask()?;
        rounds += 1;
    }
    Ok(f64::from(rounds * u32::try_from(paths.len())?) / begun.elapsed().as_secs_f64())
}

/// How many milliseconds it takes on average to get the attributes of a file that nobody has asked for, while somebody reads
/// a big one.
pub fn ask_beside_a_reader(settings: &Settings, big: &Path, paths: &[PathBuf]) -> Result<f64> {
    thread::scope(|scope| {
        let reader = scope.spawn(|| data::read(big, settings.random));
        let (first, others) = paths.split_first().context("no files")?;
        // It does not count: it may have to wait for a connection.
        fs::metadata(first)?;
        let (begun, mut count) = (Instant::now(), 0_u32);
        for path in others {
            fs::metadata(path)?;
            count += 1;
            if reader.is_finished() {
                break;
            }
        }
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        reader.join().expect("a reader").context("the reader")?;
        ensure!(count > 0, "only one file");
        Ok(took / f64::from(count))
    })
}
