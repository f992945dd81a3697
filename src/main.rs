//! The program has several roles: the daemon that Docker talks to, and small ones that it starts itself.

use clap::Parser;
use sshfs_docker::{
    admin::{self, doctor, forget_host_key, metrics, set, status},
    agent::relay,
    askpass,
    cli::{Cli, Command},
    connection, daemon,
    heal::{self, graft, restart},
    mount::probe,
    supervisor,
};
use std::process::ExitCode;

fn main() -> ExitCode {
    // ssh starts its askpass program with a question as the only argument, so this comes before the command line.
    if let Some(code) = askpass::answer_if_asked() {
        return code;
    }
    match Cli::parse().command {
        Command::Serve(options) => daemon::run(&options),
        Command::Heal { look_again, volume, layout } => heal::run(&layout, &volume, look_again),
        Command::ForgetHostKey { host, admin } => admin::exit(forget_host_key::run(&admin, &host)),
        Command::Status(arguments) => admin::exit(status::run(&arguments)),
        Command::Set(arguments) => admin::exit(set::run(&arguments)),
        Command::Doctor { admin } => admin::exit(doctor::run(&admin)),
        Command::Metrics { output, layout } => admin::exit(metrics::run(&layout, output.as_deref())),
        Command::Restart { json, volume, layout } => restart::run(&layout, &volume, json),
        Command::Graft(graft) => graft::run(&graft),
        Command::RunSshfs { connection, agent, directory, argv } => {
            supervisor::run(connection, agent.as_deref(), directory, &argv)
        }
        Command::Connect { hard, arguments } => connection::run(hard, &arguments),
        Command::RelayAgent { volume, layout } => relay::run(&layout, &volume),
        Command::Check(options) => admin::check::run(&options),
        Command::Import(options) => admin::import::run(&options),
        Command::Measure { no_write, mountpoint } => admin::check::measure(&mountpoint, !no_write),
        Command::Probe { device, mountpoint } => probe::answer(device, &mountpoint),
    }
}
