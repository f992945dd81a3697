//! Containers with each restart policy: those that should come back do, with their data, and are counted.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::{Container, Lab, Volume, poll};

crate::cases![
    a_restart_of_docker_brings_back_the_containers_that_want_it,
    a_crash_of_containers_brings_back_those_that_want_it,
    a_crash_of_docker_brings_back_the_container_that_always_wants_it,
];

/// A container with each policy on one volume. Each writes all the while into a file of its own there: a line at its
/// start, and then one line after another.
struct Policies<'a> {
    lab: &'a Lab,
    volume: Volume<'a>,
    containers: Vec<(&'static str, Container<'a>)>,
}

impl<'a> Policies<'a> {
    fn start(lab: &'a Lab, name: &str) -> Result<Self> {
        let volume = lab.volume(name)?;
        let mut containers = Vec::new();
        for policy in ["no", "on-failure", "unless-stopped", "always"] {
            let script = format!(
                "trap exit TERM; echo start >> /d/{policy}; while :; do echo more >> /d/{policy}; sleep 0.1; done"
            );
            let flags = format!("--restart {policy}");
            containers.push((policy, volume.start(&format!("{name}-{policy}"), &flags, &script)?));
        }
        volume.wait_until_used_by(containers.len())?;
        Ok(Self { lab, volume, containers })
    }

    /// What a container has written, as the server has it.
    fn written(&self, policy: &str) -> Result<String> {
        self.lab.server.sh(&format!("cat {}/{policy}", self.volume.directory))
    }

    fn starts(&self, policy: &str) -> Result<usize> {
        Ok(self.written(policy)?.lines().filter(|line| *line == "start").count())
    }

    /// Does something to all of them, and sees that nothing of what was written before is lost.
    fn disturb(&self, fault: impl FnOnce() -> Result<()>) -> Result<()> {
        let policies = || self.containers.iter().map(|(policy, _)| *policy);
        let before = policies().map(|policy| self.written(policy)).collect::<Result<Vec<_>>>()?;
        fault()?;
        for (policy, before) in policies().zip(before) {
            let after = self.written(policy)?;
            ensure!(after.starts_with(&before), "policy {policy}: {before:?} became {after:?}");
        }
        Ok(())
    }

    /// Waits until those of a policy in `back` write on after a second start, and see what they wrote before.
    fn wait_until_back(&self, back: &[&str]) -> Result<()> {
        for (policy, container) in self.containers.iter().filter(|(policy, _)| back.contains(policy)) {
            let limit = Duration::from_secs(30);
            poll::until_true(&format!("the container with policy {policy}"), limit, || {
                Ok(container.is_running()? && self.starts(policy)? == 2)
            })?;
            let seen = container.exec(&format!("grep -c start /d/{policy}"))?;
            ensure!(seen == "2", "policy {policy} does not see its data: {seen}");
            let written = self.written(policy)?.len();
            poll::until_true(&format!("policy {policy} to write on"), limit, || {
                Ok(self.written(policy)?.len() > written)
            })?;
        }
        Ok(())
    }

    /// Of the others none came back, and the volume is in use by those that did.
    fn check_others(&self, back: &[&str]) -> Result<()> {
        for (policy, container) in self.containers.iter().filter(|(policy, _)| !back.contains(policy)) {
            ensure!(!container.is_running()?, "policy {policy} came back");
            ensure!(self.starts(policy)? == 1, "policy {policy} was started again");
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
    policies.disturb(|| lab.restart_docker())?;
    // The one that may restart after a failure ended without one.
    let back = ["unless-stopped", "always"];
    policies.wait_until_back(&back)?;
    policies.check_others(&back)?;
    policies.finish()
}

fn a_crash_of_containers_brings_back_those_that_want_it(lab: &Lab) -> Result<()> {
    let policies = Policies::start(lab, "policies-crash")?;
    policies.disturb(|| policies.containers.iter().try_for_each(|(_, container)| container.crash()))?;
    let back = ["on-failure", "unless-stopped", "always"];
    policies.wait_until_back(&back)?;
    policies.check_others(&back)?;
    policies.finish()
}

/// Docker forgets to unmount for containers it finds dead or ends while it starts. It brings back `always` alone: the
/// others count as stopped by it.
fn a_crash_of_docker_brings_back_the_container_that_always_wants_it(lab: &Lab) -> Result<()> {
    let policies = Policies::start(lab, "policies-killed")?;
    policies.disturb(|| lab.kill_docker())?;
    policies.wait_until_back(&["always"])?;
    for (policy, container) in &policies.containers {
        if !container.is_running()? {
            container.start()?;
        }
        policies.wait_until_back(&[policy])?;
    }
    ensure!(policies.volume.containers()? == 4, "the kernel counts {}", policies.volume.containers()?);
    ensure!(policies.volume.references()? >= 4, "a container is not counted");
    policies.finish()
}
