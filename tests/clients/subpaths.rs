//! A part of a volume in a container: `volume-subpath`, which Docker knows since version 26. Scenario 39.

use anyhow::{Result, ensure};

use crate::calls::Calls;
use crate::lab::{Lab, Output, Volume};

crate::cases![
    a_container_with_a_directory_of_the_volume_has_nothing_else_of_it,
    a_link_inside_of_the_volume_is_followed,
    an_image_fills_an_empty_directory_of_the_volume_and_touches_no_other,
    nocopy_leaves_the_directory_empty,
    a_file_of_the_volume_is_a_file_in_the_container,
    a_file_of_the_volume_hides_one_of_the_image,
    two_parts_of_a_volume_are_two_mounts,
    a_path_out_of_the_volume_is_refused_before_there_is_a_container,
    a_missing_path_fails_the_start_and_the_volume_is_unmounted,
    a_link_out_of_the_volume_leads_nowhere,
];

/// What every volume here has on the server.
const PARTS: &str = "mkdir sub empty other; echo in sub > sub/file; echo in other > other/file; echo top > top
ln -s sub link; ln -s sub/file filelink; ln -s /etc absolute; ln -s ../.. up; ln -s sub/../../x/y crooked; ln -s nowhere dangling
chown -hR alice:alice .";

/// A volume, and what of it the server must have at the end.
struct Parts<'a> {
    lab: &'a Lab,
    volume: Volume<'a>,
    before: String,
}

impl<'a> Parts<'a> {
    fn new(lab: &'a Lab, name: &str, options: &str) -> Result<Self> {
        let directory = lab.server.export(name, "alice")?;
        lab.server.sh(&format!("cd {directory}; {PARTS}"))?;
        let volume = lab.volume_on(name, &directory, options)?;
        let mut parts = Self { lab, volume, before: String::new() };
        parts.before = parts.on_server()?;
        Ok(parts)
    }

    /// Every name, with mode, owner, where it points to, and what is in it.
    fn on_server(&self) -> Result<String> {
        let Self { lab, volume, .. } = self;
        let directory = &volume.directory;
        let names = lab.server.sh(&format!("cd {directory}; find . -printf '%p %m %u %l\n' | sort"))?;
        Ok(format!("{names}\n{}", lab.server.checksums(directory)?))
    }

    fn ensure_intact(&self) -> Result<()> {
        let after = self.on_server()?;
        ensure!(after == self.before, "{} became {after}", self.before);
        Ok(())
    }

    /// The flag for `docker run` that puts a part of the volume to a place of the container.
    fn flag(&self, part: &str, place: &str) -> String {
        format!("--mount type=volume,src={},dst={place},volume-subpath={part}", self.volume.name)
    }

    /// Runs a script with the part at /d.
    fn try_run(&self, part: &str, script: &str) -> Result<Output> {
        self.volume.try_run_with(&self.flag(part, "/d"), script)
    }

    /// Docker refuses the part for this reason, with these calls, and no container stays.
    fn ensure_refused(&self, part: &str, reason: &str, calls: &str) -> Result<()> {
        let made = Calls::from_now(self.lab)?;
        let said = self.try_run(part, "echo x > /d/x; cat /d/*")?.failure()?;
        ensure!(said.contains(reason), "{part}: {said}");
        made.ensure(&self.volume.name, calls)?;
        self.volume.wait_until_unmounted()?;
        let left = self.lab.docker("ps --all --quiet")?;
        ensure!(left.is_empty(), "{part}: a container stays: {left}");
        self.ensure_intact()
    }
}

fn a_container_with_a_directory_of_the_volume_has_nothing_else_of_it(lab: &Lab) -> Result<()> {
    let parts = Parts::new(lab, "parts", "")?;
    let calls = Calls::from_now(lab)?;
    let script = "ls -A /d; cat /d/file; ls -A /d/.. | grep -x other || :; echo new > /d/new; mkdir /d/made";
    ensure!(parts.try_run("sub", script)?.success()? == "file\nin sub");
    calls.ensure("parts", "Mount Unmount")?;
    ensure!(lab.server.sh("cd /srv/parts/sub; cat new; rm new; rmdir made")? == "new");
    parts.ensure_intact()
}

fn a_link_inside_of_the_volume_is_followed(lab: &Lab) -> Result<()> {
    let parts = Parts::new(lab, "linked", "")?;
    ensure!(parts.try_run("link", "ls -A /d; cat /d/file")?.success()? == "file\nin sub");
    ensure!(parts.try_run("filelink", "cat /d")?.success()? == "in sub");
    parts.ensure_intact()
}

