//! Accepts connections and speaks HTTP/1 on them, within limits, until told to stop.
//!
//! Not `axum::serve`, because that gives a client all the time in the world to send a request and to read its answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Sleep, timeout};
use tower::Service;

use super::security::Client;
use crate::peer;

/// How long a client may take to send a request's head, and how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Most headers of a request.
const MAX_HEADERS: usize = 64;
/// Most bytes of a request's head.
const MAX_HEADER_BYTES: usize = 32 << 10;
/// How long a client may leave what is written to it unread, beyond what it needs at [`MIN_BYTES_PER_S`].
const WRITE_GRACE: Duration = Duration::from_secs(20);
/// Slowest reading of an answer that is waited for.
const MIN_BYTES_PER_S: u64 = 16 << 10;
/// How long requests under way may take to finish when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed accept: usually too many open files, which more haste does not mend.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The whole answer to a connection beyond the budget.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\
    Content-Type: text/plain\r\nContent-Length: 37\r\n\r\nToo many connections; try again soon.";

/// How many connections may be open at once, sockets included. Further ones are answered with 503 and closed, so that
/// transcripts and the database always find a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionBudget(u32);

impl ConnectionBudget {
    /// Most connections, however many descriptors there are: at 32 kB each, their memory is 128 MB.
    const MAX: u32 = 4_096;
    /// Descriptors left to transcripts, watches, database, and everything else.
    const RESERVED: u64 = 256;

    /// What a process with so many descriptors can afford; at least a quarter of them.
    fn of_descriptors(descriptors: u64) -> Self {
        let free = descriptors.saturating_sub(Self::RESERVED).max(descriptors / 4);
        Self(u32::try_from(free).unwrap_or(Self::MAX).clamp(1, Self::MAX))
    }

    /// What this process can afford, by its limit of open files now.
    #[cfg(unix)]
    pub(crate) fn of_process() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Self::of_descriptors(limit.current.unwrap_or(u64::MAX))
    }

    /// What this process can afford: this system has no limit of open files that is reached first.
    #[cfg(not(unix))]
    pub(crate) fn of_process() -> Self {
        Self::of_descriptors(u64::MAX)
    }
}

