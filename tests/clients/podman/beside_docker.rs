//! podman and Docker on one volume.

use anyhow::{Result, ensure};

use super::Podman;
use crate::lab::Lab;

crate::cases![podman_and_docker_use_one_volume_at_once, neither_client_removes_what_the_other_one_uses];

fn podman_and_docker_use_one_volume_at_once(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("both")?;
    let (podmans, dockers) = (volume.hold("both-podman")?, volume.driver.hold("both-docker")?);
    podmans.exec("echo of podman > /d/podman")?;
    dockers.exec("echo of Docker > /d/docker")?;
    ensure!(podmans.exec("cat /d/docker")? == "of Docker");
    ensure!(dockers.exec("cat /d/podman")? == "of podman");
    volume.driver.wait_until_used_by(2)?;
    dockers.remove()?;
    podmans.exec("echo goes on > /d/podman")?;
    let dockers = volume.driver.hold("both-docker")?;
    podmans.remove()?;
    dockers.exec("cat /d/podman >> /d/docker")?;
    volume.driver.wait_until_used_by(1)?;
    dockers.remove()?;
    volume.driver.wait_until_used_by(0)?;
    ensure!(volume.served("docker")? == "of Docker\ngoes on" && volume.served("podman")? == "goes on");
    Ok(())
}

fn neither_client_removes_what_the_other_one_uses(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let volume = podman.volume("fought-over")?;
    let podmans = volume.hold("fought-podman")?;
    let refusal = volume.driver.remove()?.failure()?;
    ensure!(refusal.contains(&format!("in use: container {}", podmans.short_id()?)), "{refusal}");
    podmans.remove()?;
    let dockers = volume.driver.hold("fought-docker")?;
    let refusal = volume.podman("rm")?.failure()?;
    ensure!(refusal.contains("volume fought-over cannot be removed: it is in use"), "{refusal}");
    ensure!(podman.volumes()? == ["fought-over"], "podman has forgotten it");
    dockers.exec("echo unharmed > /d/file")?;
    ensure!(volume.served("file")? == "unharmed");
    Ok(())
}
