//! How a subscription's receiver treats a delivery that it has read.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What every delivery that is taken is answered.
const TAKEN: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
/// How an answer that never ends begins.
const DRIP_START: &[u8] = b"HTTP/1.1 200 OK\r\nX-Drip: ";
/// How often a byte of it is sent.
const DRIP_EVERY: Duration = Duration::from_secs(1);

/// What is done with a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Behaviour {
    /// 204 at once.
    #[default]
    Take,
    /// 204 after so many milliseconds.
    Slow(u16),
    /// Never answered; the connection stays open.
    Hang,
    /// A head without end, a byte each second.
    Drip,
}

impl Behaviour {
    /// Answers a delivery that came on `stream`.
    ///
    /// # Errors
    /// When the connection has ended.
    pub(super) async fn answer(self, stream: &mut TcpStream) -> std::io::Result<()> {
        match self {
            Self::Take => stream.write_all(TAKEN).await,
            Self::Slow(millis) => {
                tokio::time::sleep(Duration::from_millis(millis.into())).await;
                stream.write_all(TAKEN).await
            }
            Self::Hang => closed(stream).await,
            Self::Drip => {
                let mut ticks = tokio::time::interval(DRIP_EVERY);
                for byte in DRIP_START.iter().chain(std::iter::repeat(&b'x')) {
                    ticks.tick().await;
                    stream.write_all(&[*byte]).await?;
                }
                Ok(())
            }
        }
    }
}

/// Waits until the peer has closed. Whatever else it sends is of no interest.
async fn closed(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Take => f.write_str("take"),
            Self::Slow(millis) => write!(f, "slow-{millis}"),
            Self::Hang => f.write_str("hang"),
            Self::Drip => f.write_str("drip"),
        }
    }
}

/// The text names no behaviour.
#[derive(Debug, thiserror::Error)]
#[error("not a behaviour of the receiver")]
pub(crate) struct NotABehaviour;

impl FromStr for Behaviour {
    type Err = NotABehaviour;

    fn from_str(text: &str) -> Result<Self, NotABehaviour> {
        match text {
            "take" => Ok(Self::Take),
            "hang" => Ok(Self::Hang),
            "drip" => Ok(Self::Drip),
            _ => {
                let millis = text.strip_prefix("slow-").and_then(|millis| millis.parse().ok());
                millis.map(Self::Slow).ok_or(NotABehaviour)
            }
        }
    }
}
