//! A page of fifty stores that change all the time, in a real browser: what it shows, how soon, and what that costs the server.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use serde_json::Value;
use tokio::net::TcpListener;
use trireme_crds::{
    Condition, ConditionStatus, StorePhase, StoreStatus,
    status::{GroupStatus, ReplicaStatus},
};
use trireme_page::{Hub, Source};

#[allow(dead_code, reason = "shared with the other browser tests, which use more of it")]
#[path = "support/browser.rs"]
mod browser;

use browser::Browser;

const STORES: usize = 50;
/// Changes a second: of this many stores, one after the other.
const UPDATES: u64 = 10;

/// A store of three replicas, the second of which is so far behind.
fn status(store: &str, behind: u64) -> StoreStatus {
    let replica = |i: u32| ReplicaStatus {
        name: format!("{store}-{i}"),
        id: i + 1,
        role: if i == 0 { "Leader" } else { "Follower" }.to_owned(),
        member: true,
        reachable: true,
        position: format!("3/{}", 120_000 + behind),
        commit: 120_000,
        applied: 120_000,
        lag_entries: Some(if i == 1 { behind * 7 } else { 0 }),
        lag_bytes: Some(0),
        lag_ms: Some(if i == 1 { behind } else { 0 }),
        keys: 40_000 + behind,
        digest: "00c0ffee00c0ffee".to_owned(),
        client_address: format!("10.0.0.{}:6379", i + 1),
        ..ReplicaStatus::default()
    };
    let replicas: Vec<ReplicaStatus> = (0..3).map(replica).collect();
    let message = format!("{store}-0 serves epoch 3");
    let ready = Condition { kind: "Ready".to_owned(), status: ConditionStatus::True, message, ..Condition::default() };
    let group = GroupStatus {
        epoch: "3".to_owned(),
        phase: "Active".to_owned(),
        leader: format!("{store}-0"),
        serving: true,
        n: 3,
        w: 2,
        seal_quorum: 2,
        members: replicas.iter().map(|r| r.name.clone()).collect(),
        ..GroupStatus::default()
    };
    StoreStatus {
        phase: StorePhase::Ready,
        n: 3,
        w: 2,
        r: 1,
        ready: "3/3".to_owned(),
        leader: format!("{store}-0"),
        conditions: vec![ready],
        groups: vec![group],
        replicas,
        ..StoreStatus::default()
    }
}

fn name(i: usize) -> String {
    format!("shop/store-{i:02}")
}

/// The real server, in a thread of its own, with stores that change.
struct Server {
    address: SocketAddr,
    hub: Arc<Hub>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    thread_id: u64,
}

impl Server {
    fn start() -> Server {
        let hub = Arc::new(Hub::new(Source::Operator, Duration::from_secs(1)));
        (0..STORES).for_each(|i| hub.publish(&name(i), &status(&name(i)[5..], 0)));
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, started) = mpsc::channel();
        let (served, stopped) = (Arc::clone(&hub), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let own = fs::read_link("/proc/thread-self").unwrap();
                let id = own.file_name().unwrap().to_str().unwrap().parse().unwrap();
                sender.send((listener.local_addr().unwrap(), id)).unwrap();
                tokio::select! {
                    () = trireme_page::serve(Arc::clone(&served), Some(listener)) => {}
                    () = change(&served, &stopped) => {}
                }
            });
        });
        let (address, thread_id) = started.recv().unwrap();
        Server { address, hub, stop, thread: Some(thread), thread_id }
    }

    /// Processor time of its thread until now, in seconds.
    fn spent(&self) -> f64 {
        let text = fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.thread_id)).unwrap();
        text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Changes stores until told to stop: the first one with every other change, so that what is looked at moves.
async fn change(hub: &Hub, stop: &AtomicBool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / UPDATES));
    for i in 0_u64.. {
        ticks.tick().await;
        if stop.load(Relaxed) {
            return;
        }
        let store = name(if i % 2 == 0 { 0 } else { i as usize / 2 % STORES });
        let behind = [0, 0, 3, 40, 700, 90, 4][(i / 2 % 7) as usize];
        hub.publish(&store, &status(&store[5..], behind));
    }
}

