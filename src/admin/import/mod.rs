//! `sshfs-docker import`: the volumes of the plugin vieux/sshfs and its forks, from their state file.
//!
//! It shows what each volume becomes; with `--apply` it has the daemon create them, as Docker would. It writes nothing else:
//! not to the server, not to Docker's files, not to the state file.

mod plugin;
pub mod state;
pub mod translate;

use crate::{
    admin::{
        client::{CallError, Client},
        command_line,
        output::{self, BAD, Cell, FAINT, GOOD, Table, WARNING},
    },
    cli::Import,
    config::Config,
    diagnosis, launcher,
    paths::Paths,
    sealing::Sealer,
    store::Store,
    volume::{
        Secret, Spec, VolumeName,
        options::{self, Options},
    },
};
use anyhow::{Context, Result, ensure};
use nix::unistd::Uid;
use plugin::{Plugin, STATE_FILE};
use serde::Serialize;
use serde_json::json;
use state::Recorded;
use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};
use translate::{Keys, Note, translate};
use zeroize::Zeroizing;

/// Ten thousand volumes have less.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What becomes of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
enum State {
    /// It can be created.
    New,
    /// It has just been.
    Created,
    /// It is there with the same options.
    Present,
    /// It is there with others; these differ.
    Conflict(String),
    /// It cannot be created, for this reason.
    Refused(String),
}

/// A volume of the file.
#[derive(Debug, Serialize)]
struct Row {
    /// As far as it can be shown.
    name: String,
    #[serde(flatten)]
    state: State,
    options: Options,
    notes: Vec<Note>,
    #[serde(skip)]
    password: Option<Secret>,
}

/// Where things are.
#[derive(Debug, Serialize)]
struct Source {
    file: PathBuf,
    plugin: Option<String>,
    keys: PathBuf,
    /// Nobody has told where the keys are.
    keys_are_guessed: bool,
    /// The plugin reads it, the driver does not.
    ssh_config: Option<PathBuf>,
}

/// Runs the command.
pub fn run(import: &Import) -> Result<bool> {
    ensure!(Uid::effective().is_root(), "only root may read keys and create volumes: use sudo");
    let (source, keys) = find_source(import);
    let text = read(&source.file).with_context(|| format!("cannot read {}", source.file.display()))?;
    let recorded = state::parse(&text)
        .map_err(|e| anyhow::anyhow!("{} is not the state of a plugin: {e}", source.file.display()))?;
    drop(text);
    let paths = import.admin.layout.paths();
    let config = Config::read(&paths.config_file())
        .map_err(|e| anyhow::anyhow!("{} is not valid: {e}", paths.config_file().display()))?;
    let existing = Existing::open(&paths)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = recorded.into_iter().map(|recorded| judge(recorded, &keys, &config, &existing));
    let mut rows = runtime.block_on(async {
        let mut judged = Vec::new();
        for row in rows {
            judged.push(row.await);
        }
        judged
    });
    runtime.shutdown_background();
    if import.apply {
        let client = Client::new(&import.admin.socket);
        rows.iter_mut().filter(|row| row.state == State::New).try_for_each(|row| create(row, &client))?;
    }
    if import.admin.json {
        output::json(&json!({"source": source, "applied": import.apply, "volumes": rows}))?;
    } else {
        print(&source, &rows, import.apply)?;
    }
    Ok(rows.iter().all(|row| !matches!(row.state, State::Conflict(_) | State::Refused(_))))
}

/// From what the user says, and what Docker has on its disk.
fn find_source(import: &Import) -> (Source, Keys) {
    let plugins = plugin::find(&import.plugins);
    let file = match (&import.file, plugins.first()) {
        (Some(file), _) => file.clone(),
        (None, Some(plugin)) => plugin.state.join(STATE_FILE),
        (None, None) => import.plugins.join(STATE_FILE),
    };
    let is_its_file = |plugin: &&Plugin| file.parent() == Some(Path::new(&plugin.state));
    let plugin = plugins.iter().find(is_its_file).or(plugins.first());
    let told = import.keys.clone().or_else(|| plugin.and_then(|plugin| plugin.keys.clone()));
    let keys_are_guessed = told.is_none();
    let directory = told.unwrap_or_else(|| "/root/.ssh".into());
    let files: BTreeSet<_> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let source = Source {
        plugin: plugin.map(|plugin| plugin.name.clone()),
        keys: directory.clone(),
        keys_are_guessed,
        ssh_config: files.contains("config").then(|| directory.join("config")),
        file,
    };
    let keys = Keys { directory, files, volumes: plugin.map(|plugin| plugin.volumes.clone()) };
    (source, keys)
}

