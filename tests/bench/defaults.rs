//! Group defaults: what each default of the driver is good for. The driver is compared with itself, with another value of one
//! option of the volume and with nothing else changed.
//!
//! What has no speed is not here: `reconnect`, `ServerAliveInterval`, `ServerAliveCountMax` and `ConnectTimeout`. Of what a
//! volume may set beside the defaults, here is what `docs/tuning.md` recommends to somebody.

use crate::{
    contestant::{Contestant, Mounted},
    data,
    delay::Link,
    lookups, mapping,
    results::{Results, What},
    sshd::Sshd,
    stage::{Stage, log_lines, milliseconds, random_bytes, serve_copies, serve_file, serve_small_files},
    variant::Variant,
};
use anyhow::Result;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

/// The default is one of them by the round trip.
const READ_AHEAD: &[Variant] = &[
    Variant::new(0, "auto (default)", &[]),
    Variant::new(1, "128", &[("read_ahead_kb", "128")]),
    Variant::new(2, "1024", &[("read_ahead_kb", "1024")]),
    Variant::new(3, "4096", &[("read_ahead_kb", "4096")]),
    Variant::new(4, "16384", &[("read_ahead_kb", "16384")]),
];

/// The other one is what OpenSSH itself prefers.
const CIPHERS: &[Variant] = &[
    Variant::new(0, "AES-GCM first (default)", &[]),
    Variant::new(1, "ChaCha20-Poly1305", &[("Ciphers", "chacha20-poly1305@openssh.com")]),
];

const CONNECTIONS: &[Variant] =
    &[Variant::new(0, "1 (default)", &[]), Variant::new(1, "4", &[("max_conns", "4")])];

const DIR_CACHE: &[Variant] =
    &[Variant::new(0, "yes (default)", &[]), Variant::new(1, "no", &[("dir_cache", "no")])];

const DCACHE_TIMEOUT: &[Variant] =
    &[Variant::new(0, "1", &[("dcache_timeout", "1")]), Variant::new(1, "20", &[("dcache_timeout", "20")])];

const DCACHE_DIR_TIMEOUT: &[Variant] =
    &[Variant::new(0, "1 (default)", &[]), Variant::new(1, "20", &[("dcache_dir_timeout", "20")])];

const ATTR_TIMEOUT: &[Variant] = &[
    Variant::new(0, "0", &[("attr_timeout", "0")]),
    Variant::new(1, "1 (default)", &[]),
    Variant::new(2, "60", &[("attr_timeout", "60")]),
];

const ENTRY_TIMEOUT: &[Variant] = &[
    Variant::new(0, "0", &[("entry_timeout", "0")]),
    Variant::new(1, "1 (default)", &[]),
    Variant::new(2, "60", &[("entry_timeout", "60")]),
];

const COMPRESSION: &[Variant] =
    &[Variant::new(0, "no (default)", &[]), Variant::new(1, "yes", &[("Compression", "yes")])];

const MAX_READ: &[Variant] =
    &[Variant::new(0, "32768", &[("max_read", "32768")]), Variant::new(1, "default", &[])];

const MAX_WRITE: &[Variant] =
    &[Variant::new(0, "32768", &[("max_write", "32768")]), Variant::new(1, "default", &[])];

/// Longer than the kernel's own caches keep anything, and than the shortest of sshfs here.
const PAUSE: Duration = Duration::from_secs(2);

pub fn run(stage: &mut Stage, results: &mut Results) {
    let bench = Bench::new(stage).expect("files on the server");
    read_ahead(&bench, results);
    ciphers(&bench, results);
    connections(&bench, results);
    name_caches(&bench, results);
    kernel_timeouts(&bench, results);
    compression(&bench, results);
    sizes(&bench, results);
}

fn read_ahead(bench: &Bench, results: &mut Results) {
    let settings = &bench.stage.settings;
    let about = format!(
        "{} Blocks are read at random for {} s, and {} pages of a mapped file: there the kernel reads around each as much as it \
         reads ahead.",
        bench.about("How many KiB the kernel reads ahead."),
        settings.random.as_secs_f64(),
        settings.touched,
    );
    results.begin("defaults-read_ahead_kb", about);
    // As near and far as the other groups, and the farthest.
    let farthest = settings.round_trips.iter().max().copied();
    for link in settings.near_and_far.into_iter().chain(farthest).collect::<BTreeSet<_>>() {
        bench.read(results, READ_AHEAD, "sequential read", "big", link.into());
    }
    for link in settings.near_and_far {
        let what = row("random reads of 4 KiB", link, "reads/s");
        bench.compare(results, READ_AHEAD, what, link.into(), |path| {
            data::at_random(bench.stage, &File::open(path.join("big"))?, 4096, |_, _| Ok(()))
        });
        let what = row("random reads of 4 KiB, mmap", link, "reads/s");
        bench.compare(results, READ_AHEAD, what, link.into(), |path| {
            mapping::read_at_random(bench.stage, &path.join("big"))
        });
    }
}

