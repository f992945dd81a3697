//! Two hundred callers at once, for as long as one likes: in the end files, kernel, units and daemon agree.

use std::env;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result, ensure};

use crate::lab::model::{Plan, Random, Shares, Site, Snapshot, Tally, Worker, audit, disturb, report};
use crate::lab::network::SSH_SERVER;
use crate::lab::ssh_server::ALICE;
use crate::lab::{Client, Lab, poll};

crate::cases![two_hundred_connections_on_fifty_volumes];

/// Tells the volumes of a load from those of a case.
const PREFIX: &str = "load-";

/// How many callers there are at once.
const CONNECTIONS: u32 = 200;

/// How many of them have volumes of their own: with the shared ones it makes fifty.
const OWNERS: u32 = 23;

/// `make soak` sets it.
const SECONDS: &str = "SSHFS_DOCKER_SOAK_SECONDS";

/// How often the soak tells how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// What there is of mounts beside the mounts themselves.
const PROCESSES_AND_UNITS: &str = r#"
count() { pgrep -c "$@" || :; }
program='^/usr/bin/sshfs-docker'
echo "$(count -x sshfs) sshfs, $(count -f "$program run-sshfs") supervisors, $(count -f "$program probe") probes"
systemctl list-units --all --plain --no-legend 'sshfs-docker-mount-*' | cut -d ' ' -f 1 | sort
"#;

/// Workers on the Docker host's driver, which they call without Docker.
#[derive(Debug)]
pub struct Load<'a> {
    lab: &'a Lab,
    pub client: Client,
    pub plan: Plan,
    pub workers: Vec<Worker>,
    pub seed: u64,
    site: Site,
}

impl<'a> Load<'a> {
    /// Workers, the first `owners` of them with two volumes each that come and go, and four volumes that all mount.
    pub fn prepare(lab: &'a Lab, workers: u32, owners: u32, shares: Shares) -> Result<Self> {
        let directory = lab.server.export("load", ALICE)?;
        let options = [
            ("sshcmd", format!("{ALICE}@{SSH_SERVER}:{directory}")),
            ("identity_file", "/root/.ssh/id_ed25519".into()),
        ];
        let own =
            |owner: u32| -> Vec<String> { (0..2).map(|i| format!("{PREFIX}own-{owner}-{i}")).collect() };
        let plan = Plan {
            options: options.map(|(key, value)| (key.to_owned(), value)).into(),
            shared: (0..4).map(|i| format!("{PREFIX}shared-{i}")).collect(),
            watched: (0..owners).flat_map(own).collect(),
            shares,
        };
        let seed = Random::seed();
        let workers = (0..workers)
            .map(|i| Worker::new(&format!("id{i}"), &if i < owners { own(i) } else { vec![] }, &plan, seed))
            .collect();
        let site = Site {
            state: lab.host.path("/var/lib/sshfs-docker")?,
            runtime: lab.host.path("/run/sshfs-docker")?,
            mountinfo: lab.host.mountinfo()?,
            view: "/var/lib/sshfs-docker/mnt".to_owned(),
        };
        let client = lab.client()?;
        for name in &plan.shared {
            client.create(name, &plan.options()).ok();
        }
        Ok(Self { lab, client, plan, workers, seed, site })
    }

    /// Does something to the daemon at a random moment of the load, after `answers` calls at the latest.
    pub fn disturb<T>(&mut self, random: &mut Random, answers: u64, disturbance: impl FnOnce() -> T) -> T {
        disturb(&mut self.workers, &self.plan, &self.client, random, answers, disturbance)
    }

    /// What there is, once files, kernel, daemon, systemd and workers agree on it. `others` are mounted as well.
    pub fn audit(&mut self, others: &[&str]) -> Result<Snapshot> {
        let Self { site, client, workers, plan, seed, .. } = self;
        let snapshot = audit(site, PREFIX, client, workers, plan)
            .map_err(|wrong| Error::msg(format!("seed {seed}: {wrong}")))?;
        // A unit goes a moment after its mount.
        poll::until_true("one unit and one sshfs for each mount", Duration::from_secs(20), || {
            let mounts = site.snapshot(PREFIX).mounts;
            let mut names: Vec<_> = mounts.keys().map(String::as_str).chain(others.iter().copied()).collect();
            names.sort_unstable();
            let units = names.iter().map(|name| format!("\nsshfs-docker-mount-{name}.service"));
            let expected =
                format!("{0} sshfs, {0} supervisors, 0 probes{1}", names.len(), units.collect::<String>());
            let found = self.lab.host.sh(PROCESSES_AND_UNITS)?;
            ensure!(found == expected, "expected {expected}, found {found}");
            Ok(true)
        })?;
        Ok(snapshot)
    }

    /// Unmounts and removes all: nothing is left. The answers that nothing explains are an error.
    pub fn finish(mut self, others: &[&str]) -> Result<Tally> {
        for worker in &mut self.workers {
            worker.finish(&self.plan, &self.client);
        }
        let snapshot = self.audit(others)?;
        ensure!(snapshot.mounts.is_empty() && snapshot.references.is_empty(), "left: {snapshot:?}");
        for name in &self.plan.shared {
            self.client.remove(name).ok();
        }
        let snapshot = self.site.snapshot(PREFIX);
        ensure!(snapshot == Snapshot::default(), "left: {snapshot:?}");
        let tally = Tally::total(&self.workers);
        ensure!(tally.wrong.is_empty(), "seed {}: {:#?}", self.seed, tally.wrong);
        Ok(tally)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        // After a failed case: the next one needs a driver without its volumes.
        for name in self.site.snapshot(PREFIX).definitions {
            self.client.remove(&name);
        }
    }
}

fn two_hundred_connections_on_fifty_volumes(lab: &Lab) -> Result<()> {
    let seconds = env::var(SECONDS).ok().and_then(|text| text.parse().ok()).unwrap_or(30);
    let shares = Shares { definitions: 300, own_mounts: 5, shared_mounts: 30 };
    let mut load = Load::prepare(lab, CONNECTIONS, OWNERS, shares)?;
    let started = Instant::now();
    let (end, answers) = (started + Duration::from_secs(seconds), AtomicU64::new(0));
    let spoke = Mutex::new(started);
    thread::scope(|scope| {
        let (client, plan, answers, spoke) = (&load.client, &load.plan, &answers, &spoke);
        for worker in &mut load.workers {
            scope.spawn(move || {
                worker.run(plan, client, |_| {
                    let count = answers.fetch_add(1, Ordering::Relaxed);
                    tell(spoke, started, count);
                    Instant::now() < end
                });
            });
        }
    });
    let snapshot = load.audit(&[])?;
    let Tally { acknowledged, mounts, in_doubt, longest_look, longest, .. } = load.finish(&[])?;
    ensure!(in_doubt == 0, "{in_doubt} connections broke");
    report(&format!(
        "case=lab_load release={} seconds={seconds} acknowledged_calls={acknowledged} mounts={mounts} \
         mounted_at_the_end={} call_that_must_not_wait_ms={} any_call_under_load_ms={} calls_lost=0",
        lab.host.release(),
        snapshot.mounts.len(),
        longest_look.as_millis(),
        longest.as_millis(),
    ));
    Ok(())
}

/// A line now and then, from whichever worker is the first to see that it is time.
fn tell(spoke: &Mutex<Instant>, started: Instant, answers: u64) {
    let Ok(mut spoke) = spoke.try_lock() else { return };
    if spoke.elapsed() >= PROGRESS {
        *spoke = Instant::now();
        println!("load: {} s, {answers} calls", started.elapsed().as_secs());
    }
}
