//! Compose on each release's version of it: 1.29 in Python on Debian 12, 2.26 and 2.40 as plugins of Docker later.

use anyhow::{Result, ensure};

use crate::Case;
use crate::calls::Calls;
use crate::lab::docker::{IMAGE, quote};
use crate::lab::network::SSH_SERVER;
use crate::lab::ssh_server::ALICE;
use crate::lab::{Lab, Output, Release, Volume};

crate::cases![
    up_creates_the_volume_and_what_a_container_writes_is_on_the_server,
    numbers_and_flags_arrive,
    a_mode_without_quotation_marks_is_another,
    a_misspelt_option_fails_up_before_there_is_a_container,
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
    changed_options_wait_until_the_volume_is_forgotten,
    options_changed_by_set_survive_up_and_recreation,
    an_external_volume_is_used_and_never_removed,
    down_with_volumes_leaves_a_volume_that_another_project_uses,
    nocopy_keeps_the_files_of_the_image_to_itself,
    a_read_only_mount_refuses_writes_while_another_service_writes,
    a_missing_directory_fails_up_until_it_is_there,
    a_key_that_is_not_accepted_fails_up_until_it_is,
];

/// For Docker and Compose that know `subpath`.
pub const WITH_SUBPATHS: &[Case] =
    &[Case { name: "a_subpath_is_all_that_a_service_sees", check: a_subpath_is_all_that_a_service_sees }];

/// For Compose that offers to recreate a volume.
pub const WITH_RECREATION: &[Case] = &[Case {
    name: "a_recreated_volume_has_the_new_options_and_every_file",
    check: a_recreated_volume_has_the_new_options_and_every_file,
}];

/// A project in a directory of its own, whose volume `data` is on a directory of its own on the server. Dropped, it takes
/// its containers and volumes along; the files stay.
#[derive(Debug)]
struct Project<'a> {
    lab: &'a Lab,
    name: String,
}

/// An image with a file in /d, until it is dropped.
#[derive(Debug)]
struct ImageWithFiles<'a>(&'a Lab);

/// A service that only waits.
#[derive(Clone, Copy, Debug)]
struct Service<'a> {
    name: &'a str,
    image: &'a str,
    /// One line below `volumes:`.
    mount: &'a str,
}

/// The one that alice's account accepts.
const KEY: &str = "/root/.ssh/id_ed25519";

/// The only service of most projects.
const APP: Service<'_> = service("app", "data:/d");

const fn service<'a>(name: &'a str, mount: &'a str) -> Service<'a> {
    Service { name, image: IMAGE, mount }
}

impl<'a> Project<'a> {
    /// A project with these services, not yet up.
    fn new(lab: &'a Lab, name: &str, services: &[Service<'_>]) -> Result<Self> {
        let project = Self { lab, name: name.to_owned() };
        lab.server.export(&format!("compose/{name}"), ALICE)?;
        lab.host.sh(&format!("mkdir -p {}", project.place()))?;
        project.write(services, "")?;
        Ok(project)
    }

    /// A project whose `app` runs.
    fn up(lab: &'a Lab, name: &str) -> Result<Self> {
        let project = Self::new(lab, name, &[APP])?;
        project.run("up --detach")?;
        Ok(project)
    }

    /// Writes the Compose file; `options` are those beside the address and the key, one per line.
    fn write(&self, services: &[Service<'_>], options: &str) -> Result<()> {
        self.write_with(services, &on_server(&self.directory(), options))
    }

    /// The same with these lines below `data:`.
    fn write_with(&self, services: &[Service<'_>], data: &str) -> Result<()> {
        let services: String = services.iter().map(Service::definition).collect();
        let file = format!("services:\n{services}volumes:\n  data:\n    {data}\n");
        self.lab.host.put(&format!("{}/compose.yaml", self.place()), file.as_bytes())
    }

    /// Runs Compose as the release has it; both its outputs are in the standard one.
    fn try_run(&self, arguments: &str) -> Result<Output> {
        let compose = match self.lab.host.release() {
            Release::Bookworm => "docker-compose",
            Release::Trixie | Release::Forky => "docker compose",
        };
        self.lab.host.try_sh(&format!("cd {}; {compose} {arguments} 2>&1", self.place()))
    }

    /// [`Project::try_run`] for what must work.
    fn run(&self, arguments: &str) -> Result<String> {
        self.try_run(arguments)?.success()
    }

    /// [`Project::try_run`] for what must fail; the answer is what it says.
    fn fail(&self, arguments: &str) -> Result<String> {
        let output = self.try_run(arguments)?;
        let said = output.stdout.clone();
        output.failure().map(|_| said)
    }

    /// Runs a shell script in a service's container.
    fn exec(&self, service: &str, script: &str) -> Result<String> {
        self.run(&format!("exec -T {service} sh -euc {}", quote(script)))
    }

    /// How many of its containers run.
    fn running(&self) -> Result<usize> {
        self.count("ps --quiet")
    }

    /// How many of its containers there are.
    fn containers(&self) -> Result<usize> {
        self.count("ps --quiet --all")
    }

    fn count(&self, list: &str) -> Result<usize> {
        let own = format!("--filter label=com.docker.compose.project={}", self.name);
        Ok(self.lab.docker(&format!("{list} {own}"))?.lines().count())
    }

    /// Where its file is.
    fn place(&self) -> String {
        format!("/root/compose/{}", self.name)
    }

    /// The directory on the server.
    fn directory(&self) -> String {
        format!("/srv/compose/{}", self.name)
    }

    /// Its volume.
    fn volume(&self) -> Volume<'a> {
        self.lab.volume_of_a_client(&format!("{}_data", self.name), &self.directory())
    }

    /// What the server has.
    fn served(&self) -> Result<String> {
        self.lab.server.checksums(&self.directory())
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        // By its label, too: a file that a case has spoilt cannot be read by `down`.
        let script = format!(
            "docker ps --all --quiet --filter label=com.docker.compose.project={} | xargs --no-run-if-empty docker rm --force
             rm -r {}",
            self.name,
            self.place()
        );
        let _ = self.try_run("down --volumes --remove-orphans");
        let _ = self.lab.host.try_sh(&script);
    }
}

