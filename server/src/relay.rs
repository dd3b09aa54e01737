//! How a relay hands over what it has: to a running dashboard or, if none answers, to the next one.
//!
//! A tool waits for the relay, so each step has a time limit, and nothing here is asynchronous or starts anything. What
//! is handed over is a few hundred bytes. What is left behind is bounded: a few dozen files, each the newest of its kind.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dashboard_core::record::{StatusLine, Tool};
use dashboard_core::transcript::StatusLineFormat;
use xxhash_rust::xxh3::xxh3_64;

use crate::platform;

/// Most files that are left behind.
pub(crate) const MOST_LEFT: usize = 64;
/// Most bytes handed over.
pub(crate) const MAX_SENT: usize = 48 << 10;
/// How long a dashboard may take, from the connection to its answer.
const PATIENCE: Duration = Duration::from_millis(30);

/// The tool whose status lines are relayed, and how they are read: of those that have one, the one that is meant where
/// none is named.
pub(crate) fn format() -> Option<(Tool, &'static StatusLineFormat)> {
    Tool::ALL.into_iter().find_map(|tool| Some((tool, tool.spec().status_line.as_ref()?)))
}

/// Reads what a tool told its status line.
pub(crate) fn read(text: &[u8]) -> Option<(Tool, StatusLine)> {
    let (tool, format) = format()?;
    Some((tool, (format.read)(text)?))
}

/// Where relays leave what no dashboard takes.
pub(crate) fn left_in(data_dir: &Path) -> PathBuf {
    data_dir.join("relayed")
}

/// Whether a relay left this file, and is done with it.
pub(crate) fn is_left(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
}

/// Posts `body` to the dashboard on this port of this machine. No secret is sent: whoever listens there is not known.
///
/// # Errors
/// If it does not take it in time.
pub(crate) fn post(port: u16, route: &str, body: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_nodelay(true)?;
    let mut request = format!(
        "POST {route} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let mut unsent = request.as_slice();
    while !unsent.is_empty() {
        stream.set_write_timeout(Some(left()?))?;
        match stream.write(unsent)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => unsent = &unsent[count..],
        }
    }
    // The beginning of the answer says it all; but it must be waited for, since the dashboard looks at the connection.
    const TAKEN: &[u8] = b"HTTP/1.1 204";
    let mut answer = [0; TAKEN.len()];
    let mut read = 0;
    while read < answer.len() {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut answer[read..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => read += count,
        }
    }
    if answer == TAKEN { Ok(()) } else { Err(io::Error::other("it was not taken")) }
}

/// Leaves `body` for the next dashboard that keeps its history in `data_dir`, in place of what was left of `of` before.
///
/// # Errors
/// Those of the system.
pub(crate) fn leave(data_dir: &Path, of: &str, body: &[u8]) -> io::Result<()> {
    let dir = left_in(data_dir);
    platform::create_private_dir(&dir)?;
    let place = xxh3_64(of.as_bytes()) % MOST_LEFT as u64;
    let unfinished = dir.join(format!("{place}.{}", std::process::id()));
    let written = platform::create_private_file(&unfinished)
        .and_then(|mut file: File| file.write_all(body))
        .and_then(|()| fs::rename(&unfinished, dir.join(format!("{place}.json"))));
    if written.is_err() {
        // It is of no use to anybody.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server on a free port that treats its first connection like this.
    fn server(treat: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || treat(listener.accept().unwrap().0));
        port
    }

    #[test]
    fn what_is_taken_is_told_from_what_is_not() {
        let answers = |answer: &'static [u8]| {
            server(move |mut stream| {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                let _ = stream.write_all(answer);
            })
        };
        assert!(post(answers(b"HTTP/1.1 204 No Content\r\n\r\n"), "/x", b"{}").is_ok());
        for answer in [&b"HTTP/1.1 401 Unauthorized\r\n\r\n"[..], b"HTTP", b"", b"nonsense that is longer"] {
            assert!(post(answers(answer), "/x", b"{}").is_err());
        }
        let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        assert!(post(nobody, "/x", b"{}").is_err());
    }

    #[test]
    fn nobody_is_waited_for() {
        // Says nothing, or begins and says no more: it is left, or this test would never end.
        for beginning in [&b""[..], b"HTTP/1.1"] {
            let (ended, end) = std::sync::mpsc::channel::<()>();
            let port = server(move |mut stream| {
                let _ = stream.write_all(beginning);
                let _ = end.recv();
            });
            assert!(post(port, "/x", b"{}").is_err());
            drop(ended);
        }
    }

    #[test]
    fn what_is_left_replaces_what_was_left_before() {
        let dir = tempfile::tempdir().unwrap();
        for session in 0..500 {
            leave(dir.path(), &session.to_string(), b"{}").unwrap();
        }
        leave(dir.path(), "0", b"{\"a\":1}").unwrap();
        let files: Vec<PathBuf> = fs::read_dir(left_in(dir.path())).unwrap().map(|it| it.unwrap().path()).collect();
        assert!(files.len() <= MOST_LEFT && files.iter().all(|path| is_left(path)), "{files:?}");
        assert!(files.iter().any(|path| fs::read(path).unwrap() == b"{\"a\":1}"));
    }
}
