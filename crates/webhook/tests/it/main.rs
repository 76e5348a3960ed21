//! The client against real receivers on loopback: proper ones and misbehaving ones.

mod exchange;
mod hostile;
mod names;
mod support;
