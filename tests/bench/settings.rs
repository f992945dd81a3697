//! How much is measured.

use std::{env, time::Duration};

const MIB: u64 = 1024 * 1024;

/// Sizes, counts and times.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether this run only shows that the benches run.
    pub quick: bool,
    /// How often each thing is measured.
    pub rounds: usize,
    /// After this time for all contestants together, it is not measured once more.
    pub longest: Duration,
    /// Round trips between the hosts that the data group has.
    pub round_trips: Vec<Duration>,
    /// The other groups have these two.
    pub near_and_far: [Duration; 2],
    /// Size of the file that is read and written, in bytes.
    pub file: u64,
    /// Size of each file where several are read at once.
    pub one_of_four: u64,
    /// What moves data ends after this time, however much is left.
    pub patience: Duration,
    /// What reads at random goes on for this time.
    pub random: Duration,
    /// Numbers of volumes.
    pub volumes: Vec<usize>,
    /// Number of volumes that are mounted at once.
    pub mounts: usize,
    /// Calls of one kind.
    pub calls: usize,
    /// Files in the listed directories.
    pub listed: Vec<usize>,
    /// Small files that are unpacked, read and cloned, near and far: what costs some round trips for each of a thousand files
    /// would take all day far away.
    pub small_files: [usize; 2],
    /// Transactions of the database.
    pub transactions: usize,
    /// Pages of a mapped file that are read, a few: soon the kernel has read all around them.
    pub touched: usize,
    /// Files whose attributes are asked for.
    pub asked: usize,
    /// Megabits per second of a slow line.
    pub slow: u32,
}

impl Settings {
    /// Full size, unless the environment says quick.
    pub fn from_environment() -> Self {
        let quick = env::var_os("SSHFS_DOCKER_BENCH_QUICK").is_some_and(|value| value == "1");
        let mut settings = if quick { Self::quick() } else { Self::full() };
        if let Some(rounds) = env::var("SSHFS_DOCKER_BENCH_ROUNDS").ok().and_then(|text| text.parse().ok()) {
            settings.rounds = usize::max(1, rounds);
        }
        settings
    }

    fn full() -> Self {
        Self {
            quick: false,
            rounds: 3,
            longest: Duration::from_secs(15),
            round_trips: [0, 5, 20, 100].map(Duration::from_millis).into(),
            near_and_far: [0, 20].map(Duration::from_millis),
            file: 512 * MIB,
            one_of_four: 128 * MIB,
            patience: Duration::from_secs(3),
            random: Duration::from_secs(2),
            volumes: vec![10, 1_000, 10_000],
            mounts: 50,
            calls: 1_000,
            listed: vec![1_000, 10_000],
            small_files: [1_000, 100],
            transactions: 50,
            touched: 100,
            asked: 200,
            slow: 10,
        }
    }

    fn quick() -> Self {
        Self {
            quick: true,
            rounds: 1,
            longest: Duration::from_secs(15),
            round_trips: vec![Duration::from_millis(2)],
            near_and_far: [0, 2].map(Duration::from_millis),
            file: 4 * MIB,
            one_of_four: MIB,
            patience: Duration::from_millis(500),
            random: Duration::from_millis(50),
            volumes: vec![10, 100],
            mounts: 3,
            calls: 20,
            listed: vec![50],
            small_files: [10, 5],
            transactions: 3,
            touched: 20,
            asked: 10,
            slow: 100,
        }
    }
}
