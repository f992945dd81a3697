//! Docker Swarm: a manager and a worker with the driver, and one directory on an SSH server for both.
//!
//! The nodes run different releases, and each has a key of its own under the same name. Cases run in order on one swarm.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::calls;
use crate::lab::docker::{IMAGE, quote};
use crate::lab::driver::{ANNOUNCE, PACKAGE, SERVICE, mount_unit, repack};
use crate::lab::network::DOCKER_HOST;
use crate::lab::ssh_server::ALICE;
use crate::lab::stage::Hosts;
use crate::lab::volume::{KEY, remote};
use crate::lab::{Lab, Pairing, Release, poll};

crate::cases![
    Swarm:
    every_node_knows_the_driver_after_a_boot_before_anybody_uses_it,
    a_restart_of_docker_does_not_make_it_forget_the_driver,
    making_the_driver_known_holds_up_nothing_at_boot,
    a_service_writes_from_both_nodes_into_one_directory,
    the_service_and_its_volumes_tell_no_secret,
    a_drained_node_unmounts_and_gets_its_task_back,
    an_upgrade_of_one_node_after_the_other_is_not_noticed_by_tasks_that_write,
    a_rebooted_node_goes_on_where_it_was,
    a_lost_node_loses_nothing_that_was_acknowledged_and_comes_back,
    an_error_of_a_mount_is_told_by_the_task,
];

/// What a node does may take the 20 s after which it tells the manager of its plugins, and some for the manager to decide.
const SOON: Duration = Duration::from_secs(60);

/// The name of each node's own key.
const CREDENTIAL: &str = "storage-key";

/// Writes one small file after the other, each with fsync, and says of which it was told that it is on the server.
const WRITER: &str = r#"
i=0
while :; do
    i=$((i + 1))
    echo "$NODE $i" > /tmp/original
    if dd if=/tmp/original of=/d/$NODE.$HOSTNAME.$i conv=fsync 2>/dev/null; then echo "acknowledged $NODE.$HOSTNAME.$i"
    else echo "failed $i"; fi
    sleep 0.1
done
"#;

/// A manager and a worker.
#[derive(Debug)]
pub struct Swarm {
    manager: Lab,
    worker: Lab,
}

impl Hosts for Swarm {
    fn labs(&self) -> Vec<&Lab> {
        self.nodes().into()
    }
}

impl Swarm {
    /// Boots two nodes that have the driver and have never used it, and joins them.
    pub fn start() -> Result<Self> {
        let manager = Lab::start(Pairing::full(Release::Trixie))?;
        let worker = manager.second_host(Release::Bookworm)?;
        let swarm = Self { manager, worker };
        for node in swarm.nodes() {
            node.install_package()?;
            calls::log_them(node)?;
            node.enable_driver()?;
            node.host.sh(&format!("install -D -m 600 {KEY} /etc/credstore/{CREDENTIAL}"))?;
        }
        swarm.manager.docker(&format!("swarm init --advertise-addr {DOCKER_HOST}"))?;
        let token = swarm.manager.docker("swarm join-token --quiet worker")?;
        swarm.worker.docker(&format!("swarm join --token {token} {DOCKER_HOST}:2377"))?;
        Ok(swarm)
    }

    const fn nodes(&self) -> [&Lab; 2] {
        [&self.manager, &self.worker]
    }

    /// Waits until the manager can send tasks with volumes of the driver to both nodes.
    fn wait_until_known(&self) -> Result<()> {
        poll::until_true("both nodes to be ready and to have the driver", SOON, || {
            let ask = "docker node inspect dockerhost worker --format
                '{{.Status.State}} {{range .Description.Engine.Plugins}}{{.Type}}:{{.Name}} {{end}}'";
            let nodes = self.manager.host.sh(&ask.replace('\n', " "))?;
            ensure!(nodes.lines().count() == 2, "nodes: {nodes}");
            let ready = |node: &str| {
                node.starts_with("ready ") && node.split(' ').any(|plugin| plugin == "Volume:sshfs")
            };
            ensure!(nodes.lines().all(ready), "{nodes}");
            Ok(true)
        })
    }

