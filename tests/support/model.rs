//! A mixed load of calls, and a model of what must be there afterwards.
//!
//! A [`Worker`] makes calls from one thread and keeps for each volume what it may believe: one state after an answer,
//! several after a connection that broke, because such a call may have been carried out or not. A [`Site`] reads what
//! there is from the daemon's files and the kernel, without asking the daemon.

#[path = "random.rs"]
mod random;

use super::client::{Client, Reply};
pub use random::Random;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Longer than the daemon's sweep takes to come round; the end of a broken test, and no promise.
const PATIENCE: Duration = Duration::from_secs(45);

/// What one worker may believe of one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    pub defined: bool,
    /// How often this worker's id holds it.
    pub held: u32,
}

/// The calls that change something.
#[derive(Clone, Copy, Debug)]
enum Change {
    Create,
    Remove,
    Mount,
    Unmount,
}

impl State {
    /// What becomes of it if the call succeeds; nothing where it cannot.
    fn after(self, change: Change) -> Vec<Self> {
        let Self { defined, held } = self;
        match change {
            Change::Create => vec![Self { defined: true, held }],
            // The kernel decides whether a volume is in use: its references go with it.
            Change::Remove if defined => vec![Self { defined: false, held: 0 }],
            Change::Mount if defined => vec![Self { defined, held: held + 1 }],
            Change::Remove | Change::Mount => vec![],
            Change::Unmount => Self { defined, held: held.saturating_sub(1) }.or_forgotten(held > 1),
        }
    }

    /// An id that was released and still counts is forgotten by some later sweep, as no container holds the volume.
    fn or_forgotten(self, doubtful: bool) -> Vec<Self> {
        if doubtful { vec![self, Self { held: 0, ..self }] } else { vec![self] }
    }
}

/// What the workers of a load have in common.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Options of every Create.
    pub options: Vec<(String, String)>,
    /// Volumes that are always there, which all workers mount.
    pub shared: Vec<String>,
    /// What Get and Path ask for; beside these each worker asks for its own.
    pub watched: Vec<String>,
    pub shares: Shares,
}

/// Of a thousand calls, how many are of which kind. The others are Get, List and Path.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// Create or Remove.
    pub definitions: u64,
    /// Mount or Unmount of a volume of the worker's own.
    pub own_mounts: u64,
    /// Mount or Unmount of a shared volume.
    pub shared_mounts: u64,
}

impl Plan {
    /// The options as a [`Client`] takes them.
    pub fn options(&self) -> Vec<(&str, &str)> {
        self.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }
}

/// One thread's part of the load.
#[derive(Debug)]
pub struct Worker {
    id: String,
    own: Vec<String>,
    beliefs: BTreeMap<String, BTreeSet<State>>,
    random: Random,
    pub tally: Tally,
}

/// What became of the calls.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub acknowledged: u64,
    /// Those of them that were a Mount.
    pub mounts: u64,
    pub in_doubt: u64,
    /// The longest call that must never wait for a disk or a server: Get, List, Path.
    pub longest_look: Duration,
    /// The longest of all calls.
    pub longest: Duration,
    /// Answers that the model does not explain.
    pub wrong: Vec<String>,
}

/// Prints what a case counted, as `name=value` pairs, on a line that can be collected later.
pub fn report(counts: &str) {
    // The test program may have begun a line.
    println!("\nfault-count: {counts}");
}

impl Tally {
    /// Adds up those of many workers.
    pub fn total<'a>(workers: impl IntoIterator<Item = &'a Worker>) -> Self {
        workers.into_iter().fold(Self::default(), |mut total, Worker { tally, .. }| {
            total.acknowledged += tally.acknowledged;
            total.mounts += tally.mounts;
            total.in_doubt += tally.in_doubt;
            total.longest_look = total.longest_look.max(tally.longest_look);
            total.longest = total.longest.max(tally.longest);
            total.wrong.extend(tally.wrong.iter().cloned());
            total
        })
    }
}

impl Worker {
    /// A worker whose caller id is `id`, with volumes that no other worker creates or removes.
    pub fn new(id: &str, own: &[String], plan: &Plan, seed: u64) -> Self {
        let absent = BTreeSet::from([State { defined: false, held: 0 }]);
        let present = BTreeSet::from([State { defined: true, held: 0 }]);
        let own_beliefs = own.iter().map(|name| (name.clone(), absent.clone()));
        let beliefs =
            plan.shared.iter().map(|name| (name.clone(), present.clone())).chain(own_beliefs).collect();
        let random = Random::new(id.bytes().fold(seed, |seed, byte| seed * 31 + u64::from(byte)));
        Self { id: id.to_owned(), own: own.to_vec(), beliefs, random, tally: Tally::default() }
    }

