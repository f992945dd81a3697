//! Who a container is, and whose the volume's files seem to be to it.

use anyhow::{Context, Result, ensure};

use crate::calls::Calls;
use crate::lab::docker::quote;
use crate::lab::driver::SOCKET_PATH;
use crate::lab::{Lab, Volume};

crate::cases![
    any_user_of_a_container_writes_as_the_account,
    options_say_whose_the_files_seem,
    the_kernel_judges_by_what_is_shown_if_it_is_asked_to,
    remapped_root_uses_the_volume_and_sees_nobodys_files,
    files_can_be_shown_as_those_of_remapped_root,
    docker_without_root_is_not_let_in,
    the_kernel_is_given_the_selinux_context,
];

fn any_user_of_a_container_writes_as_the_account(lab: &Lab) -> Result<()> {
    let volume = lab.volume("anybody")?;
    let image = lab.image("anybodys", ":", &["USER 4321"])?;
    // 1000 is alice's number there, by chance, and the image's "user"; 4321 is nobody's.
    for (number, flag) in
        ["--user 0", "--user 1000", "--user 4321:8765", "--user user", ""].iter().enumerate()
    {
        let script = format!(
            "echo $(id -u) > /d/{number}; mkdir /d/made; mv /d/{number} /d/made; mv /d/made /d/{number}"
        );
        image.run(&format!("-v anybody:/d {flag}"), &script)?;
    }
    let written = lab.server.sh("cd /srv/anybody; cat */*; stat -c %U */* | uniq -c")?;
    let written: Vec<_> = written.split_whitespace().collect();
    ensure!(written == ["0", "1000", "4321", "1000", "4321", "5", "alice"], "{written:?}");
    volume.remove()?.success().map(drop)
}

/// Owner, group and mode of a file of alice and of one of root, as a container sees them.
fn shown(volume: &Volume<'_>) -> Result<String> {
    volume.run("stat -c '%u:%g %a' /d/alices /d/roots").map(|lines| lines.replace('\n', ", "))
}

fn options_say_whose_the_files_seem(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("seeming", "alice")?;
    let script = "cd /srv/seeming; echo a > alices; chmod 604 alices; chown alice:alice alices; echo r > roots; chmod 640 roots
                  stat -c '%u:%g %a' *";
    let real = lab.server.sh(script)?;
    let alice = lab.server.sh("echo $(id -u alice):$(id -g alice)")?;
    for (options, expected) in [
        ("", format!("{alice} 604, 0:0 640")),
        ("-o uid=1234 -o gid=4321", "1234:4321 604, 1234:4321 640".to_owned()),
        ("-o umask=027", format!("{alice} 750, 0:0 750")),
        ("-o idmap=user", "0:0 604, 0:0 640".to_owned()),
        ("-o idmap=none", format!("{alice} 604, 0:0 640")),
    ] {
        let volume = lab.volume_on("seeming", &directory, options)?;
        let seen = shown(&volume)?;
        ensure!(seen == expected, "{options:?} shows {seen:?}, expected {expected:?}");
        volume.remove()?.success()?;
    }
    ensure!(lab.server.sh("cd /srv/seeming; stat -c '%u:%g %a' *")? == real, "changed on the server");
    Ok(())
}

fn the_kernel_judges_by_what_is_shown_if_it_is_asked_to(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("judged", "alice")?;
    lab.server.sh("echo judged > /srv/judged/file; chmod 644 /srv/judged/file")?;
    let volume = lab.volume_on("judged", &directory, "-o uid=1234 -o umask=077 -o default_permissions")?;
    let owner = volume.try_run_with("-v judged:/d --user 1234", "stat -c '%u %a' /d/file; cat /d/file")?;
    ensure!(owner.success()? == "1234 700\njudged");
    let other = volume.try_run_with("-v judged:/d --user 1235", "cat /d/file")?.failure()?;
    ensure!(other.contains("Permission denied"), "{other}");
    Ok(())
}

/// Docker with a user namespace for every container.
const REMAP: &str = r#"{"userns-remap": "default"}"#;

