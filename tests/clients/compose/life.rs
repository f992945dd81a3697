//! What Compose does in a project's life, what it costs in calls, and that it keeps the data.

use anyhow::{Result, ensure};

use super::{APP, Project, is_listed, service, sshfs_processes};
use crate::calls::Calls;
use crate::lab::Lab;
use crate::lab::volume::remote;

crate::cases![
    up_creates_the_volume_and_what_a_container_writes_is_on_the_server,
    two_services_share_one_mount,
    scaling_up_mounts_once_per_container,
    scaling_down_keeps_the_mount_until_the_last_container,
    ten_containers_that_start_at_once_share_one_mount,
    a_stopped_project_is_unmounted_and_starts_again,
    restart_keeps_the_data,
    a_recreated_service_keeps_the_data,
    a_one_off_container_leaves_no_mount,
    down_keeps_the_volume,
    down_with_volumes_forgets_the_volume_and_no_file,
];

fn up_creates_the_volume_and_what_a_container_writes_is_on_the_server(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::up(lab, "first")?;
    let volume = project.volume();
    project.exec("app", "echo written > /d/file")?;
    ensure!(lab.server.sh("cat /srv/compose/first/file")? == "written");
    let known = lab.docker("volume inspect --format '{{.Driver}} {{.Status.remote}}' first_data")?;
    ensure!(known == format!("sshfs {}", remote("/srv/compose/first")), "Docker knows {known}");
    calls.ensure(&volume.name, "Create Mount")
}

fn two_services_share_one_mount(lab: &Lab) -> Result<()> {
    let project = Project::new(lab, "pair", &[APP, service("other", "data:/elsewhere")])?;
    let volume = project.volume();
    project.run("up --detach")?;
    project.exec("app", "echo from app > /d/file")?;
    ensure!(project.exec("other", "cat /elsewhere/file; echo from other > /elsewhere/file")? == "from app");
    ensure!(lab.server.sh("cat /srv/compose/pair/file")? == "from other");
    volume.wait_until_used_by(2)?;
    ensure!(sshfs_processes(lab, &volume)? == 1, "not one sshfs for both");
    project.run("stop app")?;
    volume.wait_until_used_by(1)?;
    ensure!(project.exec("other", "cat /elsewhere/file")? == "from other");
    Ok(())
}

fn scaling_up_mounts_once_per_container(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::up(lab, "grown")?;
    let volume = project.volume();
    let sshfs = lab.main_pid(&volume.unit())?;
    project.run("up --detach --scale app=3")?;
    ensure!(project.running()? == 3, "{} containers run", project.running()?);
    volume.wait_until_used_by(3)?;
    ensure!(lab.main_pid(&volume.unit())? == sshfs, "the mount was made anew");
    for index in 1..=3 {
        project.run(&format!("exec -T --index {index} app sh -c 'echo {index} > /d/{index}'"))?;
    }
    ensure!(lab.server.sh("cat /srv/compose/grown/*")? == "1\n2\n3");
    calls.ensure(&volume.name, "Create Mount Mount Mount")
}

fn scaling_down_keeps_the_mount_until_the_last_container(lab: &Lab) -> Result<()> {
    let project = Project::new(lab, "shrunk", &[APP])?;
    let volume = project.volume();
    project.run("up --detach --scale app=3")?;
    let (calls, sshfs) = (Calls::from_now(lab)?, lab.main_pid(&volume.unit())?);
    project.run("up --detach --scale app=1")?;
    calls.ensure(&volume.name, "Unmount Unmount")?;
    volume.wait_until_used_by(1)?;
    ensure!(lab.main_pid(&volume.unit())? == sshfs, "the mount was made anew");
    project.exec("app", "echo still here > /d/file")?;
    project.run("up --detach --scale app=0")?;
    calls.ensure(&volume.name, "Unmount Unmount Unmount")?;
    volume.wait_until_unmounted()?;
    ensure!(lab.server.sh("cat /srv/compose/shrunk/file")? == "still here");
    Ok(())
}

