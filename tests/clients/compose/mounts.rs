//! How a service mounts a volume, and what is said when it cannot.

use anyhow::{Result, ensure};

use super::{APP, Project, Service, on_server, service};
use crate::lab::Lab;
use crate::lab::network::SSH_SERVER;
use crate::lab::ssh_server::ALICE;
use crate::lab::volume::KEY;

crate::cases![
    nocopy_keeps_the_files_of_the_image_to_itself,
    a_read_only_mount_refuses_writes_while_another_service_writes,
    a_missing_directory_fails_up_until_it_is_there,
    a_key_that_is_not_accepted_fails_up_until_it_is,
];

/// Without it Docker copies them, and fails: alice may not give files away.
fn nocopy_keeps_the_files_of_the_image_to_itself(lab: &Lab) -> Result<()> {
    let image = lab.image("with-files", "mkdir /d; echo inside > /d/file", &[])?;
    let mount = "{type: volume, source: data, target: /d, volume: {nocopy: true}}";
    let service = Service { image: &image.name, mount, ..APP };
    let project = Project::new(lab, "nocopy", &[service])?;
    project.run("up --detach")?;
    ensure!(project.exec("app", "ls -A /d")?.is_empty(), "the container sees files of the image");
    ensure!(project.served()?.is_empty(), "the server has {}", project.served()?);
    project.run("down")?;
    project.write(&[Service { mount: "data:/d", ..service }], "")?;
    let said = project.fail("up --detach")?;
    ensure!(said.contains("failed to chown"), "the image has nothing to copy: {said}");
    Ok(())
}

fn a_read_only_mount_refuses_writes_while_another_service_writes(lab: &Lab) -> Result<()> {
    let long = "{type: volume, source: data, target: /d, read_only: true}";
    let services = [APP, service("short", "data:/d:ro"), service("long", long)];
    let project = Project::new(lab, "readers", &services)?;
    project.run("up --detach")?;
    project.exec("app", "echo there > /d/file")?;
    for reader in ["short", "long"] {
        ensure!(project.exec(reader, "cat /d/file")? == "there");
        for attempt in ["echo x > /d/new", "echo x > /d/file", "rm /d/file"] {
            let refusal = project.fail(&format!("exec -T {reader} sh -euc '{attempt}'"))?;
            ensure!(refusal.contains("Read-only file system"), "{reader}: {refusal}");
        }
    }
    project.exec("app", "echo still > /d/other")?;
    ensure!(lab.server.sh("cd /srv/compose/readers; ls; cat *")? == "file\nother\nthere\nstill");
    Ok(())
}

/// `up` fails and says `sentence`, changes nothing, and works after `mended`.
fn check_fails_until_mended(
    project: &Project<'_>,
    sentence: &str,
    mended: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let volume = project.volume();
    let before = project.served()?;
    let said = project.fail("up --detach")?;
    ensure!(said.contains(sentence), "Compose says: {said}");
    ensure!(project.running()? == 0, "a container runs");
    volume.wait_until_unmounted()?;
    ensure!(project.served()? == before, "the server has {}", project.served()?);
    mended()?;
    project.run("up --detach")?;
    project.exec("app", "echo mended > /d/mended").map(drop)
}

fn a_missing_directory_fails_up_until_it_is_there(lab: &Lab) -> Result<()> {
    let project = Project::new(lab, "lost", &[APP])?;
    lab.server.sh("echo beside it > /srv/compose/lost/file")?;
    project.write_with(&[APP], &on_server("/srv/compose/lost/there", ""))?;
    let sentence = format!(
        "cannot mount volume lost_data from {ALICE}@{SSH_SERVER}:/srv/compose/lost/there: the remote directory does not exist"
    );
    check_fails_until_mended(&project, &sentence, || {
        lab.server.export("compose/lost/there", ALICE).map(drop)
    })?;
    ensure!(lab.server.sh("cat /srv/compose/lost/there/mended")? == "mended");
    Ok(())
}

fn a_key_that_is_not_accepted_fails_up_until_it_is(lab: &Lab) -> Result<()> {
    let project = Project::new(lab, "locked", &[APP])?;
    lab.server.sh("echo inside > /srv/compose/locked/file")?;
    let second = format!("{}/second", project.place());
    let make = format!("ssh-keygen -q -t ed25519 -N '' -C second -f {second}; cat {second}.pub");
    let key = lab.host.sh(&make)?;
    project.write_with(&[APP], &on_server(&project.directory(), "").replace(KEY, &second))?;
    let sentence = format!(
        "cannot mount volume locked_data from {ALICE}@{SSH_SERVER}:/srv/compose/locked: permission denied: the server refused the key"
    );
    check_fails_until_mended(&project, &sentence, || {
        lab.server.sh(&format!("echo '{key}' >> ~alice/.ssh/authorized_keys")).map(drop)
    })?;
    ensure!(lab.server.sh("cd /srv/compose/locked; cat file mended")? == "inside\nmended");
    lab.server.sh("sed -i '/ second$/d' ~alice/.ssh/authorized_keys").map(drop)
}
