//! The daemon, as Docker calls it.

use crate::{cases, world::World};
use serde_json::json;
use std::fs;

cases![it_speaks_the_volume_protocol];

fn it_speaks_the_volume_protocol() {
    let world = World::new();
    let client = world.client();
    assert_eq!(client.call("/Plugin.Activate", "").ok()["Implements"], json!(["VolumeDriver"]));
    let capabilities = client.call("/VolumeDriver.Capabilities", "").ok();
    assert_eq!(capabilities["Capabilities"]["Scope"], "local");
    world.create("data");
    assert_eq!(client.get("data").ok()["Volume"]["Name"], "data");
    assert_eq!(client.list(), ["data"]);
    assert_eq!(client.path("data").ok()["Mountpoint"], "");
    let wrong = world.create_with("other", &[("prot", "22")]);
    assert!(wrong.err().contains("did you mean 'port'?"), "{wrong:?}");
    let path = world.mount("data", "x");
    assert_eq!(client.path("data").ok()["Mountpoint"], path.to_str().unwrap());
    fs::write(path.join("greeting"), "hello").unwrap();
    assert_eq!(fs::read_to_string(world.remote().join("greeting")).unwrap(), "hello");
    client.unmount("data", "x").ok();
    client.remove("data").ok();
    assert_eq!(client.list(), [""; 0]);
    world.assert_empty();
}
