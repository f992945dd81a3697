//! What Docker knows of volumes: names, drivers, options and errors, and what the driver is asked for it.
//!
//! The numbers of scenarios are those of docs/clients.md.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::calls::Calls;
use crate::lab::driver::{SERVICE, SOCKET};
use crate::lab::ssh_server::ALICE;
use crate::lab::volume::{KEY, long_syntax, options, remote};
use crate::lab::{Lab, poll};

crate::cases![
    a_name_belongs_to_one_driver,
    a_volume_that_exists_needs_no_driver_to_be_named,
    a_driver_that_is_down_does_not_hold_up_another_one,
    a_driver_that_comes_two_seconds_late_is_found,
    a_list_is_one_call,
    an_unknown_name_is_told_after_one_look,
    the_status_is_shown_as_it_is,
    a_volume_that_is_only_made_and_listed_is_asked_for_no_path,
    the_scope_is_asked_once_in_dockers_life,
    a_volume_removed_behind_dockers_back_can_be_made_anew_with_other_options,
    a_volume_removed_behind_dockers_back_leaves_its_name_to_another_driver,
    a_volume_that_the_driver_has_already_is_adopted_with_its_label,
    a_volume_that_vanished_while_docker_was_off_is_not_listed,
    an_error_of_every_call_is_shown_in_the_drivers_words,
    a_refused_create_leaves_nothing,
    prune_takes_no_volume_of_the_driver,
    filters_find_volumes_by_driver_name_label_and_use,
    a_volume_in_use_is_not_removed_and_an_unknown_one_is_told,
    the_date_of_a_volume_stays,
    the_driver_is_no_driver_for_networks,
    a_spec_of_an_administrator_in_json_is_found,
    names_with_dots_dashes_and_underscores_are_told_apart,
    a_daemon_that_stops_between_two_calls_is_not_noticed,
];

/// Scenario 1.
fn a_name_belongs_to_one_driver(lab: &Lab) -> Result<()> {
    lab.docker("volume create taken")?;
    let refused = lab.try_docker(&format!("volume create --driver sshfs {} taken", options("")));
    let again = lab.docker("volume create --driver local taken");
    lab.docker("volume rm taken")?;
    let refused = refused?.failure()?;
    ensure!(refused.contains("unique"), "{refused}");
    ensure!(again? == "taken");
    let volume = lab.volume("taken")?;
    ensure!(lab.docker("volume inspect --format '{{.Driver}}' taken")? == "sshfs");
    volume.remove()?.success().map(drop)
}

/// Scenario 8.
fn a_volume_that_exists_needs_no_driver_to_be_named(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let volume = lab.volume("nameless")?;
    let container = volume.hold("nameless-user")?;
    let mount = container.docker("inspect --format '{{range .Mounts}}{{.Driver}} {{.Name}}{{end}}'")?;
    ensure!(mount == "sshfs nameless", "{mount}");
    container.remove()?;
    volume.remove()?.success()?;
    calls.ensure("nameless", "Create Mount Unmount Remove")
}

/// Scenario 6. The spec stays, nobody listens.
fn a_driver_that_is_down_does_not_hold_up_another_one(lab: &Lab) -> Result<()> {
    lab.host
        .sh("mkdir -p /etc/docker/plugins; echo unix:///run/nobody.sock > /etc/docker/plugins/down.spec")?;
    let waiting = lab.host.sh("docker volume create --driver down hopeless >/dev/null 2>&1 & echo $!")?;
    let called = poll::until_true("Docker to call it", Duration::from_secs(10), || {
        Ok(lab.host.try_sh("journalctl --boot --unit docker.service | grep -q nobody.sock")?.ok())
    });
    let other = lab.try_docker("volume create quick");
    lab.host.try_sh(&format!("kill {waiting}; rm /etc/docker/plugins/down.spec; docker volume rm quick"))?;
    called?;
    let other = other?;
    ensure!(other.ok() && other.took < Duration::from_secs(10), "Docker waits 15 s for a driver: {other}");
    Ok(())
}

