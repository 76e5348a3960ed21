//! The receiver of webhooks: the same program in another process, so that its time is not counted as ours.
//!
//! On one port it answers every `POST /hook/{n}` with a constant 204 and notes who arrived when; `GET /count` and
//! `GET /arrivals` tell the driver. It ends when its standard input does, so it never outlives the driver.

mod process;

use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::clock;
use crate::event::EventId;
use crate::http::{HttpError, Inbox, Message};

pub(crate) use process::Receiver;

/// What every delivery is answered.
const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// What is answered to anything that is neither a delivery of ours nor a question of the driver.
const STRANGE: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
/// Room for the arrivals of a large phase, so that no growing is measured.
const ARRIVALS_EXPECTED: usize = 128 * 1024;

/// A delivery that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Which event.
    pub(crate) event: EventId,
    /// The number in the path: which subscription.
    pub(crate) hook: u16,
    /// When all of it had been read, see [`clock::now_nanos`].
    pub(crate) at: u64,
}

impl Arrival {
    /// Length on the wire between receiver and driver.
    const BYTES: usize = 16;

    fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..2].copy_from_slice(&self.event.phase.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.hook.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.event.number.to_le_bytes());
        bytes[8..].copy_from_slice(&self.at.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [p0, p1, h0, h1, n0, n1, n2, n3, at @ ..] = bytes;
        Self {
            event: EventId { phase: u16::from_le_bytes([p0, p1]), number: u32::from_le_bytes([n0, n1, n2, n3]) },
            hook: u16::from_le_bytes([h0, h1]),
            at: u64::from_le_bytes(at),
        }
    }
}

/// What has come in since it was last asked for. Uncontended: there is one thread.
type Arrivals = Arc<Mutex<Vec<Arrival>>>;

/// Runs the receiver on a free port, which it prints as the only line of its output, until its input ends.
///
/// # Errors
/// If it cannot listen or print.
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let mut output = std::io::stdout();
    writeln!(output, "{}", listener.local_addr()?.port())?;
    output.flush()?;
    std::thread::spawn(|| {
        // The driver never writes: this returns when it closes the pipe or dies.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let arrivals = Arc::new(Mutex::new(Vec::with_capacity(ARRIVALS_EXPECTED)));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, Arc::clone(&arrivals)));
    }
}

/// One connection until its end. A failure ends it; what is missing then shows in the driver's counts.
async fn serve(mut stream: TcpStream, arrivals: Arrivals) -> Result<(), HttpError> {
    let (mut inbox, mut hint) = (Inbox::default(), 0);
    while let Some(message) = inbox.next(&mut stream).await? {
        match delivery(&message, &mut hint) {
            Some(arrival) => {
                lock(&arrivals).push(arrival);
                stream.write_all(TAKEN).await?;
            }
            None => stream.write_all(&answer(&message, &arrivals)).await?,
        }
    }
    Ok(())
}

/// What a message delivers; none if it is not a delivery of an event of ours.
fn delivery(message: &Message<'_>, hint: &mut usize) -> Option<Arrival> {
    let path = message.head.strip_prefix(b"POST /hook/")?;
    let mut hook = 0_u16;
    for digit in path.iter().take_while(|byte| byte.is_ascii_digit()) {
        hook = hook.checked_mul(10)?.checked_add(u16::from(digit - b'0'))?;
    }
    Some(Arrival { event: EventId::find(message.body, hint)?, hook, at: clock::now_nanos() })
}

/// The answer to a question of the driver.
fn answer(message: &Message<'_>, arrivals: &Arrivals) -> Vec<u8> {
    let body = if message.head.starts_with(b"GET /count ") {
        lock(arrivals).len().to_string().into_bytes()
    } else if message.head.starts_with(b"GET /arrivals ") {
        let taken = std::mem::replace(&mut *lock(arrivals), Vec::with_capacity(ARRIVALS_EXPECTED));
        taken.into_iter().flat_map(Arrival::to_bytes).collect()
    } else {
        return STRANGE.to_vec();
    };
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}

fn lock(arrivals: &Arrivals) -> std::sync::MutexGuard<'_, Vec<Arrival>> {
    // A list is whole after every push, so a panic elsewhere does not spoil it.
    arrivals.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_survive_the_way_to_the_driver() {
        let arrival = Arrival { event: EventId { phase: 3, number: 70_000 }, hook: 12, at: u64::MAX - 1 };
        assert_eq!(Arrival::from_bytes(arrival.to_bytes()), arrival);
    }

    #[test]
    fn only_a_delivery_of_our_event_counts() {
        let seen = |head: &str, body: &str| {
            let message = Message { head: head.as_bytes(), body: body.as_bytes() };
            delivery(&message, &mut 0).map(|arrival| (arrival.hook, arrival.event.phase, arrival.event.number))
        };
        assert_eq!(seen("POST /hook/15 HTTP/1.1\r\n\r\n", "{\"id\":\"slb-00020000000a\"}"), Some((15, 2, 10)));
        assert_eq!(seen("POST /hook/15 HTTP/1.1\r\n\r\n", "{\"id\":\"other\"}"), None);
        assert_eq!(seen("POST /hook/99999 HTTP/1.1\r\n\r\n", "slb-00020000000a"), None);
        assert_eq!(seen("GET /count HTTP/1.1\r\n\r\n", ""), None);
    }
}
