//! A web page that shows stores as they are: the operator serves it beside its metrics, and `trireme up` on loopback.
//!
//! ```text
//!   publish(store, status) ──▶ Hub ──▶ GET /         the page, with all that is known at that moment
//!   happened(store, words) ──▶  │ └──▶ GET /events   what has changed since, as server-sent events
//!                    tick ─────▶┘
//! ```
//!
//! * `hub`: the newest status of every store, its lag over time, and what happened to it.
//! * `model`: what of it is shown, as JSON: a [`trireme_crds::StoreStatus`] as `status --output json` prints it, and what follows from it.
//! * `server`: the routes, and a stream for each browser.
//! * `page.html`, `page.css`, `page.js`: the page itself, one document, made of plain HTML, CSS and scripts. It loads nothing from anywhere.
//!
//! # Invariants
//!
//! * It only shows: there is no way to change anything, and no key or value of a store is in it.
//! * Nothing is queued for a browser. Each has the number of the last change that it was told; one that is slow is told less often, and then the newest.
//! * Stores, points, events, browsers, documents on their way and what is told at once have bounds.
//! * What was counted is shown as it was heard: what nobody knows is a gap in a line, never a zero.

mod history;
mod hub;
mod model;
mod server;

pub use hub::{Hub, Source};
pub use server::{Hosts, router, serve};
