//! What becomes of files that an image has where a volume of podman goes.

use anyhow::{Result, ensure};

use super::{Podman, Volume};
use crate::lab::{Lab, Output};

crate::cases![
    the_owner_of_the_remote_directory_stays,
    files_of_the_image_stay_out_with_nocopy,
    files_of_the_image_cannot_be_given_away_without_nocopy,
];

/// An image that has a file at /full and nothing at /empty, both of a user with this number.
struct Image<'a>(&'a Podman<'a>);

const OWNER: &str = "1234";
const WITH_FILES: &str = "with-files";

impl<'a> Image<'a> {
    fn build(podman: &'a Podman<'a>) -> Result<Self> {
        let script =
            format!("mkdir /full /empty; echo of the image > /full/file; chown -R {OWNER} /full /empty");
        podman.podman(&format!("run --name {WITH_FILES} --network none busybox sh -euc '{script}'"))?;
        let image = Self(podman);
        podman.podman(&format!("commit --quiet {WITH_FILES} {WITH_FILES}"))?;
        Ok(image)
    }

    /// Runs a script with a volume at a place where the image has something.
    fn run(&self, volume: &Volume, target: &str, script: &str) -> Result<Output> {
        self.0.try_run(&format!("-v {}:{target}", volume.driver.name), WITH_FILES, script)
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        let _ = self.0.try_podman(&format!("rm --force {WITH_FILES}"));
        let _ = self.0.try_podman(&format!("rmi --force {WITH_FILES}"));
    }
}

/// Docker would make it the directory of the image's user, or fail.
fn the_owner_of_the_remote_directory_stays(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let image = Image::build(&podman)?;
    let volume = podman.volume("owned")?;
    let before = lab.server.sh("stat -c '%U %G %a' /srv/owned")?;
    image.run(&volume, "/empty", "echo mine > /empty/file")?.success()?;
    let after = lab.server.sh("stat -c '%U %G %a' /srv/owned")?;
    ensure!(before == after, "{before} became {after}");
    ensure!(volume.served("file")? == "mine");
    Ok(())
}

fn files_of_the_image_stay_out_with_nocopy(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let image = Image::build(&podman)?;
    let volume = podman.volume("uncopied")?;
    ensure!(image.run(&volume, "/full:nocopy", "ls -A /full")?.success()?.is_empty(), "something is there");
    ensure!(lab.server.checksums("/srv/uncopied")?.is_empty(), "podman has written something");
    Ok(())
}

/// As with Docker; the page says `nocopy`. After such a failure podman counts a user that does not exist, until it is told
/// to unmount. Where files are there already, it copies nothing.
fn files_of_the_image_cannot_be_given_away_without_nocopy(lab: &Lab) -> Result<()> {
    let podman = Podman::of(lab)?;
    let image = Image::build(&podman)?;
    let empty = podman.volume("uncopyable")?;
    let refusal = image.run(&empty, "/full", "true")?.failure()?;
    ensure!(refusal.contains("lchown /file: permission denied"), "{refusal}");
    empty.podman("unmount")?.success()?;
    empty.driver.wait_until_used_by(0)?;
    let full = podman.volume("filled")?;
    lab.server.sh("echo of the server > /srv/filled/file")?;
    ensure!(image.run(&full, "/full", "cat /full/file")?.success()? == "of the server");
    ensure!(full.served("file")? == "of the server");
    Ok(())
}
