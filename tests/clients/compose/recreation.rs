//! Compose that offers to recreate a volume whose options have changed.

use anyhow::{Result, ensure};

use super::{APP, Project};
use crate::calls::Calls;
use crate::lab::Lab;

crate::cases![a_recreated_volume_has_the_new_options_and_every_file];

/// Compose warns that data will be lost. None is.
fn a_recreated_volume_has_the_new_options_and_every_file(lab: &Lab) -> Result<()> {
    let project = Project::up(lab, "agreed")?;
    let volume = project.volume();
    project.exec("app", "mkdir /d/sub; echo kept > /d/sub/file")?;
    let files = project.served()?;
    project.write(&[APP], "uid: 1234")?;
    let calls = Calls::from_now(lab)?;
    project.run("up --detach --yes")?;
    calls.ensure(&volume.name, "Unmount Remove Create Mount")?;
    ensure!(project.exec("app", "stat -c %u /d/sub/file; cat /d/sub/file")? == "1234\nkept");
    ensure!(project.served()? == files, "the server has {}", project.served()?);
    Ok(())
}
