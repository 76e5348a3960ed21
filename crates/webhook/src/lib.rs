//! The one HTTP client that may call a target: a URL that a tenant chose.
//!
//! Nothing else in Slipstream opens a connection to such a URL. What the module must withstand is THREATS 3 and 4; what
//! it must do is SPEC 2.8 and 4.6.
//!
//! A URL becomes a [`Target`] once, when it is registered and when a subscription is loaded; that judges its text and,
//! if it names an address, the address. Each connection judges again: every address that the name resolves to must be
//! allowed by the [`AddressPolicy`], and only a judged address is connected to. A connection is given new requests for
//! at most 60 s after that.
//!
//! | question | module |
//! | --- | --- |
//! | which URLs may be targets | [`target`] |
//! | which addresses are never called | [`address`] |
//! | what an operator may allow or refuse beside that | [`policy`] |
//! | which headers a subscription may add | [`headers`] |
//! | how an event is sent | [`client`] |
//! | how a receiver is asked whether it wants them | [`consent`] |
//! | how a name becomes addresses | [`resolve`] |
//!
//! Deliberately absent: redirects, proxies, cookies, decompression, and repeating a request that may have been sent.

pub mod address;
pub mod client;
mod connect;
mod connection;
pub mod consent;
mod exchange;
pub mod headers;
pub mod policy;
mod pool;
pub mod resolve;
pub mod target;

pub use client::{Client, ClientConfig, Roots, WebhookRequest};
pub use consent::{ConsentAnswer, ConsentError, ConsentRequest};
pub use headers::PreparedHeaders;
pub use policy::{AddressPolicy, Allow};
pub use target::{Target, TargetRefused};
