//! Group mounting: how long a container waits for its volume, alone and among many.
//!
//! Without systemd as PID 1 the driver starts sshfs as a child process: what a unit costs more is not in here.

use crate::{
    contestant::{
        Contestant::{self, OurOptions, Ours, Rclone, Sshfs},
        Mounted,
    },
    control::millis,
    results::{Results, What},
    stage::{Stage, milliseconds},
};
use anyhow::Result;
use std::{
    thread,
    time::{Duration, Instant},
};

pub fn run(stage: &mut Stage, results: &mut Results) {
    let stage = &*stage;
    results.begin(
        "mounting",
        "The call, or the command, until the mount answers. rclone is `rclone serve docker`, which logs in when a volume is \
         created and asks the server nothing when it is mounted; its program, like the driver's, runs already. Many at once \
         are a matter of processors, which the server shares here."
            .to_owned(),
    );
    let directory = stage.on_server("mounting");
    let all = [Ours, OurOptions, Sshfs, Rclone];
    for round_trip in stage.settings.near_and_far {
        let row = |task: &str| What::new(task, milliseconds(round_trip), "ms");
        let mount = |contestant| Mounted::new(stage, contestant, "one", &directory, round_trip);
        results.compare(row("mount"), &all, |contestant| Ok(millis(mount(contestant)?.took)));
        results.compare(row("unmount"), &all, |contestant: Contestant| {
            Ok(millis(mount(contestant)?.unmount()?))
        });
        results.compare(row("create and mount"), &[Ours, Rclone], |contestant| {
            let mounted = mount(contestant)?;
            Ok(millis(mounted.creation + mounted.took))
        });
    }
    let far = stage.settings.near_and_far[1];
    let row = |how: &str| {
        What::new(format!("mount {} volumes {how}", stage.settings.mounts), milliseconds(far), "ms")
    };
    for (how, at_once) in [("one after another", false), ("at once", true)] {
        for contestant in [Ours, OurOptions] {
            // Both are too long to be repeated, and many mounts are a warm-up of their own.
            match mount_many(stage, contestant, far, at_once) {
                Ok(took) => results.note(row(how), contestant, vec![millis(took)]),
                Err(error) => results.impossible(row(how), contestant, &error),
            }
        }
    }
}

/// How long it takes until all are mounted.
fn mount_many(
    stage: &Stage,
    contestant: Contestant,
    round_trip: Duration,
    at_once: bool,
) -> Result<Duration> {
    let directory = stage.on_server("mounting");
    // Kept, so that all are there together, and unmounted when they go.
    let mut prepared = Vec::new();
    for i in 0..stage.settings.mounts {
        // No name is the beginning of another: the processes of a mount are found by it.
        prepared.push(Mounted::prepare(stage, contestant, &format!("many{i:03}"), &directory, round_trip)?);
    }
    let mountings: Vec<_> =
        prepared.iter_mut().map(|mounted| mounted.mounting(&directory, round_trip)).collect::<Result<_>>()?;
    let begun = Instant::now();
    if at_once {
        let calls: Vec<_> = mountings.into_iter().map(thread::spawn).collect();
        calls.into_iter().try_for_each(|call| call.join().expect("a caller"))?;
    } else {
        mountings.into_iter().try_for_each(|mount| mount())?;
    }
    Ok(begun.elapsed())
}
