//! Group metadata: many small things, where round trips count.

use crate::{
    contestant::{Contestant, MOUNTING, Mounted},
    results::{Results, What},
    sshd::Sshd,
    stage::{Stage, milliseconds, run as run_command, serve_small_files},
};
use anyhow::{Result, ensure};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// What a shell does in a mount. `$LOCAL` is a directory of this host with what it needs.
const COMMANDS: &[(&str, &str)] = &[
    ("find", "find tree >/dev/null"),
    ("tar -x", "mkdir unpacked && tar -xf \"$LOCAL/tree.tar\" --no-same-owner -C unpacked"),
    ("git clone", "git clone -q \"file://$LOCAL/repository\" clone"),
    ("git status", "git -C repository status --short >/dev/null"),
];

/// What those leave.
const LEFT: [&str; 4] = ["unpacked", "clone", "database", "database-journal"];

pub fn run(stage: &mut Stage, results: &mut Results) {
    let stage = &*stage;
    results.begin(
        "metadata",
        "Each value is of a fresh mount. Small files have 4 KiB each, and are fewer far away, where each costs some round trips. \
         rclone with a cache is done when all is in its cache, and the server has it some time later, or never, if the host \
         fails; sshfs, when the server has it. That is what it is faster by where many files are written."
            .to_owned(),
    );
    // That it runs is seen on one line as well as on two.
    let lines = if stage.settings.quick { 1 } else { 2 };
    let lengths = stage.settings.near_and_far.into_iter().rev().take(lines);
    for (round_trip, files) in lengths.zip(stage.settings.small_files.into_iter().rev()) {
        let directory = stage.on_server(&format!("metadata-{files}"));
        let local = stage.world.path(&format!("local-{files}"));
        let names = prepare(stage, &directory, &local, files).expect("files to work on");
        let line = Line { stage, round_trip, directory: &directory };
        for count in &stage.settings.listed {
            line.compare(results, format!("ls -l of {count} files"), |path| {
                shell(&path, &local, &format!("ls -l listed-{count} >/dev/null"))
            });
        }
        for (task, command) in COMMANDS {
            line.compare(results, format!("{task}, {files} files"), |path| shell(&path, &local, command));
        }
        for readers in [1, 8] {
            line.compare(results, format!("{files} small files, {readers} readers"), |path| {
                read_all(&path.join("tree"), &names, readers)
            });
        }
        let transactions = stage.settings.transactions;
        line.compare(results, format!("sqlite, {transactions} transactions"), |path| {
            transact(&path.join("database"), transactions)
        });
    }
}

/// Where the tasks are done.
struct Line<'a> {
    stage: &'a Stage,
    round_trip: Duration,
    directory: &'a Path,
}

impl Line<'_> {
    /// Has each contestant do it in a fresh mount, and takes away what it left.
    fn compare(&self, results: &mut Results, task: String, work: impl Fn(PathBuf) -> Result<()>) {
        let what = What::new(task, milliseconds(self.round_trip), "s");
        let measure = |contestant: Contestant| {
            let mounted = Mounted::new(self.stage, contestant, "metadata", self.directory, self.round_trip)?;
            let begun = Instant::now();
            let result = work(mounted.path.clone());
            let took = begun.elapsed().as_secs_f64();
            drop(mounted);
            // `git status` writes down what it saw, which would spare the next one the work.
            fs::copy(self.directory.join("index"), self.directory.join("repository/.git/index"))?;
            for name in LEFT {
                _ = run_command(Command::new("rm").arg("-rf").arg(self.directory.join(name)));
            }
            result.map(|()| took)
        };
        results.compare(what, &MOUNTING, measure);
    }
}

/// Files on the server: a tree, long directories, a checked-out repository; and on this host the same as archive and
/// repository.
fn prepare(stage: &Stage, directory: &Path, local: &Path, files: usize) -> Result<Vec<PathBuf>> {
    let names = serve_small_files(&directory.join("tree"), files, 50)?;
    for count in &stage.settings.listed {
        let listed = directory.join(format!("listed-{count}"));
        Sshd::make_directory(&listed);
        for i in 0..*count {
            fs::write(listed.join(format!("file-{i}")), "")?;
        }
    }
    fs::create_dir_all(local)?;
    let script = "cp -r \"$1/tree\" repository && tar -cf tree.tar -C \"$1\" tree
        git -C repository init -q && git -C repository add . && git -C repository commit -qm all
        git clone -q repository \"$1/repository\" && cp \"$1/repository/.git/index\" \"$1/index\"
        chown -R alice:alice \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).arg(directory);
    run_command(with_git(&mut command).current_dir(local))?;
    Ok(names)
}

/// git needs a name, and must not mind that files are another user's.
fn with_git(command: &mut Command) -> &mut Command {
    let settings = [("user.name", "bench"), ("user.email", "bench@localhost"), ("safe.directory", "*")];
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (i, (key, value)) in settings.into_iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{i}"), key).env(format!("GIT_CONFIG_VALUE_{i}"), value);
    }
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null")
}

fn shell(directory: &Path, local: &Path, script: &str) -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-euc", script]).env("LOCAL", local).current_dir(directory);
    run_command(with_git(&mut command)).map(drop)
}

fn read_all(directory: &Path, names: &[PathBuf], readers: usize) -> Result<()> {
    thread::scope(|scope| {
        let each = |first| {
            let work = move || {
                names.iter().skip(first).step_by(readers).try_for_each(|name| {
                    ensure!(fs::read(directory.join(name))?.len() == 4096, "a file is cut off");
                    Ok(())
                })
            };
            scope.spawn(work)
        };
        let readers: Vec<_> = (0..readers).map(each).collect();
        readers.into_iter().try_for_each(|reader| reader.join().expect("a reader"))
    })
}

/// Each transaction is on disk before the next begins, as far as the server says so.
fn transact(database: &Path, count: usize) -> Result<()> {
    let inserts = "insert into t(text) values (hex(randomblob(100)));\n".repeat(count);
    let script = format!("create table t(text);\n{inserts}select count(*) from t;\n");
    let mut command = Command::new("sqlite3");
    command.arg("-bail").arg(database);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // One that fails at once does not read it all.
    _ = process.stdin.take().map(|mut input| input.write_all(script.as_bytes()));
    let output = process.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.stdout == format!("{count}\n").as_bytes(), "sqlite: {}", said.trim());
    Ok(())
}
