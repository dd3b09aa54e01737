//! Whose process is at the other end of a connection from this machine.
//!
//! Every user of a machine can reach its loopback addresses, so that an address says nothing of who asks. Linux tells
//! which user owns the other end's socket; this asks once per connection, before anything of it is used.

use std::net::SocketAddr;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A process of the user who runs the dashboard, or root's.
    Own,
    /// A process of another user of this machine, or one that is gone or not known.
    OtherUser,
    /// A process of this machine, of which this system does not tell the user.
    Untold,
    /// Another machine, or this one by an address that others reach, too.
    Remote,
}

/// Who is at the other end of a connection between our `local` address and `remote`.
pub fn of(local: SocketAddr, remote: SocketAddr) -> Peer {
    let [local, remote] = [local, remote].map(|address| SocketAddr::new(address.ip().to_canonical(), address.port()));
    if !(local.ip().is_loopback() && remote.ip().is_loopback()) {
        return Peer::Remote;
    }
    system::of(local, remote)
}

/// Whether this system tells the owner of a connection: asked about one of our own.
///
/// # Errors
/// In words: why it does not.
pub fn check() -> Result<(), String> {
    let connect = || -> std::io::Result<Peer> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let client = std::net::TcpStream::connect(listener.local_addr()?)?;
        let (server, remote) = listener.accept()?;
        // Kept open until it was asked for.
        let peer = of(server.local_addr()?, remote);
        drop(client);
        Ok(peer)
    };
    match connect() {
        Ok(Peer::Own) => Ok(()),
        Ok(Peer::Untold) => Err("this system does not tell whose a connection is".to_owned()),
        Ok(Peer::OtherUser | Peer::Remote) => Err("neither sock_diag nor /proc/net/tcp finds connections".to_owned()),
        Err(error) => Err(format!("no connection could be tried: {error}")),
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::net::SocketAddr;

    use super::Peer;

    pub(super) fn of(_: SocketAddr, _: SocketAddr) -> Peer {
        Peer::Untold
    }
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

    use super::Peer;

    /// The state of a connection whose two ends are open (`TCP_ESTABLISHED` in `tcp_states.h`).
    const ESTABLISHED: u8 = 1;
    const ROOT: u32 = 0;

    /// A socket as the kernel describes it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Socket {
        pub(super) state: u8,
        pub(super) uid: u32,
        pub(super) inode: u64,
    }

    impl Socket {
        /// The user, if the socket is a process's. One that was closed has no inode any more and reads as root's.
        pub(super) fn owner(self) -> Option<u32> {
            (self.state == ESTABLISHED && self.inode != 0).then_some(self.uid)
        }
    }

    pub(super) fn of(local: SocketAddr, remote: SocketAddr) -> Peer {
        // The other end's socket has our remote address as its own.
        let found = sock_diag(remote, local).or_else(|_| listed(remote, local));
        let owner = found.ok().flatten().and_then(Socket::owner);
        let own = rustix::process::geteuid().as_raw();
        if owner.is_some_and(|uid| uid == own || uid == ROOT) { Peer::Own } else { Peer::OtherUser }
    }

    /// Asks the kernel for the one socket between `from` and `to` (sock_diag(7)), whatever the number of sockets.
    ///
    /// Netlink has no types in what we depend on: messages are written and read byte by byte, in the machine's order
    /// but for ports and addresses.
    pub(super) fn sock_diag(from: SocketAddr, to: SocketAddr) -> io::Result<Option<Socket>> {
        /// `SOCK_DIAG_BY_FAMILY`: the request's type, and that of its answer.
        const BY_FAMILY: u16 = 20;
        /// `NLMSG_ERROR`.
        const ERROR: u16 = 2;
        /// `NLM_F_REQUEST`, without `NLM_F_DUMP`: exactly this socket.
        const REQUEST: u16 = 1;
        const HEADER_BYTES: usize = 16;
        /// Where the fields of `inet_diag_msg` are: 4 bytes of small fields, 48 of addresses, 12 of counters.
        const UID: usize = HEADER_BYTES + 64;
        const INODE: usize = HEADER_BYTES + 68;

        let (family, source, destination) = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => (AddressFamily::INET, words_v4(from), words_v4(to)),
            (IpAddr::V6(from), IpAddr::V6(to)) => (AddressFamily::INET6, from.octets(), to.octets()),
            _ => return Ok(None),
        };
        let mut body = vec![family.as_raw().to_le_bytes()[0], 6 /* TCP */, 0, 0];
        body.extend(u32::MAX.to_ne_bytes()); // in any state: we look at it ourselves
        body.extend(from.port().to_be_bytes());
        body.extend(to.port().to_be_bytes());
        body.extend(source);
        body.extend(destination);
        body.extend(0_u32.to_ne_bytes()); // on any interface
        body.extend([0xff; 8]); // no cookie
        let length = u32::try_from(HEADER_BYTES + body.len()).map_err(io::Error::other)?;
        let mut request = length.to_ne_bytes().to_vec();
        request.extend(BY_FAMILY.to_ne_bytes());
        request.extend(REQUEST.to_ne_bytes());
        request.extend([0; 8]); // sequence and port: there is one request
        request.extend(body);

        // The kernel answers before `send` returns.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
        rustix::net::send(&socket, &request, SendFlags::empty())?;
        let mut answer = [0; 512];
        let (length, _) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
        let answer = answer.get(..length).unwrap_or_default();

        let short = || io::Error::other("a short answer");
        let word = |at: usize| -> io::Result<u32> {
            let bytes = answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_ne_bytes).ok_or_else(short)
        };
        let kind: [u8; 2] = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).ok_or_else(short)?;
        match u16::from_ne_bytes(kind) {
            BY_FAMILY => {
                let state = *answer.get(HEADER_BYTES + 1).ok_or_else(short)?;
                Ok(Some(Socket { state, uid: word(UID)?, inode: word(INODE)?.into() }))
            }
            ERROR => {
                let code = i32::from_ne_bytes(word(HEADER_BYTES)?.to_ne_bytes());
                let error = io::Error::from_raw_os_error(code.saturating_neg());
                // No such socket is an answer; anything else means that the kernel cannot be asked like this.
                if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) }
            }
            _ => Err(io::Error::other("an unknown answer")),
        }
    }

    fn words_v4(address: Ipv4Addr) -> [u8; 16] {
        let mut words = [0; 16];
        words[..4].copy_from_slice(&address.octets());
        words
    }

    /// The same from the lists in /proc, for kernels and sandboxes without sock_diag.
    fn listed(from: SocketAddr, to: SocketAddr) -> io::Result<Option<Socket>> {
        // A process may speak IPv4 through a socket of IPv6.
        let lists = ["/proc/net/tcp", "/proc/net/tcp6"].map(std::fs::read_to_string);
        if let [Err(error), Err(_)] = lists {
            return Err(error);
        }
        Ok(lists.iter().flatten().find_map(|list| in_list(list, from, to)))
    }

    /// The socket between `from` and `to` in a list like /proc/net/tcp (proc_net_tcp in the kernel's documentation).
    pub(super) fn in_list(list: &str, from: SocketAddr, to: SocketAddr) -> Option<Socket> {
        list.lines().skip(1).find_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (local, remote) = (address(fields.next()?)?, address(fields.next()?)?);
            if (local, remote) != (from, to) {
                return None;
            }
            let state = u8::from_str_radix(fields.next()?, 16).ok()?;
            // Queues, timer and retransmissions come before the user, a timeout before the inode.
            let uid = fields.nth(3)?.parse().ok()?;
            let inode = fields.nth(1)?.parse().ok()?;
            Some(Socket { state, uid, inode })
        })
    }

    /// `0100007F:0BB9`: words of four bytes in the machine's order, and a port.
    fn address(text: &str) -> Option<SocketAddr> {
        let (ip, port) = text.split_once(':')?;
        let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
        let ip: IpAddr = match ip.len() {
            8 => Ipv4Addr::from(word(0)?).into(),
            32 => {
                let mut octets = [0; 16];
                for (index, bytes) in octets.chunks_mut(4).enumerate() {
                    bytes.copy_from_slice(&word(index * 8)?);
                }
                Ipv6Addr::from(octets).into()
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip.to_canonical(), u16::from_str_radix(port, 16).ok()?))
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::system::{Socket, in_list, sock_diag};
    use super::*;

    fn connected(address: &str) -> Option<(TcpStream, TcpStream)> {
        // A machine may have no IPv6.
        let listener = TcpListener::bind(address).ok()?;
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        Some((client, listener.accept().unwrap().0))
    }

    fn peer(server: &TcpStream) -> Peer {
        of(server.local_addr().unwrap(), server.peer_addr().unwrap())
    }

    #[test]
    fn our_own_connections_are_known() {
        assert_eq!(check(), Ok(()));
        for address in ["127.0.0.1:0", "127.1.2.3:0", "[::1]:0"] {
            if let Some((_client, server)) = connected(address) {
                assert_eq!(peer(&server), Peer::Own, "{address}");
            }
        }
    }

    #[test]
    fn a_connection_that_was_closed_is_nobodys() {
        let (client, server) = connected("127.0.0.1:0").unwrap();
        drop(client);
        assert_eq!(peer(&server), Peer::OtherUser);
        // Such a socket reads as root's, which must not open the door.
        assert_eq!(Socket { state: 1, uid: 0, inode: 0 }.owner(), None);
        assert_eq!(Socket { state: 8, uid: 0, inode: 77 }.owner(), None);
        assert_eq!(Socket { state: 1, uid: 0, inode: 77 }.owner(), Some(0));
    }

    #[test]
    fn a_listener_or_a_stranger_is_not_taken_for_the_other_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        assert_eq!(of(local, "127.0.0.1:1".parse().unwrap()), Peer::OtherUser);
        assert_eq!(of("127.0.0.1:1".parse().unwrap(), local), Peer::OtherUser, "it is not connected");
    }

    #[test]
    fn other_machines_are_remote() {
        for (local, remote) in [
            ("192.168.1.5:3001", "192.168.1.6:50000"),
            ("192.168.1.5:3001", "192.168.1.5:50000"),
            ("[2001:db8::1]:3001", "[2001:db8::2]:50000"),
            ("127.0.0.1:3001", "10.0.0.1:50000"),
        ] {
            assert_eq!(of(local.parse().unwrap(), remote.parse().unwrap()), Peer::Remote, "{local} {remote}");
        }
    }

    #[test]
    fn both_ways_of_asking_agree() {
        let (client, server) = connected("127.0.0.1:0").unwrap();
        let (from, to) = (client.local_addr().unwrap(), server.local_addr().unwrap());
        let list = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let listed = in_list(&list, from, to);
        assert!(listed.is_some_and(|socket| socket.owner().is_some()), "{listed:?}");
        // In some sandboxes there is no sock_diag.
        if let Ok(found) = sock_diag(from, to) {
            assert_eq!(found, listed);
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn lists_of_both_families_are_read() {
        let v4 = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:0BB9 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0 100 0 0 10 0\n\
            \x20  1: 0100007F:C350 0100007F:0BB9 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0 20 4 30 10 -1\n";
        let v6 = "  sl  local_address                         remote_address                        st\n\
            \x20  0: 0000000000000000FFFF00000100007F:C351 0000000000000000FFFF00000100007F:0BB9 01 00000000:00000000 00:00000000 00000000  1001        0 4712 1 0 20 4 30 10 -1\n\
            \x20  1: 00000000000000000000000001000000:C352 00000000000000000000000001000000:0BB9 01 00000000:00000000 00:00000000 00000000  1002        0 4713 1 0 20 4 30 10 -1\n";
        let find = |list: &str, from: &str, to: &str| in_list(list, from.parse().unwrap(), to.parse().unwrap());
        let socket = |uid, inode| Some(Socket { state: 1, uid, inode });
        assert_eq!(find(v4, "127.0.0.1:50000", "127.0.0.1:3001"), socket(1000, 4711));
        assert_eq!(find(v6, "127.0.0.1:50001", "127.0.0.1:3001"), socket(1001, 4712));
        assert_eq!(find(v6, "[::1]:50002", "[::1]:3001"), socket(1002, 4713));
        assert_eq!(find(v4, "127.0.0.1:50000", "127.0.0.1:3002"), None);
        assert_eq!(find("", "127.0.0.1:50000", "127.0.0.1:3001"), None);
    }
}
