//! The volume that is tried: from the command line to options that Create would take, and back to the command that creates it.

use crate::{
    admin::{command_line, given},
    cli::Check,
    config::Config,
    launcher,
    paths::Paths,
    store,
    volume::{
        Remote, Secret, Spec, VolumeName,
        options::{Options, Setting},
    },
};
use anyhow::{Context, Result, ensure};

/// A volume that is to be tried.
#[derive(Debug)]
pub struct Candidate {
    /// As they were given.
    pub options: Options,
    /// Not among them.
    pub password: Option<Secret>,
    /// With what is fixed for the check.
    pub config: Config,
    /// What the options mean.
    pub spec: Spec,
}

/// The options as Docker would send them.
pub fn options_of(check: &Check) -> Result<Options> {
    let mut options = Options::from([("sshcmd".to_owned(), check.sshcmd.clone())]);
    given::add(&mut options, &check.options)?;
    Ok(options)
}

impl Candidate {
    /// Judges as Create does. The error is its sentence.
    pub async fn judge(check: &Check, options: &Options, password: Option<Secret>) -> Result<Self, String> {
        let file = check.admin.layout.paths().config_file();
        let refuse = |e| format!("the driver refuses to create or mount volumes: {}: {e}", file.display());
        let mut config = Config::read(&file).map_err(refuse)?;
        let spec = Spec::parse(options, password.is_some(), &config.policy).map_err(|e| e.to_string())?;
        for (option, source) in spec.credential_files() {
            launcher::check_source(source).await.map_err(|e| format!("{option}: {e}"))?;
        }
        if let Some(agent) = &spec.agent {
            launcher::check_agent(agent).await.map_err(|e| format!("IdentityAgent: {e}"))?;
        }
        // Not an option of the volume: those are judged as they were given. Fixed ones hold on jump hosts, too.
        let fixed = &mut config.policy.forced.sshfs;
        fixed.retain(|setting| setting.name != "LogLevel");
        fixed.push(Setting { name: "LogLevel", value: Some("DEBUG1".to_owned()) });
        Ok(Self { options: options.clone(), password, config, spec })
    }
}

/// The command that creates the volume.
#[must_use]
pub fn create_line(name: &VolumeName, mut options: Options, has_password: bool) -> String {
    if has_password {
        options.insert("password_file".to_owned(), password_file(name));
    }
    command_line::create_volume(name, &options)
}

/// Where the password goes that was read.
#[must_use]
pub fn password_file(name: &VolumeName) -> String {
    format!("/etc/sshfs-docker/{name}.password")
}

/// What the volume will be called: as wanted, or else as what is mounted, with a number where there is such a volume.
pub fn name_of(check: &Check, paths: &Paths) -> Result<VolumeName> {
    let taken = store::names(paths).context("cannot look at the volumes that there are")?;
    if let Some(wanted) = &check.name {
        ensure!(!taken.contains(wanted), "a volume {wanted} exists already; give another --name, or none");
        return Ok(wanted.clone());
    }
    let name = suggested_name(&check.sshcmd).map_or_else(|| VolumeName::new("data"), Ok)?;
    let numbered =
        (2..=taken.len() + 1).map_while(|number| VolumeName::new(&format!("{name}-{number}")).ok());
    let free = [name.clone()].into_iter().chain(numbered).find(|name| !taken.contains(name));
    Ok(free.unwrap_or(name))
}

/// The last part of the path, or the host, as far as a volume may be called that.
#[must_use]
fn suggested_name(sshcmd: &str) -> Option<VolumeName> {
    let remote = Remote::parse(sshcmd).ok()?;
    let host = remote.host();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let names = remote.path().rsplit('/').chain([host.as_str()]).map(|word| {
        let word: String = word.chars().map(|c| if is_allowed(c) { c } else { '-' }).take(40).collect();
        word.trim_matches(['-', '.', '_']).to_owned()
    });
    // Docker takes a name of one letter for a drive of Windows.
    let mut long_enough = names.filter(|name| name.len() > 1);
    long_enough.find_map(|name| VolumeName::new(&name).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_called_like_its_directory_or_its_host() {
        for (sshcmd, name) in [
            ("alice@storage:/srv/data", Some("data")),
            ("alice@storage:/srv/my data/", Some("my-data")),
            ("alice@storage:", Some("storage")),
            ("sftp://alice@storage:22/x", Some("storage")),
            ("alice@h:x", None),
        ] {
            assert_eq!(suggested_name(sshcmd).as_ref().map(VolumeName::as_str), name, "{sshcmd}");
        }
    }
}
