//! What dockerd and podman send, and what breaks naive servers.

use crate::{
    cases,
    client::{read_reply, request},
    host::REMOTE_UID,
    sshd::wait_for,
    world::World,
};
use nix::sys::signal::Signal;
use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
    thread,
    time::Duration,
};

cases![
    activate_and_capabilities_answer_without_a_body,
    headers_do_not_matter,
    bodies_of_dockerd_and_podman_are_understood,
    an_empty_get_is_hung_up_on,
    an_empty_body_changes_nothing_and_says_why,
    every_error_is_json_and_not_200,
    malformed_http_does_not_hurt,
    two_hundred_connections_at_once,
    a_connection_serves_many_calls,
    a_half_closed_connection_gets_its_answer,
    a_hundred_gets_at_once_while_a_server_hangs,
    sigterm_finishes_the_call_in_flight,
    the_inherited_socket_is_not_unlinked,
    only_root_is_served,
];

fn activate_and_capabilities_answer_without_a_body() {
    let world = World::new();
    for body in ["", "{}", "{}\n"] {
        let activated = world.client().call("/Plugin.Activate", body);
        assert!(activated.took < Duration::from_secs(1));
        assert_eq!(activated.ok()["Implements"][0], "VolumeDriver");
        assert_eq!(
            world.client().call("/VolumeDriver.Capabilities", body).ok()["Capabilities"]["Scope"],
            "local"
        );
        assert_eq!(world.client().call("/VolumeDriver.List", body).ok()["Volumes"], serde_json::json!([]));
    }
}

fn headers_do_not_matter() {
    let world = World::new();
    for headers in [
        "Host: \r\n",
        "Host: plugin\r\nContent-Type: application/vnd.docker.plugins.v1.1+json\r\n",
        "Host: plugin.moby.localhost\r\nContent-Type: text/plain\r\n",
        "Host: %2Frun%2Fsshfs-docker.sock\r\n",
        "",
    ] {
        let text = format!("POST /VolumeDriver.List HTTP/1.1\r\n{headers}Content-Length: 2\r\n\r\n{{}}");
        world.client().send(text.as_bytes()).ok();
    }
}

