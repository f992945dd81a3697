//! Group control: what Docker waits for that needs no server.

use crate::{
    caller::Caller,
    contestant::Contestant::{Limit, Ours},
    results::{Results, What, quantile},
    stage::Stage,
};
use anyhow::Result;
use nix::sys::signal::Signal;
use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// So many callers make their calls at once.
const CALLERS: usize = 8;

/// Measures with few and with many volumes.
pub fn run(stage: &mut Stage, results: &mut Results) {
    results.begin(
        "control",
        format!(
            "Calls over one connection that stays: {} of each kind, of Create a fifth and of List a twentieth. The limit of Create \
             is a file that is written, flushed and renamed on the same disk.",
            stage.settings.calls
        ),
    );
    for count in stage.settings.volumes.clone() {
        // What fails here is the driver itself.
        with_volumes(stage, results, count).expect("the daemon answers");
    }
}

fn with_volumes(stage: &mut Stage, results: &mut Results, count: usize) -> Result<()> {
    fill(stage, count)?;
    let condition = format!("{count} volumes");
    let row = |task: &str, unit| What::new(task, &*condition, unit);
    let starts = start_often(stage)?;
    results.note(row("start: connect to first byte", "ms"), Ours, starts);

    let calls = stage.settings.calls;
    let get = |i: usize| ("/VolumeDriver.Get", format!(r#"{{"Name":"v{}"}}"#, i * 7919 % count));
    let list = |_| ("/VolumeDriver.List", "{}".to_owned());
    for (task, calls, request) in [
        ("Get", calls, &get as &(dyn Fn(usize) -> (&'static str, String) + Sync)),
        ("List", (calls / 20).max(5), &list),
    ] {
        let mut caller = Caller::new(&stage.world.client());
        // A warm-up.
        let (path, body) = request(0);
        caller.call(path, &body)?;
        let mut times = Vec::new();
        for i in 0..calls {
            let (path, body) = request(i);
            times.push(millis(caller.call(path, &body)?));
        }
        note_quantiles(results, task, &condition, &mut times);
        let rate = rate(
            CALLERS,
            calls,
            |caller, i| {
                let (path, body) = request(i);
                caller.call(path, &body).map(drop)
            },
            stage,
        )?;
        results.note(row(&format!("{task}, {CALLERS} callers"), "calls/s"), Ours, vec![rate]);
    }
    create(stage, results, &condition)
}

/// Create beside what the disk can do.
fn create(stage: &Stage, results: &mut Results, condition: &str) -> Result<()> {
    let row = |task: &str, unit| What::new(task, condition, unit);
    let creates = (stage.settings.calls / 5).max(10);
    let options: serde_json::Map<_, _> =
        stage.world.options().into_iter().map(|(key, value)| (key, value.into())).collect();
    let body = |name: &str| serde_json::json!({"Name": name, "Opts": options}).to_string();
    let mut caller = Caller::new(&stage.world.client());
    let mut times = Vec::new();
    for i in 0..creates {
        times.push(millis(caller.call("/VolumeDriver.Create", &body(&format!("new{i}")))?));
    }
    note_quantiles(results, "Create", condition, &mut times);
    let directory = stage.world.path("lib/fsync");
    fs::create_dir_all(&directory)?;
    let mut times = Vec::new();
    for i in 0..creates {
        times.push(millis(write_durably(&directory, &i.to_string())?));
    }
    results.note(row("Create, median", "ms"), Limit, vec![quantile(&mut times, 0.5)]);
    results.note(row("Create, p99", "ms"), Limit, vec![quantile(&mut times, 0.99)]);

    let task = format!("Create, {CALLERS} callers");
    let ours = rate(
        CALLERS,
        creates,
        |caller, i| caller.call("/VolumeDriver.Create", &body(&format!("more{i}"))).map(drop),
        stage,
    )?;
    results.note(row(&task, "calls/s"), Ours, vec![ours]);
    let disk = rate(CALLERS, creates, |_, i| write_durably(&directory, &i.to_string()).map(drop), stage)?;
    results.note(row(&task, "calls/s"), Limit, vec![disk]);
    fs::remove_dir_all(directory)?;
    Ok(())
}

/// Replaces all definitions by so many. Written as files: the making of ten thousand is not what is measured.
pub fn fill(stage: &mut Stage, count: usize) -> Result<()> {
    stage.world.create("pattern");
    stage.world.daemon.end(Signal::SIGTERM);
    let volumes = stage.world.path("lib/volumes");
    let pattern = fs::read(volumes.join("pattern.json"))?;
    for entry in fs::read_dir(&volumes)? {
        fs::remove_file(entry?.path())?;
    }
    for i in 0..count {
        fs::write(volumes.join(format!("v{i}.json")), &pattern)?;
    }
    stage.world.daemon.start_again();
    Ok(())
}

/// How long it takes a call that finds no daemon to get the first byte of its answer: the socket is there, and whoever holds
/// it starts the daemon when somebody calls, as systemd does.
fn start_often(stage: &mut Stage) -> Result<Vec<f64>> {
    let daemon = &mut stage.world.daemon;
    daemon.end(Signal::SIGTERM);
    let mut times = Vec::new();
    for round in 0..=stage.settings.rounds.max(5) {
        let mut caller = Caller::new(&daemon.client());
        let mut process = None;
        let took = caller.first_byte("/Plugin.Activate", "", || process = Some(daemon.spawn()))?;
        if let Some(mut process) = process {
            process.kill()?;
            process.wait()?;
        }
        if round > 0 {
            times.push(millis(took));
        }
    }
    daemon.start_again();
    Ok(times)
}

/// What `src/replace.rs` does for a definition, at least.
fn write_durably(directory: &Path, name: &str) -> Result<Duration> {
    let begun = Instant::now();
    let temporary = directory.join(format!(".new-{name}"));
    let mut file = File::create(&temporary)?;
    file.write_all(&[b'x'; 300])?;
    file.sync_all()?;
    fs::rename(temporary, directory.join(name))?;
    File::open(directory)?.sync_all()?;
    Ok(begun.elapsed())
}

/// So many calls by some at once; how many per second.
fn rate(
    callers: usize,
    calls: usize,
    call: impl Fn(&mut Caller, usize) -> Result<()> + Sync,
    stage: &Stage,
) -> Result<f64> {
    let client = stage.world.client();
    let begun = Instant::now();
    thread::scope(|scope| {
        let work = |first| {
            let (client, call) = (&client, &call);
            scope.spawn(move || {
                let mut caller = Caller::new(client);
                (first..calls).step_by(callers).try_for_each(|i| call(&mut caller, i))
            })
        };
        let workers: Vec<_> = (0..callers).map(work).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a caller"))
    })?;
    Ok(f64::from(u32::try_from(calls)?) / begun.elapsed().as_secs_f64())
}

fn note_quantiles(results: &mut Results, task: &str, condition: &str, times: &mut [f64]) {
    for (name, part) in [("median", 0.5), ("p99", 0.99)] {
        let what = What::new(format!("{task}, {name}"), condition, "ms");
        results.note(what, Ours, vec![quantile(times, part)]);
    }
}

/// For the table.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