    /// Makes one call after another as long as `go_on` says so, which gets told of each answer.
    pub fn run(&mut self, plan: &Plan, client: &Client, go_on: impl Fn(&Tally) -> bool) {
        while go_on(&self.tally) {
            self.call(plan, client);
        }
    }

    fn call(&mut self, plan: &Plan, client: &Client) {
        let Shares { definitions, own_mounts, shared_mounts } = plan.shares;
        let kinds = [definitions, own_mounts, shared_mounts];
        let mut dice = self.random.below(1000);
        let kind = kinds.iter().position(|share| {
            let hit = dice < *share;
            dice = dice.saturating_sub(*share);
            hit
        });
        let names = if kind == Some(2) { &plan.shared } else { &self.own };
        let (Some(kind), Some(name)) = (kind, self.random.pick(names).cloned()) else {
            return self.look(plan, client);
        };
        let believed = self.beliefs[&name].last().copied();
        let held = believed.map_or(0, |state| state.held);
        let change = match kind {
            // Held volumes are removed now and then, too.
            0 if believed.is_some_and(|state| state.defined) && self.random.below(10) < 4 => Change::Remove,
            0 => Change::Create,
            // At most two, so that last Unmounts are as frequent as first Mounts.
            _ if held < 2 && self.random.below(2) == 0 => Change::Mount,
            _ => Change::Unmount,
        };
        self.change(change, &name, plan, client);
    }

    fn change(&mut self, change: Change, name: &str, plan: &Plan, client: &Client) {
        let reply = match change {
            Change::Create => client.create(name, &plan.options()),
            Change::Remove => client.remove(name),
            Change::Mount => client.mount(name, &self.id),
            Change::Unmount => client.unmount(name, &self.id),
        };
        self.tally.longest = self.tally.longest.max(reply.took);
        let before = self.beliefs.get(name).cloned().unwrap_or_default();
        let changed = before.iter().flat_map(|state| state.after(change));
        self.tally.mounts += u64::from(matches!(change, Change::Mount) && reply.status == Some(200));
        let after: BTreeSet<State> = match Verdict::of(&reply) {
            Verdict::Done => changed.collect(),
            // Only a volume that is not there refuses.
            Verdict::Refused(text) if text.contains("not found") => {
                before.iter().filter(|state| state.after(change).is_empty()).copied().collect()
            }
            Verdict::Refused(text) => {
                self.tally.wrong.push(format!("{change:?} {name} by {}: {text}", self.id));
                before.iter().copied().chain(changed).collect()
            }
            // A Remove has let go of the mount and its references before it forgets the definition.
            Verdict::InDoubt if matches!(change, Change::Remove) => {
                let halfway = before.iter().map(|state| State { held: 0, ..*state });
                before.iter().copied().chain(halfway).chain(changed).collect()
            }
            Verdict::InDoubt => before.iter().copied().chain(changed).collect(),
        };
        self.count(&reply);
        if after.is_empty() {
            self.tally
                .wrong
                .push(format!("{change:?} {name} by {}: {reply:?}, believed {before:?}", self.id));
        } else {
            self.beliefs.insert(name.to_owned(), after);
        }
    }

    /// Get, List or Path, which change nothing.
    fn look(&mut self, plan: &Plan, client: &Client) {
        let all: Vec<_> = self.own.iter().chain(&plan.watched).chain(&plan.shared).cloned().collect();
        let Some(name) = self.random.pick(&all) else { return };
        let reply = match self.random.below(10) {
            0 => client.call("/VolumeDriver.List", "{}"),
            1..4 => client.path(name),
            _ => client.get(name),
        };
        self.tally.longest_look = self.tally.longest_look.max(reply.took);
        self.count(&reply);
        if let Verdict::Refused(text) = Verdict::of(&reply) {
            let unknown = text.contains("not found");
            let may_be_unknown =
                self.beliefs.get(name).is_none_or(|states| states.iter().any(|s| !s.defined));
            if !(unknown && may_be_unknown) {
                self.tally.wrong.push(format!("Get, List or Path of {name}: {text}"));
            }
        }
    }

    fn count(&mut self, reply: &Reply) {
        let counter =
            if reply.status.is_some() { &mut self.tally.acknowledged } else { &mut self.tally.in_doubt };
        *counter += 1;
    }

