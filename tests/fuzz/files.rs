//! Files that outlive the daemon, and that an administrator or a broken disk may have changed.

use crate::{Check, Target, assert_readable, examples};
use sshfs_docker::{
    admin::import::{state, translate},
    config::Config,
    heal::record::{HealingBook, Pace},
    health::Health,
    paths::Paths,
    references::ReferenceBook,
    sealing::Sealer,
    store::{self, Store},
    uptime::Uptime,
    volume::{
        Generation, Policy, Spec, VolumeName,
        catalogue::{self, Effect},
    },
};
use std::{fs, time::Duration};
use tempfile::TempDir;

pub fn targets() -> Vec<Target> {
    let target = |name, seeds, words, open: fn(TempDir) -> Check| Target {
        name,
        seeds,
        words,
        open: Box::new(move || open(directory())),
        needs_root: false,
    };
    vec![
        target("definitions", || examples(DEFINITIONS), || JSON.to_vec(), definitions),
        target("references", || examples(REFERENCES), || JSON.to_vec(), references),
        target("healing", || examples(RECORDS), || JSON.to_vec(), healing),
        target("health", || examples(HEALTH), || JSON.to_vec(), health),
        target("plugin_state", || examples(PLUGIN_STATES), || [JSON, PLUGIN_WORDS].concat(), plugin_state),
        target("configuration", configurations, || vec!["\n[options]\n", " = ", "'''"], configuration),
    ]
}

const HEALTH: &[&str] = &[
    r#"{"schema":1,"sshfs":4711,"state":"connected","since":86400,"reconnects":2,"host_keys":["SHA256:x (RSA)"],"last_error":null,"last_error_at":null}"#,
    r#"{"schema":1,"sshfs":1,"state":"failing","since":0,"reconnects":0,"host_keys":[],"last_error":"refused\u202e","last_error_at":7}"#,
];

/// Written by whoever may have taken over an ssh, read by root.
fn health(root: TempDir) -> Check {
    let (paths, generation) = (paths(&root), Generation::first(&name()));
    let directory = paths.mount_directory(&generation);
    fs::create_dir_all(&directory).unwrap();
    Box::new(move |input| {
        _ = &root;
        fs::write(directory.join("health.json"), input).unwrap();
        let Some(health) = Health::read(&paths, &generation) else { return };
        for text in health.host_keys.iter().chain(&health.last_error).filter(|text| !text.is_empty()) {
            assert_readable(text);
        }
    })
}

/// In memory where there is one: a definition waits for its disk.
pub fn directory() -> TempDir {
    let builder = |place| tempfile::Builder::new().prefix("sshfs-docker-fuzz-").tempdir_in(place);
    builder("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub fn paths(root: &TempDir) -> Paths {
    let path = |name| root.path().join(name);
    Paths { configuration: path("etc"), state: path("lib"), runtime: path("run") }
}

fn name() -> VolumeName {
    VolumeName::new("data").unwrap()
}

/// What a user may have written where a flag belongs.
const SECRET: &str = "hunter2-s3cr3t";

pub const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "null",
    "true",
    "\"schema\":",
    "\\u0000",
    "\\ud800",
    "\"count\":4294967295",
    "\"since\":18446744073709551615",
    "2026-11-21T12:00:00Z",
    "9999-12-31T23:59:60.9Z",
    "0000-00-00T00:00:00Z",
];

const DEFINITIONS: &[&str] = &[
    r#"{"schema":1,"created_at":"2026-11-21T12:00:00Z","options":{"sshcmd":"h:/x","port":"22"},"password":false}"#,
    r#"{"schema":1,"created_at":"1970-01-01T00:00:00.5Z","options":{}}"#,
    r#"{"schema":2,"created_at":"2026-11-21T12:00:00Z","options":{},"password":true}"#,
    r#"{"schema":1,"created_at":"2026-11-21T12:00:00Z","options":{"sshcmd":"h:/x"},"password":"hunter2-s3cr3t"}"#,
    r#"{"schema":1,"created_at":"2026-11-21T12:00:00Z","options":{"sshcmd":"h:/x","password":["hunter2-s3cr3t"]}}"#,
    r#"{"schema":1,"created_at":"2026-11-21T12:00:00Z","options":"password=hunter2-s3cr3t"}"#,
];