fn ten_containers_that_start_at_once_share_one_mount(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::new(lab, "crowd", &[APP])?;
    let volume = project.volume();
    project.run("up --detach --scale app=10")?;
    volume.wait_until_used_by(10)?;
    ensure!(sshfs_processes(lab, &volume)? == 1, "not one sshfs for all");
    project.run("down")?;
    volume.wait_until_unmounted()?;
    calls.ensure(&volume.name, &["Create", &["Mount"; 10].join(" "), &["Unmount"; 10].join(" ")].join(" "))
}

fn a_stopped_project_is_unmounted_and_starts_again(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::up(lab, "stopped")?;
    let volume = project.volume();
    project.exec("app", "echo before > /d/file")?;
    project.run("stop")?;
    volume.wait_until_unmounted()?;
    project.run("start")?;
    ensure!(project.exec("app", "cat /d/file")? == "before");
    calls.ensure(&volume.name, "Create Mount Unmount Mount")
}

fn restart_keeps_the_data(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::up(lab, "restarted")?;
    let volume = project.volume();
    project.exec("app", "echo before > /d/file")?;
    project.run("restart")?;
    ensure!(project.exec("app", "cat /d/file; echo after > /d/other")? == "before");
    ensure!(lab.server.sh("cd /srv/compose/restarted; cat file other")? == "before\nafter");
    calls.ensure(&volume.name, "Create Mount Unmount Mount")
}

fn a_recreated_service_keeps_the_data(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::up(lab, "recreated")?;
    let volume = project.volume();
    project.exec("app", "echo before > /d/file")?;
    let container = project.run("ps --quiet app")?;
    project.run("up --detach --force-recreate")?;
    ensure!(project.run("ps --quiet app")? != container, "it was not recreated");
    ensure!(project.exec("app", "cat /d/file; echo after > /d/other")? == "before");
    ensure!(lab.server.sh("cd /srv/compose/recreated; cat file other")? == "before\nafter");
    calls.ensure(&volume.name, "Create Mount Unmount Mount")
}

fn a_one_off_container_leaves_no_mount(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::new(lab, "oneoff", &[APP])?;
    let volume = project.volume();
    project.run("run --rm -T app sh -c 'echo once > /d/file'")?;
    volume.wait_until_unmounted()?;
    ensure!(lab.server.sh("cat /srv/compose/oneoff/file")? == "once");
    calls.ensure(&volume.name, "Create Mount Unmount")
}

fn down_keeps_the_volume(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::up(lab, "down")?;
    let volume = project.volume();
    project.exec("app", "mkdir /d/sub; echo one > /d/one; echo two > /d/sub/two")?;
    let before = project.served()?;
    project.run("down")?;
    volume.wait_until_unmounted()?;
    ensure!(is_listed(lab, &volume)?, "the volume is gone");
    ensure!(project.served()? == before, "the server has {}", project.served()?);
    project.run("up --detach")?;
    ensure!(project.exec("app", "cat /d/one /d/sub/two")? == "one\ntwo");
    calls.ensure(&volume.name, "Create Mount Unmount Mount")
}

fn down_with_volumes_forgets_the_volume_and_no_file(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::up(lab, "forgotten")?;
    let volume = project.volume();
    project.exec("app", "mkdir /d/sub; echo one > /d/one; echo two > /d/sub/.two")?;
    let before = project.served()?;
    project.run("down --volumes")?;
    calls.ensure(&volume.name, "Create Mount Unmount Remove")?;
    volume.wait_until_unmounted()?;
    ensure!(!is_listed(lab, &volume)?, "the volume is still there");
    ensure!(
        before.lines().count() == 2 && project.served()? == before,
        "the server has {}",
        project.served()?
    );
    project.run("up --detach")?;
    ensure!(project.exec("app", "cat /d/one /d/sub/.two")? == "one\ntwo");
    Ok(())
}
