//! Containers with each restart policy: those that should come back do, with their data, and are counted.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::{Container, Lab, Volume, poll};

crate::cases![
    a_restart_of_docker_brings_back_the_containers_that_want_it,
    a_crash_of_containers_brings_back_those_that_want_it,
    a_crash_of_docker_brings_back_the_container_that_always_wants_it,
];

/// A container with each policy on one volume. Each start of one adds a line to a file of its own in the volume.
struct Policies<'a> {
    volume: Volume<'a>,
    containers: Vec<(&'static str, Container<'a>)>,
}

impl<'a> Policies<'a> {
    fn start(lab: &'a Lab, name: &str) -> Result<Self> {
        let volume = lab.volume(name)?;
        let mut containers = Vec::new();
        for policy in ["no", "on-failure", "unless-stopped", "always"] {
            let script = format!("echo start >> /d/{policy}; trap exit TERM; while :; do sleep 0.1; done");
            let flags = format!("--restart {policy}");
            containers.push((policy, volume.start(&format!("{name}-{policy}"), &flags, &script)?));
        }
        volume.wait_until_used_by(containers.len())?;
        Ok(Self { volume, containers })
    }

    /// How often a container was started, as the server has it.
    fn starts(&self, lab: &Lab, policy: &str) -> Result<usize> {
        Ok(lab.server.sh(&format!("cat {}/{policy}", self.volume.directory))?.lines().count())
    }

    /// Waits until those of a policy in `back` run for the second time, and sees that they have what they wrote.
    fn wait_until_back(&self, lab: &Lab, back: &[&str]) -> Result<()> {
        for (policy, container) in self.containers.iter().filter(|(policy, _)| back.contains(policy)) {
            let limit = Duration::from_secs(30);
            poll::until_true(&format!("the container with policy {policy}"), limit, || {
                Ok(container.is_running()? && self.starts(lab, policy)? == 2)
            })?;
            let seen = container.exec(&format!("cat /d/{policy}"))?;
            ensure!(seen == "start\nstart", "policy {policy} does not have its data: {seen:?}");
        }
        Ok(())
    }

    /// Of the others none came back, and the volume is in use by those that did.
    fn check_others(&self, lab: &Lab, back: &[&str]) -> Result<()> {
        for (policy, container) in self.containers.iter().filter(|(policy, _)| !back.contains(policy)) {
            ensure!(!container.is_running()?, "policy {policy} came back");
            ensure!(self.starts(lab, policy)? == 1, "policy {policy} was started again");
        }
        self.volume.wait_until_used_by(back.len())
    }

    /// Ends what is left. Nothing keeps the volume then, whatever Docker has lost on the way.
    fn finish(self) -> Result<()> {
        self.containers.into_iter().try_for_each(|(_, container)| container.remove())?;
        self.volume.remove()?.success()?;
        self.volume.wait_until_unmounted()
    }
}

fn a_restart_of_docker_brings_back_the_containers_that_want_it(lab: &Lab) -> Result<()> {
    let policies = Policies::start(lab, "policies-restart")?;
    lab.restart_docker()?;
    // The one that may restart after a failure ended without one.
    let back = ["unless-stopped", "always"];
    policies.wait_until_back(lab, &back)?;
    policies.check_others(lab, &back)?;
    policies.finish()
}

fn a_crash_of_containers_brings_back_those_that_want_it(lab: &Lab) -> Result<()> {
    let policies = Policies::start(lab, "policies-crash")?;
    policies.containers.iter().try_for_each(|(_, container)| container.crash())?;
    let back = ["on-failure", "unless-stopped", "always"];
    policies.wait_until_back(lab, &back)?;
    policies.check_others(lab, &back)?;
    policies.finish()
}

/// Docker forgets to unmount for containers it finds dead or ends while it starts. It brings back `always` alone: the
/// others count as stopped by it.
fn a_crash_of_docker_brings_back_the_container_that_always_wants_it(lab: &Lab) -> Result<()> {
    let policies = Policies::start(lab, "policies-killed")?;
    lab.kill_docker()?;
    policies.wait_until_back(lab, &["always"])?;
    for (policy, container) in &policies.containers {
        if !container.is_running()? {
            container.start()?;
        }
        policies.wait_until_back(lab, &[policy])?;
    }
    ensure!(policies.volume.containers()? == 4, "the kernel counts {}", policies.volume.containers()?);
    ensure!(policies.volume.references()? >= 4, "a container is not counted");
    policies.finish()
}
