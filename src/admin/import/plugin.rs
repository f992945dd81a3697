//! The settings of the plugin, as Docker keeps them on its disk: `plugins/ID/config.json` below its root (plugin/v2 of
//! moby). `docker plugin inspect` tells the same, but not while Docker is down.

use serde::Deserialize;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The name of the state file.
pub const STATE_FILE: &str = "sshfs-state.json";

/// A managed plugin that keeps such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// As `docker plugin ls` shows it.
    pub name: String,
    /// What it sees as /mnt/volumes.
    pub volumes: PathBuf,
    /// Where it keeps its state: the setting `state.source`.
    pub state: PathBuf,
    /// Its keys: the setting `sshkey.source`, if there is one.
    pub keys: Option<PathBuf>,
}

#[derive(Deserialize)]
struct File {
    plugin: Object,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Object {
    name: String,
    settings: Settings,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(default)]
    name: String,
    #[serde(default)]
    source: Option<String>,
}

/// The plugins of this kind below `directory`. What cannot be read is none.
#[must_use]
pub fn find(directory: &Path) -> Vec<Plugin> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let read = |path: PathBuf| parse(&fs::read_to_string(path.join("config.json")).ok()?, &path);
    let mut plugins: Vec<_> = entries.filter_map(|entry| read(entry.path())).collect();
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    plugins
}

fn parse(text: &str, directory: &Path) -> Option<Plugin> {
    let Object { name, settings } = serde_json::from_str::<File>(text).ok()?.plugin;
    let source = |wanted: &str| {
        let mount = settings.mounts.iter().find(|mount| mount.name == wanted)?;
        mount.source.clone().filter(|source| !source.is_empty()).map(PathBuf::from)
    };
    // Other plugins have settings of these names, too, but not both.
    settings.mounts.iter().find(|mount| mount.name == "sshkey")?;
    let (state, keys) = (source("state")?, source("sshkey"));
    Some(Plugin { name, volumes: directory.join("propagated-mount"), state, keys })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_as_docker_writes_them() {
        let text = r#"{"plugin":{"Config":{"Mounts":[]},"Enabled":true,"Id":"0123","Name":"vieux/sshfs:latest","Settings":
            {"Args":[],"Devices":[],"Env":["DEBUG=0"],"Mounts":[
            {"Description":"","Destination":"/mnt/state","Name":"state","Options":["rbind"],"Settable":["source"],
             "Source":"/var/lib/docker/plugins/","Type":"bind"},
            {"Description":"","Destination":"/root/.ssh","Name":"sshkey","Options":["rbind"],"Settable":["source"],
             "Source":"/home/alice/.ssh/","Type":"bind"}]}},"Rootfs":"/x","SwarmServiceID":""}"#;
        let plugin = parse(text, Path::new("/var/lib/docker/plugins/0123")).unwrap();
        assert_eq!(plugin.name, "vieux/sshfs:latest");
        assert_eq!(plugin.keys, Some("/home/alice/.ssh/".into()));
        assert_eq!(plugin.state, Path::new("/var/lib/docker/plugins"));
        let without_key = text.replace("/home/alice/.ssh/", "");
        assert_eq!(parse(&without_key, Path::new("/x")).unwrap().keys, None);
        assert_eq!(parse(&text.replace("sshkey", "other"), Path::new("/x")), None);
        assert_eq!(parse("{}", Path::new("/x")), None);
    }
}