    /// How often this worker may hold `name` at most.
    fn held(&self, name: &str) -> u32 {
        self.beliefs.get(name).into_iter().flatten().map(|state| state.held).max().unwrap_or(0)
    }

    /// Lets go of all that it holds, and removes its own volumes.
    pub fn finish(&mut self, plan: &Plan, client: &Client) {
        let names: Vec<_> = self.beliefs.keys().cloned().collect();
        for name in names {
            for _ in 0..self.held(&name) {
                self.change(Change::Unmount, &name, plan, client);
            }
            if self.own.contains(&name) && self.beliefs[&name].iter().any(|state| state.defined) {
                self.change(Change::Remove, &name, plan, client);
            }
        }
    }
}

/// Lets the workers make calls, does something to the daemon at a random moment of that, and lets the calls end.
/// `answers` is the number at which that moment comes at the latest.
pub fn disturb<T>(
    workers: &mut [Worker],
    plan: &Plan,
    client: &Client,
    random: &mut Random,
    answers: u64,
    disturbance: impl FnOnce() -> T,
) -> T {
    let (enough, stop, count) = (random.below(answers), AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| {
                worker.run(plan, client, |_| {
                    count.fetch_add(1, Ordering::Relaxed);
                    !stop.load(Ordering::Relaxed)
                });
            });
        }
        let deadline = Instant::now() + PATIENCE;
        while count.load(Ordering::Relaxed) < enough && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        // Any moment between two answers is as good as another.
        thread::sleep(Duration::from_micros(random.below(30_000)));
        let result = disturbance();
        stop.store(true, Ordering::Relaxed);
        result
    })
}

/// Does `count` pieces of work in some threads and returns what came of them.
pub fn share_work<T: Send>(threads: usize, count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let indices = || std::iter::from_fn(|| Some(next.fetch_add(1, Ordering::Relaxed)).filter(|i| *i < count));
    let do_some = || indices().map(&work).collect::<Vec<_>>();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(do_some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("work")).collect()
    })
}

/// The three things a call can come to.
enum Verdict<'a> {
    Done,
    Refused(&'a str),
    InDoubt,
}

impl<'a> Verdict<'a> {
    fn of(reply: &'a Reply) -> Self {
        match reply.status {
            None => Self::InDoubt,
            Some(200) => Self::Done,
            Some(_) => Self::Refused(reply.body["Err"].as_str().unwrap_or("an error without Err")),
        }
    }
}

/// Where a daemon keeps what it knows, as this program reaches it.
#[derive(Clone, Debug)]
pub struct Site {
    pub state: PathBuf,
    pub runtime: PathBuf,
    /// The mountinfo file of the daemon's mount namespace.
    pub mountinfo: PathBuf,
    /// The directory of mountpoints as that file has it.
    pub view: String,
}

/// What there is at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub definitions: BTreeSet<String>,
    pub references: BTreeMap<String, BTreeMap<String, Held>>,
    /// How often each volume is mounted.
    pub mounts: BTreeMap<String, usize>,
}

/// How often an id holds a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    pub count: u32,
    /// It was released and still counts.
    pub doubtful: bool,
}

impl Site {
    /// Reads files and mountinfo; of volumes whose name begins with `prefix`.
    pub fn snapshot(&self, prefix: &str) -> Snapshot {
        let stems = |directory: &Path| -> Vec<String> {
            let entries = fs::read_dir(directory).expect("a directory of the daemon").flatten();
            let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
            names
                .filter(|name| name.starts_with(prefix))
                .map(|name| name.trim_end_matches(".json").to_owned())
                .collect()
        };
        let directory = self.runtime.join("references");
        let references = stems(&directory)
            .into_iter()
            // A file may go between the listing and the reading.
            .filter_map(|name| Some((name.clone(), held(&directory.join(format!("{name}.json")))?)))
            .collect();
        let mountinfo = fs::read_to_string(&self.mountinfo).expect("mountinfo");
        let mut mounts = BTreeMap::new();
        for line in mountinfo.lines() {
            let place = line.split(' ').nth(4).and_then(|path| path.strip_prefix(&self.view));
            if let Some(name) = place.map(|rest| rest.trim_start_matches('/')).filter(|n| !n.is_empty()) {
                if name.starts_with(prefix) {
                    *mounts.entry(name.to_owned()).or_default() += 1;
                }
            }
        }
        let definitions = stems(&self.state.join("volumes")).into_iter().collect();
        Snapshot { definitions, references, mounts }
    }
}

