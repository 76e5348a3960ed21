//! The dispatcher on a real nats-server, with real receivers. Events come from the bus as ingest would put them there;
//! outcomes are read from the bus as the activity log would.

mod deliver;
mod ecg;
mod engine;
mod hold;
mod isolate;
mod scheduled;
mod secrets;
mod trace;
mod world;
