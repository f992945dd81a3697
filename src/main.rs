//! The program has several roles: the daemon that Docker talks to, and small ones that it starts itself.

use clap::Parser;
use sshfs_docker::{
    admin::{self, metrics},
    agent::relay,
    askpass,
    cli::{Cli, Command},
    connection, daemon,
    heal::{self, graft},
    known_hosts,
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
        Command::ForgetHostKey { host, layout } => known_hosts::forget(&layout, &host),
        Command::Metrics { output, layout } => admin::exit(metrics::run(&layout, output.as_deref())),
        Command::Graft(graft) => graft::run(&graft),
        Command::RunSshfs { connection, agent, directory, argv } => {
            supervisor::run(connection, agent.as_deref(), directory, &argv)
        }
        Command::Connect { hard, arguments } => connection::run(hard, &arguments),
        Command::RelayAgent { volume, layout } => relay::run(&layout, &volume),
        Command::Probe { device, mountpoint } => probe::answer(device, &mountpoint),
    }
}
