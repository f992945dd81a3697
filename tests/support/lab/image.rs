//! An image with files of its own. No registry is reachable: it is made of a container of the one image there is.

use anyhow::{Result, ensure};

use super::docker::{IMAGE, quote};
use super::{Lab, Output};

/// Removed when dropped.
#[derive(Debug)]
pub struct Image<'a> {
    lab: &'a Lab,
    /// Docker's name of it.
    pub name: String,
}

impl Lab {
    /// What `script` leaves behind in a container, with changes that are lines of a Dockerfile.
    pub fn image(&self, name: &str, script: &str, changes: &[&str]) -> Result<Image<'_>> {
        let maker = self.container(&format!("{name}-maker"), "", script)?;
        ensure!(maker.docker("wait")? == "0", "not made: {script}");
        self.commit(maker.name(), name, changes)
    }

    /// `docker commit`
    pub fn commit(&self, container: &str, name: &str, changes: &[&str]) -> Result<Image<'_>> {
        let image = Image { lab: self, name: name.to_owned() };
        let changes: Vec<_> = changes.iter().map(|line| format!("--change {}", quote(line))).collect();
        self.docker(&format!("commit {} {container} {name}", changes.join(" ")))?;
        Ok(image)
    }
}

impl Image<'_> {
    /// Runs a shell script in a container of it, and removes the container.
    pub fn try_run(&self, flags: &str, script: &str) -> Result<Output> {
        let Self { lab, name } = self;
        lab.try_docker(&format!("run --rm --network none {flags} {name} sh -euc {}", quote(script)))
    }

    /// [`Image::try_run`] for a script that must work; the answer is its standard output.
    pub fn run(&self, flags: &str, script: &str) -> Result<String> {
        self.try_run(flags, script)?.success()
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // The case has reported what matters.
        let _ = self.lab.try_docker(&format!("rmi --force {}", self.name));
    }
}
