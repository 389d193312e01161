//! A copy of the objects of one kind, kept current by a watch, so that waiting costs no request and no time.

use std::{
    collections::BTreeMap,
    io::BufReader,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Deserializer, Value};

use super::{Failure, Outcome};

/// A watch that has ended, for example with its API server, is begun again after this long.
const AGAIN: Duration = Duration::from_millis(200);

/// By their names.
pub type Objects = BTreeMap<String, Value>;

#[derive(Default)]
struct Shared {
    objects: Mutex<Objects>,
    changed: Condvar,
    ended: AtomicBool,
    child: Mutex<Option<Child>>,
}

impl Shared {
    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a watch sees, for others.
#[derive(Clone)]
pub struct View(Arc<Shared>);

impl View {
    /// Something of all objects as they were last seen.
    pub fn look<T>(&self, at: impl FnOnce(&Objects) -> T) -> T {
        at(&self.0.objects())
    }
}

/// The watch; it ends when dropped.
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches all objects of this kind in the namespace.
    pub fn start(namespace: &str, kind: &str) -> Watch {
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let (shared, arguments) = (Arc::clone(&shared), [namespace.to_owned(), kind.to_owned()]);
            move || {
                while !shared.ended.load(Relaxed) {
                    follow(&shared, &arguments[0], &arguments[1]);
                    thread::sleep(AGAIN);
                }
            }
        });
        Watch { shared, thread: Some(thread) }
    }

    /// What it sees, for others.
    pub fn view(&self) -> View {
        View(Arc::clone(&self.shared))
    }

    /// The object as it was last seen.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.shared.objects().get(name).cloned()
    }

    /// Something of all objects as they were last seen.
    pub fn look<T>(&self, at: impl FnOnce(&Objects) -> T) -> T {
        at(&self.shared.objects())
    }

    /// Waits until `found` finds what it looks for; `what` says it for people.
    pub fn wait<T>(&self, within: Duration, what: &str, mut found: impl FnMut(&Objects) -> Option<T>) -> Outcome<T> {
        let end = Instant::now() + within;
        let mut objects = self.shared.objects();
        loop {
            if let Some(it) = found(&objects) {
                return Ok(it);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Failure(format!("not within {} s: {what}", within.as_secs_f32())));
            }
            objects = self.shared.changed.wait_timeout(objects, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.ended.store(true, Relaxed);
        if let Some(child) = self.shared.child().as_mut() {
            // It may have ended by itself.
            let _ = child.kill();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Until the watch ends.
fn follow(shared: &Shared, namespace: &str, kind: &str) {
    let spawned = Command::new("kubectl")
        .args(["-n", namespace, "get", kind, "--watch", "--output-watch-events", "-o", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = spawned else { return };
    let Some(stdout) = child.stdout.take() else { return };
    *shared.child() = Some(child);
    if shared.ended.load(Relaxed) {
        return end(shared);
    }
    for event in Deserializer::from_reader(BufReader::new(stdout)).into_iter::<Value>() {
        let Ok(mut event) = event else { break };
        let object = event["object"].take();
        let Some(name) = object["metadata"]["name"].as_str().map(str::to_owned) else { continue };
        match event["type"].as_str() {
            Some("DELETED") => drop(shared.objects().remove(&name)),
            _ => drop(shared.objects().insert(name, object)),
        }
        shared.changed.notify_all();
        if shared.ended.load(Relaxed) {
            break;
        }
    }
    end(shared);
}

fn end(shared: &Shared) {
    if let Some(mut child) = shared.child().take() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}