    /// A service with a task on each node, that write into `/srv/NAME`.
    fn service(&self, name: &str) -> Result<Service<'_>> {
        let directory = self.manager.server.export(name, ALICE)?;
        self.service_on(name, &directory)
    }

    fn service_on(&self, name: &str, directory: &str) -> Result<Service<'_>> {
        let service = Service { swarm: self, name: name.to_owned(), directory: directory.to_owned() };
        let options = format!(
            "volume-driver=sshfs,volume-opt=sshcmd={},volume-opt=identity_file={CREDENTIAL}",
            remote(directory)
        );
        self.manager.docker(&format!(
            "service create --detach --quiet --name {name} --network host --no-resolve-image --replicas 2 --replicas-max-per-node 1 \
             --restart-delay 1s --stop-grace-period 1s --env 'NODE={{{{.Node.Hostname}}}}' \
             --mount type=volume,source={name},target=/d,volume-nocopy=true,{options} {IMAGE} sh -uc {}",
            quote(WRITER)
        ))?;
        Ok(service)
    }
}

/// A service for the length of a case. Its volumes go with it, the files stay.
struct Service<'a> {
    swarm: &'a Swarm,
    name: String,
    directory: String,
}

impl Service<'_> {
    /// The containers of its tasks on a node; with `--all` also those that have ended.
    fn containers(&self, node: &Lab, which: &str) -> Result<Vec<String>> {
        let filter = format!("label=com.docker.swarm.service.name={}", self.name);
        let found = node.docker(&format!("ps {which} --quiet --filter {filter}"))?;
        Ok(found.lines().map(str::to_owned).collect())
    }

    /// What the tasks on a node said in all.
    fn said(&self, node: &Lab) -> Result<String> {
        let logs = self
            .containers(node, "--all")?
            .into_iter()
            .map(|container| node.docker(&format!("logs {container} 2>&1")));
        Ok(logs.collect::<Result<Vec<_>>>()?.join("\n"))
    }

    /// The files of which the tasks on a node were told that they are on the server.
    fn acknowledged(&self, node: &Lab) -> Result<BTreeSet<String>> {
        let said = self.said(node)?;
        Ok(said.lines().filter_map(|line| Some(line.strip_prefix("acknowledged ")?.to_owned())).collect())
    }

    /// Waits until the task on a node has written more.
    fn wait_for_more(&self, node: &Lab) -> Result<()> {
        let before = self.on_server_of(node)?;
        poll::until_true(&format!("{} to write from {}", self.name, node.host.name()), SOON, || {
            let now = self.on_server_of(node)?;
            ensure!(now > before + 3, "{}", self.tasks()?);
            Ok(true)
        })
    }

    /// How many files the server has from a node.
    fn on_server_of(&self, node: &Lab) -> Result<usize> {
        Ok(self
            .on_server()?
            .iter()
            .filter(|file| file.starts_with(&format!("{}.", node.host.name())))
            .count())
    }

    fn on_server(&self) -> Result<BTreeSet<String>> {
        let listed = self.swarm.manager.server.sh(&format!("ls {}", self.directory))?;
        Ok(listed.lines().map(str::to_owned).collect())
    }

    /// Fails if the server misses one of the files that a task was told are there, or has not what was written into it.
    fn ensure_on_server(&self, acknowledged: &BTreeSet<String>) -> Result<()> {
        let lost: Vec<_> = acknowledged.difference(&self.on_server()?).cloned().collect();
        ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        // NODE.CONTAINER.NUMBER has "NODE NUMBER" in it. The last one may be on its way.
        let script = format!(
            "cd {} && for file in *; do [ \"$(cat $file)\" = \"${{file%%.*}} ${{file##*.}}\" ] || echo $file; done",
            self.directory
        );
        let other = self.swarm.manager.server.sh(&script)?;
        let other: Vec<_> = other.lines().filter(|file| acknowledged.contains(*file)).collect();
        ensure!(other.is_empty(), "not what was written: {other:?}");
        Ok(())
    }

    fn tasks(&self) -> Result<String> {
        let format = "{{.Name}} {{.Node}} {{.CurrentState}} {{.Error}}";
        self.swarm.manager.docker(&format!("service ps --no-trunc --format '{format}' {}", self.name))
    }

    /// The unit that serves the mount of a node.
    fn unit(&self) -> String {
        mount_unit(&self.name)
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let _ = self.swarm.manager.try_docker(&format!("service rm {}", self.name));
        for node in self.swarm.nodes() {
            // The tasks end after the command that removes the service.
            let _ = poll::until_true("the volume to go", SOON, || {
                Ok(node.try_docker(&format!("volume rm --force {}", self.name))?.ok())
            });
        }
    }
}

