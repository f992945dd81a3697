//! Images that have files where the volume goes, and what Docker does with a container beside running it: copying in and
//! out, committing, looking.

use anyhow::{Result, ensure};

use crate::calls::Calls;
use crate::lab::network::SSH_SERVER;
use crate::lab::volume::{KEY_OPTION, long_syntax};
use crate::lab::{Image, Lab};

crate::cases![
    an_image_fills_an_empty_directory_of_the_servers_root,
    an_image_fills_an_empty_directory_if_the_volume_shows_the_owner_of_its_files,
    a_copy_that_cannot_change_owners_says_so_and_leaves_nothing_but_the_mode,
    nocopy_leaves_the_directory_as_it_is,
    a_directory_with_files_is_left_alone,
    a_file_that_came_two_seconds_ago_is_left_alone,
    without_a_cache_a_file_that_just_came_to_the_server_is_left_alone,
    a_volume_of_the_image_itself_stays_local,
    a_volume_of_the_image_without_options_is_refused_and_nothing_stays,
    a_commit_has_none_of_the_volumes_files,
    looking_at_a_container_makes_no_calls,
    docker_cp_nests_its_calls_in_those_of_a_running_container,
    docker_cp_with_a_stopped_container_has_calls_of_its_own,
    docker_cp_of_anothers_file_fails_at_the_owner_and_not_before,
];

/// Somebody's files, with modes that are nobody's default.
const APP: &str = "mkdir -p /app/sub
echo inside > /app/file; echo deep > /app/sub/deep; chmod 604 /app/file
chown -R 1234:1234 /app; chmod 751 /app; chmod 710 /app/sub";

/// `ls` of a tree on the server: modes, owners, names.
fn tree(lab: &Lab, directory: &str) -> Result<String> {
    lab.server.sh(&format!("cd {directory}; find . -printf '%m %u %p\n' | sort -k 3"))
}

fn app(lab: &Lab) -> Result<Image<'_>> {
    lab.image("app", APP, &[])
}

/// The image's files are what the server has.
fn ensure_copied(lab: &Lab, image: &Image<'_>, directory: &str) -> Result<()> {
    let original = image.run("", "cd /app; find . -type f -exec sha256sum {} + | sort -k 2")?;
    let copied = lab.server.checksums(directory)?;
    ensure!(original.lines().count() == 2, "the test's image: {original}");
    ensure!(copied == original, "the server has {copied}, the image {original}");
    Ok(())
}

fn an_image_fills_an_empty_directory_of_the_servers_root(lab: &Lab) -> Result<()> {
    let image = app(lab)?;
    let directory = lab.server.export("rooted", "root")?;
    lab.server.sh("install -D -m 600 ~alice/.ssh/authorized_keys /root/.ssh/authorized_keys")?;
    let calls = Calls::from_now(lab)?;
    let options = format!("-o sshcmd=root@{SSH_SERVER}:{directory} {KEY_OPTION}");
    let volume = lab.volume_with("rooted", &options)?;
    let seen = image.try_run("-v rooted:/app", "cat /app/file /app/sub/deep; stat -c '%u %a' /app /app/file");
    volume.remove()?.success()?;
    lab.server.sh("rm /root/.ssh/authorized_keys")?;
    ensure!(seen?.success()? == "inside\ndeep\n1234 751\n1234 604");
    ensure_copied(lab, &image, &directory)?;
    // No account of the server has the number.
    let tree = lab.server.sh(&format!("cd {directory}; find . -printf '%m %U %G %p\n' | sort -k 4"))?;
    ensure!(tree == "751 1234 1234 .\n604 1234 1234 ./file\n710 1234 1234 ./sub\n644 1234 1234 ./sub/deep");
    calls.ensure("rooted", "Create Mount Unmount Mount Unmount Remove")
}

/// Docker takes a refused chown for done where the file shows the wanted owner already.
fn an_image_fills_an_empty_directory_if_the_volume_shows_the_owner_of_its_files(lab: &Lab) -> Result<()> {
    let image = app(lab)?;
    let directory = lab.server.export("shown", "alice")?;
    let volume = lab.volume_on("shown", &directory, "-o uid=1234 -o gid=1234")?;
    let seen = image
        .run("-v shown:/app --user 1234", "cat /app/file; echo more > /app/more; stat -c '%u %a' /app")?;
    ensure!(seen == "inside\n1234 751", "{seen}");
    volume.wait_until_unmounted()?;
    let expected = "751 alice .\n604 alice ./file\n644 alice ./more\n710 alice ./sub\n644 alice ./sub/deep";
    let found = tree(lab, &directory)?;
    ensure!(found == expected, "on the server: {found}");
    lab.server.sh(&format!("rm {directory}/more"))?;
    ensure_copied(lab, &image, &directory)
}

