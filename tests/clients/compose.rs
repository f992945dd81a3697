//! Compose on each release's version of it: 1.29 in Python on Debian 12, 2.26 and 2.40 as plugins of Docker later.

pub mod life;
pub mod mounts;
pub mod options;
pub mod recreation;
pub mod subpaths;

use anyhow::Result;

use crate::lab::docker::{IMAGE, quote};
use crate::lab::ssh_server::ALICE;
use crate::lab::volume::{KEY, remote};
use crate::lab::{Lab, Output, Release, Volume};

/// A project in a directory of its own, whose volume `data` is on a directory of its own on the server. Dropped, it takes
/// its containers and volumes along; the files stay.
#[derive(Debug)]
struct Project<'a> {
    lab: &'a Lab,
    name: String,
}

/// A service that only waits.
#[derive(Clone, Copy, Debug)]
struct Service<'a> {
    name: &'a str,
    image: &'a str,
    /// One line below `volumes:`.
    mount: &'a str,
}

/// The only service of most projects.
const APP: Service<'_> = service("app", "data:/d");

const fn service<'a>(name: &'a str, mount: &'a str) -> Service<'a> {
    Service { name, image: IMAGE, mount }
}

impl<'a> Project<'a> {
    /// A project with these services, not yet up.
    fn new(lab: &'a Lab, name: &str, services: &[Service<'_>]) -> Result<Self> {
        let project = Self { lab, name: name.to_owned() };
        lab.server.export(&format!("compose/{name}"), ALICE)?;
        lab.host.sh(&format!("mkdir -p {}", project.place()))?;
        project.write(services, "")?;
        Ok(project)
    }

    /// A project whose `app` runs.
    fn up(lab: &'a Lab, name: &str) -> Result<Self> {
        let project = Self::new(lab, name, &[APP])?;
        project.run("up --detach")?;
        Ok(project)
    }

    /// Writes the Compose file; `options` are those beside the address and the key, one per line.
    fn write(&self, services: &[Service<'_>], options: &str) -> Result<()> {
        self.write_with(services, &on_server(&self.directory(), options))
    }

    /// The same with these lines below `data:`.
    fn write_with(&self, services: &[Service<'_>], data: &str) -> Result<()> {
        let services: String = services.iter().map(Service::definition).collect();
        let file = format!("services:\n{services}volumes:\n  data:\n    {data}\n");
        self.lab.host.put(&format!("{}/compose.yaml", self.place()), file.as_bytes())
    }

    /// Runs Compose as the release has it; both its outputs are in the standard one.
    fn try_run(&self, arguments: &str) -> Result<Output> {
        let compose = match self.lab.host.release() {
            Release::Bookworm => "docker-compose",
            Release::Trixie | Release::Forky => "docker compose",
        };
        self.lab.host.try_sh(&format!("cd {}; {compose} {arguments} 2>&1", self.place()))
    }

    /// [`Project::try_run`] for what must work.
    fn run(&self, arguments: &str) -> Result<String> {
        self.try_run(arguments)?.success()
    }

    /// [`Project::try_run`] for what must fail; the answer is what it says.
    fn fail(&self, arguments: &str) -> Result<String> {
        let output = self.try_run(arguments)?;
        let said = output.stdout.clone();
        output.failure().map(|_| said)
    }

    /// Runs a shell script in a service's container.
    fn exec(&self, service: &str, script: &str) -> Result<String> {
        self.run(&format!("exec -T {service} sh -euc {}", quote(script)))
    }

    /// How many of its containers run.
    fn running(&self) -> Result<usize> {
        self.count("ps --quiet")
    }

    /// How many of its containers there are.
    fn containers(&self) -> Result<usize> {
        self.count("ps --quiet --all")
    }

    fn count(&self, list: &str) -> Result<usize> {
        let own = format!("--filter label=com.docker.compose.project={}", self.name);
        Ok(self.lab.docker(&format!("{list} {own}"))?.lines().count())
    }

    /// Where its file is.
    fn place(&self) -> String {
        format!("/root/compose/{}", self.name)
    }

    /// The directory on the server.
    fn directory(&self) -> String {
        format!("/srv/compose/{}", self.name)
    }

    /// Its volume.
    fn volume(&self) -> Volume<'a> {
        self.lab.volume_of_a_client(&format!("{}_data", self.name), &self.directory())
    }

    /// What the server has.
    fn served(&self) -> Result<String> {
        self.lab.server.checksums(&self.directory())
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        // By its label, too: a file that a case has spoilt cannot be read by `down`.
        let script = format!(
            "docker ps --all --quiet --filter label=com.docker.compose.project={} | xargs --no-run-if-empty docker rm --force
             rm -r {}",
            self.name,
            self.place()
        );
        let _ = self.try_run("down --volumes --remove-orphans");
        let _ = self.lab.host.try_sh(&script);
    }
}

impl Service<'_> {
    fn definition(&self) -> String {
        let Self { name, image, mount } = self;
        format!(
            "  {name}:
    image: {image}
    command: sh -c 'trap exit TERM; while :; do sleep 0.1; done'
    network_mode: none
    volumes:
      - {mount}
"
        )
    }
}

/// The lines below `data:` for a volume on a directory of the server.
fn on_server(directory: &str, options: &str) -> String {
    let own = format!("sshcmd: {}\nidentity_file: {KEY}\n{options}", remote(directory));
    format!("driver: sshfs\n    driver_opts:\n      {}", own.replace('\n', "\n      "))
}

/// What Docker knows of a volume's options.
fn options(lab: &Lab, volume: &Volume<'_>) -> Result<String> {
    lab.docker(&format!("volume inspect --format '{{{{.Options}}}}' {}", volume.name))
}

fn sshfs_processes(lab: &Lab, volume: &Volume<'_>) -> Result<usize> {
    Ok(lab.processes(&volume.unit())?.iter().filter(|process| process.name == "sshfs").count())
}

/// Whether Docker knows it.
fn is_listed(lab: &Lab, volume: &Volume<'_>) -> Result<bool> {
    Ok(lab.docker("volume ls --quiet")?.lines().any(|name| name == volume.name))
}
