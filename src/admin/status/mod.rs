//! `sshfs-docker status`: the volumes of this host, or all that is known of one.
//!
//! What the daemon tells in `Status` is passed on as it is; users of the mount, options and journal are looked up here.

mod facts;
mod page;
mod table;

use super::{client::Client, output};
use crate::cli;
use anyhow::{Context, Result};
use facts::Facts;
use serde_json::{Value, json};

/// Shows what was asked for. False where a volume that is shown is not in order.
///
/// With `--json` all volumes are `{"volumes": [{"volume": "data", "created_at": …, "mountpoint": …, "state": "mounted",
/// …}]}`, with the keys of `Status` in `docker volume inspect`; one volume is that object with `options` (those that count,
/// `password` left out), `users` ([`crate::mount::holders::Holder`]) and `journal` (lines).
pub fn run(arguments: &cli::Status) -> Result<bool> {
    let client = Client::new(&arguments.admin.socket);
    if let Some(name) = &arguments.volume {
        let answer = client.call("VolumeDriver.Get", &json!({"Name": name.as_str()}))?;
        let facts = Facts::read(&answer["Volume"])?;
        page::show(&facts, name, arguments)?;
        return Ok(facts.is_in_order());
    }
    let volumes = list(&client)?;
    if arguments.admin.json {
        let all: Vec<_> = volumes.iter().map(Facts::json).collect();
        output::json(&json!({"volumes": all}))?;
    } else {
        table::show(&volumes)?;
    }
    Ok(volumes.iter().all(Facts::is_in_order))
}

fn list(client: &Client) -> Result<Vec<Facts>> {
    let answer = client.call("VolumeDriver.List", &json!({}))?;
    let volumes = answer["Volumes"].as_array().map(Vec::as_slice);
    volumes.context("the driver's answer cannot be read")?.iter().map(Facts::read).collect::<Result<_>>()
}

impl Facts {
    /// The object of one volume.
    fn json(&self) -> Value {
        let mut object = serde_json::Map::new();
        object.insert("volume".to_owned(), self.name.clone().into());
        object.insert("created_at".to_owned(), self.created_at.clone().into());
        object.insert("mountpoint".to_owned(), self.mountpoint.clone().into());
        object.extend(self.status.clone());
        Value::Object(object)
    }
}