fn every_node_knows_the_driver_after_a_boot_before_anybody_uses_it(swarm: &Swarm) -> Result<()> {
    swarm.wait_until_known()?;
    for node in swarm.nodes() {
        node.host.shut_down()?;
        node.host.boot()?;
        node.wait_for_docker()?;
    }
    swarm.wait_until_known()?;
    for node in swarm.nodes() {
        ensure!(node.docker("volume ls --quiet --filter driver=sshfs")?.is_empty(), "a volume made it known");
    }
    Ok(())
}

fn a_restart_of_docker_does_not_make_it_forget_the_driver(swarm: &Swarm) -> Result<()> {
    swarm.worker.restart_docker()?;
    swarm.wait_until_known()?;
    swarm.worker.kill_docker()?;
    swarm.wait_until_known()
}

fn making_the_driver_known_holds_up_nothing_at_boot(swarm: &Swarm) -> Result<()> {
    for node in swarm.nodes() {
        let waiting = node.property(ANNOUNCE, "Before")?;
        ensure!(waiting == "shutdown.target", "{waiting} wait for {ANNOUNCE}");
        let chain =
            node.host.sh("systemd-analyze critical-chain --no-pager default.target docker.service")?;
        ensure!(chain.contains("docker.service") && !chain.contains(ANNOUNCE), "{chain}");
        let (begun, status) =
            (node.property(ANNOUNCE, "ExecMainStartTimestamp")?, node.property(ANNOUNCE, "ExecMainStatus")?);
        ensure!(!begun.is_empty() && status == "0", "{ANNOUNCE} began {begun:?} and ended with {status}");
        // Docker's own socket would start it for whoever calls.
        node.host.sh(&format!("systemctl stop docker.service 2>&1; systemctl start {ANNOUNCE}"))?;
        ensure!(node.state("docker.service")? == "inactive", "{ANNOUNCE} has started Docker");
        node.restart_docker()?;
    }
    swarm.wait_until_known()
}

fn a_service_writes_from_both_nodes_into_one_directory(swarm: &Swarm) -> Result<()> {
    let service = swarm.service("both")?;
    let mut all = BTreeSet::new();
    for node in swarm.nodes() {
        service.wait_for_more(node)?;
        let acknowledged = service.acknowledged(node)?;
        ensure!(!acknowledged.is_empty(), "{}", service.said(node)?);
        all.extend(acknowledged);
        ensure!(node.main_pid(&service.unit())? > 0, "no mount of its own on {}", node.host.name());
    }
    service.ensure_on_server(&all)?;
    println!("fault-count: writes_checked={} writes_lost=0", all.len());
    // Each sees the other's.
    let [manager, worker] = [&swarm.manager, &swarm.worker].map(|node| service.on_server_of(node));
    let (manager, worker) = (manager?, worker?);
    let container = service.containers(&swarm.manager, "")?.pop().context("no container")?;
    let seen = swarm.manager.docker(&format!("exec {container} sh -c 'ls /d | grep -c ^worker'"))?;
    ensure!(seen.parse::<usize>()? > 0, "the manager sees nothing of the worker's");
    println!("swarm: {manager} files of dockerhost and {worker} of worker on the server");
    Ok(())
}

fn the_service_and_its_volumes_tell_no_secret(swarm: &Swarm) -> Result<()> {
    let service = swarm.service("quiet")?;
    let mut keys = BTreeSet::new();
    for node in swarm.nodes() {
        service.wait_for_more(node)?;
        let key = node.host.sh(&format!("sed -n 2p /etc/credstore/{CREDENTIAL}"))?;
        let shown = [
            swarm.manager.docker("service inspect quiet")?,
            swarm.manager.docker("inspect $(docker service ps --quiet quiet)")?,
            node.docker("volume inspect quiet")?,
            node.docker(&format!("inspect {}", service.containers(node, "--all")?.join(" ")))?,
        ];
        ensure!(shown.iter().all(|shown| shown.contains(CREDENTIAL) || shown.contains("quiet")), "{shown:?}");
        ensure!(!shown.iter().any(|shown| shown.contains(&key)), "the key is shown");
        keys.insert(node.host.sh(&format!("sha256sum < /etc/credstore/{CREDENTIAL}"))?);
    }
    ensure!(keys.len() == 2, "the nodes should have different keys");
    Ok(())
}

