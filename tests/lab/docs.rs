//! What the documentation shows works as it stands there: each page is gone through from top to bottom, on hosts where
//! nothing else was done. How a page says what is to be run is in `pages`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{Lab, Output, Release};
use crate::pages::{Step, says, steps};

crate::cases![
    readme,
    security,
    first_minute,
    commands,
    keys,
    containers,
    servers,
    compose,
    swarm,
    podman,
    tuning,
    monitoring,
    moving,
    troubleshooting,
    other_pages_show_nothing_that_is_not_run,
];

/// The longest command of a page is an access to a server that is dark.
const PATIENCE: Duration = Duration::from_secs(100);

/// Where the commands of a page are run.
const DIRECTORY: &str = "/root/page";

/// What the reader of a page has: the package beside him, an account of alice's on the host `storage` that root's key
/// opens, one of bob's with a password, and an apt that has all packages.
const BEFORE: &str = "
rm -rf /root/page; mkdir /root/page
cp /var/tmp/sshfs-docker.deb /root/page/sshfs-docker_0_amd64.deb
printf 'APT::Get::Assume-Yes 1;\\nAPT::Get::ReInstall 1;\\nAPT::Get::allow-downgrades 1;\\n' > /etc/apt/apt.conf.d/page
rm -rf /root/etc-before; cp -a /etc/sshfs-docker /root/etc-before
docker volume ls --quiet | sort > /root/volumes-before
";

/// Puts back what a page may have changed.
const AFTER: &str = "
docker swarm leave --force 2>/dev/null || :
containers=$(docker ps --all --quiet); [ -z \"$containers\" ] || docker rm --force $containers
docker volume ls --quiet | sort | comm -13 /root/volumes-before - | xargs --no-run-if-empty docker volume rm
rm -rf /etc/sshfs-docker; mv /root/etc-before /etc/sshfs-docker
rm -rf /root/page /etc/apt/apt.conf.d/page /run/docker/plugins/old.sock
";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn readme(lab: &Lab) -> Result<()> {
    go_through(lab, "README.md")
}

fn security(lab: &Lab) -> Result<()> {
    go_through(lab, "SECURITY.md")
}

fn first_minute(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/first-minute.md")
}

fn commands(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/commands.md")
}

fn keys(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/keys.md")
}

fn containers(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/containers.md")
}

fn servers(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/servers.md")
}

/// Debian 12 has no `docker compose`.
fn compose(lab: &Lab) -> Result<()> {
    go_through_on_debian_13(lab, "docs/compose.md")
}

fn swarm(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/swarm.md")
}

/// Services of Quadlet came with podman 4.4, and Debian 12 has 4.3: what else the page says runs there in the clients tier.
fn podman(lab: &Lab) -> Result<()> {
    go_through_on_debian_13(lab, "docs/podman.md")
}

fn tuning(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/tuning.md")
}

fn monitoring(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/monitoring.md")
}

fn moving(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/moving.md")
}

fn troubleshooting(lab: &Lab) -> Result<()> {
    go_through(lab, "docs/troubleshooting.md")
}

/// A page that no case goes through has only blocks that say why.
fn other_pages_show_nothing_that_is_not_run(lab: &Lab) -> Result<()> {
    let _ = lab;
    let run: Vec<_> = CASES.iter().map(|case| format!("{}.md", case.name.replace('_', "-"))).collect();
    for entry in fs::read_dir(root().join("docs"))? {
        let path = entry?.path();
        // Beside the pages there are their pictures.
        if path.is_dir() {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let shows = steps(&fs::read_to_string(&path)?).with_context(|| path.display().to_string())?;
        let unmarked = shows.iter().find(|(_, step)| !matches!(step, Step::Marked { .. }));
        ensure!(
            run.iter().any(|page| page == name) || unmarked.is_none(),
            "no case goes through {name}, which shows {unmarked:?}"
        );
    }
    Ok(())
}

fn go_through_on_debian_13(lab: &Lab, page: &str) -> Result<()> {
    match lab.host.release() {
        Release::Trixie => go_through(lab, page),
        Release::Bookworm | Release::Forky => Ok(()),
    }
}

fn go_through(lab: &Lab, page: &str) -> Result<()> {
    let text = fs::read_to_string(root().join(page)).context(page.to_owned())?;
    let steps = steps(&text).context(page.to_owned())?;
    lab.host.sh(BEFORE)?;
    lab.host.put("/root/page/password", lab.server.password().as_bytes())?;
    let done = steps
        .iter()
        .try_for_each(|(line, step)| take(lab, page, step).with_context(|| format!("{page}, line {line}")));
    let cleaned = lab.host.sh_within(AFTER, PATIENCE);
    let marked = steps.iter().filter(|(_, step)| matches!(step, Step::Marked { .. })).count();
    let hidden = steps.iter().filter(|(_, step)| matches!(step, Step::Hidden { .. })).count();
    println!(
        "\nfault-count: doc_blocks_run={} doc_blocks_marked={marked} ({page})",
        steps.len() - marked - hidden
    );
    done?;
    cleaned.map(drop).with_context(|| format!("cleaning up after {page}"))
}

fn take(lab: &Lab, page: &str, step: &Step) -> Result<()> {
    match step {
        Step::Script(script) => on_the_host(lab, script)?.success().map(drop),
        Step::Dialogue { command, answer, fails } => {
            let output = on_the_host(lab, &format!("{{ {command}\n}} 2>&1"))?;
            ensure!(says(&output.stdout, answer), "the page shows:\n{answer}\nand this was said: {output}");
            ensure!(
                output.ok() != *fails,
                "the page has it {}: {output}",
                if *fails { "fail" } else { "work" }
            );
            Ok(())
        }
        Step::File { path, content } => {
            let path = Path::new(DIRECTORY).join(path);
            let path = path.to_str().context("a path")?;
            lab.host.sh(&format!("mkdir -p \"$(dirname '{path}')\""))?;
            lab.host.put(path, content.as_bytes())?;
            lab.host.sh(&format!("chmod 644 '{path}'")).map(drop)
        }
        Step::Hidden { host, script } => match host.as_str() {
            "dockerhost" => on_the_host(lab, script)?.success().map(drop),
            "storage" => lab.server.sh(script).map(drop),
            _ => bail!("{page} wants something of a host '{host}'"),
        },
        Step::Marked { .. } => Ok(()),
    }
}

fn on_the_host(lab: &Lab, script: &str) -> Result<Output> {
    lab.host.try_sh_within(&format!("cd {DIRECTORY}\n{script}"), PATIENCE)
}
