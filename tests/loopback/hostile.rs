//! Servers that want to hurt: what they send concerns their own volume and nothing else of the host.

use crate::{
    cases,
    client::Reply,
    model::{report, share_work},
    sftp::{self, CONTENT, FILE, NOISE, ROOT},
    sshd::{Sshd, make_key},
    world::World,
};
use nix::{
    errno::Errno,
    fcntl::AT_FDCWD,
    mount::{MsFlags, mount},
    sys::{
        signal::{Signal, kill, killpg},
        stat::{UtimensatFlags, utimensat},
        time::TimeSpec,
    },
    unistd::Pid,
};
use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    net::TcpListener,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::Once,
    thread,
    time::Duration,
};

cases![
    no_trick_of_a_server_hurts_anybody_else,
    what_comes_before_the_login_becomes_one_readable_line,
    a_long_banner_does_not_hide_the_reason,
    links_out_of_a_volume_reach_nothing_of_the_host,
    names_in_a_listing_stay_names,
    attributes_that_lie_give_nobody_a_privilege,
    an_endless_listing_hurts_only_who_asked_for_it,
    a_remote_root_that_is_a_link_stays_on_the_server,
];

/// How long a mount has, in config.toml.
const TIMEOUT: &str = "[mount]\ntimeout = 3";
/// The same, and the time to clear away one that failed.
const MOUNT_DEADLINE: Duration = Duration::from_secs(3 + 15);
/// dockerd gives up a call after that.
const UNMOUNT_DEADLINE: Duration = Duration::from_secs(60);
/// By how much the daemon may have grown after dozens of calls, in KiB: what a server announced or sent it was not.
const GROWTH: u64 = 8 * 1024;

/// Where this program lies for everybody who logs in.
const PROGRAM: &str = "/run/hostile-server";

/// The value of the option `sftp_server` for a server with this habit.
fn server(trick: &str) -> String {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        File::create(PROGRAM).expect("a file in /run");
        let this = env::current_exe().expect("the path of this program");
        mount(Some(&this), PROGRAM, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a bind mount");
    });
    format!("{PROGRAM} {} {trick}", sftp::ROLE)
}

/// A world with a good volume in use, in which bad things are about to happen.
struct Ordeal {
    world: World,
    pid: u32,
    size: u64,
}

impl Ordeal {
    fn begin() -> Self {
        let world = World::with_config(TIMEOUT);
        world.create("good");
        world.mount("good", "x");
        let ordeal = Self { pid: world.daemon.pid(), size: resident(world.daemon.pid()), world };
        ordeal.assert_others_are_well("begin");
        ordeal
    }

    /// Creates a volume whose server has this habit.
    fn create(&self, name: &str, trick: &str) {
        let options = [("sshcmd", &Sshd::sshcmd(Path::new(ROOT)) as &str), ("sftp_server", &server(trick))];
        self.world.create_with(name, &options).ok();
    }

    /// The good volume reads and writes, and what must answer at once does.
    fn assert_others_are_well(&self, file: &str) {
        let path = self.world.daemon.mountpoint("good").join(file);
        fs::write(&path, "hello").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "hello");
        let client = self.world.client();
        for reply in [client.get("good"), client.path("good"), client.call("/VolumeDriver.List", "{}")] {
            assert!(reply.took < Duration::from_secs(1), "a promise: {reply:?}");
            reply.ok();
        }
    }

    /// Unmounts and removes a volume.
    fn clear_away(&self, name: &str) {
        for reply in [self.world.client().unmount(name, "x"), self.world.client().remove(name)] {
            assert!(reply.took < UNMOUNT_DEADLINE, "a promise: {reply:?}");
            reply.ok();
        }
    }

    /// The daemon is the same and not much larger, and nothing is left.
    fn end(self) {
        self.assert_others_are_well("end");
        let grown = resident(self.pid).saturating_sub(self.size);
        assert!(grown < GROWTH, "the daemon has grown by {grown} KiB");
        self.clear_away("good");
        self.world.assert_empty();
    }
}

