//! `make demo`: a user's first minute, on two Debian hosts booted for it, as a transcript.
//!
//! Every command runs for real, and what its output promises is checked: the demo fails when the product
//! does.

#[path = "../support/isolation.rs"]
mod isolation;
#[path = "../support/lab/mod.rs"]
mod lab;

mod transcript;

use std::process::ExitCode;

use anyhow::{Result, ensure};

use lab::{Lab, Pairing, Release};
use transcript::Transcript;

const TIER: isolation::Tier = isolation::Tier { name: "demo", tools: lab::TOOLS };

/// Debian 13 is the Docker host, Debian 12 the SSH server.
const PAIRING: Pairing = Pairing::full(Release::Trixie);

fn main() -> ExitCode {
    TIER.run(prepare, lab::sweep, || match first_minute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nthe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn prepare() -> Result<(), String> {
    lab::dirs::deb().map_err(|error| format!("{error:#}"))?;
    lab::prepare(&[PAIRING])
}

fn first_minute() -> Result<()> {
    let transcript = Transcript::start();
    transcript.progress("booting two Debian hosts: dockerhost (Docker) and storage (SSH server)");
    let lab = Lab::start(PAIRING)?;
    lab.server.export("data", "alice")?;
    lab.host.copy_in(&lab::dirs::deb()?, "/root/sshfs-docker.deb")?;
    transcript.progress("both are up");
    install(&lab, &transcript)?;
    create(&lab, &transcript)?;
    write_and_read(&lab, &transcript)?;
    look_behind_the_scenes(&lab, &transcript)?;
    remove(&lab, &transcript)?;
    transcript.progress("everything above was checked");
    Ok(())
}

fn install(lab: &Lab, transcript: &Transcript) -> Result<()> {
    transcript.chapter("Install the driver");
    transcript.run(&lab.host, "apt-get install -qq ./sshfs-docker.deb 2>&1")?;
    transcript.run(&lab.host, "systemctl enable --now sshfs-docker.socket 2>&1")?;
    let state = transcript.run(&lab.host, "systemctl is-active sshfs-docker.socket")?;
    ensure!(state == "active", "the socket is {state}");
    Ok(())
}

fn create(lab: &Lab, transcript: &Transcript) -> Result<()> {
    transcript.chapter("Create a volume");
    let create = "docker volume create -d sshfs -o sshcmd=alice@storage:/srv/data \
                  -o identity_file=/root/.ssh/id_ed25519 data";
    let name = transcript.run(&lab.host, create)?;
    ensure!(name == "data", "the volume is called {name}");
    let inspected = transcript.run(&lab.host, "docker volume inspect data")?;
    ensure!(inspected.contains(r#""Driver": "sshfs""#), "it has another driver");
    Ok(())
}

fn write_and_read(lab: &Lab, transcript: &Transcript) -> Result<()> {
    transcript.chapter("One container writes, another one reads, and the server has it");
    transcript.run(
        &lab.host,
        "docker run --rm -v data:/d busybox sh -c 'echo hello from a container > /d/hello; dd if=/dev/urandom of=/d/random bs=1M count=20' 2>&1",
    )?;
    let hello = transcript.run(&lab.host, "docker run --rm -v data:/d busybox cat /d/hello")?;
    ensure!(hello == "hello from a container", "another container reads {hello:?}");
    let read = transcript.run(&lab.host, "docker run --rm -v data:/d busybox sha256sum /d/random")?;
    let served = transcript.run(&lab.server, "sha256sum /srv/data/random")?;
    let sum = |line: &str| line.split(' ').next().map(str::to_owned);
    ensure!(sum(&read) == sum(&served), "the server has other bytes");
    Ok(())
}

fn look_behind_the_scenes(lab: &Lab, transcript: &Transcript) -> Result<()> {
    transcript.chapter("What talks to the network has no privilege, and what has privilege no network");
    transcript.run(&lab.host, "docker run -d --name app -v data:/d busybox sleep 1000")?;
    let unit = "sshfs-docker-mount-data.service";
    transcript.run(&lab.host, &format!("systemctl status --no-pager --lines 0 {unit} | cut -c -120"))?;
    let shown =
        transcript.run(&lab.host, &format!("systemctl show -p User -p CapabilityBoundingSet {unit}"))?;
    ensure!(shown.lines().any(|line| line == "User=sshfs-docker"), "the mount has another user");
    let script = "grep CapEff /proc/$(pgrep -x sshfs)/status /proc/$(pgrep -x ssh)/status";
    let capabilities = transcript.run(&lab.host, script)?;
    ensure!(capabilities.lines().count() == 2, "two processes were expected");
    ensure!(
        capabilities.lines().all(|line| line.ends_with("0000000000000000")),
        "the mount has capabilities"
    );
    Ok(())
}

fn remove(lab: &Lab, transcript: &Transcript) -> Result<()> {
    transcript.chapter("Remove the volume: every remote file stays");
    transcript.run(&lab.host, "docker rm -f app")?;
    transcript.run(&lab.host, "docker volume rm data")?;
    let volumes = transcript.run(&lab.host, "docker volume ls")?;
    ensure!(!volumes.contains("data"), "the volume is still there");
    let files = transcript.run(&lab.server, "ls -l /srv/data")?;
    ensure!(files.contains("hello") && files.contains("random"), "remote files are gone");
    Ok(())
}
