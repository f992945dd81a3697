//! What is wrong behind the login.

use super::{Cause, Fault};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

pub const CAUSES: &[Cause] = &[
    ("no-sftp", || Fault::new().on_server("Subsystem none")),
    ("not-sftp", || Fault::new().on_server("ForceCommand echo This account is currently not available.")),
    ("not-sftp/forced-command-that-fails", || Fault::new().on_server("ForceCommand /bin/false")),
    ("not-sftp-and-silent", || Fault::new().on_server("ForceCommand cat >/dev/null")),
    ("not-sftp/sftp-server-missing", || Fault::new().on_server("Subsystem sftp /no/such/sftp-server")),
    ("no-directory", || Fault::new().at("nothing/")),
    ("not-a-directory", || {
        let fault = Fault::new().at("remote/file");
        fs::write(fault.world.path("remote/file"), "").unwrap();
        fault
    }),
    ("directory-denied", || {
        let fault = Fault::new().at("locked/inside");
        fs::create_dir_all(fault.world.path("locked/inside")).unwrap();
        fs::set_permissions(fault.world.path("locked"), PermissionsExt::from_mode(0o700)).unwrap();
        fault
    }),
    ("no-directory/link-loop", || {
        let fault = Fault::new().at("nothing/");
        symlink("nothing", fault.world.path("nothing")).unwrap();
        fault
    }),
];