/// Docker changes the mode before the owner, and undoes nothing: no driver hears of a chmod.
fn a_copy_that_cannot_change_owners_says_so_and_leaves_nothing_but_the_mode(lab: &Lab) -> Result<()> {
    let image = app(lab)?;
    let calls = Calls::from_now(lab)?;
    let volume = lab.volume("unowned")?;
    ensure!(tree(lab, &volume.directory)? == "755 alice .");
    let said = image.try_run("--name unowned-user -v unowned:/app", "true")?.failure()?;
    ensure!(said.contains("failed to chown") && said.contains("permission denied"), "{said}");
    let after = tree(lab, &volume.directory)?;
    ensure!(after == "751 alice .", "on the server: {after}");
    volume.wait_until_unmounted()?;
    lab.try_docker("inspect unowned-user")?.failure()?;
    calls.ensure("unowned", "Create Mount Unmount")?;
    // It can be used after that, by other images and with nocopy.
    ensure!(volume.run("ls -A /d; echo used > /d/file; cat /d/file")? == "used");
    Ok(())
}

fn nocopy_leaves_the_directory_as_it_is(lab: &Lab) -> Result<()> {
    let image = app(lab)?;
    let volume = lab.volume("bare")?;
    let calls = Calls::from_now(lab)?;
    for flag in ["-v bare:/app:nocopy", "--mount type=volume,src=bare,dst=/app,volume-nocopy"] {
        let seen = image.run(flag, "ls -A /app; stat -c '%a' /app")?;
        ensure!(seen == "755", "{flag}: {seen}");
        ensure!(tree(lab, &volume.directory)? == "755 alice .", "{flag}");
    }
    calls.ensure("bare", "Mount Unmount Mount Unmount")
}

fn a_directory_with_files_is_left_alone(lab: &Lab) -> Result<()> {
    let image = app(lab)?;
    let volume = lab.volume("lived-in")?;
    // A name that begins with a dot counts.
    lab.server.sh("echo precious > /srv/lived-in/.precious")?;
    let before = tree(lab, &volume.directory)?;
    ensure!(image.run("-v lived-in:/app", "ls -A /app; cat /app/.precious")? == ".precious\nprecious");
    let after = tree(lab, &volume.directory)?;
    ensure!(after == before, "{before} became {after}");
    Ok(())
}

/// A listing from when the directory was empty would have the image's files written over those that came since. sshfs by
/// itself keeps one for 20 s. After `age` seconds Docker must see what has come.
fn check_what_came_is_left_alone(lab: &Lab, name: &str, options: &str, age: &str) -> Result<()> {
    let image = app(lab)?;
    let directory = lab.server.export(name, "alice")?;
    let volume = lab.volume_on(name, &directory, &format!("-o uid=1234 -o gid=1234 {options}"))?;
    let holder = volume.hold(&format!("{name}-user"))?;
    ensure!(holder.exec("ls -A /d")?.is_empty());
    lab.server.sh(&format!("cd {directory}; echo precious > file; chown alice file; sleep {age}"))?;
    let seen = image.try_run(&format!("-v {name}:/app"), "ls -A /app; cat /app/file")?;
    ensure!(lab.server.sh(&format!("cat {directory}/file"))? == "precious", "{seen}");
    ensure!(seen.success()? == "file\nprecious");
    holder.remove()
}

fn a_file_that_came_two_seconds_ago_is_left_alone(lab: &Lab) -> Result<()> {
    check_what_came_is_left_alone(lab, "refilled", "", "2")
}

fn without_a_cache_a_file_that_just_came_to_the_server_is_left_alone(lab: &Lab) -> Result<()> {
    check_what_came_is_left_alone(lab, "refilled-now", "-o dir_cache=no", "0")
}

/// Scenario 21.
fn a_volume_of_the_image_itself_stays_local(lab: &Lab) -> Result<()> {
    let image = lab.image("volumed", "mkdir /local; echo shipped > /local/file", &["VOLUME /local"])?;
    let directory = lab.server.export("beside", "alice")?;
    let volume = lab.volume_of_a_client("beside", &directory);
    let calls = Calls::from_now(lab)?;
    let flags = format!("--name beside-user {}", long_syntax("src=beside", &directory));
    let seen = image
        .run(&flags, "cat /local/file; echo named > /d/file; grep -c ' /local fuse' /proc/mounts || :")?;
    ensure!(seen == "shipped\n0", "{seen}");
    ensure!(lab.server.sh("cat /srv/beside/file; ls /srv/beside")? == "named\nfile");
    ensure!(lab.docker("volume ls --quiet")? == "beside", "the anonymous one stays");
    volume.remove()?.success()?;
    calls.ensure("beside", "Create Mount Unmount Remove")?;
    ensure!(calls.count("Create")? == 1, "{:?}", calls.all()?);
    Ok(())
}

/// Docker has every volume of such an image made by the driver, and has no options for it.
fn a_volume_of_the_image_without_options_is_refused_and_nothing_stays(lab: &Lab) -> Result<()> {
    let image = lab.image("optionless", "mkdir /local", &["VOLUME /local"])?;
    let calls = Calls::from_now(lab)?;
    let said = image.try_run("--volume-driver sshfs", "true")?.failure()?;
    ensure!(said.contains("the option 'sshcmd' is required: -o sshcmd=[user@]host:[path]"), "{said}");
    let containers = lab.docker("ps --all --quiet")?;
    ensure!(containers.is_empty(), "left: {containers}");
    let volumes = lab.docker("volume ls --quiet")?;
    ensure!(volumes.is_empty(), "left: {volumes}");
    ensure!(calls.count("Create")? == 1 && calls.count("Mount")? == 0, "{:?}", calls.all()?);
    Ok(())
}

