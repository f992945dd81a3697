//! A container that writes all the while something is done to the driver, and tells whether it noticed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Container, Lab, Volume, poll};

/// Writes, syncs, renames and compares random files, and writes into one that stays open all the while. Logs the
/// checksum of what each should have; not to Docker, which may die with a line in its hands. The first system call that
/// fails ends it.
const SCRIPT: &str = "
exec 3> /d/stream
i=0
until [ -e /stop ]; do
    i=$((i + 1))
    head -c 65536 /dev/urandom > /original
    dd if=/original of=/d/new bs=64k conv=fsync status=none
    mv /d/new /d/$i
    cmp /original /d/$i
    echo $i >&3
    echo $i >> /stream
    echo $(sha256sum < /original | cut -c -64) ./$i >> /log/sums
    sleep 0.02
done
exec 3>&-
echo $(sha256sum < /stream | cut -c -64) ./stream >> /log/sums
";

/// A writing container.
#[derive(Debug)]
pub struct Writer<'a> {
    lab: &'a Lab,
    directory: String,
    log: String,
    container: Container<'a>,
}

impl<'a> Writer<'a> {
    /// Starts to write into `volume`, and returns once the first files are there.
    pub fn start(lab: &'a Lab, volume: &Volume<'a>) -> Result<Self> {
        let log = format!("/var/tmp/{}-writer", volume.name);
        lab.host.sh(&format!("mkdir -p {log}; echo -n > {log}/sums"))?;
        let container =
            volume.start(&format!("{}-writer", volume.name), &format!("-v {log}:/log"), SCRIPT)?;
        let writer = Self { lab, directory: volume.directory.clone(), log, container };
        writer.wait_for_more()?;
        Ok(writer)
    }

    /// Waits until it has written some more files.
    pub fn wait_for_more(&self) -> Result<()> {
        let before = self.log()?.len();
        poll::until_true("the container to write on", Duration::from_secs(20), || {
            ensure!(self.container.is_running()?, "it stopped: {}", self.complaints()?);
            Ok(self.log()?.len() >= before + 3)
        })
    }

    /// Ends it, and compares what it meant to write with what the server has.
    pub fn finish(self) -> Result<()> {
        self.container.exec("touch /stop")?;
        let status = self.container.docker("wait")?;
        ensure!(status == "0", "the writing container failed: {}", self.complaints()?);
        let written = self.lab.server.checksums(&self.directory)?;
        let (meant, found) = (self.log()?, parse(&written)?);
        ensure!(meant == found, "the server has other bytes: {meant:#?} became {found:#?}");
        self.container.remove()
    }

    fn complaints(&self) -> Result<String> {
        self.lab.host.sh(&format!("docker logs {} 2>&1 >/dev/null", self.container.name()))
    }

    fn log(&self) -> Result<BTreeMap<String, String>> {
        parse(&self.lab.host.sh(&format!("cat {}/sums", self.log))?)
    }
}

/// Lines of sha256sum, by file.
fn parse(checksums: &str) -> Result<BTreeMap<String, String>> {
    let entry = |line: &str| {
        let (sum, name) = line.split_once(' ').with_context(|| format!("checksum: {line:?}"))?;
        Ok((name.trim().to_owned(), sum.to_owned()))
    };
    checksums.lines().map(entry).collect()
}