/// Resident memory of a process in KiB; fails if it is gone.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What a mount that failed in time says: one line that a terminal can show.
fn assert_readable(reply: &Reply) {
    assert!(reply.took < MOUNT_DEADLINE, "a promise: {reply:?}");
    let text = reply.err();
    assert!(text.starts_with("cannot mount volume "), "{text}");
    assert!(!text.contains(char::is_control) && !text.contains("exit status"), "{text:?}");
    assert!(text.len() < 1500, "{} bytes: {text}", text.len());
}

/// Looks at everything in a directory. It may hang, so it is somebody else.
fn look_around(path: &Path) -> Child {
    let script = "cd \"$0\" || exit; ls -la .; stat -f .; cat file; readlink link0; echo x >new; mkdir d; rm -r d new; :";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(path).process_group(0).stdout(Stdio::null()).stderr(Stdio::null());
    shell.spawn().unwrap()
}

/// Waits a moment, then ends it. What waits for a server ends when that, or its mount, does.
fn end(child: &mut Child) {
    for _ in 0..100 {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    _ = killpg(pid(child.id()), Signal::SIGKILL);
}

fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap())
}

fn no_trick_of_a_server_hurts_anybody_else() {
    let ordeal = Ordeal::begin();
    let tricks = [
        "ends-at-once",
        "silence",
        "words",
        "garbage",
        "huge-version",
        "announced-version",
        "half-a-version",
        "endless-bytes",
        "version-0",
        "version-max",
        "flood-and-end",
        "silence-later",
        "garbage-later",
        "huge-reply",
        "announced-reply",
        "half-a-reply",
        "empty-packets",
        "wrong-ids",
        "wrong-types",
        "unknown-types",
        "short-attributes",
        "root-is-a-file",
        "root-is-a-link",
        "root-is-a-device",
        "root-without-type",
        // From here on the mount may succeed.
        "flood",
        "silence-in-use",
        "nonsense-statvfs",
        "zero-statvfs",
        "short-statvfs",
        "endless-replies",
        "huge-count",
        "honest",
    ];
    let mounts = share_work(6, tricks.len(), |i| {
        let (trick, client) = (tricks[i], ordeal.world.client());
        ordeal.create(trick, trick);
        let reply = client.mount(trick, "x");
        let mounted = reply.status == Some(200);
        if mounted {
            let mut visitor = look_around(&ordeal.world.daemon.mountpoint(trick));
            end(&mut visitor);
            ordeal.assert_others_are_well(trick);
            ordeal.clear_away(trick);
            visitor.wait().unwrap();
        } else {
            assert_readable(&reply);
            assert!(!ordeal.world.is_mounted(trick), "{trick}");
            ordeal.assert_others_are_well(trick);
            ordeal.clear_away(trick);
        }
        (trick, mounted)
    });
    let succeed: Vec<_> =
        mounts.into_iter().filter(|(_, mounted)| *mounted).map(|(trick, _)| trick).collect();
    assert!(["flood", "silence-in-use", "honest"].iter().all(|trick| succeed.contains(trick)), "{succeed:?}");
    ordeal.end();
    report(&format!(
        "case=hostile hostile_servers={} hostile_servers_mounted={}",
        tricks.len(),
        succeed.len()
    ));
}

fn what_comes_before_the_login_becomes_one_readable_line() {
    let ordeal = Ordeal::begin();
    let kexinit = b"SSH-2.0-OpenSSH_9.2\r\n\0\0\x01\x2c\x06\x14";
    // What is said at first, and then for ever.
    let greetings: [(&str, &[u8], &[u8]); 7] = [
        ("lines", b"", b"\x1b[2Jthe host is owned\r\n"),
        ("one-line", b"", b"Host key verification failed "),
        ("zeros", b"", &[0; 64]),
        ("noise", b"SSH-2.0-OpenSSH_9.2\r\n", NOISE),
        ("escapes", b"SSH-2.0-\x1b[2J\x07 \xff\r\n", b""),
        ("old", b"SSH-1.5-old\r\n", b""),
        ("key-exchange", kexinit, b"\xff"),
    ];
    share_work(3, greetings.len(), |i| {
        let (name, first, forever) = greetings[i];
        let port = speak(first.to_vec(), forever.repeat(100));
        ordeal.world.create_with(name, &[("port", &port)]).ok();
        let reply = ordeal.world.client().mount(name, "x");
        assert_readable(&reply);
        ordeal.assert_others_are_well(name);
        ordeal.clear_away(name);
    });
    ordeal.end();
}

