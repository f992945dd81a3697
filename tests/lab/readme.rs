//! What the README shows works as it stands there.

use anyhow::{Context, Result, ensure};

use crate::lab::Lab;
use crate::lab::driver::PACKAGE;

crate::cases![the_first_screen_of_the_readme_works];

const README: &str = include_str!("../../README.md");

/// The commands of the first `sh` block.
fn first_block() -> Result<&'static str> {
    let (_, rest) = README.split_once("```sh\n").context("the README has no block of commands")?;
    rest.split_once("```").map(|(block, _)| block).context("the block has no end")
}

fn the_first_screen_of_the_readme_works(lab: &Lab) -> Result<()> {
    lab.server.export("data", "alice")?;
    lab.host.sh(&format!("mkdir -p /root/readme; cp {PACKAGE} /root/readme/sshfs-docker_0_amd64.deb"))?;
    let block = first_block()?;
    ensure!(block.lines().count() > 7, "this is not the first screen: {block}");
    // `apt` would ask a terminal, and the package is installed already.
    let script = block.replace("apt install", "apt-get install --yes --reinstall --allow-downgrades");
    let shown = lab.host.sh(&format!("cd /root/readme; set -e\n{script}"))?;
    ensure!(shown.contains("hello"), "the second container did not read the greeting: {shown}");
    ensure!(lab.server.sh("cat /srv/data/greeting")? == "hello");
    Ok(())
}
