//! The JSON of the protocol (moby `volume/drivers/proxy.go`, podman `libpod/plugin/volume_api.go`).
//!
//! The call of the administrator (`Set*`) has the same form.
//!
//! Requests: unknown fields are ignored, missing ones are empty, `Opts` may be absent or null.

use super::{Redefined, VolumeInfo};
use crate::{timestamp::Timestamp, volume::amendment};
use serde::{Deserialize, Serialize, Serializer};
use std::{collections::BTreeMap, path::Path};

/// The type of every answer, as Docker's own helpers send it. Nobody checks it.
pub const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.1+json";

/// Body of Create.
#[derive(Debug, Deserialize)]
pub struct CreateRequest {
    /// Volume.
    #[serde(rename = "Name", default)]
    pub name: String,
    /// dockerd sends null where there are none, podman nothing.
    #[serde(rename = "Opts", default)]
    pub options: Option<BTreeMap<String, String>>,
}

/// Body of Remove, Path and Get.
#[derive(Debug, Deserialize)]
pub struct NameRequest {
    /// Volume.
    #[serde(rename = "Name", default)]
    pub name: String,
}

/// Body of Mount and Unmount.
#[derive(Debug, Default, Deserialize)]
pub struct MountRequest {
    /// Volume.
    #[serde(rename = "Name", default)]
    pub name: String,
    /// Caller; random for dockerd, a constant for podman.
    #[serde(rename = "ID", default)]
    pub id: String,
}

/// Body of Set.
#[derive(Debug, Deserialize)]
pub struct SetRequest {
    /// Volume.
    #[serde(rename = "Name", default)]
    pub name: String,
    /// Options to set.
    #[serde(rename = "Opts", default)]
    pub options: BTreeMap<String, String>,
    /// Names of options to take away.
    #[serde(rename = "Unset", default)]
    pub unset: Vec<String>,
}

/// Answer of Plugin.Activate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActivateResponse {
    implements: [&'static str; 1],
}

/// Answer of Capabilities.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CapabilitiesResponse {
    capabilities: Capabilities,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Capabilities {
    scope: &'static str,
}

/// Answer of Create, Remove and Unmount: `{}`.
#[derive(Debug, Serialize)]
pub struct EmptyResponse {}

/// Answer of Mount and Path.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MountpointResponse {
    mountpoint: String,
}

/// Answer of Get.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetResponse<S> {
    volume: Volume<S>,
}

/// Answer of List.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[serde(bound = "OneByOne<I>: Serialize")]
pub struct ListResponse<I> {
    volumes: OneByOne<I>,
}

/// Volumes that are made while they are written.
#[derive(Debug)]
struct OneByOne<I>(I);

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Volume<S> {
    name: String,
    mountpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    status: S,
}

/// Answer of Set.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SetResponse {
    differences: Vec<Difference>,
    mounted: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Difference {
    option: String,
    before: Option<String>,
    after: Option<String>,
}

/// Answer of a call that failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ErrorResponse {
    /// Never empty: dockerd would take it for no error.
    pub err: String,
}

impl ActivateResponse {
    /// This plugin has volumes.
    pub const VOLUME_DRIVER: Self = Self { implements: ["VolumeDriver"] };
}

impl CapabilitiesResponse {
    /// Volumes are defined per host; only displayed.
    pub const LOCAL: Self = Self { capabilities: Capabilities { scope: "local" } };
}

impl MountpointResponse {
    /// The path, or "" where there is none.
    #[must_use]
    pub fn new(mountpoint: Option<&Path>) -> Self {
        Self { mountpoint: text(mountpoint) }
    }
}

impl<S> From<VolumeInfo<S>> for GetResponse<S> {
    fn from(info: VolumeInfo<S>) -> Self {
        Self { volume: info.into() }
    }
}

impl<I> ListResponse<I> {
    /// All of these.
    pub fn new(volumes: I) -> Self {
        Self { volumes: OneByOne(volumes) }
    }
}

impl<I: Iterator<Item = VolumeInfo<S>> + Clone, S: Serialize> Serialize for OneByOne<I> {
    fn serialize<T: Serializer>(&self, serializer: T) -> Result<T::Ok, T::Error> {
        serializer.collect_seq(self.0.clone().map(Volume::from))
    }
}

impl<S> From<VolumeInfo<S>> for Volume<S> {
    fn from(info: VolumeInfo<S>) -> Self {
        let VolumeInfo { name, mountpoint, created_at, status } = info;
        Self { name, mountpoint: text(mountpoint.as_deref()), created_at: created_at.map(Timestamp), status }
    }
}

impl From<Redefined> for SetResponse {
    fn from(Redefined { differences, mounted }: Redefined) -> Self {
        let told = |amendment::Difference { option, before, after }| Difference { option, before, after };
        Self { differences: differences.into_iter().map(told).collect(), mounted }
    }
}

fn text(path: Option<&Path>) -> String {
    path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::iter;

    #[test]
    fn bodies_that_dockerd_and_podman_send() {
        for (body, options) in [
            (r#"{"Name":"v","Opts":{"port":"22"}}"#, 1),
            (r#"{"Name":"v","Opts":null}"#, 0),
            (r#"{"Name":"v"}"#, 0),
            (r#"{"Name":"v","Opts":{},"Labels":{"x":"y"}}"#, 0),
        ] {
            let request: CreateRequest = serde_json::from_str(body).unwrap();
            assert_eq!(
                (request.name.as_str(), request.options.unwrap_or_default().len()),
                ("v", options),
                "{body}"
            );
        }
    }

    #[test]
    fn answers_as_dockerd_reads_them() {
        let json = |value: &dyn erased::Json| value.json();
        assert_eq!(json(&ActivateResponse::VOLUME_DRIVER), r#"{"Implements":["VolumeDriver"]}"#);
        assert_eq!(json(&CapabilitiesResponse::LOCAL), r#"{"Capabilities":{"Scope":"local"}}"#);
        assert_eq!(json(&EmptyResponse {}), "{}");
        assert_eq!(json(&MountpointResponse::new(None)), r#"{"Mountpoint":""}"#);
        assert_eq!(json(&ErrorResponse { err: "a \"reason\"".to_owned() }), r#"{"Err":"a \"reason\""}"#);
        assert_eq!(json(&ListResponse::new(iter::empty::<VolumeInfo<()>>())), r#"{"Volumes":[]}"#);
        let info = VolumeInfo {
            name: "v".to_owned(),
            mountpoint: Some("/m/v".into()),
            created_at: None,
            status: BTreeMap::<u8, u8>::new(),
        };
        assert_eq!(
            json(&GetResponse::from(info)),
            r#"{"Volume":{"Name":"v","Mountpoint":"/m/v","Status":{}}}"#
        );
    }

    #[test]
    fn what_set_has_changed_is_told_with_both_values() {
        let difference =
            amendment::Difference { option: "uid".to_owned(), before: None, after: Some("1000".to_owned()) };
        let response = SetResponse::from(Redefined { differences: vec![difference], mounted: true });
        assert_eq!(
            serde_json::to_string(&response).unwrap(),
            r#"{"Differences":[{"Option":"uid","Before":null,"After":"1000"}],"Mounted":true}"#
        );
    }

    mod erased {
        /// Any answer as text.
        pub trait Json {
            fn json(&self) -> String;
        }
        impl<T: serde::Serialize> Json for T {
            fn json(&self) -> String {
                serde_json::to_string(self).unwrap()
            }
        }
    }
}
