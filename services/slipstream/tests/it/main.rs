//! The real binary, as people start it.

mod broker;
mod commands;
mod data_dir;
mod ecg_token;
mod master_key;
mod support;
