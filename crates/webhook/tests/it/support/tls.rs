//! TLS in front of a plain receiver.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig, ServerConnection};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Receiver;

/// A receiver that speaks TLS, with a certificate of its own for `receiver.example`.
pub(crate) struct TlsFront {
    pub(crate) receiver: Receiver,
    pub(crate) roots: RootCertStore,
}

impl TlsFront {
    /// Passes the plain text of each connection to `upstream`.
    pub(crate) async fn start(upstream: SocketAddr, alpn: &[&str]) -> Self {
        let certified = rcgen::generate_simple_self_signed(["receiver.example".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = certified.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let config = Arc::new(config);
        let receiver = Receiver::start(move |tcp| {
            let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
            async move {
                let upstream = TcpStream::connect(upstream).await.unwrap();
                // The client may leave at any point, that is what is tested.
                let _ = pump(tcp, tls, upstream).await;
            }
        })
        .await;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        Self { receiver, roots }
    }
}

/// A socket as the blocking traits want it, for the moment in which it is ready.
struct Ready<'a>(&'a TcpStream);

impl Read for Ready<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        other => other.map(Some),
    }
}

async fn pump(tcp: TcpStream, mut tls: ServerConnection, mut upstream: TcpStream) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        while tls.wants_write() {
            tcp.writable().await?;
            unless_blocked(tls.write_tls(&mut Ready(&tcp)))?;
        }
        tokio::select! {
            readable = tcp.readable() => {
                readable?;
                if unless_blocked(tls.read_tls(&mut Ready(&tcp)))? == Some(0) {
                    return Ok(());
                }
                let state = tls.process_new_packets().map_err(io::Error::other)?;
                let mut plain = vec![0; state.plaintext_bytes_to_read()];
                tls.reader().read_exact(&mut plain)?;
                upstream.write_all(&plain).await?;
            }
            readable = upstream.readable() => {
                readable?;
                match unless_blocked(upstream.try_read(&mut buffer))? {
                    Some(0) => return Ok(()),
                    Some(length) => tls.writer().write_all(&buffer[..length])?,
                    None => {}
                }
            }
        }
    }
}
