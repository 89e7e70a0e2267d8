use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};

/// A port for a program that cannot choose one itself. It is below those that the system gives away, which another test's
/// connection may get before the program starts, and no two tests get the same. It is not tried by listening on it: a
/// program that another thread starts at that moment would keep the port for a while, and meet the first client.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = || {
        let number = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        10_000 + u16::try_from(number % 20_000).expect("small")
    };
    let mut ports = std::iter::repeat_with(next).take(100);
    ports.find(|port| TcpStream::connect(("127.0.0.1", *port)).is_err()).expect("a free port")
}
