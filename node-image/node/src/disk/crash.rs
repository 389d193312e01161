//! A file system that forgets: what was not synced survives a crash in part, sector by sector and name by name.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::files::{File, Files};

const SECTOR: usize = 512;

/// Small deterministic randomness.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    durable: Vec<u8>,
    now: Vec<u8>,
    /// Writes since the last sync, in order. A change of length is a write of nothing.
    pending: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone, Debug)]
enum Naming {
    Put(String, usize),
    Gone(String),
    Move(String, String, usize),
}

impl Naming {
    fn folder(&self) -> &str {
        let (Naming::Put(path, _) | Naming::Gone(path) | Naming::Move(path, ..)) = self;
        path.split_once('/').map_or("", |(folder, _)| folder)
    }

    fn carry_out(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Naming::Put(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Naming::Gone(path) => {
                names.remove(path);
            }
            Naming::Move(from, to, inode) => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
        }
    }
}

#[derive(Clone, Debug)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<Naming>,
    random: Random,
    boot: u64,
    /// Bytes of all files together.
    capacity: u64,
    /// Operations that change something, so far; and at which one the machine stops.
    operations: u64,
    stop_at: u64,
    /// Syncs of files whose path contains this fail.
    broken_sync: Option<String>,
    syncs: u64,
    writes: u64,
}

/// The file system. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Model(Arc<Mutex<State>>);

/// A file of it.
#[derive(Debug)]
pub struct ModelFile {
    model: Model,
    inode: usize,
}

