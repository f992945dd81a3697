//! What Docker knows of volumes: names, drivers, options, and what is asked of the driver for it.

use anyhow::{Result, ensure};

use crate::calls::Calls;
use crate::lab::Lab;

crate::cases![a_named_volume_costs_one_call_of_each_kind];

/// Scenario 2.
fn a_named_volume_costs_one_call_of_each_kind(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let volume = lab.volume("named")?;
    volume.run("echo named > /d/file")?;
    ensure!(lab.server.sh("cat /srv/named/file")? == "named");
    volume.remove()?.success()?;
    calls.ensure("named", "Create Mount Unmount Remove")?;
    lab.host.sh(&format!("! test -e {}", volume.mountpoint())).map(drop)
}
