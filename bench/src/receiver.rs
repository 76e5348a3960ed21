//! The receiver of webhooks: the same program in another process, so that its time is not counted as ours.
//!
//! It notes who arrived when at `POST /hook/{n}`, and answers with a constant 204 unless subscription n was told to
//! behave otherwise. `GET /count` and `GET /arrivals` tell the driver, `GET /behave/{from}/{to}/{behaviour}` is how the
//! driver tells it. Every `OPTIONS` gets the consent of SPEC 3.7. It ends when its standard input does, so it never
//! outlives the driver.
//!
//! It can listen on several addresses of the loopback network, since requests in flight and consent are bounded by
//! host (THREATS 3), and a port does not make another host.

mod behaviour;
mod process;

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::clock;
use crate::event::EventId;
use crate::http::{HttpError, Inbox, Message};

pub(crate) use behaviour::Behaviour;
pub(crate) use process::Receiver;

/// What `OPTIONS` is answered: deliver what you like, as often as you like.
const CONSENT: &[u8] =
    b"HTTP/1.1 204 No Content\r\nAllow: POST, OPTIONS\r\nWebHook-Allowed-Origin: *\r\nWebHook-Allowed-Rate: *\r\n\r\n";
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

/// What the receiver knows. Uncontended: there is one thread.
#[derive(Debug)]
struct State {
    /// What has come in since it was last asked for.
    arrivals: Vec<Arrival>,
    /// Of the subscriptions that were told to behave in some way.
    behaviours: HashMap<u16, Behaviour>,
}

type Shared = Arc<Mutex<State>>;

/// Runs the receiver on so many addresses, each with a free port, which it prints as the only lines of its output,
/// until its input ends.
///
/// # Errors
/// If it cannot listen or print.
pub(crate) async fn run(addresses: u8) -> anyhow::Result<()> {
    let state = State { arrivals: Vec::with_capacity(ARRIVALS_EXPECTED), behaviours: HashMap::new() };
    let (state, mut accepting) = (Arc::new(Mutex::new(state)), JoinSet::new());
    let mut output = std::io::stdout();
    for number in 1..=addresses {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, number), 0)).await?;
        writeln!(output, "{}", listener.local_addr()?)?;
        accepting.spawn(accept(listener, Arc::clone(&state)));
    }
    output.flush()?;
    std::thread::spawn(|| {
        // The driver never writes: this returns when it closes the pipe or dies.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    accepting.join_next().await.unwrap_or(Ok(Ok(())))?
}

/// Serves the connections of one address.
async fn accept(listener: TcpListener, state: Shared) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream, Arc::clone(&state)));
    }
}

/// One connection until its end. A failure ends it; what is missing then shows in the driver's counts.
async fn serve(mut stream: TcpStream, state: Shared) -> Result<(), HttpError> {
    let (mut inbox, mut hint) = (Inbox::default(), 0);
    while let Some(message) = inbox.next(&mut stream).await? {
        match delivery(&message, &mut hint) {
            Some(arrival) => {
                let behaviour = note(&state, arrival);
                behaviour.answer(&mut stream).await?;
            }
            None => stream.write_all(&answer(&message, &state)).await?,
        }
    }
    Ok(())
}

/// Notes a delivery, and says how to treat it.
fn note(state: &Shared, arrival: Arrival) -> Behaviour {
    let mut state = lock(state);
    state.arrivals.push(arrival);
    state.behaviours.get(&arrival.hook).copied().unwrap_or_default()
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

/// The answer to a question of the driver, or to one for consent.
fn answer(message: &Message<'_>, state: &Shared) -> Vec<u8> {
    let body = if message.head.starts_with(b"GET /count ") {
        lock(state).arrivals.len().to_string().into_bytes()
    } else if message.head.starts_with(b"GET /arrivals ") {
        let taken = std::mem::replace(&mut lock(state).arrivals, Vec::with_capacity(ARRIVALS_EXPECTED));
        taken.into_iter().flat_map(Arrival::to_bytes).collect()
    } else if message.head.starts_with(b"OPTIONS ") {
        return CONSENT.to_vec();
    } else if let Some((hooks, behaviour)) = told(message.head) {
        lock(state).behaviours.extend(hooks.map(|hook| (hook, behaviour)));
        Vec::new()
    } else {
        return STRANGE.to_vec();
    };
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    answer.extend(body);
    answer
}

/// Which subscriptions are to behave how: `GET /behave/{from}/{to}/{behaviour}`.
fn told(head: &[u8]) -> Option<(Range<u16>, Behaviour)> {
    let line = std::str::from_utf8(head).ok()?.strip_prefix("GET /behave/")?;
    let mut parts = line.split(' ').next()?.split('/');
    let from = parts.next()?.parse().ok()?;
    let to = parts.next()?.parse().ok()?;
    Some((from..to, parts.next()?.parse().ok()?))
}

fn lock(state: &Shared) -> std::sync::MutexGuard<'_, State> {
    // List and map are whole after every change, so a panic elsewhere does not spoil them.
    state.lock().unwrap_or_else(PoisonError::into_inner)
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

    #[test]
    fn subscriptions_are_told_how_to_behave() {
        let order = |hooks: &str, behaviour: Behaviour| format!("GET /behave/{hooks}/{behaviour} HTTP/1.1\r\n\r\n");
        for behaviour in [Behaviour::Take, Behaviour::Slow(15), Behaviour::Hang, Behaviour::Drip] {
            assert_eq!(told(order("40/50", behaviour).as_bytes()), Some((40..50, behaviour)));
        }
        assert_eq!(told(b"GET /behave/40/50/slow HTTP/1.1\r\n\r\n"), None);
        assert_eq!(told(b"GET /behave/40 HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn consent_is_given_to_whoever_asks() {
        let state = State { arrivals: Vec::new(), behaviours: HashMap::new() };
        let asked = Message { head: b"OPTIONS /hook/3 HTTP/1.1\r\n\r\n", body: b"" };
        assert_eq!(answer(&asked, &Arc::new(Mutex::new(state))), CONSENT);
    }
}
