//! The short names of errors: for counting, for the journal, and as headings of docs/errors.md. They stay the same, whatever
//! becomes of the sentences.

macro_rules! kinds {
    ($($name:ident $text:literal)+) => {
        $(pub(crate) const $name: &str = $text;)+
        /// All that [`crate::driver::DriverError::kind`] may answer.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

// In the order of a mount: the way to the server, its key, the login, SFTP, this host, the launcher, the volume.
kinds! {
    UNKNOWN_HOST "unknown-host"
    REFUSED "refused"
    UNREACHABLE "unreachable"
    TIMED_OUT "timed-out"
    CONNECTION_CLOSED "connection-closed"
    NO_COMMON_ALGORITHM "no-common-algorithm"
    JUMP_HOST "jump-host"
    BEHIND_JUMP_HOST "behind-jump-host"

    HOST_KEY_UNKNOWN "host-key-unknown"
    HOST_KEY_CHANGED "host-key-changed"
    HOST_KEY_REVOKED "host-key-revoked"
    KNOWN_HOSTS_UNUSABLE "known-hosts-unusable"

    KEY_REFUSED "key-refused"
    PASSWORD_REFUSED "password-refused"
    LOGIN_REFUSED "login-refused"
    LOGIN_MISSING "login-missing"
    LOGIN_ENDED "login-ended"
    TOO_MANY_ATTEMPTS "too-many-attempts"
    KEY_UNUSABLE "key-unusable"
    PASSPHRASE_MISSING "passphrase-missing"
    PASSPHRASE_WRONG "passphrase-wrong"
    AGENT_UNUSABLE "agent-unusable"

    NO_SFTP "no-sftp"
    NOT_SFTP "not-sftp"
    NO_DIRECTORY "no-directory"
    NOT_A_DIRECTORY "not-a-directory"
    DIRECTORY_DENIED "directory-denied"

    BAD_SSH_CONFIG "bad-ssh-config"
    PROGRAM_MISSING "program-missing"
    TOO_OLD "too-old"
    NO_FUSE "no-fuse"
    KERNEL_REFUSED "kernel-refused"
    FOREIGN_MOUNT "foreign-mount"
    MOUNT_HIDDEN "mount-hidden"
    MOUNT_HANGING "mount-hanging"
    NO_PROCESS "no-process"
    LOCAL_FILE "local-file"

    NO_SYSTEMD "no-systemd"
    SYSTEMD_HANGS "systemd-hangs"
    UNIT_REFUSED "unit-refused"
    UNIT_FAILED "unit-failed"
    NOT_STARTED "not-started"
    NO_USER "no-user"
    NO_CREDENTIAL "no-credential"
    CREDENTIAL_UNREADABLE "credential-unreadable"
    PASSWORD_SEALED "password-sealed"
    NO_FILE "no-file"
    NOT_A_FILE "not-a-file"
    FILE_HANGS "file-hangs"
    NO_AGENT "no-agent"
    NOT_A_SOCKET "not-a-socket"
    NAME_TOO_LONG "name-too-long"
    AGENT_NEEDS_SYSTEMD "agent-needs-systemd"

    NO_SUCH_VOLUME "no-such-volume"
    BAD_NAME "bad-name"
    BAD_OPTIONS "bad-options"
    EXISTS "exists"
    UNUSABLE "unusable"
    DEFINITION_NOT_KEPT "definition-not-kept"
    REFERENCE_NOT_KEPT "reference-not-kept"
    BAD_CONFIG "bad-config"
    BUSY "busy"
    CALLER_GONE "caller-gone"
    BAD_ID "bad-id"
    IN_USE "in-use"
    NOT_UNMOUNTED "not-unmounted"
    NO_PROC "no-proc"
    OTHER_DIRECTORY "other-directory"

    OTHER "other"
}
