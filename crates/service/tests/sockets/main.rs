//! The accept loop on real sockets: its limits (THREATS 7), its drain (THREATS 10), and HTTP/2.

mod drain;
mod floods;
mod http2;
mod limits;
mod server;
