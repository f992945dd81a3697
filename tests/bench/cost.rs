//! Group cost: memory, time on the processor, and size on disk.

use crate::{
    contestant::{Contestant, MOUNTING, Mounted},
    control,
    data::arrived,
    processes, program,
    results::{Results, What},
    stage::{Stage, random_bytes, serve_file},
    target,
};
use anyhow::{Result, ensure};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    os::fd::OwnedFd,
    time::Duration,
};

pub fn run(stage: &mut Stage, results: &mut Results) {
    results.begin(
        "cost",
        format!(
            "Memory is what processes have for themselves and their part of what they share (PSS), processor time that of a file \
             of {} MiB. What one mount costs counts the processes that came with it: sshfs, ssh and what supervises them, or all \
             of rclone; the driver's daemon, which all mounts share, has lines of its own.",
            stage.settings.file >> 20
        ),
    );
    sizes(results);
    let most = stage.settings.volumes.iter().copied().max().unwrap_or_default();
    for count in BTreeSet::from([0, 100, most]) {
        control::fill(stage, count).expect("volumes");
        // What it needs to tell all.
        stage.world.client().list();
        note_daemon(stage, results, &format!("{count} volumes"));
    }
    control::fill(stage, 1).expect("volumes");
    if let Err(error) = many_mounts(stage, results) {
        results.impossible(What::new("daemon, PSS", "mounts", "MiB"), Contestant::Ours, &error);
    }
    per_mount(stage, results);
}

fn sizes(results: &mut Results) {
    let mib = |what: &str, bytes: u64| (What::new(what, "on disk", "MiB"), vec![mebibytes(bytes)]);
    if let Ok(file) = program().metadata() {
        let (what, size) = mib("program", file.len());
        results.note(what, Contestant::Ours, size);
    }
    // As many as there are: `make packages` may not have been run.
    for entry in fs::read_dir(target().join("packages")).into_iter().flatten().flatten() {
        let (name, length) = (entry.file_name(), entry.metadata().map_or(0, |file| file.len()));
        if name.to_string_lossy().ends_with("_amd64.deb") {
            let (what, size) = mib("package", length);
            results.note(what, Contestant::Ours, size);
        }
    }
}

fn note_daemon(stage: &Stage, results: &mut Results, condition: &str) {
    let pid = stage.world.daemon.pid();
    for (task, value) in [("daemon, RSS", processes::rss(pid)), ("daemon, PSS", processes::pss(pid))] {
        results.note(What::new(task, condition, "MiB"), Contestant::Ours, vec![value]);
    }
}

fn many_mounts(stage: &Stage, results: &mut Results) -> Result<()> {
    let directory = stage.on_server("cost");
    let mut mounts = Vec::new();
    for i in 0..stage.settings.mounts {
        mounts.push(Mounted::new(stage, Contestant::Ours, &format!("c{i}"), &directory, Duration::ZERO)?);
    }
    note_daemon(stage, results, &format!("{} mounts", mounts.len()));
    Ok(())
}

/// What each contestant's processes cost that are there for one mount.
fn per_mount(stage: &Stage, results: &mut Results) {
    let directory = stage.on_server("cost");
    serve_file(&directory.join("big"), stage.settings.file).expect("a file on the server");
    let mount = |contestant| {
        let before = processes::all();
        let mounted = Mounted::new(stage, contestant, "cost", &directory, Duration::ZERO)?;
        Ok::<_, anyhow::Error>((mounted, processes::new_since(&before)))
    };
    let row = |task: &str, unit| What::new(task, "one mount", unit);
    results.compare(row("memory (PSS) of its processes", "MiB"), &MOUNTING, |contestant| {
        let (_mounted, pids) = mount(contestant)?;
        ensure!(!pids.is_empty(), "no process");
        Ok(pids.into_iter().map(processes::pss).sum())
    });
    results.compare(row("processor per GiB read", "s"), &MOUNTING, |contestant| {
        let (mounted, pids) = mount(contestant)?;
        let before = processes::cpu_seconds(&pids);
        let bytes = io::copy(&mut File::open(mounted.path.join("big"))?, &mut io::sink())?;
        Ok((processes::cpu_seconds(&pids) - before) / gibibytes(bytes))
    });
    results.compare(row("processor per GiB written", "s"), &MOUNTING, |contestant| {
        let (mounted, pids) = mount(contestant)?;
        let before = processes::cpu_seconds(&pids);
        let mut file = File::create(mounted.path.join("written"))?;
        let (noise, mut bytes) = (random_bytes()?, 0);
        while bytes < stage.settings.file {
            file.write_all(&noise)?;
            bytes += noise.len() as u64;
        }
        nix::unistd::close(OwnedFd::from(file))?;
        arrived(&directory.join("written"), bytes)?;
        let spent = processes::cpu_seconds(&pids) - before;
        fs::remove_file(directory.join("written"))?;
        Ok(spent / gibibytes(bytes))
    });
}

#[expect(clippy::cast_precision_loss, reason = "no file has as many bytes")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1024.0 / 1024.0
}

fn gibibytes(bytes: u64) -> f64 {
    mebibytes(bytes) / 1024.0
}
