//! The driver's end of the receiver.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::ops::Range;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{Arrival, Behaviour};
use crate::http::Inbox;

/// How often the receiver is asked how far it is: 50 questions a second cost it 0.05 % of a core.
const QUESTION_EVERY: Duration = Duration::from_millis(20);

/// A running receiver process; ends when dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    child: Child,
    addresses: Vec<SocketAddr>,
    stream: TcpStream,
    inbox: Inbox,
}

impl Receiver {
    /// Starts this program again as the receiver on so many addresses, and connects to it.
    ///
    /// # Errors
    /// If it cannot be started or does not say where it listens.
    pub(crate) async fn start(addresses: u8) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(program)
            .args([crate::cli::RECEIVER_COMMAND, &addresses.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the receiver")?;
        let output = child.stdout.take().expect("its output is piped");
        let lines = BufReader::new(output).lines().take(addresses.into());
        let read = |line: std::io::Result<String>| {
            let line = line.context("cannot read the receiver's addresses")?;
            line.parse().context("the receiver did not say where it listens")
        };
        let addresses = lines.map(read).collect::<anyhow::Result<Vec<SocketAddr>>>()?;
        let first = *addresses.first().context("the receiver listens nowhere")?;
        let stream = TcpStream::connect(first).await.context("cannot connect to the receiver")?;
        stream.set_nodelay(true)?;
        Ok(Self { child, addresses, stream, inbox: Inbox::default() })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens first.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where deliveries for subscription `hook` go: subscriptions share addresses only if there are more of them.
    pub(crate) fn url(&self, hook: u16) -> String {
        let address = self.addresses[usize::from(hook) % self.addresses.len()];
        format!("http://{address}/hook/{hook}")
    }

    /// Waits until `expected` deliveries have come, or none has come for `stall`. Returns how many have come.
    ///
    /// # Errors
    /// If the receiver is gone.
    pub(crate) async fn wait(&mut self, expected: usize, stall: Duration) -> anyhow::Result<usize> {
        let (mut last, mut moved_at) = (0, Instant::now());
        loop {
            let count: usize = std::str::from_utf8(self.ask("/count").await?)?.parse()?;
            if count > last {
                (last, moved_at) = (count, Instant::now());
            }
            if count >= expected || moved_at.elapsed() > stall {
                return Ok(count);
            }
            tokio::time::sleep(QUESTION_EVERY).await;
        }
    }

    /// All that has come since this was last called.
    ///
    /// # Errors
    /// If the receiver is gone.
    pub(crate) async fn take(&mut self) -> anyhow::Result<Vec<Arrival>> {
        let (records, _) = self.ask("/arrivals").await?.as_chunks();
        Ok(records.iter().copied().map(Arrival::from_bytes).collect())
    }

    /// Makes the subscriptions `hooks` behave so from now on. What is under way stays as it is.
    ///
    /// # Errors
    /// If the receiver is gone.
    pub(crate) async fn behave(&mut self, hooks: Range<u16>, behaviour: Behaviour) -> anyhow::Result<()> {
        self.ask(&format!("/behave/{}/{}/{behaviour}", hooks.start, hooks.end)).await.map(drop)
    }

    async fn ask(&mut self, path: &str) -> anyhow::Result<&[u8]> {
        let request = format!("GET {path} HTTP/1.1\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await.context("the receiver is gone")?;
        match self.inbox.next(&mut self.stream).await? {
            Some(message) if message.status() == Some(200) => Ok(message.body),
            _ => bail!("the receiver does not answer {path}"),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
