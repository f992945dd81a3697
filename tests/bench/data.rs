//! Group data: how fast bytes come and go.

use crate::{
    contestant::{Contestant, MOUNTING, Mounted},
    host::REMOTE_USER,
    results::{Results, What},
    settings::Settings,
    stage::{Stage, milliseconds, random_bytes, serve_file},
};
use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File},
    io::{Read, Write},
    iter,
    os::{fd::OwnedFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

/// The limit, too, has a sequential read and a sequential write.
const ALL: [Contestant; 5] =
    [Contestant::Ours, Contestant::Sshfs, Contestant::Rclone, Contestant::RcloneCache, Contestant::Limit];

/// Size of one call, and of the blocks that are changed.
const MIB: usize = 1024 * 1024;
const BLOCK: usize = 64 * 1024;

/// How long what is in a cache may take to the server; the end of a broken run.
const ARRIVAL: Duration = Duration::from_secs(60);

#[expect(clippy::cast_precision_loss, reason = "no file has as many bytes")]
fn mib_per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / MIB as f64 / time.as_secs_f64()
}

/// Measures all tasks over all lines.
pub fn run(stage: &mut Stage, results: &mut Results) {
    let stage = &*stage;
    let settings = &stage.settings;
    results.begin("data", about(settings));
    let directory = stage.on_server("data");
    serve_file(&directory.join("big"), settings.file).expect("a file on the server");
    let four: Vec<_> = (0..4).map(|i| format!("quarter-{i}")).collect();
    for name in &four {
        serve_file(&directory.join(name), settings.one_of_four).expect("a file on the server");
    }
    for &round_trip in &settings.round_trips {
        let row = |task: &str, unit| What::new(task, milliseconds(round_trip), unit);
        let mount = |contestant| Mounted::new(stage, contestant, "data", &directory, round_trip);
        results.compare(row("sequential read", "MiB/s"), &ALL, |contestant| {
            if contestant == Contestant::Limit {
                return read_with_ssh(stage, &directory.join("big"), round_trip);
            }
            let mounted = mount(contestant)?;
            read(&mounted.path.join("big"), settings.patience)
        });
        results.compare(row("sequential write", "MiB/s"), &ALL, |contestant| {
            let served = directory.join("written");
            let speed = if contestant == Contestant::Limit {
                write_with_ssh(stage, &served, round_trip)
            } else {
                let mounted = mount(contestant)?;
                write(stage, &mounted.path.join("written"), &served, &random_bytes()?)
            };
            // Not there where the writing failed at once.
            _ = fs::remove_file(served);
            speed
        });
        results.compare(row("4 readers of 4 files", "MiB/s"), &MOUNTING, |contestant| {
            let mounted = mount(contestant)?;
            let paths: Vec<PathBuf> = four.iter().map(|name| mounted.path.join(name)).collect();
            read_at_once(&paths, settings.patience)
        });
        for (task, size) in [("random reads of 4 KiB", 4096), ("random reads of 64 KiB", BLOCK)] {
            results.compare(row(task, "reads/s"), &MOUNTING, |contestant| {
                let mounted = mount(contestant)?;
                at_random(stage, &File::open(mounted.path.join("big"))?, size, |_, _| Ok(()))
            });
        }
        results.compare(row("64 KiB read, changed and written", "blocks/s"), &MOUNTING, |contestant| {
            let mounted = mount(contestant)?;
            let file = File::options().read(true).write(true).open(mounted.path.join("big"))?;
            at_random(stage, &file, BLOCK, |at, block| {
                block[0] = !block[0];
                Ok(file.write_all_at(block, at)?)
            })
        });
    }
}

fn about(settings: &Settings) -> String {
    format!(
        "Noise, which cannot be compressed. One file of {} MiB is read and written from its beginning, 1 MiB with each call, and \
         no longer than {} s; four of {} MiB each are read at once. Blocks are read at random for {} s. Each value is of a fresh \
         mount, and what was written counts when the server has it. rclone makes a connection for each of several readers, which \
         helps far away: see what max_conns does below, and in decisions.md why it is not the default.",
        settings.file >> 20,
        settings.patience.as_secs_f64(),
        settings.one_of_four >> 20,
        settings.random.as_secs_f64(),
    )
}

/// Reads a file from its beginning until its end, or until the time is over.
pub fn read(path: &Path, patience: Duration) -> Result<f64> {
    let file = File::open(path)?;
    let begun = Instant::now();
    drain(file, begun, patience)
}

/// The same for several files at once, all together.
pub fn read_at_once(paths: &[PathBuf], patience: Duration) -> Result<f64> {
    thread::scope(|scope| {
        let each = |path| scope.spawn(move || read(path, patience));
        let readers: Vec<_> = paths.iter().map(PathBuf::as_path).map(each).collect();
        readers.into_iter().map(|reader| reader.join().expect("a reader")).sum()
    })
}