/// Scenario 7.
fn a_driver_that_comes_two_seconds_late_is_found(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("late", ALICE)?;
    let deaf = lab.deafen()?;
    // Docker must not know it from before.
    lab.restart_docker()?;
    let calls = Calls::from_now(lab)?;
    lab.host.sh(&format!("(sleep 2; systemctl start {SOCKET}) >/dev/null 2>&1 &"))?;
    let flag = long_syntax("src=late", &directory);
    let run = format!("run --rm --network none {flag} busybox sh -c 'echo late > /d/file'");
    let ran = lab.try_docker(&run)?;
    drop(deaf);
    lab.docker("volume rm late")?;
    ensure!(ran.ok() && ran.took < Duration::from_secs(15), "{ran}");
    calls.ensure("late", "Create Mount Unmount Remove")?;
    ensure!(lab.server.sh("cat /srv/late/file")? == "late");
    Ok(())
}

/// Scenario 9.
fn a_list_is_one_call(lab: &Lab) -> Result<()> {
    let _volume = lab.volume("listed")?;
    let calls = Calls::from_now(lab)?;
    let list = lab.docker("volume ls --format '{{.Driver}} {{.Name}}'")?;
    ensure!(list.lines().any(|line| line == "sshfs listed"), "{list}");
    ensure!(calls.count("List")? == 1, "{:?}", calls.all()?);
    Ok(())
}

/// Scenarios 10 and 12: what Docker makes of an answer without a volume.
fn an_unknown_name_is_told_after_one_look(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let refused = lab.try_docker("volume inspect nowhere")?.failure()?;
    ensure!(refused.to_lowercase().contains("no such volume"), "{refused}");
    ensure!(calls.count("Get")? == 1, "{:?}", calls.all()?);
    Ok(())
}

/// Scenario 10.
fn the_status_is_shown_as_it_is(lab: &Lab) -> Result<()> {
    let volume = lab.volume("shown")?;
    let status: serde_json::Value =
        serde_json::from_str(&lab.docker("volume inspect --format '{{json .Status}}' shown")?)?;
    let answer = lab.client()?.get("shown").ok();
    ensure!(status == answer["Volume"]["Status"], "{status}\n{answer}");
    ensure!(status["remote"] == remote(&volume.directory), "{status}");
    Ok(())
}

/// Scenario 13.
fn a_volume_that_is_only_made_and_listed_is_asked_for_no_path(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let volume = lab.volume("pathless")?;
    lab.docker("volume ls")?;
    volume.remove()?.success()?;
    calls.ensure("pathless", "Create Remove")
}

/// Scenario 15.
fn the_scope_is_asked_once_in_dockers_life(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    lab.restart_docker()?;
    let _volumes = ["scope-1", "scope-2", "scope-3"].map(|name| lab.volume(name));
    ensure!(lab.docker("volume inspect --format '{{.Scope}}' scope-3")? == "local");
    ensure!(calls.count("Activate")? == 1 && calls.count("Capabilities")? == 1, "{:?}", calls.all()?);
    Ok(())
}

/// Removes a volume as another client of the driver would.
fn remove_behind_dockers_back(lab: &Lab, name: &str) -> Result<()> {
    lab.client()?.remove(name).ok();
    Ok(())
}

