//! What differs between operating systems. Tested on Linux; macOS shares its code, Windows' is written for and untested.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Which file this is, whatever its name: survives a rename, differs for a replacement.
///
/// Numbers are given out again after a file is deleted, so equality is a hint, to be confirmed by the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileIdentity(u64, u64);

impl FileIdentity {
    /// The identity of the file described.
    #[cfg(unix)]
    pub fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }

    /// The identity of the file described: the time it was made stands in for a number.
    #[cfg(not(unix))]
    pub fn of(metadata: &Metadata) -> Self {
        let created = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        created.map_or(Self(0, 0), |since| Self(since.as_secs(), u64::from(since.subsec_nanos())))
    }
}

/// Makes a directory, and those above it, that only this user can read.
///
/// # Errors
/// Those of the system; none if it is there.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Takes all rights of other users to a file or directory away; makes the file if it is missing and `create` is set.
/// Does nothing where rights are not kept in a mode.
///
/// # Errors
/// Those of the system, such as that it belongs to somebody else.
pub fn make_private(path: &Path, create: bool) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
        if create {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).truncate(false).write(true).mode(0o600).open(path)?;
        }
        let mode = std::fs::metadata(path)?.mode();
        if mode & 0o077 != 0 {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7700))?;
        }
    }
    #[cfg(not(unix))]
    let _ = (path, create);
    Ok(())
}

/// Whether a process of this id runs, ours or another user's.
#[cfg(unix)]
pub fn process_lives(pid: u32) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process};
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| matches!(test_kill_process(pid), Ok(()) | Err(Errno::PERM)))
}

/// Whether a process of this id runs. Cannot be told here without unsafe code, so no: a session counts as running only
/// while its file is kept up to date.
#[cfg(not(unix))]
pub fn process_lives(_pid: u32) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn processes_live_and_die() {
        assert!(process_lives(std::process::id()));
        assert!(process_lives(1), "another user's");
        assert!(!process_lives(0));
        assert!(!process_lives(u32::MAX));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!process_lives(child.id()));
    }

    #[test]
    fn a_rename_keeps_the_identity() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| FileIdentity::of(&std::fs::metadata(dir.path().join(name)).unwrap());
        std::fs::write(dir.path().join("a"), "").unwrap();
        let before = of("a");
        std::fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        std::fs::write(dir.path().join("a"), "").unwrap();
        assert_eq!(of("b"), before);
        assert_ne!(of("a"), before);
    }
}