fn drain(mut from: impl Read, begun: Instant, patience: Duration) -> Result<f64> {
    let (mut buffer, mut bytes) = (vec![0; MIB], 0);
    while begun.elapsed() < patience {
        match from.read(&mut buffer)? {
            0 => break,
            length => bytes += length as u64,
        }
    }
    ensure!(bytes > 0, "nothing was read");
    Ok(mib_per_second(bytes, begun.elapsed()))
}

/// Writes this again and again into a file, until the server has all of it.
pub fn write(stage: &Stage, path: &Path, served: &Path, mebibyte: &[u8]) -> Result<f64> {
    let mut file = File::create(path)?;
    let begun = Instant::now();
    let bytes = fill(stage, &mut file, mebibyte, begun)?;
    // What was not written by then is an error that a drop would not tell.
    nix::unistd::close(OwnedFd::from(file))?;
    arrived(served, bytes)?;
    Ok(mib_per_second(bytes, begun.elapsed()))
}

fn fill(stage: &Stage, to: &mut impl Write, noise: &[u8], begun: Instant) -> Result<u64> {
    let mut bytes = 0;
    while begun.elapsed() < stage.settings.patience && bytes < stage.settings.file {
        to.write_all(noise)?;
        bytes += noise.len() as u64;
    }
    Ok(bytes)
}

/// Waits until the server has what was written: it counts only then, whoever has it in a cache.
pub fn arrived(served: &Path, bytes: u64) -> Result<()> {
    let begun = Instant::now();
    while fs::metadata(served).map_or(0, |file| file.len()) < bytes {
        ensure!(begun.elapsed() < ARRIVAL, "not all that was written has arrived");
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Reads blocks all over a file for some time, and does something with each. Returns how many there were per second.
pub fn at_random(
    stage: &Stage,
    file: &File,
    size: usize,
    mut each: impl FnMut(u64, &mut [u8]) -> Result<()>,
) -> Result<f64> {
    let (mut block, mut count) = (vec![0; size], 0_u32);
    let begun = Instant::now();
    for at in random_places(stage, size).take_while(|_| begun.elapsed() < stage.settings.random) {
        file.read_exact_at(&mut block, at)?;
        each(at, &mut block)?;
        count += 1;
    }
    // Without a flush the last changes would count before the server has them.
    file.sync_data()?;
    Ok(f64::from(count) / begun.elapsed().as_secs_f64())
}

/// Where blocks of this size are in the big file: the same places for all, without end.
pub fn random_places(stage: &Stage, size: usize) -> impl Iterator<Item = u64> {
    let (size, blocks) = (size as u64, stage.settings.file / size as u64);
    // Xorshift.
    let next = |random: &u64| {
        let mut random = *random;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        Some(random)
    };
    iter::successors(Some(0x9e37_79b9_7f4a_7c15_u64), next).skip(1).map(move |random| random % blocks * size)
}

/// ssh that runs a command on the server. It says when it has begun, so that logging in does not count.
fn ssh(stage: &Stage, round_trip: Duration, command: &str) -> Result<Child> {
    let mut ssh = Command::new("ssh");
    ssh.args([
        "-F",
        "none",
        "-q",
        "-oStrictHostKeyChecking=no",
        "-oUserKnownHostsFile=/dev/null",
        "-oBatchMode=yes",
    ]);
    ssh.arg("-i").arg(stage.key()).args(["-p", &stage.port(round_trip).to_string()]);
    ssh.arg(format!("{REMOTE_USER}@127.0.0.1")).arg(format!("echo; {command}"));
    let mut ssh = ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let begun = ssh.stdout.as_mut().map(|output| output.read_exact(&mut [0]));
    begun.context("a pipe")?.context("ssh")?;
    Ok(ssh)
}

fn read_with_ssh(stage: &Stage, served: &Path, round_trip: Duration) -> Result<f64> {
    let mut ssh = ssh(stage, round_trip, &format!("cat {}", served.display()))?;
    let speed = drain(ssh.stdout.take().context("a pipe")?, Instant::now(), stage.settings.patience);
    ssh.kill()?;
    ssh.wait()?;
    speed
}

fn write_with_ssh(stage: &Stage, served: &Path, round_trip: Duration) -> Result<f64> {
    let mut ssh = ssh(stage, round_trip, &format!("cat > {}", served.display()))?;
    let noise = random_bytes()?;
    let begun = Instant::now();
    let bytes = fill(stage, ssh.stdin.as_mut().context("a pipe")?, &noise, begun)?;
    drop(ssh.stdin.take());
    ssh.wait()?;
    arrived(served, bytes)?;
    Ok(mib_per_second(bytes, begun.elapsed()))
}
