//! The page of a real store in a real browser: the leader is killed while somebody looks on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use rustix::process::Signal;
use serde_json::Value;

#[allow(dead_code, reason = "shared with the other browser tests, which use more of it")]
#[path = "../../page/tests/support/browser.rs"]
mod browser;
#[allow(dead_code, reason = "shared with the other tests of the command, which use more of it")]
mod support;

use browser::Browser;
use support::Store;

fn url(store: &mut Store) -> String {
    store.wait_for(|event| event["event"] == "page")["url"].as_str().unwrap().to_owned()
}

/// The text of a cell of the table of replicas.
fn cell(replica: &str, column: usize) -> String {
    format!(
        "([...document.querySelectorAll('#replicas tr')].find((r) => r.children[0].textContent === '{replica}') || \
         {{ children: [] }}).children[{column}]?.textContent"
    )
}

#[test]
fn a_failover_is_seen_on_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = Browser::start(&folder.path().join("browser")) else { return };
    let spec = "  mode: SingleLeader\n  \"n\": 3\n  w: 2\n  durability: Memory\n";
    let mut store = Store::up(folder.path(), spec, &["--no-restart"]);
    let url = url(&mut store);
    let leader = store.leader();
    store.wait_whole();
    let mut client = store.replica(&leader).client();
    for i in 0..200 {
        assert_eq!(client.call(&["SET", &format!("key-{i}"), "value"]).unwrap(), "+OK");
    }

    browser.open(&url);
    browser.wait("document.getElementById('link-text').textContent === 'live'");
    browser.wait("document.getElementById('phase').textContent.includes('Ready')");
    assert_eq!(browser.text("#name"), "orders");
    browser.wait(&format!("{} === 'Leader'", cell(&leader, 1)));
    for replica in &store.replicas {
        browser.wait(&format!("{} === '200'", cell(&replica.name, 5)));
        browser.wait(&format!("{} === '0'", cell(&replica.name, 2)));
    }
    browser.wait("document.getElementById('facts').textContent.includes('all the same')");
    // The first leader is one, too.
    browser.wait("document.querySelectorAll('#failovers tr').length === 1");

    // Nothing is loaded again from here on: all that is seen has come as events.
    browser.value("window.before = true");
    store.replica(&leader).signal(Signal::KILL);
    browser.wait(&format!("{} === '✕ unreachable'", cell(&leader, 1)));
    browser.wait("document.querySelectorAll('#failovers tr').length === 2");
    let now = store.leader();
    assert_ne!(now, leader);
    browser.wait(&format!("{} === 'Leader'", cell(&now, 1)));
    browser.wait("document.querySelector('#failovers tr').children[6].textContent !== '–'");
    let row = browser.value("[...document.querySelector('#failovers tr').children].map((c) => c.textContent)");
    assert_eq!(
        (&row[1], &row[2], &row[7]),
        (&Value::from(leader.as_str()), &Value::from(now.as_str()), &Value::from("0")),
        "{row}"
    );
    browser.wait(&format!("document.getElementById('events').textContent.includes('{now} serves epoch 2')"));
    browser.wait("document.getElementById('phase').textContent.includes('Degraded')");
    browser.wait("document.querySelectorAll('#chart .fail').length === 1");
    assert_eq!(browser.value("window.before"), true);

    reads_without_eyes_and_hands(&mut browser);
    pictures(&mut browser, &mut store, &now);
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // The store ends: the page says so, and what it shows stays.
    store.stop();
    browser.wait("document.getElementById('link').className === 'off'");
    assert!(browser.text("#link").contains("no connection"));
    assert_eq!(browser.text("#name"), "orders");
}

/// What a screen reader finds, and what a keyboard alone can do.
fn reads_without_eyes_and_hands(browser: &mut Browser) {
    let found = browser.accessible();
    let has = |role: &str, name: &str| {
        assert!(found.iter().any(|(r, n)| r == role && n.to_lowercase().contains(name)), "{role} {name}: {found:?}");
    };
    for (role, name) in [
        ("table", "replicas"),
        ("table", "changes of leader"),
        ("columnheader", "behind"),
        ("log", "what happened"),
        ("main", "orders"),
        ("heading", "topology"),
        ("image", "replicas and who sends to whom"),
        ("button", "pause"),
        ("radio", "time behind"),
    ] {
        has(role, name);
    }
    assert!(found.iter().filter(|(role, _)| role == "status").count() >= 2, "{found:?}");
    // The chart is read by arrow keys; the pause button stops all movement.
    browser.value("document.getElementById('chart').focus()");
    browser.press("ArrowLeft", 37);
    browser.wait("document.getElementById('read').textContent.includes('orders-0')");
    let order = browser.value(
        "[...document.querySelectorAll('a,button,input,[tabindex=\"0\"]')].filter((e) => e.checkVisibility()).map((e) => e.id || e.className || e.name)",
    );
    let place = |what: &str| order.as_array().unwrap().iter().position(|o| o == what);
    assert!(place("skip") == Some(0) && place("pause") < place("chart") && place("chart") < place("events"), "{order}");
    browser.value("document.getElementById('pause').click()");
    browser.wait("document.getElementById('pause').getAttribute('aria-pressed') === 'true'");
    browser.value("document.getElementById('pause').click()");
    // Every text stands out from what is behind it, in both schemes: 4.5 to 1.
    for scheme in ["dark", "light"] {
        browser.prefers(scheme);
        let faint = browser.value(CONTRAST);
        assert_eq!(faint, Value::Array(Vec::new()), "{scheme}");
    }
}

/// Texts with less contrast than 4.5 to 1.
const CONTRAST: &str = r"(() => {
  const rgb = (text) => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => { for (; node; node = node.parentElement) { const c = rgb(getComputedStyle(node).backgroundColor); if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
  const faint = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !node.checkVisibility() || ['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(node.tagName) || node.closest('.skip, .hidden, #topology .in')) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(rgb(node.closest('svg') ? style.fill : style.color)), light(behind(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${node.tagName} ${node.id} ${node.getAttribute('class')}: ${ratio.toFixed(2)} ${node.textContent.slice(0, 30)}`);
  }
  return faint;
})()";

/// For people who want to see it: half a minute of it, with the lost replica back.
fn pictures(browser: &mut Browser, store: &mut Store, leader: &str) {
    let Some(folder) = browser::pictures() else { return };
    let mut client = store.replica(leader).client();
    for i in 0..60_000 {
        assert_eq!(client.call(&["SET", &format!("key-{i}"), "value"]).unwrap(), "+OK");
    }
    browser.wait("state.chosen.times.length >= 40");
    browser.value("state.cursor = null; document.activeElement.blur(); scrollTo(0, 0)");
    browser.size(1_360, 1_900);
    for scheme in ["light", "dark"] {
        browser.prefers(scheme);
        browser.screenshot(&folder.join(format!("store-{scheme}.png")));
    }
}