/// A server that talks to whoever connects, as long as that one listens. Returns its port.
fn speak(first: Vec<u8>, forever: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            _ = stream.write_all(&first);
            while stream.write_all(&forever).is_ok() {
                if forever.is_empty() {
                    _ = io::copy(&mut stream, &mut io::sink());
                    break;
                }
            }
        }
    });
    port
}

fn a_long_banner_does_not_hide_the_reason() {
    let ordeal = Ordeal::begin();
    let world = &ordeal.world;
    fs::write(world.path("banner"), "\u{1b}[2JAuthorised use only: all is watched.\r\n".repeat(3000))
        .unwrap();
    let banner = format!("Banner {}", world.path("banner").display());
    let talkative = Sshd::start_with(&world.path("talkative"), &banner);
    talkative.authorize(&world.path("id"));
    let port = talkative.port.to_string();
    make_key(&world.path("wrong"), "");
    let wrong = world.path("wrong").to_string_lossy().into_owned();
    world.create_with("refused", &[("port", &port), ("identity_file", &wrong)]).ok();
    let reply = world.client().mount("refused", "x");
    assert_readable(&reply);
    assert!(
        reply.err().contains("permission denied: the server refused the key ED25519 SHA256:"),
        "{}",
        reply.err()
    );
    world.create_with("accepted", &[("port", &port)]).ok();
    world.mount("accepted", "x");
    ordeal.clear_away("refused");
    ordeal.clear_away("accepted");
    ordeal.end();
}

/// A file of the host that tells whether somebody has read it.
struct Canary<'a>(&'a Path);

impl Canary<'_> {
    const SONG: &'static str = "tweet\n";

    fn new(path: &Path) -> Canary<'_> {
        fs::write(path, Self::SONG).unwrap();
        let long_ago = TimeSpec::new(1, 0);
        utimensat(AT_FDCWD, path, &long_ago, &TimeSpec::UTIME_OMIT, UtimensatFlags::FollowSymlink).unwrap();
        Canary(path)
    }

    /// Whether it has been opened for reading since it was made, or changed.
    fn was_touched(&self) -> bool {
        let was_read = self.0.metadata().unwrap().atime() != 1;
        was_read || fs::read_to_string(self.0).unwrap() != Self::SONG
    }
}

fn links_out_of_a_volume_reach_nothing_of_the_host() {
    let ordeal = Ordeal::begin();
    let path = ordeal.world.path("canary");
    let targets = [
        path.to_string_lossy().into_owned(),
        // From where the volume is mounted.
        "../../../canary".to_owned(),
        "./.././../../canary".to_owned(),
        "file/../../../../canary".to_owned(),
        format!("/proc/self/root/{}", path.display()),
    ];
    let trick = format!("links {}", targets.join(" "));
    ordeal.create("links", &trick);
    let canary = Canary::new(&path);
    let mountpoint = ordeal.world.mount("links", "x");
    ordeal.assert_others_are_well("links");
    for link in (0..targets.len()).map(|i| mountpoint.join(format!("link{i}"))) {
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert!(fs::read(&link).is_err() && fs::write(&link, "x").is_err(), "{}", link.display());
    }
    assert_eq!(fs::read_to_string(mountpoint.join(FILE)).unwrap(), CONTENT);
    ordeal.clear_away("links");
    assert!(!canary.was_touched());

    // Whoever asks for it gets it; so the links are as dangerous as they look.
    let canary = Canary::new(&path);
    let open = [
        ("sshcmd", &Sshd::sshcmd(Path::new(ROOT)) as &str),
        ("sftp_server", &server(&trick)),
        ("no_contain_symlinks", ""),
    ];
    ordeal.world.create_with("open", &open).ok();
    let mountpoint = ordeal.world.mount("open", "x");
    assert_eq!(fs::read_to_string(mountpoint.join("link1")).unwrap(), Canary::SONG);
    assert!(canary.was_touched());
    ordeal.clear_away("open");
    ordeal.end();
}

