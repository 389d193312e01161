//! The routes, and what each browser is told.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{
        HeaderMap, HeaderValue, StatusCode, Uri,
        header::{
            CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
            X_CONTENT_TYPE_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
    routing::get,
};
use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout_at},
};

use crate::hub::{Hub, Told, unix_ms};

/// Browsers at the same time; who comes then is told to come again.
const BROWSERS_MAX: usize = 32;
/// Documents that are on their way at the same time, and for how long one may be: what is sent to somebody who does not read stays in memory.
const DOCUMENTS_MAX: usize = 32;
const DOCUMENT_TIME: Duration = Duration::from_secs(30);
/// Bytes of a document that are handed out at once.
const PIECE: usize = 16 << 10;
/// A browser is told at most so often.
const PACE: Duration = Duration::from_millis(100);
/// Where nothing happens a stream says that it is there.
const ALIVE: Duration = Duration::from_secs(15);
/// A stream ends after so long, and its browser begins another one.
const LIFE: Duration = Duration::from_secs(3_600);
/// Longest name of a store in a question: two DNS labels and what is between them.
const NAME_BYTES_MAX: usize = 512;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(include_str!("page.js"), include_str!("draw.js"));

/// Under which names the page is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Whatever a browser calls it: who may come is decided by somebody else.
    Any,
    /// Names of this machine only: a page from elsewhere whose name was made to lead here learns nothing.
    Loopback,
}

#[derive(Clone)]
struct Shown {
    hub: Arc<Hub>,
    places: Arc<Semaphore>,
    documents: Arc<Semaphore>,
    hosts: Hosts,
}

/// `/` and `/events`. Somebody must run [`serve`], or [`Hub`] takes no points.
pub fn router(hub: Arc<Hub>, hosts: Hosts) -> Router {
    let places = |count| Arc::new(Semaphore::new(count));
    let shown = Shown { hub, places: places(BROWSERS_MAX), documents: places(DOCUMENTS_MAX), hosts };
    Router::new().route("/", get(page)).route("/events", get(events)).with_state(shown)
}

/// Takes the points of all lines, for ever; and serves the page alone, where a listener is given.
pub async fn serve(hub: Arc<Hub>, listener: Option<TcpListener>) {
    let points = async {
        let mut ticks = interval(hub.period());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            hub.point(unix_ms());
        }
    };
    match listener {
        None => points.await,
        Some(listener) => {
            let router = router(Arc::clone(&hub), Hosts::Loopback);
            tokio::select! {
                () = points => {}
                // It only ends where the system takes the port away: the store goes on.
                _ = axum::serve(listener, router) => {}
            }
        }
    }
}

/// The document, with everything that is known now: what it shows first needs no second request.
async fn page(State(shown): State<Shown>, headers: HeaderMap, uri: Uri) -> Response {
    if !shown.hosts.take(&headers) {
        return elsewhere();
    }
    let Ok(place) = Arc::clone(&shown.documents).try_acquire_owned() else { return full() };
    let hello = shown.hub.hello(&mut Told::nothing(chosen(&uri)));
    let (before, after) = &*DOCUMENT;
    let text = Bytes::from([before.as_str(), &hello.replace('<', "\\u003c"), after].concat());
    let length = HeaderValue::from(text.len());
    let body = Body::from_stream(futures::stream::unfold((text, place, Instant::now() + DOCUMENT_TIME), piece));
    let mut response =
        ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CACHE_CONTROL, "no-store")], body).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// What has changed, whenever something has.
async fn events(State(shown): State<Shown>, headers: HeaderMap, uri: Uri) -> Response {
    if !shown.hosts.take(&headers) {
        return elsewhere();
    }
    let Ok(place) = Arc::clone(&shown.places).try_acquire_owned() else {
        return full();
    };
    let told = Told::nothing(chosen(&uri));
    let (changes, now) = (shown.hub.changes(), Instant::now());
    let browser = Browser { hub: shown.hub, told, changes, next: now, ends: now + LIFE, _place: place };
    let stream = futures::stream::unfold(browser, Browser::next);
    ([(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")], Body::from_stream(stream)).into_response()
}

/// A document that is on its way: what is left of it, its place, and until when it has that.
type Sent = (Bytes, OwnedSemaphorePermit, Instant);

/// The next piece of it. It is asked for when the one before has been taken.
async fn piece((mut left, place, ends): Sent) -> Option<(std::io::Result<Bytes>, Sent)> {
    if left.is_empty() {
        return None;
    }
    let piece = left.split_to(PIECE.min(left.len()));
    let result = if Instant::now() < ends { Ok(piece) } else { Err(std::io::ErrorKind::TimedOut.into()) };
    Some((result, (left, place, ends)))
}

fn full() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "too many browsers look on; try again later\n").into_response()
}

fn elsewhere() -> Response {
    (StatusCode::MISDIRECTED_REQUEST, "this page is only served under a name of the machine that it is on\n")
        .into_response()
}

/// One that looks on.
struct Browser {
    hub: Arc<Hub>,
    told: Told,
    changes: watch::Receiver<u64>,
    /// It is not told anything before.
    next: Instant,
    ends: Instant,
    _place: OwnedSemaphorePermit,
}

impl Browser {
    /// What it is told next. It is asked for when what came before has been taken, so nothing waits in between.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Browser)> {
        let alive = Instant::now() + ALIVE;
        sleep_until(self.next).await;
        loop {
            if Instant::now() >= self.ends {
                return None;
            }
            self.changes.borrow_and_update();
            let news = self.hub.since(&mut self.told);
            if !news.is_empty() {
                self.next = Instant::now() + PACE;
                let text: String = news.iter().map(|(name, data)| format!("event: {name}\ndata: {data}\n\n")).collect();
                return Some((Ok(text.into()), self));
            }
            match timeout_at(alive, self.changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_) => return Some((Ok(Bytes::from_static(b": still here\n\n")), self)),
            }
        }
    }
}

