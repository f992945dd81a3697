//! From a path and a body to a call of the driver, and from its result to an answer. No sockets.

use super::{
    Administration, Caller, Change, VolumeDriver,
    wire::{
        ActivateResponse, CapabilitiesResponse, CreateRequest, EmptyResponse, GetResponse, ListResponse,
        MountRequest, MountpointResponse, NameRequest, SetRequest, SetResponse,
    },
};
use crate::json;
use hyper::StatusCode;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;

/// What the caller gets.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// Status 200 and this JSON.
    Success(Vec<u8>),
    /// Another status and this text.
    Error(StatusCode, String),
    /// The connection is closed without an answer.
    HangUp,
}

/// The calls of the protocol, and those of the administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Plugin.Activate
    Activate,
    /// VolumeDriver.Capabilities
    Capabilities,
    /// VolumeDriver.Create
    Create,
    /// VolumeDriver.Remove
    Remove,
    /// VolumeDriver.Mount
    Mount,
    /// VolumeDriver.Unmount
    Unmount,
    /// VolumeDriver.Path
    Path,
    /// VolumeDriver.Get
    Get,
    /// VolumeDriver.List
    List,
    /// SshfsDocker.Set
    Set,
}

impl Call {
    /// The call behind a path of the HTTP request.
    #[must_use]
    pub fn from_path(path: &str) -> Option<Self> {
        Some(match path {
            "/Plugin.Activate" => Self::Activate,
            "/VolumeDriver.Capabilities" => Self::Capabilities,
            "/VolumeDriver.Create" => Self::Create,
            "/VolumeDriver.Remove" => Self::Remove,
            "/VolumeDriver.Mount" => Self::Mount,
            "/VolumeDriver.Unmount" => Self::Unmount,
            "/VolumeDriver.Path" => Self::Path,
            "/VolumeDriver.Get" => Self::Get,
            "/VolumeDriver.List" => Self::List,
            "/SshfsDocker.Set" => Self::Set,
            _ => return None,
        })
    }
}

/// Why a body cannot be read.
enum BadBody {
    /// A repeated request of dockerd, which lost its body.
    Empty,
    NotJson(serde_json::Error),
}

/// Carries out `call` with the request's `body`.
pub async fn dispatch<D>(driver: &D, call: Call, body: &[u8], caller: &Caller) -> Answer
where
    D: VolumeDriver + Administration,
{
    log(call, body);
    let answer = match call {
        Call::Activate => Ok(ok(&ActivateResponse::VOLUME_DRIVER)),
        Call::Capabilities => Ok(ok(&CapabilitiesResponse::LOCAL)),
        Call::List => Ok(ok(&ListResponse::new(driver.list()))),
        Call::Get => read(body).map(|NameRequest { name }| match driver.get(&name) {
            Ok(info) => ok(&GetResponse::from(info)),
            Err(e) => failed(e),
        }),
        Call::Path => read(body).map(|NameRequest { name }| match driver.path(&name) {
            Ok(path) => ok(&MountpointResponse::new(path.as_deref())),
            Err(e) => failed(e),
        }),
        Call::Create => match read(body) {
            Ok(CreateRequest { name, options }) => {
                Ok(empty_or_failed(driver.create(&name, options.unwrap_or_default()).await))
            }
            Err(e) => Err(e),
        },
        Call::Remove => match read(body) {
            Ok(NameRequest { name }) => Ok(empty_or_failed(driver.remove(&name).await)),
            Err(e) => Err(e),
        },
        Call::Mount => match read(body) {
            Ok(MountRequest { name, id }) => Ok(match driver.mount(&name, &id, caller).await {
                Ok(path) => ok(&MountpointResponse::new(Some(&path))),
                Err(e) => failed(e),
            }),
            Err(e) => Err(e),
        },
        Call::Unmount => match read(body) {
            Ok(MountRequest { name, id }) => Ok(empty_or_failed(driver.unmount(&name, &id).await)),
            Err(e) => Err(e),
        },
        Call::Set => match read(body) {
            Ok(SetRequest { name, options, unset }) => {
                Ok(match driver.set(&name, Change { options, unset }).await {
                    Ok(redefined) => ok(&SetResponse::from(redefined)),
                    Err(e) => failed(e),
                })
            }
            Err(e) => Err(e),
        },
    };
    match (answer, call) {
        (Ok(answer), _) => answer,
        // An error would make dockerd forget the volume; a closed connection does not.
        (Err(BadBody::Empty), Call::Get) => Answer::HangUp,
        (Err(BadBody::Empty), _) => error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request has no body: dockerd repeats a call without it when the connection broke; please try again",
        ),
        (Err(BadBody::NotJson(e)), _) => {
            error(StatusCode::BAD_REQUEST, format!("the request is not valid: {}", json::mistake(&e)))
        }
    }
}

/// Tells of a call what it is about, to whoever looks for what Docker does. Of a volume's options nothing is told: there
/// may be a password among them.
fn log(call: Call, body: &[u8]) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let MountRequest { name, id } = serde_json::from_slice(body).unwrap_or_default();
        tracing::debug!(?call, volume = name, id, "call {call:?} {name:?}");
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BadBody> {
    if body.trim_ascii().is_empty() {
        return Err(BadBody::Empty);
    }
    serde_json::from_slice(body).map_err(BadBody::NotJson)
}

fn empty_or_failed(result: Result<(), impl fmt::Display>) -> Answer {
    match result {
        Ok(()) => ok(&EmptyResponse {}),
        Err(e) => failed(e),
    }
}

fn failed(e: impl fmt::Display) -> Answer {
    error(StatusCode::INTERNAL_SERVER_ERROR, e)
}

/// An error that the user reads.
pub fn error(status: StatusCode, e: impl fmt::Display) -> Answer {
    Answer::Error(status, e.to_string())
}

fn ok(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(json) => Answer::Success(json),
        // Strings and maps of strings cannot fail to serialise; should they, no answer is safer than a wrong one.
        Err(_) => Answer::HangUp,
    }
}
