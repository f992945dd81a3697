//! The arm64 tier: the program of the arm64 package works. It runs under qemu's user mode on the kernel of this machine,
//! with the real sshfs, ssh and sshd of this machine around it. Needs root, /dev/fuse and the package.
//!
//! What the program promises is the loopback tier's job. Here its build for arm64 is shown to run, and those cases of that
//! tier are repeated that are about mounts, where it asks most of the kernel.

// A panic is how a case fails.
#![allow(clippy::unwrap_used)]

#[allow(dead_code, reason = "no caller is rude here")]
#[path = "../support/client.rs"]
mod client;
#[path = "../support/delay.rs"]
mod delay;
#[path = "../support/isolation.rs"]
mod isolation;
#[allow(dead_code, reason = "the load of the loopback tier is not made here")]
#[path = "../support/model.rs"]
mod model;
#[path = "../support/trials.rs"]
mod trials;

#[allow(dead_code, reason = "what the loopback tier does to its daemon is not done here")]
#[path = "../loopback/daemon.rs"]
mod daemon;
#[path = "../loopback/host.rs"]
mod host;
#[path = "../loopback/mounts.rs"]
mod mounts;
#[allow(dead_code, reason = "what the loopback tier does to its server is not done here")]
#[path = "../loopback/sshd.rs"]
mod sshd;
#[allow(dead_code, reason = "what the loopback tier does to its world is not done here")]
#[path = "../loopback/world.rs"]
mod world;

mod emulation;
mod package;

mod host_alone;
mod volumes;

use libtest_mimic::Arguments;
use package::program;
use std::process::ExitCode;
use trials::cases;

const TIER: isolation::Tier = isolation::Tier {
    name: "arm64",
    tools: &[
        (emulation::QEMU, "qemu-user-static"),
        ("dpkg-deb", "dpkg"),
        ("openssl", "openssl"),
        ("sshfs", "sshfs"),
        ("ssh", "openssh-client"),
        ("sshd", "openssh-server"),
    ],
};

fn main() -> ExitCode {
    if isolation::only_listing() {
        return run();
    }
    TIER.run(
        || package::find().map(drop),
        || {},
        || {
            host::share_mounts();
            host::add_users();
            let begun = emulation::begin();
            package::unpack();
            match emulation::check(program(), begun) {
                Ok(()) => run(),
                Err(obstacle) => {
                    eprintln!("the arm64 tests cannot run: {obstacle}");
                    ExitCode::from(2)
                }
            }
        },
    )
}

fn run() -> ExitCode {
    let themes =
        [("host_alone", host_alone::cases()), ("volumes", volumes::cases()), ("mounts", mounts::cases())];
    let trials = themes.into_iter().flat_map(|(theme, cases)| trials::of(theme, cases));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
