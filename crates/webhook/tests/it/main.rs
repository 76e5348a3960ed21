//! The client against real receivers on loopback: proper ones and misbehaving ones.

mod addresses;
mod consent;
mod exchange;
mod hostile;
mod names;
mod support;
