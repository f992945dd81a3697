//! What the user reads when a mount fails, where it takes more than one mount to see; each cause by itself is in `causes`.

use crate::{
    cases,
    sshd::{make_key, wait_for},
    world::World,
};
use std::{fs, os::unix::net::UnixListener};

cases![
    a_hard_mount_does_not_repeat_a_login_that_was_refused,
    a_key_with_the_wrong_passphrase_is_named,
    an_agent_needs_systemd_as_pid_1,
];

/// The error of mounting a volume with these options, checked for what every such sentence must have.
fn failure(world: &World, options: &[(&str, &str)]) -> String {
    world.create_with("data", options).ok();
    let reply = world.client().mount("data", "x");
    world.client().remove("data").ok();
    let text = reply.err().to_owned();
    assert!(text.starts_with("cannot mount volume data from "), "{text}");
    assert!(
        !text.contains('\n') && !text.contains("exit status") && !text.contains("reset by peer"),
        "{text}"
    );
    text
}

fn a_key_with_the_wrong_passphrase_is_named() {
    let world = World::new();
    let right = "tr0ub4dor & 3";
    make_key(&world.path("locked"), right);
    world.sshd.authorize(&world.path("locked"));
    fs::write(world.path("passphrase"), "wrong").unwrap();
    let (key, passphrase) = (world.path("locked"), world.path("passphrase"));
    let options = [
        ("identity_file", key.to_string_lossy().into_owned()),
        ("password_file", passphrase.to_string_lossy().into_owned()),
        ("PasswordAuthentication", "no".to_owned()),
        ("KbdInteractiveAuthentication", "no".to_owned()),
    ];
    let options: Vec<_> = options.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let text = failure(&world, &options);
    assert!(text.contains("does not open the private key"), "{text}");
    fs::write(&passphrase, format!("{right}\n")).unwrap();
    world.create_with("data", &options).ok();
    world.mount("data", "x");
}

fn an_agent_needs_systemd_as_pid_1() {
    let world = World::new();
    let socket = world.path("agent");
    let agent = socket.to_string_lossy().into_owned();
    let text = world.create_with("data", &[("IdentityAgent", &agent)]).err().to_owned();
    assert!(text.contains("IdentityAgent: the socket") && text.contains("/agent does not exist"), "{text}");
    let _listener = UnixListener::bind(&socket).unwrap();
    let text = failure(&world, &[("IdentityAgent", &agent)]);
    assert!(text.contains("only where systemd is PID 1"), "{text}");
    let long = "x".repeat(150);
    let text = world.create_with(&long, &[("IdentityAgent", &agent)]).err().to_owned();
    assert!(text.contains("the name of a volume may have at most"), "{text}");
}

fn a_hard_mount_does_not_repeat_a_login_that_was_refused() {
    let world = World::new();
    world.create_with("data", &[("hard", "")]).ok();
    let path = world.mount("data", "x");
    fs::write(world.path("sshd/authorized_keys"), "").unwrap();
    let refused = || world.daemon.log().matches("Permission denied (").count();
    world.cut_connections();
    // The first access may still meet the end of the old connection.
    let fails = || fs::metadata(path.join("file")).is_err_and(|e| e.raw_os_error() == Some(5));
    wait_for(|| fails() && refused() > 0, "an access fails because of the login");
    assert!((0..20).all(|_| fails()));
    assert!(refused() < 4, "{} logins within a moment", refused());
    assert_eq!(world.processes("ssh -x -a"), [0; 0], "it goes on trying");
    world.client().unmount("data", "x").ok();
}
