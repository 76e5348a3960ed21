//! Ingest as publishers see it, and what it leaves on a real bus.

mod access;
mod answer;
mod batches;
mod forwarded;
mod handshake;
mod hostile;
mod limits;
mod modes;
mod once;
mod outage;
mod private;
mod quota;
mod stored;
mod subjects;
mod timing;
mod traces;
mod world;