impl Hosts {
    fn take(self, headers: &HeaderMap) -> bool {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        self == Hosts::Any || is_loopback(host)
    }
}

/// `localhost` or a loopback address, with a port or without.
fn is_loopback(host: &str) -> bool {
    let address = host.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| host.parse::<IpAddr>());
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    address.map_or(name == "localhost", |address| address.is_loopback())
}

/// The store that the question names: `?store=namespace/name`.
fn chosen(uri: &Uri) -> String {
    let pairs = uri.query().unwrap_or_default().split('&');
    let value = pairs.filter_map(|pair| pair.strip_prefix("store=")).next().unwrap_or_default();
    let value = value.get(..value.len().min(NAME_BYTES_MAX)).unwrap_or_default();
    decode(value)
}

/// What a browser wrote with percent signs.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The document around what is known.
static DOCUMENT: LazyLock<(String, String)> = LazyLock::new(|| {
    let page = include_str!("page.html").replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT);
    match page.split_once("/*FIRST*/") {
        Some((before, after)) => (before.to_owned(), after.to_owned()),
        None => (page, String::new()),
    }
});

/// Nothing runs, and nothing is drawn, but what is in the document; it asks nobody but the server that it came from.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_a_store() {
        let of = |text: &'static str| chosen(&Uri::from_static(text));
        assert_eq!(of("/events?store=shop%2Forders"), "shop/orders");
        assert_eq!(of("/?x=1&store=shop/orders"), "shop/orders");
        assert_eq!((of("/"), of("/?store=%"), of("/?store=%zz1")), (String::new(), "%".to_owned(), "%zz1".to_owned()));
    }

    #[test]
    fn documents_that_nobody_reads_have_a_bound() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let places = |count| Arc::new(Semaphore::new(count));
            let hub = Arc::new(Hub::new(crate::Source::Operator, Duration::from_secs(1)));
            let (places, documents) = (places(BROWSERS_MAX), places(DOCUMENTS_MAX));
            let shown = Shown { hub, places, documents, hosts: Hosts::Any };
            let ask = async || page(State(shown.clone()), HeaderMap::new(), Uri::from_static("/")).await;
            let mut under_way = Vec::new();
            for _ in 0..DOCUMENTS_MAX {
                under_way.push(ask().await);
            }
            assert_eq!(ask().await.status(), StatusCode::SERVICE_UNAVAILABLE);
            let one = under_way.pop().unwrap();
            assert_eq!(one.status(), StatusCode::OK);
            let length: usize = one.headers()[CONTENT_LENGTH].to_str().unwrap().parse().unwrap();
            let text = axum::body::to_bytes(one.into_body(), usize::MAX).await.unwrap();
            assert!(text.len() == length && text.ends_with(b"</html>\n"));
            assert_eq!(ask().await.status(), StatusCode::OK, "who has read it makes room");
        });
    }

    #[test]
    fn names_of_this_machine() {
        for host in ["localhost", "localhost:80", "127.0.0.1:9", "127.0.0.7", "[::1]:9", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "example.org", "example.org:80", "10.0.0.1:80", "localhost.example.org", "127.0.0.1.nip.io:80"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn the_document_is_one_and_asks_nobody_else() {
        let (before, after) = &*DOCUMENT;
        assert!(!after.is_empty());
        for part in [before, after] {
            for elsewhere in ["http://", "https://", "//cdn", "@import", "/*STYLE*/", "/*SCRIPT*/"] {
                let found = part.replace("http://www.w3.org/2000/svg", "");
                assert!(!found.contains(elsewhere), "{elsewhere}");
            }
        }
        assert!(before.len() + after.len() < 64 << 10);
    }
}