fn names_in_a_listing_stay_names() {
    let ordeal = Ordeal::begin();
    let path = ordeal.world.path("canary");
    let canary = Canary::new(&path);
    ordeal.create("names", "names");
    let mountpoint = ordeal.world.mount("names", "x");
    assert_eq!(fs::read_to_string(mountpoint.join(FILE)).unwrap(), CONTENT);
    // The kernel may refuse the whole listing.
    let listed: Vec<_> =
        fs::read_dir(&mountpoint).unwrap().map_while(Result::ok).map(|entry| entry.file_name()).collect();
    for name in &listed {
        let name = name.as_bytes();
        assert!(!name.is_empty() && !name.contains(&b'/') && name.len() <= 1024, "{name:?}");
    }
    // By now the volume itself may be past use: sshfs believes that its root is a file.
    look_around(&mountpoint).wait().unwrap();
    ordeal.clear_away("names");
    assert!(!canary.was_touched());
    ordeal.end();
}

fn attributes_that_lie_give_nobody_a_privilege() {
    let ordeal = Ordeal::begin();
    ordeal.create("lies", "lies");
    let mountpoint = ordeal.world.mount("lies", "x");
    let program = mountpoint.join("set-user-id");
    assert_eq!(program.metadata().unwrap().permissions().mode() & 0o6777, 0o6755);
    let id = Command::new(&program).args(["-u"]).uid(65_534).gid(65_534).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&id.stdout), "65534\n", "{id:?}");
    for device in ["character-device", "block-device"] {
        let opened = fs::File::open(mountpoint.join(device));
        assert_eq!(opened.unwrap_err().raw_os_error(), Some(Errno::EACCES as i32), "{device}");
    }
    look_around(&mountpoint).wait().unwrap();
    for file in ["2-62", "2-63", "max", "no-type", "all-bits"] {
        // An error or what the server sends; no more than that.
        let mut content = Vec::new();
        let opened = fs::File::open(mountpoint.join(file));
        if opened.and_then(|file| file.take(1 << 20).read_to_end(&mut content)).is_ok() {
            assert!(content.starts_with(CONTENT.as_bytes()), "{file}: {content:?}");
        }
    }
    ordeal.clear_away("lies");
    ordeal.end();
}

fn an_endless_listing_hurts_only_who_asked_for_it() {
    let ordeal = Ordeal::begin();
    let world = &ordeal.world;
    ordeal.create("endless", "endless-listing");
    let mut visitor = Command::new("ls").arg(world.mount("endless", "x")).process_group(0).spawn().unwrap();
    end(&mut visitor);
    assert!(visitor.try_wait().unwrap().is_none(), "it waits for the end of the list");
    ordeal.assert_others_are_well("endless");
    // The server answers, so the visitor keeps its mount, like every process of the host.
    let reply = world.client().unmount("endless", "x");
    assert!(reply.took < UNMOUNT_DEADLINE, "a promise: {reply:?}");
    let reply = world.client().remove("endless");
    assert!(reply.err().contains("in use by a process of the host"), "{reply:?}");
    // What the limit of the mount's memory does.
    for pid in world.processes(&format!("sshfs {}", Sshd::sshcmd(Path::new(ROOT)))) {
        _ = kill(self::pid(pid), Signal::SIGKILL);
    }
    visitor.wait().unwrap();
    ordeal.clear_away("endless");
    ordeal.end();
}

fn a_remote_root_that_is_a_link_stays_on_the_server() {
    let ordeal = Ordeal::begin();
    let world = &ordeal.world;
    for (name, target) in [("directory", "remote"), ("file", "id.pub"), ("nothing", "../../../nothing")] {
        symlink(target, world.path(name)).unwrap();
    }
    for (path, reason) in [
        ("directory", "a link to one needs a '/' at its end"),
        ("file", "not a directory"),
        ("nothing", "not a directory"),
        ("nothing/", "does not exist"),
    ] {
        world.create_with("link", &[("sshcmd", &Sshd::sshcmd(&world.path(path)))]).ok();
        let reply = world.client().mount("link", "x");
        assert_readable(&reply);
        assert!(reply.err().contains(reason), "{}", reply.err());
        ordeal.clear_away("link");
    }
    world.create_with("link", &[("sshcmd", &Sshd::sshcmd(&world.path("directory/")))]).ok();
    fs::write(world.mount("link", "x").join("new"), "hello").unwrap();
    assert_eq!(fs::read_to_string(world.remote().join("new")).unwrap(), "hello");
    ordeal.clear_away("link");
    ordeal.end();
}