fn ciphers(bench: &Bench, results: &mut Results) {
    results.begin("defaults-Ciphers", bench.about("The cipher that the driver's ssh asks for first."));
    bench.read(results, CIPHERS, "sequential read", "big", Duration::ZERO.into());
    bench.write(results, CIPHERS, "sequential write", &bench.noise, Duration::ZERO.into());
}

fn connections(bench: &Bench, results: &mut Results) {
    let settings = &bench.stage.settings;
    let about = format!(
        "How many connections a mount has, which are made when they are needed. All columns are the driver. Four files of {} MiB \
         are read at once; and each of {} files is asked for once while a big one is read, for no longer than {} s, where the first does not \
         count.",
        settings.one_of_four >> 20,
        settings.asked,
        settings.random.as_secs_f64(),
    );
    results.begin("defaults-max_conns", about);
    for link in bench.stage.settings.near_and_far {
        let what = row("4 readers of 4 files", link, "MiB/s");
        bench.compare(results, CONNECTIONS, what, link.into(), |path| {
            let paths: Vec<_> = (0..4).map(|i| path.join(format!("quarter-{i}"))).collect();
            data::read_at_once(&paths, bench.stage.settings.patience)
        });
    }
    let far = bench.far();
    let what = row("stat beside a reader, mean", far, "ms");
    bench.compare(results, CONNECTIONS, what, far, |path| {
        lookups::ask_beside_a_reader(&bench.stage.settings, &path.join("big"), &bench.asked(path))
    });
}

fn name_caches(bench: &Bench, results: &mut Results) {
    let (far, count) = (bench.far(), bench.listed);
    results.begin("defaults-dir_cache", bench.about_asking("Whether sshfs remembers names and attributes."));
    let what = row(&format!("ls -l of {count} files, twice"), far, "s");
    bench.compare(results, DIR_CACHE, what, far, |path| {
        lookups::list_twice(&path.join("listed"), Duration::ZERO)
    });
    bench.ask_again(results, DIR_CACHE);
    results.begin(
        "defaults-dcache_timeout",
        bench.about_asking("How many seconds sshfs remembers them; by default names for 1, the rest for 20."),
    );
    let task = format!("ls -l of {count} files, twice within {} s", PAUSE.as_secs());
    bench.compare(results, DCACHE_TIMEOUT, row(&task, far, "s"), far, |path| {
        lookups::list_twice(&path.join("listed"), PAUSE)
    });
    bench.ask_again(results, DCACHE_TIMEOUT);
    results.begin(
        "defaults-dcache_dir_timeout",
        "How many seconds sshfs remembers the names in a directory, and nothing else. All columns are the driver.".to_owned(),
    );
    bench.compare(results, DCACHE_DIR_TIMEOUT, row(&task, far, "s"), far, |path| {
        lookups::list_twice(&path.join("listed"), PAUSE)
    });
}

fn kernel_timeouts(bench: &Bench, results: &mut Results) {
    results.begin(
        "defaults-attr_timeout",
        bench.about_asking("How many seconds the kernel remembers attributes."),
    );
    bench.ask_again(results, ATTR_TIMEOUT);
    results
        .begin("defaults-entry_timeout", bench.about_asking("How many seconds the kernel remembers names."));
    bench.ask_again(results, ENTRY_TIMEOUT);
}

fn compression(bench: &Bench, results: &mut Results) {
    results.begin("defaults-Compression", bench.about("Whether ssh compresses. The text is lines of a log."));
    let slow =
        Link { megabits_per_second: Some(bench.stage.settings.slow), ..Link::from(bench.far().round_trip) };
    let direct = Link::from(Duration::ZERO);
    bench.read(results, COMPRESSION, "read of text", "text", slow);
    bench.write(results, COMPRESSION, "write of text", &log_lines(), slow);
    bench.read(results, COMPRESSION, "read of noise", "big", direct);
    bench.write(results, COMPRESSION, "write of noise", &bench.noise, direct);
}

