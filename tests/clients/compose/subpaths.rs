//! A service with a part of a volume, for Docker and Compose that know `subpath`.

use anyhow::{Result, ensure};

use super::{Project, service};
use crate::lab::Lab;
use crate::lab::ssh_server::ALICE;

crate::cases![a_subpath_is_all_that_a_service_sees];

fn a_subpath_is_all_that_a_service_sees(lab: &Lab) -> Result<()> {
    let mount = "{type: volume, source: data, target: /d, volume: {subpath: part}}";
    let project = Project::new(lab, "parts", &[service("app", mount)])?;
    let volume = project.volume();
    lab.server.sh("echo outside > /srv/compose/parts/file")?;
    let missing = project.fail("up --detach")?;
    ensure!(missing.contains("/parts_data/part: no such file or directory"), "Compose says: {missing}");
    volume.wait_until_unmounted()?;
    lab.server.export("compose/parts/part", ALICE)?;
    project.run("up --detach")?;
    ensure!(project.exec("app", "echo inside > /d/new; ls -A /d")? == "new");
    ensure!(lab.server.sh("cd /srv/compose/parts; cat file part/new")? == "outside\ninside");
    project.run("down")?;
    volume.wait_until_unmounted()
}