impl Service<'_> {
    fn definition(&self) -> String {
        let Self { name, image, mount } = self;
        format!(
            "  {name}:
    image: {image}
    command: sh -c 'trap exit TERM; while :; do sleep 0.1; done'
    network_mode: none
    volumes:
      - {mount}
"
        )
    }
}

impl<'a> ImageWithFiles<'a> {
    const NAME: &'static str = "with-files";

    fn new(lab: &'a Lab) -> Result<Self> {
        let image = Self(lab);
        let script = format!(
            "container=$(docker create {IMAGE} true); mkdir -p /root/image/d; echo inside > /root/image/d/file
             docker cp /root/image/d $container:/; docker commit $container {}; docker rm $container; rm -r /root/image",
            Self::NAME
        );
        lab.host.sh(&script)?;
        Ok(image)
    }
}

impl Drop for ImageWithFiles<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_docker(&format!("rmi --force {}", Self::NAME));
    }
}

/// The lines below `data:` for a volume on a directory of the server.
fn on_server(directory: &str, options: &str) -> String {
    let own = format!("sshcmd: {ALICE}@{SSH_SERVER}:{directory}\nidentity_file: {KEY}\n{options}");
    format!("driver: sshfs\n    driver_opts:\n      {}", own.replace('\n', "\n      "))
}

/// What Docker knows of a volume's options.
fn options(lab: &Lab, volume: &Volume<'_>) -> Result<String> {
    lab.docker(&format!("volume inspect --format '{{{{.Options}}}}' {}", volume.name))
}

fn sshfs_processes(lab: &Lab, volume: &Volume<'_>) -> Result<usize> {
    Ok(lab.processes(&volume.unit())?.iter().filter(|process| process.name == "sshfs").count())
}

/// Whether Docker knows it.
fn is_listed(lab: &Lab, volume: &Volume<'_>) -> Result<bool> {
    Ok(lab.docker("volume ls --quiet")?.lines().any(|name| name == volume.name))
}

fn up_creates_the_volume_and_what_a_container_writes_is_on_the_server(lab: &Lab) -> Result<()> {
    let calls = Calls::from_now(lab)?;
    let project = Project::up(lab, "first")?;
    let volume = project.volume();
    project.exec("app", "echo written > /d/file")?;
    ensure!(lab.server.sh("cat /srv/compose/first/file")? == "written");
    let known = lab.docker("volume inspect --format '{{.Driver}} {{.Status.remote}}' first_data")?;
    ensure!(known == format!("sshfs {ALICE}@{SSH_SERVER}:/srv/compose/first"), "Docker knows {known}");
    calls.ensure(&volume.name, "Create Mount")
}

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

/// Without it Docker copies them, and fails: alice may not give files away.
fn nocopy_keeps_the_files_of_the_image_to_itself(lab: &Lab) -> Result<()> {
    let _image = ImageWithFiles::new(lab)?;
    let mount = "{type: volume, source: data, target: /d, volume: {nocopy: true}}";
    let service = Service { image: ImageWithFiles::NAME, mount, ..APP };
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
