//! What a volume is: its name, its remote directory and its options. Pure: no file, no socket, no process.

pub mod agent;
pub mod amendment;
pub mod catalogue;
pub mod credential;
pub mod generation;
pub mod host_key;
pub mod name;
pub mod options;
pub mod policy;
pub mod read_ahead;
pub mod remote;
pub mod secret;
mod spelling;

pub use agent::AgentSocket;
pub use amendment::Amendment;
pub use credential::CredentialSource;
pub use generation::Generation;
pub use host_key::HostKey;
pub use name::VolumeName;
pub use options::{OptionError, Spec};
pub use policy::Policy;
pub use read_ahead::ReadAhead;
pub use remote::Remote;
pub use secret::Secret;