#[test]
fn fifty_stores_are_shown_at_once_and_cost_little() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = Browser::start(folder.path()) else { return };
    let server = Server::start();
    let url = format!("http://{}/", server.address);
    browser.open(&url);
    // Once more, with a browser that is warm: what is measured is the page.
    browser.open(&format!("{url}?store=shop%2Fstore-00"));
    browser.wait("document.querySelectorAll('#rows tr').length === 50");
    browser.wait("document.getElementById('link-text').textContent === 'live'");
    let paint = "performance.getEntriesByType('paint').find((e) => e.name === 'first-contentful-paint')";
    browser.wait(paint);
    let paint = browser.value(&format!("{paint}.startTime")).as_f64().unwrap();
    let loaded = "performance.getEntriesByType('navigation')[0].responseEnd";
    let loaded = browser.value(loaded).as_f64().unwrap();
    assert_eq!(browser.text("#name"), "shop/store-00");
    assert!(browser.text("#list-title").to_lowercase().contains("50"));

    // The list moves while it is looked at, and so does the chart.
    browser.wait("state.chosen.times.length >= 2");
    let before = server.spent();
    let begun = std::time::Instant::now();
    browser.wait(&format!("state.chosen.times.length >= {}", if browser::pictures().is_some() { 12 } else { 6 }));
    let share = (server.spent() - before) / begun.elapsed().as_secs_f64();
    println!(
        "loaded after {loaded:.0} ms, first paint after {paint:.0} ms; {UPDATES} updates a second of {STORES} stores cost {:.2} % of a core",
        share * 100.0
    );
    assert!(paint <= 1_000.0, "first paint after {paint} ms");
    assert!(share <= 0.05, "{share}");

    assert_eq!(browser.complaints(), Vec::<String>::new());
    if let Some(folder) = browser::pictures() {
        browser.screenshot(&folder.join("many-light.png"));
        browser.prefers("dark");
        browser.screenshot(&folder.join("many-dark.png"));
        browser.prefers("light");
        browser.size(480, 1_000);
        browser.screenshot(&folder.join("many-narrow.png"));
        browser.size(1_360, 1_000);
    }

    // A store is found, chosen by the keyboard, and goes.
    browser.value("document.getElementById('find').focus()");
    browser.ask("Input.insertText", &serde_json::json!({ "text": "-17" }));
    browser.wait("document.querySelectorAll('#rows tr').length === 1");
    browser.press("Tab", 9);
    assert_eq!(browser.value("document.activeElement.textContent"), "shop/store-17");
    browser.press("Enter", 13);
    browser.wait("document.getElementById('name').textContent === 'shop/store-17'");
    assert_eq!(browser.value("location.search"), "?store=shop%2Fstore-17");
    assert_eq!(browser.value("document.activeElement.id"), "store");
    server.hub.forget(&name(17));
    browser.wait("document.querySelectorAll('#rows tr').length === 0");
    browser.wait("document.getElementById('name').textContent === 'No store of this name'");
    // It is made again while it is looked at.
    server.hub.publish(&name(17), &status("store-17", 0));
    browser.wait("document.getElementById('name').textContent === 'shop/store-17'");
    browser.wait("document.querySelectorAll('#rows tr').length === 1");
    browser.wait("document.querySelectorAll('#replicas tr').length === 3");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn what_nobody_may_ask_is_refused_and_what_is_full_says_so() {
    let server = Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let ask = async |path: &str, host: &str| {
            let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut head = vec![0; 12];
            stream.read_exact(&mut head).await.unwrap();
            (String::from_utf8(head).unwrap(), stream)
        };
        for path in ["/", "/events"] {
            assert_eq!(ask(path, "rebound.example").await.0, "HTTP/1.1 421");
        }
        assert_eq!(ask("/nothing", "localhost").await.0, "HTTP/1.1 404");
        let mut open = Vec::new();
        for _ in 0..32 {
            let (status, stream) = ask("/events", "localhost").await;
            assert_eq!(status, "HTTP/1.1 200");
            open.push(stream);
        }
        assert_eq!(ask("/events", "localhost").await.0, "HTTP/1.1 503");
        assert_eq!(ask("/", "localhost").await.0, "HTTP/1.1 200", "the page itself is shown");
        // Who goes makes room, once the server has seen it.
        open.clear();
        let end = std::time::Instant::now() + browser::PATIENCE;
        while ask("/events", "localhost").await.0 != "HTTP/1.1 200" {
            assert!(std::time::Instant::now() < end, "there is no room again");
            tokio::task::yield_now().await;
        }
        let (_, mut stream) = ask("/?store=shop/store-03", "localhost").await;
        let mut page = String::new();
        while !page.ends_with("</html>\n") {
            let mut piece = vec![0; 65_536];
            let read = stream.read(&mut piece).await.unwrap();
            page.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        }
        let (_, rest) = page.split_once("id=\"first\">").unwrap();
        let first: Value = serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap();
        assert_eq!(first["chosen"]["detail"]["store"], "shop/store-03");
        assert_eq!(first["rows"].as_array().unwrap().len(), STORES);
    });
}
