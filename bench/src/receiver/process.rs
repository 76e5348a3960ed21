//! The driver's end of the receiver.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Arrival;
use crate::http::Inbox;

/// How often the receiver is asked how far it is: 50 questions a second cost it 0.05 % of a core.
const QUESTION_EVERY: Duration = Duration::from_millis(20);

/// A running receiver process; ends when dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    child: Child,
    address: SocketAddr,
    stream: TcpStream,
    inbox: Inbox,
}

impl Receiver {
    /// Starts this program again as the receiver, and connects to it.
    ///
    /// # Errors
    /// If it cannot be started or does not say its port.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut child = Command::new(program)
            .arg(crate::RECEIVER_COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the receiver")?;
        let output = child.stdout.take().expect("its output is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).context("cannot read the receiver's port")?;
        let port = line.trim().parse().context("the receiver did not say its port")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect(address).await.context("cannot connect to the receiver")?;
        stream.set_nodelay(true)?;
        Ok(Self { child, address, stream, inbox: Inbox::default() })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where deliveries for subscription `hook` go.
    pub(crate) fn url(&self, hook: u16) -> String {
        format!("http://{}/hook/{hook}", self.address)
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
