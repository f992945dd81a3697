//! What breaks between sshfs and the server: ssh, sshd, the link, the server itself. Under each fault a container writes
//! with fsync. What it was told is on the server is there in the end; nothing lands on the host; and writing goes on by
//! itself when the fault is over.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::lab::{Diary, Lab, Volume, network};

crate::cases![
    ssh_killed_under_load,
    sshd_restarted_and_its_sessions_killed,
    sshd_gone_and_back,
    the_link_cut_for_a_moment_and_restored,
    the_server_dies_in_the_middle_of_a_write_and_boots_again,
];

/// The promise: how soon accesses work again after the server is back.
const BACK: Duration = Duration::from_secs(5);

/// A container writes while `fault` happens; it must write again soon after.
fn under(lab: &Lab, name: &str, fault: impl Fn(&Volume, &Diary) -> Result<()>) -> Result<()> {
    let volume = lab.volume(name)?;
    let diary = Diary::start(lab, &volume)?;
    fault(&volume, &diary)?;
    let took = diary.wait_for_more(Duration::from_secs(60))?;
    ensure!(took < BACK, "it wrote again only after {took:?}");
    // The next container sees a working volume too.
    volume.run("test -s /d/1")?;
    diary.finish()?.print(name);
    volume.wait_until_unmounted()
}

fn ssh_killed_under_load(lab: &Lab) -> Result<()> {
    under(lab, "ssh-killed", |_, diary| {
        for _ in 0..3 {
            lab.host.sh("pkill -KILL -x ssh")?;
            diary.wait_for_more(BACK)?;
        }
        Ok(())
    })
}

fn sshd_restarted_and_its_sessions_killed(lab: &Lab) -> Result<()> {
    under(lab, "sshd-restarted", |_, _| {
        lab.server.sh("systemctl restart ssh.service; pkill -KILL -u alice").map(drop)
    })
}

fn sshd_gone_and_back(lab: &Lab) -> Result<()> {
    under(lab, "sshd-gone", |volume, diary| {
        lab.server.sh("systemctl stop ssh.service; pkill -KILL -u alice")?;
        let seen = refused_meanwhile(volume, diary);
        lab.server.sh("systemctl start ssh.service")?;
        seen
    })
}

/// Without a server, accesses and new containers get an error, soon.
fn refused_meanwhile(volume: &Volume, diary: &Diary) -> Result<()> {
    let access = diary.container().try_exec("ls /d")?;
    ensure!(!access.ok() && access.took < Duration::from_secs(10), "{access}");
    let next = volume.try_run("ls /d")?;
    ensure!(!next.ok() && next.took < Duration::from_secs(35), "{next}");
    ensure!(diary.failed()? > 0, "nothing failed without a server");
    Ok(())
}

fn the_link_cut_for_a_moment_and_restored(lab: &Lab) -> Result<()> {
    let volume = lab.volume("link-cut")?;
    let diary = Diary::start(lab, &volume)?;
    network::cut_link(lab.server.name())?;
    std::thread::sleep(Duration::from_secs(4));
    network::restore_link(lab.server.name())?;
    diary.wait_for_more(Duration::from_secs(20))?;
    let report = diary.finish()?;
    report.print("link-cut");
    // TCP bridges an outage that is shorter than the 40 s after which ssh gives up.
    ensure!(report.failed == 0, "{report:?}");
    volume.wait_until_unmounted()
}

fn the_server_dies_in_the_middle_of_a_write_and_boots_again(lab: &Lab) -> Result<()> {
    under(lab, "server-died", |_, _| {
        lab.server.cut_power()?;
        lab.server.boot()
    })
}
