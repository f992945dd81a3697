//! A container that writes small files, one after the other, each with fsync, and notes what it was told: acknowledged
//! or failed, and how long it took. Unlike a [`super::Writer`] it goes on after an error, so it lives through faults.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Container, Lab, Volume, poll};

/// Each file is written under a name of its own. `/proc/uptime` is the only clock of busybox that is fine enough.
const SCRIPT: &str = r#"
now() { read -r up rest < /proc/uptime; echo "${up%.*}${up#*.}0"; }
i=0
until [ -e /stop ]; do
    i=$((i + 1))
    head -c 4096 /dev/urandom > /original
    begin=$(now)
    if dd if=/original of=/d/$i conv=fsync 2>/dev/null; then
        echo "acknowledged $i $(sha256sum < /original | cut -c -64) $(($(now) - begin))"
    else
        echo "failed $i - $(($(now) - begin))"
        sleep 0.1
    fi
done
"#;

/// The writing container.
#[derive(Debug)]
pub struct Diary<'a> {
    lab: &'a Lab,
    directory: String,
    container: Container<'a>,
}

/// What it was told in the end, compared with what the server has.
#[derive(Debug)]
pub struct Report {
    /// Writes that it was told are on the server.
    pub acknowledged: usize,
    /// Those of them that are not there.
    pub lost: usize,
    /// Writes that it was told have failed.
    pub failed: usize,
    /// The write that took longest, whatever became of it.
    pub longest: Duration,
}

impl<'a> Diary<'a> {
    /// Starts to write into `volume`, and returns once some files are there.
    pub fn start(lab: &'a Lab, volume: &Volume<'a>) -> Result<Self> {
        let container = volume.start(&format!("{}-diary", volume.name), "", SCRIPT)?;
        let diary = Self { lab, directory: volume.directory.clone(), container };
        diary.wait_for_more(Duration::from_secs(20))?;
        Ok(diary)
    }

    /// Waits until three more writes were acknowledged, and returns how long that took.
    pub fn wait_for_more(&self, limit: Duration) -> Result<Duration> {
        let before = self.entries("acknowledged")?.len();
        let begin = std::time::Instant::now();
        poll::until_true("the container to write on", limit, || {
            ensure!(self.container.is_running()?, "it stopped: {}", self.container.docker("logs")?);
            Ok(self.entries("acknowledged")?.len() >= before + 3)
        })?;
        Ok(begin.elapsed())
    }

    /// How many writes have failed up to now.
    pub fn failed(&self) -> Result<usize> {
        Ok(self.entries("failed")?.len())
    }

    /// The container.
    pub const fn container(&self) -> &Container<'a> {
        &self.container
    }

    /// Ends it. Each acknowledged file must be on the server with its content, and none in the container.
    pub fn finish(self) -> Result<Report> {
        self.container.exec("touch /stop")?;
        ensure!(self.container.docker("wait")? == "0", "the container failed");
        let on_server = self.lab.server.checksums(&self.directory)?;
        let entries = self.entries("acknowledged")?;
        let is_there = |entry: &Entry| {
            let line = format!("{}  ./{}", entry.checksum, entry.name);
            on_server.lines().any(|found| found == line)
        };
        let lost: Vec<_> = entries.iter().filter(|entry| !is_there(entry)).collect();
        let in_container = self.container.docker("diff")?;
        ensure!(
            !in_container.lines().any(|line| line.contains(" /d/")),
            "written to the host: {in_container}"
        );
        let failed = self.entries("failed")?;
        let longest = entries.iter().chain(&failed).map(|entry| entry.took).max().unwrap_or_default();
        let report = Report { acknowledged: entries.len(), lost: lost.len(), failed: failed.len(), longest };
        ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        self.container.remove()?;
        Ok(report)
    }

    fn entries(&self, kind: &str) -> Result<Vec<Entry>> {
        let log = self.container.docker("logs")?;
        log.lines().filter(|line| line.starts_with(kind)).map(Entry::parse).collect()
    }
}

impl Report {
    /// The line that the total of a run collects.
    pub fn print(&self, fault: &str) {
        let Self { acknowledged, lost, failed, longest } = self;
        println!(
            "fault-count: fault={fault} writes_checked={acknowledged} writes_lost={lost} writes_refused={failed} longest_write_under_a_fault_ms={}",
            longest.as_millis()
        );
    }
}

#[derive(Debug)]
struct Entry {
    name: String,
    checksum: String,
    took: Duration,
}

impl Entry {
    fn parse(line: &str) -> Result<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let [_, name, checksum, took] = words[..] else { anyhow::bail!("diary: {line:?}") };
        let took = Duration::from_millis(took.parse().with_context(|| format!("diary: {line:?}"))?);
        Ok(Self { name: name.to_owned(), checksum: checksum.to_owned(), took })
    }
}