fn remapped_root_uses_the_volume_and_sees_nobodys_files(lab: &Lab) -> Result<()> {
    let volume = lab.volume("remapped")?;
    lab.with_docker_settings(REMAP, || {
        let script =
            "echo remapped > /d/file; mkdir /d/sub; mv /d/file /d/sub/; cat /d/sub/file; stat -c %u /d/sub";
        let seen = volume.run(&format!("awk '{{ print ($2 > 0) }}' /proc/self/uid_map; {script}"))?;
        ensure!(seen == "1\nremapped\n65534", "remapped: {seen}");
        // The other way out of it.
        let alice = lab.server.sh("id -u alice")?;
        let host = volume.try_run_with(
            "-v remapped:/d --userns host",
            "awk '{ print ($2 > 0) }' /proc/self/uid_map; echo host > /d/host; stat -c %u /d/sub",
        )?;
        ensure!(host.success()? == format!("0\n{alice}"), "--userns host");
        Ok(())
    })?;
    volume.wait_until_unmounted()?;
    let written = lab.server.sh("cd /srv/remapped; cat sub/file host; stat -c %U sub/file host")?;
    ensure!(written == "remapped\nhost\nalice\nalice", "{written}");
    Ok(())
}

/// `uid` and `gid` are numbers of the host.
fn files_can_be_shown_as_those_of_remapped_root(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("reshown", "alice")?;
    lab.with_docker_settings(REMAP, || {
        let first = lab.host.sh("sed -n 's/^dockremap:\\([0-9]*\\):.*/\\1/p' /etc/subuid")?;
        let first: u32 =
            first.parse().with_context(|| format!("the first number of dockremap: {first:?}"))?;
        let volume = lab.volume_on("reshown", &directory, &format!("-o uid={first} -o gid={first}"))?;
        let seen = volume.run("echo mine > /d/file; stat -c '%u:%g' /d /d/file; rm /d/file")?;
        ensure!(seen == "0:0\n0:0", "{seen}");
        // So that Docker, too, takes its chown for done.
        let image = lab.image("remapped-app", "mkdir /app; echo inside > /app/file", &[])?;
        let copied = image.run("-v reshown:/app", "cat /app/file")?;
        ensure!(copied == "inside", "{copied}");
        volume.remove()?.success().map(drop)
    })?;
    ensure!(lab.server.sh("cd /srv/reshown; cat file; stat -c %U file")? == "inside\nalice");
    Ok(())
}

/// To the host, rootless Docker's root is the user who started it. RootlessKit is not in Debian's docker.io; what it does
/// first, a user namespace, is done by hand.
fn docker_without_root_is_not_let_in(lab: &Lab) -> Result<()> {
    let call =
        format!("curl --silent --show-error --data '' --unix-socket {SOCKET_PATH} http://x/Plugin.Activate");
    let inside = format!("test $(id -u) = 0; {call}");
    let user = "setpriv --reuid nobody --regid nogroup --clear-groups unshare --user --map-root-user";
    let calls = Calls::from_now(lab)?;
    let refused = lab.host.try_sh(&format!("{user} sh -euc {}", quote(&inside)))?;
    // 7: it failed to connect.
    ensure!(refused.status == 7, "{refused}");
    ensure!(calls.all()?.is_empty(), "{:?}", calls.all()?);
    ensure!(lab.host.sh(&call)?.contains("VolumeDriver"), "root is not let in either");
    Ok(())
}

/// The kernels of the lab have no SELinux: such a kernel names the option that it does not know.
fn the_kernel_is_given_the_selinux_context(lab: &Lab) -> Result<()> {
    let directory = lab.server.export("labelled", "alice")?;
    for option in ["context", "fscontext", "defcontext", "rootcontext"] {
        let options = format!("-o {option}=system_u:object_r:container_file_t:s0:c1,c2");
        let volume = lab.volume_on("labelled", &directory, &options)?;
        let complaints = format!("dmesg | grep -c \"Unknown parameter '{option}'\" || :");
        let before: u32 = lab.host.sh(&complaints)?.parse()?;
        let said = volume.try_run("true")?.failure()?;
        ensure!(said.contains("the kernel refused the mount (Invalid argument)"), "{said}");
        ensure!(said.contains("context and the like need SELinux"), "{said}");
        ensure!(lab.host.sh(&complaints)?.parse::<u32>()? > before, "the kernel did not see {option}");
        volume.remove()?.success()?;
    }
    Ok(())
}
