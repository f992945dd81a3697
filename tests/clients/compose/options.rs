//! Options in a Compose file, their change, and volumes that are not the project's own.

use anyhow::{Result, ensure};

use super::{APP, Project, is_listed, on_server, options};
use crate::calls::Calls;
use crate::lab::{Lab, Release};

crate::cases![
    numbers_and_flags_arrive,
    a_mode_without_quotation_marks_is_another,
    a_misspelt_option_fails_up_before_there_is_a_container,
    changed_options_wait_until_the_volume_is_forgotten,
    options_changed_by_set_survive_up_and_recreation,
    an_external_volume_is_used_and_never_removed,
    down_with_volumes_leaves_a_volume_that_another_project_uses,
];

/// A flag is an empty text.
fn numbers_and_flags_arrive(lab: &Lab) -> Result<()> {
    let project = Project::new(lab, "quoted", &[APP])?;
    project.write(&[APP], "uid: 1234\ngid: \"1235\"\numask: \"077\"\nreconnect: \"\"")?;
    let volume = project.volume();
    project.run("up --detach")?;
    let seen = project.exec("app", "echo > /d/file; stat -c '%u %g %a' /d/file")?;
    ensure!(seen == "1234 1235 700", "the container sees {seen}");
    let known = options(lab, &volume)?;
    ensure!(known.contains(" reconnect: ") && known.contains(" umask:077]"), "Docker knows {known}");
    Ok(())
}

/// What docs/compose.md warns of: 077 is 63 for YAML, before the driver sees it.
fn a_mode_without_quotation_marks_is_another(lab: &Lab) -> Result<()> {
    let project = Project::new(lab, "octal", &[APP])?;
    project.write(&[APP], "umask: 077")?;
    let volume = project.volume();
    project.run("up --detach")?;
    let known = options(lab, &volume)?;
    ensure!(known.contains(" umask:63]"), "Docker knows {known}");
    Ok(())
}

fn a_misspelt_option_fails_up_before_there_is_a_container(lab: &Lab) -> Result<()> {
    let project = Project::new(lab, "misspelt", &[APP])?;
    let volume = project.volume();
    project.write(&[APP], "umaks: \"077\"")?;
    let said = project.fail("up --detach")?;
    let sentence = "volume misspelt_data: unknown option 'umaks'; did you mean 'umask'?";
    ensure!(said.contains(sentence), "Compose says: {said}");
    ensure!(!is_listed(lab, &volume)?, "the volume exists");
    ensure!(project.containers()? == 0, "there is a container");
    project.write(&[APP], "umask: \"077\"")?;
    project.run("up --detach").map(drop)
}

/// 1.29 refuses to go on, 2.26 does not notice, 2.40 asks and takes silence for no.
fn changed_options_wait_until_the_volume_is_forgotten(lab: &Lab) -> Result<()> {
    let project = Project::up(lab, "changed")?;
    let volume = project.volume();
    project.exec("app", "echo kept > /d/file")?;
    let (files, known) = (project.served()?, options(lab, &volume)?);
    project.write(&[APP], "uid: 1234")?;
    let (said, notice) = match lab.host.release() {
        Release::Bookworm => (project.fail("up --detach")?, "a different \"uid\" driver_opt"),
        Release::Trixie => (project.run("up --detach")?, "Container changed-app-1  Running"),
        Release::Forky => (project.run("up --detach")?, "exists but doesn't match configuration"),
    };
    ensure!(said.contains(notice), "Compose says: {said}");
    ensure!(options(lab, &volume)? == known, "other options already: {}", options(lab, &volume)?);
    ensure!(project.exec("app", "cat /d/file")? == "kept");
    project.run("down --volumes")?;
    project.run("up --detach")?;
    ensure!(project.exec("app", "stat -c %u /d/file; cat /d/file")? == "1234\nkept");
    ensure!(project.served()? == files, "the server has {}", project.served()?);
    Ok(())
}

/// Docker, which Compose asks, goes on to know the old ones: the file stays as it is.
fn options_changed_by_set_survive_up_and_recreation(lab: &Lab) -> Result<()> {
    let project = Project::up(lab, "set")?;
    let _volume = project.volume();
    project.exec("app", "echo kept > /d/file")?;
    let files = project.served()?;
    lab.host.sh("sshfs-docker set set_data -o uid=1234; sshfs-docker restart set_data")?;
    for arguments in ["up --detach", "up --detach --force-recreate"] {
        project.run(arguments)?;
        let seen = project.exec("app", "stat -c %u /d/file; cat /d/file")?;
        ensure!(seen == "1234\nkept", "after {arguments}: {seen}");
    }
    ensure!(project.served()? == files, "the server has {}", project.served()?);
    Ok(())
}

fn an_external_volume_is_used_and_never_removed(lab: &Lab) -> Result<()> {
    let project = Project::new(lab, "guest", &[APP])?;
    project.write_with(&[APP], "external: true\n    name: by-hand")?;
    let missing = project.fail("up --detach")?;
    ensure!(missing.contains("by-hand"), "Compose says: {missing}");
    let volume = lab.volume_on("by-hand", &project.directory(), "")?;
    let calls = Calls::from_now(lab)?;
    project.run("up --detach")?;
    project.exec("app", "echo by compose > /d/file")?;
    project.run("down --volumes")?;
    calls.ensure("by-hand", "Mount Unmount")?;
    ensure!(volume.run("cat /d/file")? == "by compose");
    ensure!(lab.server.sh("cat /srv/compose/guest/file")? == "by compose");
    Ok(())
}

/// Of a volume with a name of its own, which a second project takes for its own.
fn down_with_volumes_leaves_a_volume_that_another_project_uses(lab: &Lab) -> Result<()> {
    let [host, visitor] = ["host", "visitor"].map(|name| Project::new(lab, name, &[APP]));
    let (host, visitor) = (host?, visitor?);
    let volume = lab.volume_of_a_client("common", &host.directory());
    let shared = format!("name: common\n    {}", on_server(&host.directory(), ""));
    for project in [&host, &visitor] {
        project.write_with(&[APP], &shared)?;
        project.run("up --detach")?;
    }
    visitor.exec("app", "echo by the visitor > /d/file")?;
    // 1.29 fails, the others only say so.
    let said = visitor.try_run("down --volumes")?.stdout;
    ensure!(said.contains("in use"), "Compose says: {said}");
    volume.wait_until_used_by(1)?;
    ensure!(host.exec("app", "cat /d/file; echo by the host > /d/other")? == "by the visitor");
    ensure!(lab.server.sh("cd /srv/compose/host; cat file other")? == "by the visitor\nby the host");
    host.run("down --volumes")?;
    ensure!(!is_listed(lab, &volume)?, "the last one has left it");
    Ok(())
}