/// Scenario 16.
fn a_volume_removed_behind_dockers_back_can_be_made_anew_with_other_options(lab: &Lab) -> Result<()> {
    let volume = lab.volume("outside")?;
    remove_behind_dockers_back(lab, "outside")?;
    let again = lab.volume_on("outside", &volume.directory, "-o ro")?;
    let known = lab.docker("volume inspect --format '{{json .Options}}' outside")?;
    ensure!(known.contains(r#""ro""#), "{known}");
    let refusal = again.try_run("touch /d/file")?.failure()?;
    ensure!(refusal.contains("Read-only file system"), "{refusal}");
    Ok(())
}

/// Scenario 16.
fn a_volume_removed_behind_dockers_back_leaves_its_name_to_another_driver(lab: &Lab) -> Result<()> {
    let _volume = lab.volume("outside-2")?;
    remove_behind_dockers_back(lab, "outside-2")?;
    lab.docker("volume create outside-2")?;
    ensure!(lab.docker("volume inspect --format '{{.Driver}}' outside-2")? == "local");
    Ok(())
}

/// Scenario 31.
fn a_volume_that_the_driver_has_already_is_adopted_with_its_label(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("adopted", ALICE)?;
    lab.client()?.create("adopted", &[("sshcmd", &remote(&directory)), ("identity_file", KEY)]).ok();
    let calls = Calls::from_now(lab)?;
    let volume = lab.volume_with("adopted", "--label owner=alice")?;
    calls.ensure("adopted", "")?;
    ensure!(lab.docker("volume inspect --format '{{.Labels.owner}}' adopted")? == "alice");
    volume.run("echo adopted > /d/file")?;
    ensure!(lab.server.sh("cat /srv/adopted/file")? == "adopted");
    Ok(())
}

/// Scenario 34.
fn a_volume_that_vanished_while_docker_was_off_is_not_listed(lab: &Lab) -> Result<()> {
    let _volume = lab.volume("vanished")?;
    lab.host.sh("systemctl stop docker.socket docker.service")?;
    let removed = remove_behind_dockers_back(lab, "vanished");
    lab.restart_docker()?;
    removed?;
    let list = lab.docker("volume ls --quiet")?;
    ensure!(!list.lines().any(|name| name == "vanished"), "{list}");
    lab.try_docker("volume inspect vanished")?.failure().map(drop)
}

/// Scenario 23, for the calls of which a user sees an error.
fn an_error_of_every_call_is_shown_in_the_drivers_words(lab: &Lab) -> Result<()> {
    let create =
        lab.try_docker("volume create --driver sshfs -o sshcmd=alice@x: -o pord=22 wrong")?.failure()?;
    ensure!(create.contains("did you mean 'port'"), "{create}");
    let volume = lab.volume_on("wrong", "/srv/is-not-there", "")?;
    let mount = volume.try_run("true")?.failure()?;
    ensure!(mount.contains("/srv/is-not-there") && mount.contains("wrong"), "{mount}");
    // Docker does not know of this one's user.
    let other = lab.volume("wrong-2")?;
    lab.client()?.mount("wrong-2", "elsewhere").ok();
    let holder = lab.host.sh(&format!("cd {} && sleep 600 >/dev/null 2>&1 & echo $!", other.mountpoint()))?;
    let remove = other.remove();
    lab.host.sh(&format!("kill {holder}"))?;
    lab.client()?.unmount("wrong-2", "elsewhere").ok();
    let remove = remove?.failure()?;
    ensure!(remove.contains("wrong-2") && remove.contains("in use"), "{remove}");
    Ok(())
}

/// Scenario 32.
fn a_refused_create_leaves_nothing(lab: &Lab) -> Result<()> {
    for attempt in 0..5 {
        let create = format!("volume create --driver sshfs -o sshcmd= refused-{attempt}");
        lab.try_docker(&create)?.failure()?;
    }
    let list = lab.docker("volume ls --quiet")?;
    ensure!(!list.contains("refused"), "{list}");
    let volume = lab.volume("refused-0")?;
    volume.remove()?.success().map(drop)
}

/// Scenario 35.
fn prune_takes_no_volume_of_the_driver(lab: &Lab) -> Result<()> {
    let volume = lab.volume("unpruned")?;
    volume.run("echo kept > /d/file")?;
    lab.docker("volume create pruned")?;
    let calls = Calls::from_now(lab)?;
    lab.docker("volume prune --force")?;
    // Since Docker 23 only this takes volumes with a name.
    lab.try_docker("volume prune --force --all")?;
    lab.docker("system prune --force --volumes")?;
    calls.ensure("unpruned", "")?;
    let list = lab.docker("volume ls --quiet")?;
    ensure!(list.lines().any(|name| name == "unpruned"), "{list}");
    ensure!(!list.lines().any(|name| name == "pruned"), "nothing was pruned at all: {list}");
    ensure!(volume.run("cat /d/file")? == "kept");
    Ok(())
}

/// Scenario 36.
fn filters_find_volumes_by_driver_name_label_and_use(lab: &Lab) -> Result<()> {
    let used = lab.volume("filter-used")?;
    let directory = lab.server.export("filter-free", ALICE)?;
    let _free = lab.volume_on("filter-free", &directory, "--label kind=free")?;
    let _container = used.hold("filter-user")?;
    for (filter, found) in [
        ("driver=sshfs", "filter-free filter-used"),
        ("driver=local", ""),
        ("label=kind=free", "filter-free"),
        ("name=filter-u", "filter-used"),
        ("dangling=true", "filter-free"),
        ("dangling=false", "filter-used"),
    ] {
        let list = lab.docker(&format!("volume ls --quiet --filter {filter}"))?;
        let mut names: Vec<_> = list.lines().filter(|name| name.starts_with("filter-")).collect();
        names.sort_unstable();
        ensure!(names.join(" ") == found, "{filter}: {names:?}");
    }
    Ok(())
}

/// Scenario 37.
fn a_volume_in_use_is_not_removed_and_an_unknown_one_is_told(lab: &Lab) -> Result<()> {
    let volume = lab.volume("busy")?;
    let container = volume.hold("busy-user")?;
    let refused = volume.remove()?.failure()?;
    ensure!(refused.contains("volume is in use"), "{refused}");
    lab.try_docker("volume rm --force busy")?.failure()?;
    container.exec("echo still here > /d/file")?;
    container.remove()?;
    volume.remove()?.success()?;
    let unknown = lab.try_docker("volume rm busy")?.failure()?;
    ensure!(unknown.to_lowercase().contains("no such volume"), "{unknown}");
    lab.docker("volume rm --force busy").map(drop)
}

/// Scenario 38.
fn the_date_of_a_volume_stays(lab: &Lab) -> Result<()> {
    let _volume = lab.volume("dated")?;
    let date = || lab.docker("volume inspect --format '{{.CreatedAt}}' dated");
    let before = date()?;
    let year = lab.host.sh("date +%Y")?;
    ensure!(before.starts_with(&year), "made {before}");
    lab.host.sh(&format!("systemctl restart {SERVICE}"))?;
    lab.restart_docker()?;
    ensure!(date()? == before, "{} after {before}", date()?);
    Ok(())
}

/// Scenario 29.
fn the_driver_is_no_driver_for_networks(lab: &Lab) -> Result<()> {
    let refused = lab.try_docker("network create --driver sshfs no-network")?.failure()?;
    ensure!(refused.contains("sshfs") || refused.contains("does not implement"), "{refused}");
    ensure!(!lab.docker("network ls")?.contains("no-network"), "there is a network");
    lab.volume("after-network")?.remove()?.success().map(drop)
}

/// Scenario 28: besides our own `.spec`, which all other cases use.
fn a_spec_of_an_administrator_in_json_is_found(lab: &Lab) -> Result<()> {
    let json = r#"{"Name":"files","Addr":"unix:///run/sshfs-docker.sock"}"#;
    lab.host.put("/etc/docker/plugins/files.json", json.as_bytes())?;
    let directory = lab.server.export("json", ALICE)?;
    let create = format!("volume create --driver files {} json", options(&directory));
    let made = lab
        .docker(&create)
        .and_then(|_| lab.docker("run --rm --network none -v json:/d busybox touch /d/file"));
    // Both names lead to one driver: Docker must forget the second one.
    lab.try_docker("volume rm json")?;
    lab.host.sh("rm /etc/docker/plugins/files.json")?;
    lab.restart_docker()?;
    made?;
    lab.server.sh("test -e /srv/json/file").map(drop)
}

fn names_with_dots_dashes_and_underscores_are_told_apart(lab: &Lab) -> Result<()> {
    let names = ["odd.name", "odd-name", "odd_name", "ODD.name", "odd.name.service", "0dd", "odd.name-2"];
    let volumes = names.iter().map(|name| lab.volume(name)).collect::<Result<Vec<_>>>()?;
    let containers = names
        .iter()
        .zip(&volumes)
        .map(|(name, volume)| volume.hold(&format!("c-{name}")))
        .collect::<Result<Vec<_>>>()?;
    for (name, container) in names.iter().zip(&containers) {
        container.exec(&format!("echo {name} > /d/file"))?;
    }
    for (name, volume) in names.iter().zip(&volumes) {
        let served = lab.server.sh(&format!("cat {}/file", volume.directory))?;
        ensure!(served == *name, "{name} has {served}");
    }
    Ok(())
}

/// What Docker asks while the daemon is gone is answered by the next one: a Get that failed would lose the volume.
fn a_daemon_that_stops_between_two_calls_is_not_noticed(lab: &Lab) -> Result<()> {
    let volume = lab.volume("between")?;
    lab.stop_daemon()?;
    let container = volume.hold("between-user")?;
    lab.stop_daemon()?;
    container.docker("stop --time 1")?;
    lab.stop_daemon()?;
    container.start()?;
    lab.stop_daemon()?;
    lab.restart_docker()?;
    lab.stop_daemon()?;
    poll::until_true("the volume to be listed", Duration::from_secs(5), || {
        Ok(lab.docker("volume ls --quiet")?.lines().any(|name| name == "between"))
    })?;
    container.remove().context("with a daemon that was stopped")?;
    volume.remove()?.success().map(drop)
}
