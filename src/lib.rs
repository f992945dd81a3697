//! sshfs-docker: a Docker volume driver, run on the host by systemd, that mounts SFTP directories with sshfs.
//!
//! A call of Docker flows in one direction: [`protocol`] → [`driver`] → [`volume`], [`store`], [`references`] →
//! [`mount`] → [`launcher`]; what ssh said about a failure goes through [`diagnosis`]. What runs inside a mount unit is
//! [`supervisor`], [`connection`] and [`askpass`], which tell each other [`notice`]s. [`heal`] is started by systemd when
//! that dies, or by the administrator (`restart`), and gives running containers a fresh mount; [`agent`] when ssh asks an
//! agent of the host for a key. [`admin`] are the other commands of an administrator.

pub mod activation;
pub mod admin;
pub mod agent;
pub mod askpass;
pub mod book;
pub mod cli;
pub mod config;
pub mod connection;
pub mod daemon;
pub mod diagnosis;
pub mod directories;
pub mod driver;
pub mod events;
pub mod heal;
pub mod health;
pub mod history;
pub mod host_keys;
pub mod identity;
mod json;
pub mod kind;
pub mod launcher;
pub mod locks;
pub mod logging;
pub mod metrics;
pub mod mount;
pub mod notice;
pub mod paths;
pub mod protocol;
pub mod references;
mod regular_file;
pub mod replace;
pub mod sealing;
pub mod store;
pub mod supervisor;
mod sys;
pub mod timestamp;
pub mod uptime;
pub mod versions;
pub mod volume;