impl Model {
    pub fn new(seed: u64) -> Model {
        Model(Arc::new(Mutex::new(State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            random: Random::new(seed),
            boot: 1,
            capacity: u64::MAX,
            operations: 0,
            stop_at: u64::MAX,
            broken_sync: None,
            syncs: 0,
            writes: 0,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A copy that shares nothing.
    pub fn copy(&self) -> Model {
        Model(Arc::new(Mutex::new(self.state().clone())))
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    pub fn used(&self) -> u64 {
        self.state().used()
    }

    pub fn break_sync(&self, path: &str) {
        self.state().broken_sync = Some(path.to_owned());
    }

    pub fn mend_sync(&self) {
        self.state().broken_sync = None;
    }

    /// The machine stops at the n-th change from now.
    pub fn stop_after(&self, changes: u64) {
        let mut state = self.state();
        state.stop_at = state.operations.saturating_add(changes);
    }

    pub fn counts(&self) -> (u64, u64) {
        let state = self.state();
        (state.writes, state.syncs)
    }

    /// The process ends: what it wrote is there.
    pub fn kill(&self) {
        self.state().stop_at = u64::MAX;
    }

    /// The machine goes down and comes up again.
    pub fn crash(&self, seed: u64) {
        let mut state = self.state();
        let mut random = Random::new(seed);
        for inode in &mut state.inodes {
            inode.crash(&mut random);
        }
        // Now and then everything or nothing survives, which independent choices would hardly ever do.
        let style = random.below(4);
        let mut names = std::mem::take(&mut state.durable);
        for naming in std::mem::take(&mut state.pending) {
            if style == 1 || (style > 1 && random.below(2) == 0) {
                naming.carry_out(&mut names);
            }
        }
        state.durable = names.clone();
        state.names = names;
        state.boot += 1;
        state.stop_at = u64::MAX;
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let state = self.state();
        state.inodes[state.names[path]].now.clone()
    }

    /// Changes a file behind everybody's back.
    pub fn set_bytes(&self, path: &str, bytes: Vec<u8>) {
        let mut state = self.state();
        let inode = state.names[path];
        state.inodes[inode] = Inode { durable: bytes.clone(), now: bytes, pending: Vec::new() };
    }

    pub fn paths(&self) -> Vec<String> {
        self.state().names.keys().cloned().collect()
    }
}

impl Inode {
    fn crash(&mut self, random: &mut Random) {
        let style = random.below(4);
        let longest = self.pending.iter().map(|(at, bytes)| at + bytes.len()).max().unwrap_or(0);
        let mut result = self.durable.clone();
        if style != 0 && longest.max(self.now.len()) > result.len() && random.below(2) == 0 {
            result.resize(self.now.len(), 0);
        }
        for sector in 0..result.len().div_ceil(SECTOR) {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(result.len()));
            let touching: Vec<_> =
                self.pending.iter().filter(|(at, bytes)| *at < to && at + bytes.len() > from).collect();
            let survive = match style {
                0 => 0,
                1 => touching.len(),
                _ => random.below(touching.len() as u64 + 1) as usize,
            };
            for (at, bytes) in &touching[..survive] {
                let (begin, end) = (from.max(*at), to.min(at + bytes.len()));
                result[begin..end].copy_from_slice(&bytes[begin - at..end - at]);
            }
        }
        *self = Inode { durable: result.clone(), now: result, pending: Vec::new() };
    }
}

impl State {
    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].now.len() as u64).sum()
    }

    /// Counts a change. An error: the machine has stopped.
    fn change(&mut self) -> io::Result<()> {
        self.operations += 1;
        if self.operations > self.stop_at { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    fn find(&self, path: &str) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn name(&mut self, naming: Naming) {
        naming.carry_out(&mut self.names);
        self.pending.push(naming);
    }

    fn grow(&mut self, inode: usize, length: usize) -> io::Result<()> {
        let have = self.inodes[inode].now.len();
        if length > have {
            if self.used() + (length - have) as u64 > self.capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.inodes[inode].now.resize(length, 0);
            self.inodes[inode].pending.push((length, Vec::new()));
        }
        Ok(())
    }
}

impl Files for Model {
    type File = ModelFile;

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state.names.keys().filter_map(|path| match path.split_once('/') {
            Some((inside, name)) => (inside == folder).then(|| name.to_owned()),
            None => folder.is_empty().then(|| path.clone()),
        });
        Ok(names.collect())
    }

    fn make_folder(&self, _name: &str) -> io::Result<()> {
        self.state().change()
    }

    fn open(&self, path: &str) -> io::Result<ModelFile> {
        let inode = self.state().find(path)?;
        Ok(ModelFile { model: self.clone(), inode })
    }

    fn create(&self, path: &str) -> io::Result<ModelFile> {
        let mut state = self.state();
        state.change()?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.name(Naming::Put(path.to_owned(), inode));
        Ok(ModelFile { model: self.clone(), inode })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let inode = state.find(from)?;
        state.name(Naming::Move(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        state.find(path)?;
        state.name(Naming::Gone(path.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        state.change()?;
        let mut names = std::mem::take(&mut state.durable);
        state.pending.retain(|naming| {
            // A name that moves between folders is durable when either is: that is how journals do it.
            let inside = naming.folder() == folder
                || matches!(naming, Naming::Move(_, to, _) if to.split_once('/').map_or("", |(f, _)| f) == folder);
            if inside {
                naming.carry_out(&mut names);
            }
            !inside
        });
        state.durable = names;
        Ok(())
    }

    fn boot_id(&self) -> io::Result<String> {
        Ok(format!("boot-{}", self.state().boot))
    }

    fn random(&self) -> io::Result<u64> {
        Ok(self.state().random.next())
    }
}

impl File for ModelFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.model.state().inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.model.state();
        let have = state.inodes[self.inode].now.get(offset as usize..).unwrap_or_default();
        let read = have.len().min(into.len());
        into[..read].copy_from_slice(&have[..read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.model.state();
        let stopped = state.change();
        // The write during which the machine stops may reach the disk in part.
        if stopped.is_ok() || state.operations == state.stop_at + 1 {
            let offset = offset as usize;
            state.writes += 1;
            state.grow(self.inode, offset + bytes.len())?;
            let inode = &mut state.inodes[self.inode];
            inode.now[offset..offset + bytes.len()].copy_from_slice(bytes);
            inode.pending.push((offset, bytes.to_vec()));
        }
        stopped
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.model.state();
        state.change()?;
        state.grow(self.inode, length as usize)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.model.state();
        state.change()?;
        state.syncs += 1;
        if let Some(broken) = state.broken_sync.clone()
            && state.names.iter().any(|(path, inode)| *inode == self.inode && path.contains(&broken))
        {
            return Err(io::Error::from_raw_os_error(5));
        }
        let inode = &mut state.inodes[self.inode];
        inode.durable = inode.now.clone();
        inode.pending.clear();
        Ok(())
    }
}
