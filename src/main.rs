//! The program has several roles: the daemon that Docker talks to, and small ones that it starts itself.

use clap::Parser;
use sshfs_docker::{
    admin::{self, check, doctor, forget_host_key, import, metrics, restart, set, status},
    agent::relay,
    askpass,
    cli::{Cli, Command},
    connection, daemon,
    heal::{self, graft},
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
        Command::Status(arguments) => admin::exit(arguments.admin.json, status::run(&arguments)),
        Command::Check(arguments) => admin::exit(arguments.admin.json, check::run(&arguments)),
        Command::Set(arguments) => admin::exit(arguments.admin.json, set::run(&arguments)),
        Command::Restart { volume, admin } => admin::exit(admin.json, restart::run(&admin, &volume)),
        Command::Doctor { admin } => admin::exit(admin.json, doctor::run(&admin)),
        Command::Import(arguments) => admin::exit(arguments.admin.json, import::run(&arguments)),
        Command::ForgetHostKey { host, admin } => {
            admin::exit(admin.json, forget_host_key::run(&admin, &host))
        }
        Command::Metrics { output, layout } => admin::exit(false, metrics::run(&layout, output.as_deref())),
        Command::Graft(graft) => graft::run(&graft),
        Command::RunSshfs { connection, agent, directory, argv } => {
            supervisor::run(connection, agent.as_deref(), directory, &argv)
        }
        Command::Connect { hard, arguments } => connection::run(hard, &arguments),
        Command::RelayAgent { volume, layout } => relay::run(&layout, &volume),
        Command::Measure { no_write, mountpoint } => check::measure(&mountpoint, !no_write),
        Command::Probe { device, mountpoint } => probe::answer(device, &mountpoint),
    }
}