fn a_commit_has_none_of_the_volumes_files(lab: &Lab) -> Result<()> {
    let volume = lab.volume("committed")?;
    let container = volume.hold("committed-user")?;
    container.exec("echo remote > /d/file; echo own > /own")?;
    let image = lab.commit(container.name(), "committed-image", &[])?;
    let seen = image.run("", "cat /own; ls -A /d")?;
    ensure!(seen == "own", "in the image: {seen}");
    ensure!(lab.server.sh("cat /srv/committed/file")? == "remote");
    container.remove()
}

/// Docker does all that without the volume, or with the mount that is there.
fn looking_at_a_container_makes_no_calls(lab: &Lab) -> Result<()> {
    let volume = lab.volume("looked-at")?;
    let container = volume.hold("looked-at-user")?;
    container.exec("echo content > /d/file")?;
    let calls = Calls::from_now(lab)?;
    let image = lab.commit(container.name(), "looked-at-image", &[])?;
    container.exec("cat /d/file")?;
    for look in ["logs", "diff", "inspect --type container", "stats --no-stream", "top", "port"] {
        container.docker(look)?;
    }
    let exported = lab.host.sh("docker export looked-at-user | tar -t | grep '^d/' || :")?;
    let made = calls.all()?;
    ensure!(made.is_empty(), "calls: {made:?}");
    ensure!(["", "d/"].contains(&&*exported), "exported: {exported}");
    drop(image);
    container.remove()
}

/// Copies a file to /d/in of a container. With `--archive` it keeps its owner: alice's number is the one that alice may
/// give a file.
fn copy_in(lab: &Lab, container: &str) -> Result<()> {
    let alice = lab.server.sh("id -u alice")?;
    let script = format!("echo in > /var/tmp/in; chown {alice}:{alice} /var/tmp/in");
    lab.host
        .sh(&format!("{script}; docker cp --archive /var/tmp/in {container}:/d/in; rm /var/tmp/in"))
        .map(drop)
}

/// Scenario 18. Docker has one id for all of them.
fn docker_cp_nests_its_calls_in_those_of_a_running_container(lab: &Lab) -> Result<()> {
    let volume = lab.volume("nested")?;
    let calls = Calls::from_now(lab)?;
    let container = volume.hold("nested-user")?;
    calls.ensure("nested", "Mount")?;
    container.exec("echo out > /d/out")?;
    ensure!(lab.host.sh("docker cp nested-user:/d/out - | tar -xO")? == "out");
    calls.ensure("nested", "Mount Mount Unmount")?;
    container.docker("kill")?;
    calls.ensure("nested", "Mount Mount Unmount Unmount")?;
    ensure!(calls.callers()? == 1, "{:?}", calls.all()?);
    container.start()?;
    let calls = Calls::from_now(lab)?;
    copy_in(lab, "nested-user")?;
    calls.ensure("nested", "Mount Unmount Mount Unmount")?;
    ensure!(lab.server.sh("cat /srv/nested/out /srv/nested/in")? == "out\nin");
    container.remove()?;
    volume.wait_until_unmounted()
}

fn docker_cp_with_a_stopped_container_has_calls_of_its_own(lab: &Lab) -> Result<()> {
    let volume = lab.volume("cold")?;
    let container = volume.start("cold-user", "", "echo out > /d/out")?;
    container.docker("wait")?;
    volume.wait_until_unmounted()?;
    let calls = Calls::from_now(lab)?;
    ensure!(lab.host.sh("docker cp cold-user:/d/out - | tar -xO")? == "out");
    calls.ensure("cold", "Mount Unmount")?;
    let calls = Calls::from_now(lab)?;
    copy_in(lab, "cold-user")?;
    calls.ensure("cold", "Mount Unmount Mount Unmount")?;
    ensure!(lab.server.sh("cat /srv/cold/out /srv/cold/in")? == "out\nin");
    container.remove()?;
    volume.wait_until_unmounted()
}

/// Docker makes root the owner of what it copies, after it has copied it.
fn docker_cp_of_anothers_file_fails_at_the_owner_and_not_before(lab: &Lab) -> Result<()> {
    let volume = lab.volume("foreign")?;
    let container = volume.hold("foreign-user")?;
    let calls = Calls::from_now(lab)?;
    let script =
        "echo in > /var/tmp/in; docker cp /var/tmp/in foreign-user:/d/in || { rm /var/tmp/in; exit 1; }";
    let said = lab.host.try_sh(script)?.failure()?;
    ensure!(said.contains("lchown") && said.contains("permission denied"), "{said}");
    calls.ensure("foreign", "Mount Unmount Mount Unmount")?;
    let there = lab.server.sh("cd /srv/foreign; stat -c '%U %n' *; cat in")?;
    ensure!(there == "alice in\nin", "{there}");
    container.remove()?;
    volume.wait_until_unmounted()
}
