//! Where another process can go on reading a file: the checkpoint, and what tells whether the file is still the same.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, SystemTime};

use dashboard_core::record::{FileCounts, Tool};
use dashboard_core::transcript::Checkpoint;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::platform::FileIdentity;

/// Bytes in a fingerprint, at most.
pub(crate) const MARK: usize = 1024;
/// File times are no finer than this: a change this soon after a poll may leave the time as it is.
const COARSE: Duration = Duration::from_millis(50);

/// What another process needs to go on reading a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileState {
    /// What the file was like when it was opened to read what is part of this state.
    #[serde(rename = "look")]
    pub(crate) polled: Option<Polled>,
    pub(crate) marks: Marks,
    /// The hash of everything read, where it is known: what tells a touched file from one rewritten at the same size.
    #[serde(default)]
    pub(crate) content: Option<ContentHash>,
    /// Up to the last newline: what an unfinished line said is not part of it.
    pub checkpoint: Checkpoint,
    /// Everything read, an unfinished line included: what counts if the file has gone.
    pub counts: FileCounts,
}

/// What tells, without reading it, that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) identity: FileIdentity,
    pub(crate) size: u64,
    pub(crate) modified: Option<SystemTime>,
}

/// A file's first bytes, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContentHash {
    /// How many of them.
    pub(crate) length: u64,
    /// XXH3 of them, 64 bits.
    pub(crate) hash: u64,
}

/// A file as it was when it was polled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Polled {
    pub(crate) stamp: Stamp,
    /// Whether an equal stamp will mean that nothing has changed.
    pub(crate) conclusive: bool,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { identity: FileIdentity::of(metadata), size: metadata.len(), modified: metadata.modified().ok() }
    }
}

impl Polled {
    pub(crate) fn at(metadata: &Metadata) -> Self {
        let stamp = Stamp::of(metadata);
        let age = stamp.modified.and_then(|modified| modified.elapsed().ok());
        Self { stamp, conclusive: age.is_some_and(|age| age > COARSE) }
    }
}

impl FileState {
    /// That of a file of which nothing has been read.
    pub(crate) fn start(tool: Tool) -> Self {
        Self {
            polled: None,
            marks: Marks::default(),
            content: None,
            checkpoint: Checkpoint::start(tool),
            counts: FileCounts::default(),
        }
    }

    /// What the file is recognised by, should it turn up under another name.
    pub(crate) fn fingerprint(&self) -> Option<(FileIdentity, Marks)> {
        Some((self.polled?.stamp.identity, self.marks))
    }
}

/// Fingerprints of what has been read of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Marks {
    pub(crate) head: Mark,
    /// Ends at the place reached.
    tail: Mark,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    offset: u64,
    length: usize,
    hash: u64,
}

impl Marks {
    /// If the file holds these bytes at their places, the last of them.
    pub(crate) fn match_in(&self, file: &mut File) -> io::Result<Option<Vec<u8>>> {
        Ok(self.head.match_in(file)?.and(self.tail.match_in(file)?))
    }

    /// How far reading had come.
    pub(crate) fn reached(&self) -> u64 {
        self.tail.offset + self.tail.length as u64
    }

    /// The place `position` has been reached by reading `bytes`; `before` are the last bytes before it.
    pub(crate) fn reach(&mut self, position: u64, bytes: &[u8], before: &[u8]) {
        if self.head.length == 0 {
            self.head = Mark::of(position - bytes.len() as u64, &bytes[..bytes.len().min(MARK)]);
        }
        self.tail = Mark::of(position - before.len() as u64, before);
    }
}

impl Mark {
    fn of(offset: u64, bytes: &[u8]) -> Self {
        Self { offset, length: bytes.len(), hash: xxh3_64(bytes) }
    }

    /// The bytes, if they are in the file.
    fn match_in(&self, file: &mut File) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; self.length];
        file.seek(SeekFrom::Start(self.offset))?;
        match file.read_exact(&mut bytes) {
            Ok(()) => Ok((Self::of(self.offset, &bytes).hash == self.hash || self.length == 0).then_some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}