fn definitions(root: TempDir) -> Check {
    let paths = paths(&root);
    let store = Store::open(&paths, Sealer::none()).unwrap();
    let file = paths.volumes().join("data.json");
    let copy = VolumeName::new("copy").unwrap();
    Box::new(move |input| {
        let _root = &root;
        fs::write(&file, input).unwrap();
        let stored = store.read(&name()).expect("a file that is there is a volume");
        assert_eq!(fs::read(&file).unwrap(), input, "nothing is repaired");
        match stored.definition {
            Ok(definition) => {
                store.save(&copy, &definition, None).unwrap();
                let again = store.read(&copy).unwrap().definition.unwrap();
                store.remove(&copy).unwrap();
                // To the second.
                let time = |definition: &store::Definition| {
                    sshfs_docker::timestamp::Timestamp(definition.created_at).to_string()
                };
                assert_eq!(time(&again), time(&definition));
                let created_at = definition.created_at;
                assert_eq!(store::Definition { created_at, ..again }, definition);
            }
            Err(e) => {
                assert_readable(&e.to_string());
                assert!(!e.to_string().contains(SECRET), "{e}");
            }
        }
    })
}

const REFERENCES: &[&str] = &[
    r#"{"schema":1,"held":{"ID":{"count":1,"since":4711}}}"#,
    r#"{"schema":1,"held":{"a":{"count":2,"since":1,"doubtful":true},"b":{"count":4294967295,"since":0}}}"#,
    r#"{"schema":1,"held":{"a":{"count":4294967295,"since":18446744073709551615}}}"#,
    r#"{"schema":2,"held":{}}"#,
];

fn references(root: TempDir) -> Check {
    let paths = paths(&root);
    let book = ReferenceBook::open(&paths).unwrap();
    let file = paths.references().join("data.json");
    Box::new(move |input| {
        let _root = &root;
        fs::write(&file, input).unwrap();
        let mut references = book.read(&name());
        book.write(&name(), &references).unwrap();
        assert_eq!(book.read(&name()), references);
        let (before, now) = (references.total(), Uptime::of_seconds(5000));
        references.add("another", now);
        assert!(references.release("another", now));
        assert!(references.total() <= before);
        _ = references.are_settled(false, now);
        references.forget_lost(now);
        assert!(references.total() <= before);
    })
}

const RECORDS: &[&str] = &[
    r#"{"schema":1,"renewed":[4711,4712],"trouble":"sshfs died","unhealed":[{"mount":1234,"what":"container x"}]}"#,
    r#"{"schema":1,"renewed":[],"trouble":null,"unhealed":[]}"#,
    r#"{"schema":9,"renewed":[18446744073709551615],"trouble":null,"unhealed":[]}"#,
];

fn healing(root: TempDir) -> Check {
    let paths = paths(&root);
    let book = HealingBook::open(&paths).unwrap();
    let file = paths.healing().join("data.json");
    Box::new(move |input| {
        let _root = &root;
        fs::write(&file, input).unwrap();
        let mut record = book.read(&name());
        let now = Uptime::of_seconds(5000);
        if let Pace::After(pause) = record.pace(now) {
            assert!(pause < Duration::from_secs(60), "{pause:?}");
        }
        record.note_renewal(now);
        book.write(&name(), &record).unwrap();
        let again = book.read(&name());
        assert_eq!((&again.trouble, &again.unhealed), (&record.trouble, &record.unhealed));
        assert_eq!(again.pace(now), record.pace(now));
        book.forget_gone(&name(), &[]).unwrap();
        assert!(book.read(&name()).unhealed.is_empty());
    })
}

