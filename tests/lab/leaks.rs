//! Secrets stay where they belong: whatever way one comes in, and whatever goes wrong, nobody else finds it.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::lab::docker::IMAGE;
use crate::lab::driver::SERVICE;
use crate::lab::network::SSH_SERVER;
use crate::lab::planted::{Planted, ProcessWatch};
use crate::lab::{Client, Lab, poll};

crate::cases![no_secret_is_found_where_it_does_not_belong];

/// Everything that the driver and the mounts can be made to say, and dumps of their memory, as an administrator may ask
/// for all units (DefaultLimitCORE=).
const TRACE: [(&str, &str); 3] = [
    (SERVICE, "[Service]\nEnvironment=RUST_LOG=trace\nLogRateLimitIntervalSec=0\nLimitCORE=infinity\n"),
    ("sshfs-docker-heal@.service", "[Service]\nEnvironment=RUST_LOG=trace\nLogRateLimitIntervalSec=0\n"),
    ("sshfs-docker-mount-.service", "[Service]\nLogRateLimitIntervalSec=0\nLimitCORE=infinity\n"),
];

/// The user of the server whose password is given by each way.
const ACCOUNTS: [&str; 4] = ["by-option", "by-file", "by-store", "by-sealed"];

/// What systemd gives the units of mounts, outside of which it can be looked at by their user.
const OF_UNITS: &str = "/run/credentials/sshfs-docker-mount-";

/// Where secrets do belong: the files of the user, Docker's own database, and what the mount units were given. In
/// clear: the values of `password` are kept encrypted, and are not on this list.
const HOMES: [&str; 6] = [
    "/root/leaks/",
    "/etc/credstore/",
    "/etc/credstore.encrypted/",
    OF_UNITS,
    "/var/lib/docker/volumes/metadata.db",
    "/var/lib/docker/containers/",
];

type Options = BTreeMap<&'static str, String>;