/// Serves `router` on `listener` until `stop` is done, then lets requests under way finish.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    budget: ConnectionBudget,
    stop: impl Future<Output = ()>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEADER_BYTES);
    let stopping = watch::Sender::new(false);
    let slots = Arc::new(Semaphore::new(budget.0 as usize));
    tokio::pin!(stop);
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::debug!("a connection was refused: all {} are in use", budget.0);
            // If it does not fit into the socket's buffer, the client sees the connection closed.
            let _ = stream.try_write(FULL);
            continue;
        };
        let http = http.clone();
        let router = router.clone();
        let mut stopping = stopping.subscribe();
        tokio::spawn(async move {
            // Asked once, and before the first byte is read.
            let Ok(client) = client(&stream) else { return };
            // Frames are small and must not wait for the next one.
            let _ = stream.set_nodelay(true);
            let service = service_fn(move |request: Request<Incoming>| {
                let mut request = request.map(Body::new);
                request.extensions_mut().insert(client);
                router.clone().call(request)
            });
            let connection =
                http.serve_connection(TokioIo::new(Connection::new(stream, slot)), service).with_upgrades();
            tokio::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = stopping.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    let _ = stopping.send(true);
    // Every connection holds a slot, so that all are free once the last one is closed.
    if timeout(DRAIN_TIMEOUT, slots.acquire_many(budget.0)).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

/// Who is at the other end.
fn client(stream: &TcpStream) -> io::Result<Client> {
    let (local, address) = (stream.local_addr()?, stream.peer_addr()?);
    Ok(Client { address, peer: peer::of(local, address) })
}

/// A stream that holds its slot for as long as it is open, also after it became a WebSocket, and fails once its client
/// does not read what is written to it.
struct Connection<S = TcpStream> {
    stream: S,
    /// While something written is not taken: until when all of it has to be, put off by what is taken. Boxed, because
    /// most connections never have to wait.
    overdue: Option<Pin<Box<Sleep>>>,
    _slot: OwnedSemaphorePermit,
}

impl<S> Connection<S> {
    fn new(stream: S, slot: OwnedSemaphorePermit) -> Self {
        Self { stream, overdue: None, _slot: slot }
    }

    /// Looks at what became of a write, and fails it if the client is overdue.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&written, &mut self.overdue) {
            (Poll::Ready(Ok(bytes)), Some(overdue)) => {
                let earned = Duration::from_millis(*bytes as u64 * 1_000 / MIN_BYTES_PER_S);
                let deadline = overdue.deadline() + earned;
                overdue.as_mut().reset(deadline);
                written
            }
            (Poll::Ready(_), _) => written,
            (Poll::Pending, overdue) => {
                let overdue = overdue.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_GRACE)));
                ready!(overdue.as_mut().poll(cx));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Asked for when everything was written: the client has taken it all.
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        self.overdue = None;
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    use super::*;

    fn connection(buffer: usize) -> (Connection<DuplexStream>, DuplexStream) {
        let (server, client) = duplex(buffer);
        let slot = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Connection::new(server, slot), client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_its_answer_is_cut_off() {
        let (mut server, _client) = connection(1 << 10);
        let began = Instant::now();
        let error = server.write_all(&[0; 64 << 10]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), WRITE_GRACE.as_secs());
    }

    /// A client that takes a KiB every so often.
    async fn read_slowly(every: Duration) -> io::Result<()> {
        let (mut server, mut client) = connection(1 << 10);
        tokio::spawn(async move {
            let mut piece = [0; 1 << 10];
            loop {
                tokio::time::sleep(every).await;
                client.read_exact(&mut piece).await.unwrap();
            }
        });
        server.write_all(&[0; 1 << 20]).await?;
        server.flush().await
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_is_cut_off_and_a_slow_line_is_not() {
        let error = read_slowly(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "one byte now and then keeps no connection");
        read_slowly(Duration::from_millis(50)).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_not_overdue() {
        let (mut server, mut client) = connection(1 << 10);
        for _ in 0..3 {
            let write = async {
                server.write_all(&[0; 4 << 10]).await.unwrap();
                server.flush().await.unwrap();
            };
            let mut answer = [0; 4 << 10];
            let (read, ()) = tokio::join!(client.read_exact(&mut answer), write);
            read.unwrap();
            assert!(server.overdue.is_none());
            tokio::time::sleep(10 * WRITE_GRACE).await;
        }
    }

    #[test]
    fn connections_leave_descriptors_to_the_rest() {
        let budget = |descriptors| ConnectionBudget::of_descriptors(descriptors).0;
        assert_eq!([64, 256, 1_024, 4_096, u64::MAX].map(budget), [16, 64, 768, 3_840, 4_096]);
    }

    #[tokio::test]
    async fn a_connection_beyond_the_budget_is_told_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let router = Router::new().fallback(|| async { "here" });
        let serving = tokio::spawn(serve(listener, router, ConnectionBudget(2), async {
            let _ = stopped.await;
        }));
        let answer = |mut stream: TcpStream| async move {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut status = [0; 12];
            stream.read_exact(&mut status).await.unwrap();
            (String::from_utf8_lossy(&status).into_owned(), stream)
        };
        let (first, kept) = answer(TcpStream::connect(address).await.unwrap()).await;
        let (second, also) = answer(TcpStream::connect(address).await.unwrap()).await;
        assert_eq!([first.as_str(), second.as_str()], ["HTTP/1.1 200"; 2]);
        let mut third = TcpStream::connect(address).await.unwrap();
        let mut refused = String::new();
        third.read_to_string(&mut refused).await.unwrap();
        assert_eq!(refused.as_bytes(), FULL);
        assert!(refused.split("\r\n\r\n").nth(1).unwrap().len() == 37);
        drop(kept);
        drop(also);
        // The slots are free once the server has noticed.
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            let mut status = [0; 12];
            if stream.read_exact(&mut status).await.is_ok() && &status == b"HTTP/1.1 200" {
                break;
            }
        }
        stop.send(()).unwrap();
        serving.await.unwrap();
    }
}