/// For the owners that the image's files have, see `images`.
fn an_image_fills_an_empty_directory_of_the_volume_and_touches_no_other(lab: &Lab) -> Result<()> {
    let image = lab.image("part-app", "mkdir /app; echo inside > /app/file; chmod 700 /app", &[])?;
    let parts = Parts::new(lab, "filled", "-o uid=0 -o gid=0")?;
    let calls = Calls::from_now(lab)?;
    ensure!(image.run(&parts.flag("empty", "/app"), "ls -A /app; cat /app/file")? == "file\ninside");
    ensure!(image.run(&parts.flag("other", "/app"), "ls -A /app; cat /app/file")? == "file\nin other");
    calls.ensure("filled", "Mount Unmount Mount Unmount Mount Unmount Mount Unmount")?;
    ensure!(
        lab.server.sh("cd /srv/filled/empty; stat -c %a .; cat file; rm file; chmod 755 .")? == "700\ninside"
    );
    parts.ensure_intact()
}

fn nocopy_leaves_the_directory_empty(lab: &Lab) -> Result<()> {
    let image = lab.image("part-app", "mkdir /app; echo inside > /app/file; chmod 700 /app", &[])?;
    let parts = Parts::new(lab, "unfilled", "")?;
    let flag = format!("{},volume-nocopy", parts.flag("empty", "/app"));
    ensure!(image.run(&flag, "ls -A /app")?.is_empty());
    parts.ensure_intact()
}

fn a_file_of_the_volume_is_a_file_in_the_container(lab: &Lab) -> Result<()> {
    let parts = Parts::new(lab, "single", "")?;
    ensure!(parts.try_run("top", "cat /d; echo written > /d; cat /d")?.success()? == "top\nwritten");
    ensure!(lab.server.sh("cd /srv/single; cat top; echo top > top")? == "written");
    parts.ensure_intact()
}

fn a_file_of_the_volume_hides_one_of_the_image(lab: &Lab) -> Result<()> {
    let parts = Parts::new(lab, "hidden", "")?;
    // Without it Docker would copy the image's file, for which it wants a directory.
    let flag = format!("{},volume-nocopy", parts.flag("sub/file", "/etc/passwd"));
    let seen = parts.volume.try_run_with(&flag, "cat /etc/passwd")?;
    ensure!(seen.success()? == "in sub");
    parts.ensure_intact()
}

fn two_parts_of_a_volume_are_two_mounts(lab: &Lab) -> Result<()> {
    let parts = Parts::new(lab, "double", "")?;
    let calls = Calls::from_now(lab)?;
    let flags = format!("{} {},readonly", parts.flag("sub", "/a"), parts.flag("other", "/b"));
    let script = "cat /a/file /b/file; ! echo x > /b/x 2>/dev/null";
    ensure!(parts.volume.try_run_with(&flags, script)?.success()? == "in sub\nin other");
    calls.ensure("double", "Mount Mount Unmount Unmount")?;
    ensure!(calls.callers()? == 2, "{:?}", calls.all()?);
    parts.ensure_intact()
}

fn a_path_out_of_the_volume_is_refused_before_there_is_a_container(lab: &Lab) -> Result<()> {
    let parts = Parts::new(lab, "outward", "")?;
    for part in ["../outward", "sub/../../..", "/etc"] {
        parts.ensure_refused(part, "subpath must be a relative path within the volume", "")?;
    }
    Ok(())
}

fn a_missing_path_fails_the_start_and_the_volume_is_unmounted(lab: &Lab) -> Result<()> {
    let parts = Parts::new(lab, "missing", "")?;
    for part in ["nothing", "sub/nothing", "dangling"] {
        parts.ensure_refused(part, "no such file or directory", "Mount Unmount")?;
    }
    Ok(())
}

/// Neither of the server nor of the host. sshfs does not show where such a link leads; where it is told to, Docker does
/// not go there.
fn a_link_out_of_the_volume_leads_nowhere(lab: &Lab) -> Result<()> {
    let parts = Parts::new(lab, "escaping", "")?;
    for part in ["absolute", "absolute/passwd", "up", "up/etc", "crooked"] {
        parts.ensure_refused(part, "operation not permitted", "Mount Unmount")?;
    }
    let parts = Parts::new(lab, "shown-links", "-o no_contain_symlinks=")?;
    for part in ["absolute", "absolute/passwd", "up"] {
        parts.ensure_refused(part, "escapes the base directory", "Mount Unmount")?;
    }
    for part in ["up/etc", "crooked"] {
        parts.ensure_refused(part, "no such file or directory", "Mount Unmount")?;
    }
    Ok(())
}
