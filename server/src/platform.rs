//! What differs between operating systems. Linux is tested; the others are written for, not tested.

/// Whether a process with this id runs, also if it is another user's.
#[cfg(unix)]
pub fn is_process_alive(pid: u32) -> bool {
    let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    matches!(rustix::process::test_kill_process(pid), Ok(()) | Err(rustix::io::Errno::PERM))
}

/// Unknown here, so a session counts as running only while its file is kept up to date.
#[cfg(not(unix))]
pub fn is_process_alive(_: u32) -> bool {
    false
}

/// What tells a file from another one that took its name, as far as the system says.
#[cfg(unix)]
pub fn file_number(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

/// Not told here; a file that was replaced is recognised by its content.
#[cfg(not(unix))]
pub fn file_number(_: &std::fs::Metadata) -> u64 {
    0
}
