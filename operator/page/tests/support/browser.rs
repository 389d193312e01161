//! A real browser without a window: Debian's chromium, over two pipes (its DevTools protocol, JSON with a zero byte at the end of each message).

use std::{
    cell::Cell,
    collections::VecDeque,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use base64::Engine as _;
use serde_json::{Value, json};

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page, which ends with it.
pub struct Browser {
    child: Child,
    input: ChildStdin,
    answers: Receiver<Value>,
    /// What nobody asked for: exceptions, refusals by the page's policy.
    events: VecDeque<Value>,
    next: Cell<u64>,
    session: Option<String>,
}

impl Browser {
    /// Starts one with its profile in this folder; `None`, and a line that says so, where chromium is not installed.
    pub fn start(folder: &Path) -> Option<Browser> {
        if Command::new("chromium").arg("--version").output().is_err() {
            eprintln!("not tested: chromium is not installed (apt-get install chromium)");
            return None;
        }
        let flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --disable-extensions \
                     --disable-background-networking --disable-component-update --hide-scrollbars --force-color-profile=srgb";
        // The browser reads what it is told from descriptor 3 and answers on 4.
        let line = format!(
            "exec chromium {flags} --remote-debugging-pipe --user-data-dir=\"$0\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"
        );
        let mut child = Command::new("sh")
            .args(["-c", &line])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                if sender.send(serde_json::from_slice(&message).unwrap()).is_err() {
                    return;
                }
            }
        });
        let (events, next) = (VecDeque::new(), Cell::new(0));
        let mut browser = Browser { child, input, answers, events, next, session: None };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let session = browser.ask("Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Accessibility", "Performance"] {
            browser.ask(&format!("{domain}.enable"), &json!({}));
        }
        browser.size(1_360, 1_000);
        Some(browser)
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, method: &str, parameters: &Value) -> Value {
        let id = self.next.get() + 1;
        self.next.set(id);
        let mut message = json!({ "id": id, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&message).unwrap();
        bytes.push(0);
        self.input.write_all(&bytes).unwrap();
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = self.answers.recv_timeout(left).unwrap_or_else(|e| panic!("{method}: {e}"));
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push_back(answer);
        }
    }

    /// How large the window is.
    pub fn size(&mut self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.ask("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What the person who looks prefers.
    pub fn prefers(&mut self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.ask("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Goes there.
    pub fn open(&mut self, url: &str) {
        let gone = self.ask("Page.navigate", &json!({ "url": url }));
        assert!(gone["errorText"].is_null(), "{url}: {gone}");
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// What a script comes to, promises waited for.
    pub fn value(&mut self, script: &str) -> Value {
        let parameters = json!({ "expression": script, "awaitPromise": true, "returnByValue": true });
        let answer = self.ask("Runtime.evaluate", &parameters);
        assert!(answer["exceptionDetails"].is_null(), "{script}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until a script comes to something that is true.
    pub fn wait(&mut self, script: &str) {
        let patience = PATIENCE.as_millis() - 10_000;
        let waited = self.value(&format!(
            "new Promise((done) => {{ const end = Date.now() + {patience}; const look = () => {{ \
             if ({script}) done('so'); else if (Date.now() > end) done(document.body.innerText); else setTimeout(look, 10); }}; look(); }})"
        ));
        assert_eq!(waited, "so", "never: {script}");
    }

    /// The text of an element, as a person sees it.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!("document.querySelector({}).innerText", json!(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            self.ask("Input.dispatchKeyEvent", &event);
        }
        if key == "Enter" {
            self.ask("Input.dispatchKeyEvent", &json!({ "type": "char", "key": key, "text": "\r" }));
        }
    }

    /// Writes down what it shows.
    pub fn screenshot(&mut self, file: &Path) {
        let shot = self.ask("Page.captureScreenshot", &json!({ "format": "png", "optimizeForSpeed": false }));
        let bytes = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        fs::write(file, bytes).unwrap();
    }

    /// Roles and names of everything that a screen reader would find.
    pub fn accessible(&mut self) -> Vec<(String, String)> {
        let tree = self.ask("Accessibility.getFullAXTree", &json!({}));
        let of = |node: &Value, what: &str| node[what]["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().unwrap();
        nodes.iter().filter(|n| n["ignored"] == false).map(|n| (of(n, "role"), of(n, "name"))).collect()
    }

    /// Exceptions of the page's scripts, and what its policy refused.
    pub fn complaints(&mut self) -> Vec<String> {
        self.value("1");
        let complains = |e: &&Value| e["method"] == "Runtime.exceptionThrown" || e["method"] == "Log.entryAdded";
        self.events.iter().filter(complains).map(|e| e["params"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It takes its helpers with it.
        let _ = self.input.write_all(b"{\"id\":0,\"method\":\"Browser.close\"}\0");
        let end = Instant::now() + Duration::from_secs(5);
        while Instant::now() < end && self.child.try_wait().is_ok_and(|status| status.is_none()) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where a test that is asked to puts its pictures: `TRIREME_SCREENSHOTS`.
pub fn pictures() -> Option<PathBuf> {
    std::env::var_os("TRIREME_SCREENSHOTS").map(PathBuf::from)
}