/// The driver leaves them to sshfs and the kernel.
fn sizes(bench: &Bench, results: &mut Results) {
    results.begin("defaults-max_read", bench.about("The most bytes in one read."));
    for link in bench.stage.settings.near_and_far {
        bench.read(results, MAX_READ, "sequential read", "big", link.into());
    }
    results.begin("defaults-max_write", bench.about("The most bytes in one write."));
    for link in bench.stage.settings.near_and_far {
        bench.write(results, MAX_WRITE, "sequential write", &bench.noise, link.into());
    }
}

fn row(task: &str, link: impl Into<Link>, unit: &'static str) -> What {
    What::new(task, milliseconds(link), unit)
}

/// Files on the server, and what is done with them.
struct Bench<'a> {
    stage: &'a Stage,
    directory: PathBuf,
    noise: Vec<u8>,
    /// Names of small files.
    names: Vec<PathBuf>,
    /// How many files there are in the long directory.
    listed: usize,
}

impl<'a> Bench<'a> {
    fn new(stage: &'a Stage) -> Result<Self> {
        let (directory, settings) = (stage.on_server("defaults"), &stage.settings);
        serve_file(&directory.join("big"), settings.file)?;
        serve_copies(&directory.join("text"), settings.file, &log_lines())?;
        for i in 0..4 {
            serve_file(&directory.join(format!("quarter-{i}")), settings.one_of_four)?;
        }
        let names = serve_small_files(&directory.join("asked"), settings.asked, settings.asked)?;
        let listed = settings.listed.iter().copied().min().unwrap_or_default();
        Sshd::make_directory(&directory.join("listed"));
        for i in 0..listed {
            fs::write(directory.join(format!("listed/file-{i}")), "")?;
        }
        Ok(Self { stage, directory, noise: random_bytes()?, names, listed })
    }

    /// What a chapter begins with, where files are read and written.
    fn about(&self, setting: &str) -> String {
        let (mib, seconds) = (self.stage.settings.file >> 20, self.stage.settings.patience.as_secs_f64());
        format!(
            "{setting} All columns are the driver. A file of {mib} MiB is read or written, for no longer than {seconds} s."
        )
    }

    /// The same where files are asked for.
    fn about_asking(&self, setting: &str) -> String {
        let (count, seconds) = (self.names.len(), self.stage.settings.random.as_secs_f64());
        format!(
            "{setting} All columns are the driver. Of {count} files the attributes are asked for once, and then again and again \
             for {seconds} s, which is what counts."
        )
    }

    fn far(&self) -> Link {
        self.stage.settings.near_and_far[1].into()
    }

    /// Paths of the small files in a mount.
    fn asked(&self, mount: &Path) -> Vec<PathBuf> {
        self.names.iter().map(|name| mount.join("asked").join(name)).collect()
    }

    /// Has the driver do it in a fresh mount with each value.
    fn compare(
        &self,
        results: &mut Results,
        variants: &'static [Variant],
        what: What,
        link: Link,
        work: impl Fn(&Path) -> Result<f64>,
    ) {
        let columns: Vec<_> = variants.iter().map(Contestant::Variant).collect();
        results.compare(what, &columns, |column| {
            let mounted = Mounted::new(self.stage, column, "defaults", &self.directory, link)?;
            work(&mounted.path)
        });
    }

    fn read(&self, results: &mut Results, variants: &'static [Variant], task: &str, file: &str, link: Link) {
        self.compare(results, variants, row(task, link, "MiB/s"), link, |path| {
            data::read(&path.join(file), self.stage.settings.patience)
        });
    }

    fn write(
        &self,
        results: &mut Results,
        variants: &'static [Variant],
        task: &str,
        mebibyte: &[u8],
        link: Link,
    ) {
        self.compare(results, variants, row(task, link, "MiB/s"), link, |path| {
            let served = self.directory.join("written");
            let speed = data::write(self.stage, &path.join("written"), &served, mebibyte);
            // Not there where the writing failed at once.
            _ = fs::remove_file(served);
            speed
        });
    }

    fn ask_again(&self, results: &mut Results, variants: &'static [Variant]) {
        let far = self.far();
        let what = row(&format!("stat of {} files again", self.names.len()), far, "stats/s");
        self.compare(results, variants, what, far, |path| {
            lookups::ask_again(&self.stage.settings, &self.asked(path))
        });
    }
}