/// Ids in a file of references.
fn held(file: &Path) -> Option<BTreeMap<String, Held>> {
    let json: Value = serde_json::from_str(&fs::read_to_string(file).ok()?).expect("references are JSON");
    let ids = json["held"].as_object().expect("ids");
    let held = |held: &Value| {
        let count = held["count"].as_u64().and_then(|count| u32::try_from(count).ok()).expect("a count");
        Held { count, doubtful: held["doubtful"] == true }
    };
    Some(ids.iter().map(|(id, value)| (id.clone(), held(value))).collect())
}

/// Waits until what there is agrees with what the workers believe, and lets them believe that from now on. The error
/// is what disagreed in the end.
pub fn audit(
    site: &Site,
    prefix: &str,
    client: &Client,
    workers: &mut [Worker],
    plan: &Plan,
) -> Result<Snapshot, String> {
    // What a killed daemon left half made is cleared away by the next one's first sweep.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let snapshot = site.snapshot(prefix);
        let wrong = disagreements(&snapshot, client, workers, plan);
        if wrong.is_empty() {
            for worker in workers {
                worker.learn(&snapshot);
            }
            return Ok(snapshot);
        }
        if Instant::now() >= deadline {
            return Err(format!("{}\nthere is: {snapshot:#?}", wrong.join("\n")));
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// All that the files, the kernel, the daemon and the workers do not agree on.
fn disagreements(snapshot: &Snapshot, client: &Client, workers: &[Worker], plan: &Plan) -> Vec<String> {
    let mut wrong = Vec::new();
    for worker in workers {
        for (name, believed) in &worker.beliefs {
            let (state, _) = worker.actual(name, snapshot);
            if !believed.contains(&state) {
                wrong.push(format!("{name} for {}: {state:?}, and not one of {believed:?}", worker.id));
            }
        }
    }
    let listed =
        client.call("/VolumeDriver.List", "{}").body["Volumes"].as_array().cloned().unwrap_or_default();
    let owned = workers.iter().flat_map(|worker| &worker.own);
    let all: BTreeSet<_> = owned.chain(&plan.shared).cloned().collect();
    let told: BTreeMap<_, _> = listed.iter().map(|v| (v["Name"].as_str().unwrap_or(""), v)).collect();
    for name in &all {
        let is_defined = snapshot.definitions.contains(name);
        if told.contains_key(name.as_str()) != is_defined {
            wrong.push(format!("{name}: List and the files do not agree"));
        }
        let references = snapshot.references.get(name).cloned().unwrap_or_default();
        let foreign = references.keys().filter(|id| !workers.iter().any(|worker| worker.id == **id));
        wrong.extend(foreign.map(|id| format!("{name} is held by {id}, which is nobody")));
        let sum: u32 = references.values().map(|held| held.count).sum();
        if let Some(volume) = told.get(name.as_str()) {
            if volume["Status"]["references"] != sum {
                wrong.push(format!("{name}: {} is not the sum of {references:?}", volume["Status"]));
            }
            let is_mounted = snapshot.mounts.contains_key(name);
            if (volume["Mountpoint"] != "") != is_mounted {
                wrong.push(format!("{name}: List says {}, the kernel {is_mounted}", volume["Mountpoint"]));
            }
        }
        let mounts = snapshot.mounts.get(name).copied().unwrap_or(0);
        if mounts > 1 || mounts == 1 && (sum == 0 || !is_defined) {
            wrong.push(format!("{name}: {mounts} mounts, {sum} references, defined: {is_defined}"));
        }
    }
    let strangers =
        snapshot.definitions.iter().chain(snapshot.mounts.keys()).filter(|name| !all.contains(*name));
    wrong.extend(strangers.map(|name| format!("{name} is no volume of the load")));
    wrong
}

impl Worker {
    fn actual(&self, name: &str, snapshot: &Snapshot) -> (State, Held) {
        let held =
            snapshot.references.get(name).and_then(|ids| ids.get(&self.id)).copied().unwrap_or_default();
        (State { defined: snapshot.definitions.contains(name), held: held.count }, held)
    }

    fn learn(&mut self, snapshot: &Snapshot) {
        let names: Vec<_> = self.beliefs.keys().cloned().collect();
        for name in names {
            let (state, held) = self.actual(&name, snapshot);
            self.beliefs.insert(name, state.or_forgotten(held.doubtful).into_iter().collect());
        }
    }
}