const PLUGIN_STATES: &[&str] = &[
    r#"{"data":{"Password":"","Sshcmd":"alice@storage:/srv/data","Port":"22","Options":["IdentityFile=/root/.ssh/k","reconnect"],"Mountpoint":"/mnt/volumes/e8"}}"#,
    r#"{"a":{"Password":"hunter2-s3cr3t","Sshcmd":"-p 22 a@h:/x -o uid=1,gid=1","Port":"","Options":null,"Mountpoint":"/m"},"":{}}"#,
    r#"{"b":{"Name":"b","MountPoint":"/m","RefCount":1,"Options":["auto_cache,big_writes","workaround=nodelay:rename"],"SSHCmd":"h:","IdentityFile":"~/.ssh/k","Ephemeral":true,"Password":"","Port":"2222"}}"#,
    r#"{"c":{"Sshcmd":"h:/x","Options":["Password=hunter2-s3cr3t","StrictHostKeyChecking=no","Ciphers=a,b"]}}"#,
];

const PLUGIN_WORDS: &[&str] = &[
    "\"Options\":[",
    "\"Sshcmd\":\"",
    "\"Password\":\"",
    "/root/.ssh/",
    "-o",
    "-p",
    "workaround=",
    "uid=1,",
];

fn plugin_state(_root: TempDir) -> Check {
    let keys = translate::Keys {
        directory: "/keys".into(),
        files: ["id_rsa".to_owned()].into(),
        volumes: Some("/volumes".into()),
    };
    Box::new(move |input| {
        let recorded = match state::parse(&crate::text(input)) {
            Ok(recorded) => recorded,
            Err(e) => return assert_readable(&e.to_string()),
        };
        for recorded in recorded {
            let old = match recorded.volume {
                Ok(old) => old,
                Err(e) => {
                    assert_readable(&e.to_string());
                    continue;
                }
            };
            let new = translate::translate(&old, &keys);
            for note in &new.notes {
                assert_readable(&note.becomes);
            }
            for (name, value) in &new.options {
                let entry = catalogue::find(name).expect("options are those of the catalogue");
                assert!(!matches!(entry.effect, Effect::Impossible(_)), "{name}");
                assert!(name != "password" && value.len() <= input.len() + 64, "{name}");
            }
            if let Err(e) = Spec::parse(&new.options, new.password.is_some(), &Policy::default()) {
                assert_readable(&e.to_string());
            }
        }
    })
}

fn configurations() -> Vec<Vec<u8>> {
    let shipped = include_str!("../../etc/config.toml");
    let uncommented = shipped.replace("\n#", "\n");
    examples(&[
        shipped,
        &uncommented,
        "[daemon]\nidle_exit = 0.5\n[mount]\ntimeout = 80\nread_ahead_kb = 0\n[ssh]\nhost_keys = 'yes'\n",
        "[policy]\nallow_options = ['ProxyCommand', 'CertificateFile']\nallow_password = false\n",
        "[policy]\nallow_hosts = ['*.net', '10.?.*']\ndeny_hosts = ['fd00:*']\nallow_unverified_hosts = ['x']\n",
        "[policy]\ndeny_options = ['uid']\n[forced_options]\nro = ''\nCompression = 'no'\nreconnect = 'false'\n",
        "[options]\nCompression = \"yes\"\nreconnect = \"false\"\ndcache_timeout = \"60\"\nro = ''\n",
        "[log]\nfilter = 'sshfs_docker::mount=debug,warn'\n",
        "\"a\\nb\" = 1\n[options]\n\"\\u001b[2J\" = ''\n",
        "[options]\nuid = \"1000,gid=1000\"\n",
    ])
}

fn configuration(root: TempDir) -> Check {
    let paths = paths(&root);
    fs::create_dir(&paths.configuration).unwrap();
    Box::new(move |input| {
        let _root = &root;
        let file = paths.config_file();
        fs::write(&file, input).unwrap();
        match Config::read(&file) {
            Ok(config) => {
                assert!((1..=80).contains(&config.mount_timeout.as_secs()), "{config:?}");
                assert!(config.idle_exit.is_none_or(|time| !time.is_zero()), "{config:?}");
                for name in &config.policy.allowed {
                    let effect = catalogue::find(name).unwrap().effect;
                    assert!(matches!(effect, Effect::Gated(_)), "{name}");
                }
            }
            Err(e) => assert_readable(&e.to_string()),
        }
    })
}