fn a_drained_node_unmounts_and_gets_its_task_back(swarm: &Swarm) -> Result<()> {
    let service = swarm.service("drained")?;
    service.wait_for_more(&swarm.worker)?;
    swarm.manager.docker("node update --availability drain worker")?;
    let gone = swarm.worker.wait_until_gone(&service.unit(), SOON);
    service.wait_for_more(&swarm.manager)?;
    swarm.manager.docker("node update --availability active worker")?;
    gone?;
    service.wait_for_more(&swarm.worker)?;
    service.ensure_on_server(&service.acknowledged(&swarm.worker)?)
}

fn an_upgrade_of_one_node_after_the_other_is_not_noticed_by_tasks_that_write(swarm: &Swarm) -> Result<()> {
    let service = swarm.service("upgraded")?;
    for node in swarm.nodes() {
        service.wait_for_more(node)?;
        let (daemon, mount) = (node.daemon()?, node.main_pid(&service.unit())?);
        let version = upgrade(node)?;
        service.wait_for_more(node)?;
        ensure!(version.ends_with("+next"), "still version {version}");
        ensure!(node.daemon()? != daemon, "the daemon is the old one");
        ensure!(node.main_pid(&service.unit())? == mount, "the mount was made anew");
    }
    for node in swarm.nodes() {
        ensure!(
            service.containers(node, "--all")?.len() == 1,
            "a task was started anew: {}",
            service.tasks()?
        );
        let said = service.said(node)?;
        ensure!(!said.contains("failed"), "{said}");
        service.ensure_on_server(&service.acknowledged(node)?)?;
    }
    swarm.wait_until_known()
}

/// Installs the package once more with a higher version, and answers with that.
fn upgrade(node: &Lab) -> Result<String> {
    let installed = || node.host.sh("dpkg-query --show --showformat '${Version}' sshfs-docker");
    let next = "/var/tmp/next.deb";
    repack(&node.host, PACKAGE, next, &format!("{}+next", installed()?), |_| ":".to_owned())?;
    node.host.sh(&format!("DPKG_FORCE=confold apt-get install --yes {next}; rm {next}"))?;
    installed()
}

fn a_rebooted_node_goes_on_where_it_was(swarm: &Swarm) -> Result<()> {
    let service = swarm.service("rebooted")?;
    service.wait_for_more(&swarm.worker)?;
    let before = service.acknowledged(&swarm.worker)?;
    swarm.worker.host.shut_down()?;
    service.wait_for_more(&swarm.manager)?;
    swarm.worker.host.boot()?;
    service.wait_for_more(&swarm.worker)?;
    service.ensure_on_server(&before)?;
    service.ensure_on_server(&service.acknowledged(&swarm.worker)?)?;
    ensure!(swarm.worker.property(SERVICE, "NRestarts")? == "0", "the daemon failed");
    Ok(())
}

fn a_lost_node_loses_nothing_that_was_acknowledged_and_comes_back(swarm: &Swarm) -> Result<()> {
    let service = swarm.service("lost")?;
    service.wait_for_more(&swarm.worker)?;
    let acknowledged = service.acknowledged(&swarm.worker)?;
    swarm.worker.host.cut_power()?;
    poll::until_true("the manager to miss the worker", SOON, || {
        Ok(swarm.manager.docker("node inspect worker --format '{{.Status.State}}'")? == "down")
    })?;
    service.wait_for_more(&swarm.manager)?;
    service.ensure_on_server(&acknowledged)?;
    swarm.worker.host.boot()?;
    service.wait_for_more(&swarm.worker)?;
    service.ensure_on_server(&acknowledged)
}

fn an_error_of_a_mount_is_told_by_the_task(swarm: &Swarm) -> Result<()> {
    let service = swarm.service_on("missing", "/srv/is-not-there")?;
    poll::until_true("the task to tell what is missing", SOON, || {
        let tasks = service.tasks()?;
        ensure!(tasks.contains("/srv/is-not-there") && tasks.contains("missing"), "{tasks}");
        Ok(true)
    })
}