fn bodies_of_dockerd_and_podman_are_understood() {
    let world = World::new();
    for (name, body) in [
        ("a", r#"{"Name":"a","Opts":{"sshcmd":"h:/x"},"Unknown":[1]}"#),
        ("b", "{\"Name\":\"b\",\"Opts\":{\"sshcmd\":\"h:/x\"}}\n"),
    ] {
        world.client().call("/VolumeDriver.Create", body).ok();
        world.client().get(name).ok();
    }
    for body in [r#"{"Name":"c","Opts":null}"#, r#"{"Name":"c"}"#, r#"{"Name":"c","Opts":{}}"#] {
        let reply = world.client().call("/VolumeDriver.Create", body);
        assert!(reply.err().contains("'sshcmd' is required"), "{reply:?}");
    }
    assert_eq!(world.client().list(), ["a", "b"]);
}

fn an_empty_get_is_hung_up_on() {
    let world = World::new();
    assert_eq!(world.client().call("/VolumeDriver.Get", "").status, None);
    assert_eq!(world.client().call("/VolumeDriver.Get", " \n").status, None);
    world.client().call("/Plugin.Activate", "").ok();
}

fn an_empty_body_changes_nothing_and_says_why() {
    let world = World::new();
    world.create("data");
    for call in ["Create", "Mount", "Unmount", "Remove", "Path"] {
        let reply = world.client().call(&format!("/VolumeDriver.{call}"), "");
        assert!(reply.err().contains("no body"), "{call}: {reply:?}");
    }
    assert_eq!(world.client().list(), ["data"]);
    assert!(!world.is_mounted("data"));
}

fn every_error_is_json_and_not_200() {
    let world = World::new();
    let large = format!(r#"{{"Name":"{}"}}"#, "x".repeat(2 << 20));
    for (bytes, status) in [
        (request("/VolumeDriver.Nothing", "{}"), 404),
        (request("/", "{}"), 404),
        (request("/volumedriver.list", "{}"), 404),
        (b"GET /VolumeDriver.List HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), 405),
        (request("/VolumeDriver.Create", &large), 413),
        (request("/VolumeDriver.Create", "{"), 400),
        (request("/VolumeDriver.Create", "7"), 400),
        (request("/VolumeDriver.Create", r#"{"Name":7}"#), 400),
        (request("/VolumeDriver.Create", "\u{0}\u{1}"), 400),
        (request("/VolumeDriver.Get", r#"{"Name":"nothing"}"#), 500),
        (request("/VolumeDriver.Get", r#"{"Name":""}"#), 500),
        (request("/VolumeDriver.Mount", r#"{"Name":"nothing","ID":"x"}"#), 500),
        (request("/VolumeDriver.Path", r#"{"Name":"nothing"}"#), 500),
        (request("/VolumeDriver.Remove", r#"{"Name":"nothing"}"#), 500),
    ] {
        let reply = world.client().send(&bytes);
        assert_eq!(
            reply.status,
            Some(status),
            "{:?}",
            String::from_utf8_lossy(&bytes[..60.min(bytes.len())])
        );
        assert!(!reply.err().is_empty());
    }
    world.client().call("/Plugin.Activate", "").ok();
}

fn malformed_http_does_not_hurt() {
    let world = World::new();
    for bytes in [
        b"\r\n\r\n\r\n".as_slice(),
        b"POST\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /VolumeDriver.List HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /VolumeDriver.List HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
        b"POST /VolumeDriver.List HTTP/9.9\r\n\r\n",
        &vec![b'x'; 1 << 20],
    ] {
        let reply = world.client().send_and_half_close(bytes);
        assert_ne!(reply.status, Some(200));
    }
    world.client().call("/Plugin.Activate", "").ok();
}

fn two_hundred_connections_at_once() {
    let world = World::new();
    world.create("data");
    let mut streams: Vec<_> = (0..200).map(|_| world.client().connect()).collect();
    for stream in &mut streams {
        stream.write_all(&request("/VolumeDriver.Get", r#"{"Name":"data"}"#)).unwrap();
    }
    for stream in &mut streams {
        assert_eq!(read_reply(stream).0, Some(200));
    }
}

fn a_connection_serves_many_calls() {
    let world = World::new();
    let mut stream = world.client().connect();
    for _ in 0..50 {
        stream.write_all(&request("/VolumeDriver.List", "{}\n")).unwrap();
        assert_eq!(read_reply(&mut stream).0, Some(200));
    }
}

fn a_half_closed_connection_gets_its_answer() {
    let world = World::new();
    world.create("data");
    let body = r#"{"Name":"data","ID":"x"}"#;
    world.client().send_and_half_close(&request("/VolumeDriver.Mount", body)).ok();
    assert_eq!(world.client().get("data").ok()["Volume"]["Status"]["references"], 1);
}

fn a_hundred_gets_at_once_while_a_server_hangs() {
    let world = World::with_config("[mount]\ntimeout = 5");
    world.create("data");
    let (hanging, _connection) = world.mount_that_hangs("hangs");
    let gets: Vec<_> = (0..100)
        .map(|i| {
            let client = world.client();
            thread::spawn(move || client.get(if i % 2 == 0 { "data" } else { "hangs" }))
        })
        .collect();
    for get in gets {
        let reply = get.join().unwrap();
        assert!(reply.took < Duration::from_secs(1), "a promise: {reply:?}");
        reply.ok();
    }
    let reply = hanging.join().unwrap();
    assert!(reply.err().contains("did not answer"), "{reply:?}");
    assert!(reply.took < Duration::from_secs(15), "a promise: the deadline is 5 s, {reply:?}");
}

fn sigterm_finishes_the_call_in_flight() {
    let mut world = World::new();
    world.create("data");
    let mut stream = world.client().connect();
    stream.write_all(&request("/VolumeDriver.Mount", r#"{"Name":"data","ID":"x"}"#)).unwrap();
    wait_for(|| world.is_mounted("data"), "the mount begins");
    world.daemon.signal(Signal::SIGTERM);
    assert_eq!(read_reply(&mut stream).0, Some(200));
    assert!(world.daemon.end(Signal::SIGCONT).success());
}

fn the_inherited_socket_is_not_unlinked() {
    let mut world = World::new();
    assert!(world.daemon.end(Signal::SIGTERM).success());
    assert!(world.daemon.socket().exists());
}

fn only_root_is_served() {
    let world = World::new();
    // As if an administrator had loosened the socket's mode.
    fs::set_permissions(world.daemon.socket(), Permissions::from_mode(0o666)).unwrap();
    let script = format!(
        "$SIG{{PIPE}} = 'IGNORE'; socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, sockaddr_un('{}')) or die; \
         syswrite(S, $ARGV[0]); sysread(S, $b, 999); print $b",
        world.daemon.socket().display()
    );
    let answer_to = |uid, name: &str| {
        let body = format!(r#"{{"Name":"{name}","Opts":{{"sshcmd":"h:/x"}}}}"#);
        let request = String::from_utf8(request("/VolumeDriver.Create", &body)).unwrap();
        let mut perl = Command::new("perl");
        let output = perl.args(["-MSocket", "-e", &script, &request]).uid(uid).output().unwrap();
        assert!(output.status.success(), "everybody gets through to the socket: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for uid in [65_534, REMOTE_UID, 61_002] {
        assert_eq!(answer_to(uid, "unheard"), "");
    }
    assert!(answer_to(0, "heard").contains("200 OK"));
    assert_eq!(world.client().list(), ["heard"]);
    let log = world.daemon.log();
    assert!(log.contains("only root may use the driver") && !log.contains("unheard"), "{log}");
}