fn read(file: &Path) -> Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(file)?;
    ensure!(file.metadata()?.len() <= LARGEST, "it is larger than the state of a plugin can be");
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// The volumes that are there, read without the daemon, which tells nobody a password.
struct Existing(Option<Store>);

impl Existing {
    /// Makes no directory where there is none.
    fn open(paths: &Paths) -> Result<Self> {
        let is_there =
            [paths.volumes(), paths.secrets(), paths.encrypted_secrets()].iter().all(|d| d.exists());
        Ok(Self(is_there.then(|| Store::open(paths, Sealer::of_this_host())).transpose()?))
    }

    /// What a volume of this name would be to one with these options; None where there is none.
    fn compare(&self, name: &VolumeName, options: &Options, password: Option<&Secret>) -> Option<State> {
        let store = self.0.as_ref()?;
        let definition = match store.read(name)?.definition {
            Ok(definition) => definition,
            Err(e) => return Some(State::Conflict(e.to_string())),
        };
        let names: BTreeSet<_> = definition.options.keys().chain(options.keys()).collect();
        let differs = |name: &&String| definition.options.get(*name) != options.get(*name);
        let mut differing: Vec<_> =
            names.into_iter().filter(differs).map(|name| options::shown(name)).collect();
        let same_password = match password {
            Some(password) => definition.has_password && store.password(name).ok().as_ref() == Some(password),
            None => !definition.has_password,
        };
        if !same_password {
            differing.push("password".to_owned());
        }
        Some(if differing.is_empty() { State::Present } else { State::Conflict(differing.join(", ")) })
    }
}

async fn judge(recorded: Recorded, keys: &Keys, config: &Config, existing: &Existing) -> Row {
    let shown = diagnosis::clean(&recorded.name);
    let old = match recorded.volume {
        Ok(old) => old,
        Err(e) => {
            let (options, notes) = (Options::default(), Vec::new());
            return Row { name: shown, state: State::Refused(e.to_string()), options, notes, password: None };
        }
    };
    let new = translate(&old, keys);
    let state = match VolumeName::new(&recorded.name) {
        // Containers refer to it by its name: another one is the user's choice.
        Err(e) => {
            let better = VolumeName::new("NAME").map(|name| command_line::create_volume(&name, &new.options));
            State::Refused(format!("{e}; choose another: {}", better.unwrap_or_default()))
        }
        Ok(name) => match existing.compare(&name, &new.options, new.password.as_ref()) {
            Some(state) => state,
            None => check(&new.options, new.password.as_ref(), config)
                .await
                .map_or_else(State::Refused, |()| State::New),
        },
    };
    Row { name: shown, state, options: new.options, notes: new.notes, password: new.password }
}

/// As Create judges.
async fn check(options: &Options, password: Option<&Secret>, config: &Config) -> Result<(), String> {
    if let Some(password) = password {
        options::check_password(password.expose()).map_err(|e| e.to_string())?;
    }
    let spec = Spec::parse(options, password.is_some(), &config.policy).map_err(|e| e.to_string())?;
    for (option, source) in spec.credential_files() {
        launcher::check_source(source).await.map_err(|e| format!("{option}: {e}"))?;
    }
    Ok(())
}

/// The error is that of a driver that nobody can reach: it is none of the volume's.
fn create(row: &mut Row, client: &Client) -> Result<(), CallError> {
    let mut options = row.options.clone();
    if let Some(password) = &row.password {
        options.insert("password".to_owned(), password.expose().to_owned());
    }
    row.state = match client.call("VolumeDriver.Create", &json!({"Name": row.name, "Opts": options})) {
        Ok(_) => State::Created,
        Err(e @ CallError::Unreachable { .. }) => return Err(e),
        Err(e) => State::Refused(e.to_string()),
    };
    Ok(())
}