fn options<const N: usize>(pairs: [(&'static str, &str); N]) -> Options {
    pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
}

/// What users do to the volumes, without a secret on a command line of ours.
struct Life<'a> {
    lab: &'a Lab,
    docker: Client,
    planted: Planted,
    /// A password for a repeated create.
    another: String,
    /// Every answer of Docker and of the driver, and what a user saw.
    told: String,
}

fn no_secret_is_found_where_it_does_not_belong(lab: &Lab) -> Result<()> {
    for (unit, drop_in) in TRACE {
        lab.host.sh(&format!("mkdir -p /run/systemd/system/{unit}.d"))?;
        lab.host.put(&format!("/run/systemd/system/{unit}.d/99-trace.conf"), drop_in.as_bytes())?;
    }
    lab.host.sh(&format!(
        "rm -rf /root/leaks; mkdir -m 700 /root/leaks; mkdir -p -m 700 /etc/credstore
         systemctl daemon-reload; systemctl restart {SERVICE}"
    ))?;
    let result = live_and_search(lab);
    for (unit, _) in TRACE {
        lab.host.sh(&format!("rm -r /run/systemd/system/{unit}.d"))?;
    }
    lab.host.sh(&format!(
        "systemctl stop leak-bus 2>/dev/null || :
         docker ps --all --quiet --filter name=leak- | xargs --no-run-if-empty docker rm --force
         docker volume ls --quiet --filter name=leak- | xargs --no-run-if-empty docker volume rm
         rm -rf /root/leaks /etc/credstore/leak-* /etc/credstore.encrypted/leak-* /core* /var/tmp/core*
         systemctl daemon-reload; systemctl restart {SERVICE}"
    ))?;
    result
}

fn live_and_search(lab: &Lab) -> Result<()> {
    let docker = Client::new(&lab.host.path("/run/docker.sock")?);
    let planted = Planted::default();
    let another = planted.plant("another password of the same volume")?;
    let mut life = Life { lab, docker, planted, another, told: String::new() };
    let volumes = life.plant_good_ones()?;
    let (refused, failing) = life.plant_bad_ones()?;
    let started = lab.now();
    let bus = lab
        .host
        .sh("systemd-run --quiet --unit=leak-bus sh -c 'exec busctl monitor > /root/leaks/bus'; echo ok")?;
    ensure!(bus == "ok", "no monitor of the bus");
    let watch = ProcessWatch::start(lab.host.path("/proc")?, &life.planted);

    for (name, options) in &volumes {
        life.create(name, options)?;
        life.run(name)?;
    }
    for (name, options) in &failing {
        life.create(name, options)?;
        let failed = lab.try_docker(&format!("run --rm --network none -v {name}:/d {IMAGE} true"))?;
        life.told += &failed.failure()?;
    }
    for options in &refused {
        let reply = life.api(
            "/volumes/create",
            &json!({"Name": "leak-refused", "Driver": "sshfs", "DriverOpts": options}),
        );
        ensure!(reply.0 >= 400, "accepted: {options:?}");
        life.told += &reply.1.to_string();
    }
    life.ask_the_driver()?;
    life.search_the_host(&started, "while the volumes are mounted")?;
    life.ensure_no_memory_in_core_dumps(&volumes)?;
    life.disturb(&volumes)?;
    life.command(&volumes["leak-by-option"])?;
    life.search_the_host(&started, "after faults and commands")?;
    for name in volumes.keys() {
        lab.docker(&format!("rm --force {name}"))?;
    }
    for name in volumes.keys().chain(failing.keys()) {
        lab.docker(&format!("volume rm {name}"))?;
    }

    lab.host.sh("systemctl stop leak-bus")?;
    let (looks, found) = watch.finish()?;
    life.planted.note("command lines and environments", found);
    life.planted.search("the traffic of D-Bus", &read(lab, "/root/leaks/bus")?, "leak-by-option")?;
    life.planted.search("answers and errors", &life.told, "leak-")?;
    let files = life.search_the_host(&started, "after the removal")?;
    let left = lab.host.sh(
        "find /var/lib/sshfs-docker/secrets /var/lib/sshfs-docker/secrets.encrypted -type f -name 'leak-*'",
    )?;
    ensure!(left.is_empty(), "outlives its volume: {left}");
    let (secrets, places) = life.planted.verdict()?;
    println!(
        "fault-count: case=leaks secrets_planted={secrets} places_searched_for_secrets={places} \
         files_searched_for_secrets={files} looks_at_processes={looks} secrets_leaked=0"
    );
    Ok(())
}

fn read(lab: &Lab, path: &str) -> Result<String> {
    let content = fs::read(lab.host.path(path)?).with_context(|| path.to_owned())?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

impl Life<'_> {
    /// One volume for each way that leads to a mount.
    fn plant_good_ones(&self) -> Result<BTreeMap<String, Options>> {
        let (lab, planted) = (self.lab, &self.planted);
        let put = |path: &str, text: &str| lab.host.put(path, format!("{text}\n").as_bytes());
        let mut passwords = BTreeMap::new();
        for user in ACCOUNTS {
            let password = planted.plant(user)?;
            lab.server
                .sh(&format!("id {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/sh {user}"))?;
            lab.server.put("/root/leak", format!("{user}:{password}\n").as_bytes())?;
            lab.server.sh("chpasswd < /root/leak; rm /root/leak")?;
            lab.server.export(&format!("leak-{user}"), user)?;
            passwords.insert(user, password);
        }
        put("/root/leaks/password", &passwords["by-file"])?;
        put("/etc/credstore/leak-password", &passwords["by-store"])?;
        put("/root/leaks/sealed", &passwords["by-sealed"])?;
        let passphrase = planted.plant("passphrase of a key")?;
        put("/root/leaks/passphrase", &passphrase)?;
        self.make_key("locked", Some("/root/leaks/passphrase"))?;
        for key in ["plain", "sealed-key"] {
            self.make_key(key, None)?;
        }
        lab.host.sh("mkdir -p -m 700 /etc/credstore.encrypted
             for name in sealed sealed-key; do
                 systemd-creds encrypt --name=leak-$name /root/leaks/$name /etc/credstore.encrypted/leak-$name 2>/dev/null
             done")?;

        let remote = |user: &str| ("sshcmd", format!("{user}@{SSH_SERVER}:/srv/leak-{user}"));
        let alice = format!("alice@{SSH_SERVER}:{}", lab.server.export("leak-alice", "alice")?);
        let mut volumes: BTreeMap<String, Options> = [
            ("by-option", options([("password", &passwords["by-option"])])),
            ("by-file", options([("password_file", "/root/leaks/password")])),
            ("by-store", options([("password_file", "leak-password")])),
            ("by-sealed", options([("password_file", "leak-sealed")])),
        ]
        .into_iter()
        .map(|(user, mut options)| {
            options.extend([remote(user)]);
            (format!("leak-{user}"), options)
        })
        .collect();
        for (name, more) in [
            ("leak-key", options([("identity_file", "/root/leaks/plain")])),
            ("leak-sealed-key", options([("identity_file", "leak-sealed-key")])),
            (
                "leak-locked-key",
                options([
                    ("identity_file", "/root/leaks/locked"),
                    ("password_file", "/root/leaks/passphrase"),
                ]),
            ),
        ] {
            volumes.insert(name.to_owned(), more.into_iter().chain([("sshcmd", alice.clone())]).collect());
        }
        for options in volumes.values_mut() {
            let loud = [("LogLevel", "DEBUG3"), ("sshfs_debug", ""), ("debug", "")];
            options.extend(loud.map(|(name, value)| (name, value.to_owned())));
        }
        Ok(volumes)
    }

    /// A key of alice's; each line of it is a secret.
    fn make_key(&self, name: &str, passphrase: Option<&str>) -> Result<()> {
        // Before anything is watched: ssh-keygen takes the passphrase on its command line.
        let passphrase = passphrase.map_or("''".to_owned(), |file| format!("\"$(cat {file})\""));
        let public = self.lab.host.sh(&format!(
            "ssh-keygen -q -t ed25519 -N {passphrase} -f /root/leaks/{name}; cat /root/leaks/{name}.pub"
        ))?;
        self.lab.server.sh(&format!("echo '{public}' >> ~alice/.ssh/authorized_keys"))?;
        let key = read(self.lab, &format!("/root/leaks/{name}"))?;
        // The first lines of all keys are the same, and contain the public half.
        key.lines()
            .filter(|line| line.len() >= 60)
            .skip(1)
            .for_each(|line| _ = self.planted.add("private key", line));
        Ok(())
    }

    /// What is refused at create, and volumes that cannot be mounted.
    fn plant_bad_ones(&self) -> Result<(Vec<Options>, BTreeMap<String, Options>)> {
        let planted = &self.planted;
        let remote = format!("by-option@{SSH_SERVER}:/srv/leak-by-option");
        let of_remote =
            |more: Options| more.into_iter().chain([("sshcmd", remote.clone())]).collect::<Options>();
        let refused = vec![
            options([(
                "sshcmd",
                &format!("sftp://alice:{}@{SSH_SERVER}/srv", planted.plant("password in a URL")?),
            )]),
            options([(
                "sshcmd",
                &format!("alice:{}@{SSH_SERVER}:/srv", planted.plant("password in sshcmd")?),
            )]),
            of_remote(options([("uid", &format!("1000,password={}", planted.plant("password in a list")?))])),
            of_remote(options([("password_file", &planted.plant("password for its file")?)])),
            of_remote(options([("identity_file", &planted.plant("password for a key")?)])),
            of_remote(options([("pasword", &planted.plant("misspelt option")?)])),
            of_remote(options([("port", &planted.plant("password for a port")?)])),
            of_remote(options([(
                "password",
                &format!("{}\nx", planted.plant("password with a line break")?),
            )])),
            of_remote(options([
                ("password", &planted.plant("password given twice")?),
                ("PASSWORD", &planted.plant("password given in capitals")?),
            ])),
            of_remote(options([("identity_file", &read(self.lab, "/root/leaks/plain")?)])),
            of_remote(options([("host_key", &planted.plant("password for a host key")?)])),
            of_remote(options([("password,reconnect", &planted.plant("password in a name's list")?)])),
        ];
        let wrong_passphrase = planted.plant("wrong passphrase")?;
        self.lab.host.put("/root/leaks/wrong", wrong_passphrase.as_bytes())?;
        let failing = [
            ("leak-wrong-password", of_remote(options([("password", &planted.plant("wrong password")?)]))),
            (
                "leak-wrong-passphrase",
                of_remote(options([
                    ("identity_file", "/root/leaks/locked"),
                    ("password_file", "/root/leaks/wrong"),
                ])),
            ),
        ];
        Ok((refused, failing.map(|(name, options)| (name.to_owned(), options)).into()))
    }

    /// A call of Docker's API: no secret is on a command line, as it would be with `docker volume create`.
    fn api(&self, path: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let reply = self.docker.send(request.as_bytes());
        (reply.status.unwrap_or(0), reply.body)
    }

    fn create(&mut self, name: &str, options: &Options) -> Result<()> {
        let create = json!({"Name": name, "Driver": "sshfs", "DriverOpts": options});
        let (status, body) = self.api("/volumes/create", &create);
        ensure!(status == 201, "{name}: {body}");
        Ok(())
    }

    fn run(&self, name: &str) -> Result<()> {
        self.lab.docker(&format!(
            "run --detach --name {name} --network none -v {name}:/d {IMAGE} \
             sh -c 'echo hello > /d/file && trap exit TERM; while :; do sleep 0.1; done'"
        ))?;
        self.use_again(name)
    }

    fn use_again(&self, name: &str) -> Result<()> {
        poll::until_true(&format!("{name} to work"), Duration::from_secs(30), || {
            Ok(self.lab.try_docker(&format!("exec {name} cat /d/file"))?.stdout == "hello")
        })
    }

    /// Faults of every kind: each has the secrets handled once more.
    fn disturb(&mut self, volumes: &BTreeMap<String, Options>) -> Result<()> {
        for name in volumes.keys() {
            for program in ["ssh", "sshfs"] {
                self.lab.host.sh(&format!(
                    "for pid in $(pgrep -x {program}); do
                         ! grep -qs '/sshfs-docker-mount-{name}.service' /proc/$pid/cgroup || kill -KILL $pid || :
                     done"
                ))?;
                self.use_again(name)?;
            }
        }
        self.lab.host.sh(&format!("systemctl kill --signal=KILL {SERVICE}; systemctl restart {SERVICE}"))?;
        for (name, options) in volumes {
            // Docker answers a repeated create itself; the driver is asked all the same.
            let opts: Vec<_> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
            self.told += &self.lab.client()?.create(name, &opts).ok().to_string();
            let mut other = opts.clone();
            let wrong = &self.another;
            other.retain(|(key, _)| *key != "password");
            other.push(("password", wrong));
            self.told += &self.lab.client()?.create(name, &other).body.to_string();
        }
        self.ask_the_driver()
    }

    /// The commands of an administrator that take a password or have it used anew, on the volume with these options.
    fn command(&mut self, options: &Options) -> Result<()> {
        let (lab, password, remote) = (self.lab, &options["password"], &options["sshcmd"]);
        lab.host.put("/root/leaks/right", format!("{password}\n").as_bytes())?;
        lab.host.put("/root/leaks/another", format!("{}\n", self.another).as_bytes())?;
        let state = json!({"leak-imported": {"Password": password, "Sshcmd": remote, "Port": "",
            "Options": ["reconnect"], "Mountpoint": ""}});
        lab.host.put("/root/leaks/state.json", state.to_string().as_bytes())?;
        for command in [
            "set leak-by-option --password-stdin < /root/leaks/another",
            "set leak-by-option --password-stdin --json < /root/leaks/right",
            "restart leak-by-option",
            &format!("check {remote} --password-stdin --no-write < /root/leaks/right"),
            "import /root/leaks/state.json --json",
            "import /root/leaks/state.json --apply",
            "status leak-by-option",
        ] {
            self.told +=
                &lab.host.sh_within(&format!("sshfs-docker {command} 2>&1"), Duration::from_secs(60))?;
        }
        self.use_again("leak-by-option")?;
        // What was imported works with the password that came with it.
        self.run("leak-imported")?;
        lab.docker("rm --force leak-imported")?;
        lab.docker("volume rm leak-imported")?;
        self.told += &lab.host.try_sh("sshfs-docker doctor 2>&1")?.stdout;
        let check = format!("sshfs-docker check {remote} --password-stdin --no-write < /root/leaks/another");
        let refused = lab.host.try_sh(&check)?;
        ensure!(!refused.ok(), "it logs in with a wrong password: {refused}");
        self.told += &(refused.stdout + &refused.stderr);
        Ok(())
    }

    fn ask_the_driver(&mut self) -> Result<()> {
        let client = self.lab.client()?;
        let list = client.call("/VolumeDriver.List", "{}").ok();
        for name in client.list() {
            self.told += &client.get(&name).ok().to_string();
        }
        self.told += &list.to_string();
        Ok(())
    }

    /// Searches the journal, the units, D-Bus and the files. Returns how many files there are.
    fn search_the_host(&self, started: &str, when: &str) -> Result<usize> {
        let (lab, planted) = (self.lab, &self.planted);
        lab.host.sh("journalctl --sync")?;
        // Every field, not only the message.
        lab.host.sh(&format!(
            "journalctl --no-pager --all --output=export --since @{started} > /root/leaks/journal"
        ))?;
        let journal = read(lab, "/root/leaks/journal")?;
        planted.search(&format!("the journal {when}"), &journal, "leak-by-option")?;
        for everything in ["zbus", "debug3: ", "executing <"] {
            ensure!(
                journal.contains(everything),
                "daemon, ssh or sshfs do not log all they can: no {everything:?}"
            );
        }
        let units = lab.host.sh("systemctl show --all '*' sshfs-docker.service | cat")?;
        planted.search(&format!("the units {when}"), &units, "sshfs-docker.service")?;
        let dbus =
            lab.host.sh("for path in $(busctl tree --list org.freedesktop.systemd1 | grep sshfs); do
                 busctl call org.freedesktop.systemd1 $path org.freedesktop.DBus.Properties GetAll s ''
             done")?;
        planted.search(&format!("the properties on D-Bus {when}"), &dbus, "sshfs-docker")?;
        self.search_files(when)
    }

    fn search_files(&self, when: &str) -> Result<usize> {
        let (lab, planted) = (self.lab, &self.planted);
        lab.host.put("/root/leaks/patterns", planted.patterns().as_bytes())?;
        // Another one, which is there for everybody to find.
        let control = "a-file-that-all-can-read";
        lab.host.sh(&format!(
            "echo {control} > /var/tmp/leak-control; chmod 644 /var/tmp/leak-control
             (cat /root/leaks/patterns; echo {control}) > /root/leaks/search"
        ))?;
        let tree = "/etc /run /var /tmp /root /home /opt /srv /usr/local /dev/shm /core*";
        let grep = format!(
            "grep --recursive --files-with-matches --no-messages --fixed-strings --devices=skip --file=- \
             --exclude-dir=mnt --exclude-dir=overlay2 --exclude-dir=rootfs {tree} < /root/leaks/search || :"
        );
        for user in ["nobody", "sshfs-docker", "root"] {
            let found = lab.host.sh_within(
                &format!("setpriv --reuid {user} --regid $(id -g {user}) --clear-groups {grep}"),
                Duration::from_secs(120),
            )?;
            ensure!(found.contains("leak-control"), "{user} does not find what is there for all: {found}");
            let homes: &[&str] = match user {
                "root" => &HOMES,
                "sshfs-docker" => &[OF_UNITS],
                _ => &[],
            };
            let at_home = |file: &&str| homes.iter().any(|home| file.starts_with(home));
            let astray = found.lines().filter(|file| *file != "/var/tmp/leak-control" && !at_home(file));
            planted.note(&format!("files that {user} can read {when}"), astray.map(str::to_owned));
        }
        let count = lab.host.sh(&format!("find {tree} -xdev -type f 2>/dev/null | wc -l"))?;
        count.parse().with_context(|| count.clone())
    }

    /// A process that handles secrets dumps none of its memory, even where its limit is lifted.
    fn ensure_no_memory_in_core_dumps(&self, volumes: &BTreeMap<String, Options>) -> Result<()> {
        let lab = self.lab;
        let name = volumes.keys().next().context("no volume")?;
        let mut processes = vec![lab.daemon()?.to_string()];
        let of_mounts =
            lab.host.sh("grep -ls '/sshfs-docker-mount-leak' /proc/[0-9]*/cgroup | cut -d / -f 3")?;
        processes.extend(of_mounts.lines().map(str::to_owned));
        ensure!(processes.len() > 4 * volumes.len(), "not all are there: {processes:?}");
        for pid in &processes {
            // ssh may have ended meanwhile.
            let filter = lab.host.sh(&format!("cat /proc/{pid}/coredump_filter 2>/dev/null || echo gone"))?;
            ensure!(["00000010", "gone"].contains(&filter.as_str()), "{pid} would dump its memory: {filter}");
        }
        // For real, beside a process that shows that it can be seen.
        let script = "kill ABRT => $$";
        let control = lab.host.sh(&format!(
            "cd /var/tmp; (ulimit -c unlimited; exec perl -e 'my $x = join \"-\", \"control\", \"secret\"; {script}') || :
             ls core* 2>/dev/null | head -n 1"
        ))?;
        let daemon = lab.daemon()?;
        lab.host.sh(&format!(
            "kill -ABRT {daemon}
             for pid in $(grep -ls '/sshfs-docker-mount-{name}' /proc/[0-9]*/cgroup | cut -d / -f 3); do
                 kill -ABRT $pid || :
             done; sleep 1"
        ))?;
        if control.is_empty() {
            println!("core dumps go elsewhere on this machine: only their settings were checked");
        } else {
            let seen = read(lab, &format!("/var/tmp/{control}"))?;
            ensure!(seen.contains("control-secret"), "a dump shows no memory here: nothing is proven");
            let dumps = lab.host.sh("ls /core* | wc -l")?;
            ensure!(dumps != "0", "the daemon left no dump to look at");
        }
        self.use_again(name)
    }
}
