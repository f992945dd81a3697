//! A container that writes all the while something is done to the driver, and tells whether it noticed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Container, Lab, Volume, poll};

/// Copies random files to the volume and logs the checksum of each original. The first error ends it.
const SCRIPT: &str = "
i=0
until [ -e /stop ]; do
    i=$((i + 1))
    head -c 65536 /dev/urandom > /original
    cp /original /d/$i
    cmp /original /d/$i
    echo $(sha256sum < /original | cut -c -64) ./$i
    sleep 0.02
done
";

/// A writing container.
#[derive(Debug)]
pub struct Writer<'a> {
    lab: &'a Lab,
    directory: String,
    container: Container<'a>,
}

impl<'a> Writer<'a> {
    /// Starts to write into `volume`, and returns once the first files are there.
    pub fn start(lab: &'a Lab, volume: &Volume<'a>) -> Result<Self> {
        let container = volume.start(&format!("{}-writer", volume.name), "", SCRIPT)?;
        let writer = Self { lab, directory: volume.directory.clone(), container };
        writer.wait_for_more()?;
        Ok(writer)
    }

    /// Waits until it has written some more files.
    pub fn wait_for_more(&self) -> Result<()> {
        let before = self.log()?.len();
        poll::until_true("the container to write on", Duration::from_secs(20), || {
            ensure!(self.container.is_running()?, "it stopped: {}", self.container.docker("logs")?);
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
        parse(&self.container.docker("logs")?)
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