fn print(source: &Source, rows: &[Row], applied: bool) -> io::Result<()> {
    let guessed = if source.keys_are_guessed { ", unless --keys says otherwise" } else { "" };
    output::line(format_args!("state: {}", source.file.display()))?;
    output::line(format_args!("plugin: {}", source.plugin.as_deref().unwrap_or("not known to Docker")))?;
    output::line(format_args!("its keys: {}{guessed}\n", source.keys.display()))?;
    let mut table = Table::new(&["VOLUME", "STATE", "OPTION", "BECOMES"]);
    for row in rows {
        let (style, state, reason) = match &row.state {
            State::New => (GOOD, "new", None),
            State::Created => (GOOD, "created", None),
            State::Present => (FAINT, "already there", None),
            State::Conflict(names) => {
                (BAD, "conflict", Some(format!("it exists with other options and stays as it is ({names})")))
            }
            State::Refused(reason) => (BAD, "refused", Some(reason.clone())),
        };
        let name = if row.name.is_empty() { "(no name)" } else { &row.name };
        let mut first = Some([name.into(), Cell::new(style, state)]);
        let mut add = |option: &str, becomes: Cell| {
            let [name, state] = first.take().unwrap_or_else(|| ["".into(), "".into()]);
            table.add(vec![name, state, option.into(), becomes]);
        };
        if let Some(reason) = reason {
            add("", Cell::new(BAD, reason));
        }
        for Note { option, becomes } in &row.notes {
            let dropped = becomes.starts_with("dropped: ");
            add(option, if dropped { Cell::new(WARNING, becomes) } else { becomes.as_str().into() });
        }
    }
    table.print()?;
    let is_any = |wanted: &dyn Fn(&State) -> bool| rows.iter().any(|row| wanted(&row.state));
    if is_any(&|state| matches!(state, State::New | State::Created | State::Present)) {
        let warning = "Never use 'docker volume rm', 'docker volume prune' or 'docker compose down -v' on a volume of the \
                       old plugin: it can delete all files on the server.";
        output::line(format_args!("\n{}", output::painted(BAD, warning)))?;
    }
    if is_any(&|state| *state == State::Created) {
        return print_what_remains(source, rows);
    }
    if is_any(&|state| *state == State::New) {
        let again = command_again(env::args_os());
        output::line(
            "\nNothing has been changed. To create what is new, and to be told what remains to do then:",
        )?;
        return output::line(format_args!("  {again}"));
    }
    match applied {
        true if is_any(&|state| *state != State::Present) => output::line("\nNothing has been created."),
        true => output::line("\nNothing to do."),
        false => Ok(()),
    }
}

/// The same command, with `--apply`.
fn command_again(arguments: impl Iterator<Item = OsString>) -> String {
    let given: Vec<_> = arguments.skip(1).map(|word| command_line::quoted(&word.to_string_lossy())).collect();
    format!("sshfs-docker {} --apply", given.join(" "))
}

/// The facts are those of the plugin (its main.go: Remove deletes everything below a mountpoint that it takes for unmounted) and
/// of dockerd (volume/service/store.go: a name belongs to its driver until Docker starts without that driver).
fn print_what_remains(source: &Source, rows: &[Row]) -> io::Result<()> {
    let plugin = source.plugin.as_deref().unwrap_or("vieux/sshfs");
    output::line(format_args!(
        "\nWhat remains, in this order:\n  \
         1. Stop and remove the containers that use the volumes (docker rm, docker compose down), without -v.\n  \
         2. Switch the plugin off: docker plugin disable --force {plugin}\n     \
            Docker counts each volume that it knows as a use of it; with its containers gone, nothing is.\n  \
         3. Have Docker look anew whose the names are: systemctl restart docker\n  \
         4. Tell Docker the new driver. The options are there already, with the driver:",
    ))?;
    for row in rows.iter().filter(|row| matches!(row.state, State::Created | State::Present)) {
        output::line(format_args!("     docker volume create -d sshfs {}", row.name))?;
    }
    output::line(format_args!(
        "  5. Start the containers as before; in compose files and 'docker run --volume-driver', the driver is sshfs.\n  \
         6. When all works: docker plugin rm {plugin}"
    ))?;
    if let Some(config) = &source.ssh_config {
        output::line(format_args!(
            "  The plugin also read {}. What is needed of it (aliases, jump hosts) goes into /etc/sshfs-docker/ssh_config.",
            config.display()
        ))?;
    }
    if rows.iter().any(|row| row.password.is_some()) {
        output::line(format_args!(
            "  {} has passwords in clear, and so has what 'docker volume inspect' shows of the old volumes. \
             Remove the file when the plugin is gone, and change the passwords on the servers.",
            source.file.display()
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_applies_has_all_that_was_given() {
        let given = ["/usr/bin/sshfs-docker", "import", "/old state.json", "--keys", "/home/alice/.ssh"];
        let again = command_again(given.into_iter().map(OsString::from));
        assert_eq!(again, "sshfs-docker import '/old state.json' --keys /home/alice/.ssh --apply");
    }
}
