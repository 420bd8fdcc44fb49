//! How the words are counted: the plan, the workers, and what makes the total right whoever dies.
//!
//! The state holds
//!
//! | key            | value                                                         |
//! |----------------|---------------------------------------------------------------|
//! | `chunk/000042` | a few files, or a piece of a large one: what is claimed        |
//! | `next`         | the first chunk that nobody has claimed yet                    |
//! | `worker/7`     | owned by process 7, so it goes when process 7 dies             |
//! | `claim/7`      | the chunk that process 7 is at; void when `worker/7` is gone   |
//! | `done/000042`  | the counts of the chunk: there from the moment it counts       |
//! | `bar/total`    | what is done so far; the progress bar watches it               |
//! | `bar/over`     | no more will be done                                           |
//!
//! A chunk is claimed by one atomic function and committed by another, which adds its counts to the
//! total and ends the claim in one step. A worker that dies in between has changed nothing but its
//! claim, and the claim is void: the next one takes the chunk over.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use zproc::{Context, Error, Filter, Result, Txn};

/// Counts of a chunk of this many bytes always fit one value of the state, whatever is in them.
pub(crate) const CHUNK_BYTES_MAX: u64 = 256 * 1024;
/// Small files are claimed together.
const CHUNK_FILES_MAX: usize = 64;
/// Of a longer run of letters only the beginning is looked at.
const RUN_BYTES_MAX: usize = 64;
/// How often a worker's place is filled again: who dies that often dies of something else.
const REPLACEMENTS_MAX: u64 = 1000;

/// A part of a file: the words that begin in it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Piece {
    path: Vec<u8>,
    start: u64,
    end: u64,
}

/// What is to be counted.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) chunks: Vec<Vec<Piece>>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files without words in them: they have a zero byte in their first kilobyte.
    pub(crate) binary: u64,
    /// Files and directories that could not be looked at.
    pub(crate) unreadable: u64,
}

impl Plan {
    /// The regular files below `directory` in the order of their names, until they are more than
    /// `bytes_max` together, in chunks of `chunk_bytes` or less. Links are not followed.
    pub(crate) fn below(
        directory: &Path,
        bytes_max: u64,
        chunk_bytes: u64,
    ) -> std::io::Result<Plan> {
        let mut plan = Plan::default();
        let mut open = Vec::new();
        std::fs::read_dir(directory)?;
        let mut waiting = vec![directory.to_owned()];
        while let Some(path) = waiting.pop() {
            let Ok(metadata) = path.symlink_metadata() else {
                plan.unreadable += 1;
                continue;
            };
            if metadata.is_dir() {
                match sorted_entries(&path) {
                    Ok(entries) => waiting.extend(entries.into_iter().rev()),
                    Err(_) => plan.unreadable += 1,
                }
            } else if metadata.is_file() {
                if plan.bytes + metadata.len() > bytes_max {
                    break;
                }
                match File::open(&path).and_then(|file| read_at(&file, 0, 1024)) {
                    Ok(start) if start.contains(&0) => plan.binary += 1,
                    Ok(_) => plan.add(&path, metadata.len(), chunk_bytes, &mut open),
                    Err(_) => plan.unreadable += 1,
                }
            }
        }
        plan.close(&mut open);
        Ok(plan)
    }

    fn add(&mut self, path: &Path, length: u64, chunk_bytes: u64, open: &mut Vec<Piece>) {
        self.files += 1;
        self.bytes += length;
        let mut start = 0;
        while start < length {
            let used: u64 = open.iter().map(|piece| piece.end - piece.start).sum();
            if used == chunk_bytes || open.len() == CHUNK_FILES_MAX {
                self.close(open);
                continue;
            }
            let end = length.min(start + chunk_bytes - used);
            let path = path.as_os_str().as_bytes().to_vec();
            open.push(Piece { path, start, end });
            start = end;
        }
    }

    fn close(&mut self, open: &mut Vec<Piece>) {
        if !open.is_empty() {
            self.chunks.push(std::mem::take(open));
        }
    }
}

fn sorted_entries(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// How often each word was seen.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) by_word: HashMap<String, u64>,
    /// Pieces of files that could not be read.
    pub(crate) unreadable: u64,
}

impl Counts {
    /// The words seen most often; of equally many, the first in the alphabet.
    pub(crate) fn commonest(&self, how_many: usize) -> Vec<(&str, u64)> {
        let mut words: Vec<(&str, u64)> = self
            .by_word
            .iter()
            .map(|(word, count)| (word.as_str(), *count))
            .collect();
        words.sort_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then(a.cmp(b)));
        words.truncate(how_many);
        words
    }

    fn add_chunk(&mut self, chunk: &[Piece]) {
        for piece in chunk {
            if self.add_piece(piece).is_err() {
                self.unreadable += 1;
            }
        }
    }

    fn add_piece(&mut self, piece: &Piece) -> std::io::Result<()> {
        // One byte before, to see whether a run begins at the start; a run's length behind, for
        // one that begins at the end.
        let from = piece.start.saturating_sub(1);
        let wanted = (piece.end - from) as usize + RUN_BYTES_MAX;
        let path = std::ffi::OsString::from_vec(piece.path.clone());
        let bytes = read_at(&File::open(path)?, from, wanted)?;
        let own = (piece.start - from) as usize..(piece.end - from) as usize;
        self.add_runs(&bytes, own);
        Ok(())
    }

    /// Adds the words of the runs that begin in `own`. A run is of letters, digits, `_` and whatever
    /// is not ASCII, so that it can be told by looking at bytes, wherever a file is cut.
    fn add_runs(&mut self, bytes: &[u8], own: Range<usize>) {
        let is_run = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
        let length_at = |at: usize| bytes[at..].iter().take_while(|byte| is_run(byte)).count();
        let mut at = own.start;
        if at > 0 && bytes.get(at - 1).is_some_and(is_run) {
            at += length_at(at);
        }
        while at < own.end.min(bytes.len()) {
            let length = length_at(at);
            let kept = length.min(RUN_BYTES_MAX);
            for word in String::from_utf8_lossy(&bytes[at..at + kept]).split(is_between_words) {
                self.add_word(word, 1);
            }
            at += length.max(1);
        }
    }

    /// A word has a letter; capital letters (those of ASCII) are as small ones.
    fn add_word(&mut self, word: &str, count: u64) {
        if !word.contains(char::is_alphabetic) {
            return;
        }
        self.total += count;
        let mut small = Cow::Borrowed(word);
        if word.contains(|c: char| c.is_ascii_uppercase()) {
            small.to_mut().make_ascii_lowercase();
        }
        match self.by_word.get_mut(&*small) {
            Some(known) => *known += count,
            None => drop(self.by_word.insert(small.into_owned(), count)),
        }
    }
}

fn is_between_words(c: char) -> bool {
    !c.is_alphanumeric() && c != '_'
}

fn read_at(file: &File, from: u64, wanted: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; wanted];
    let mut length = 0;
    while length < wanted {
        match file.read_at(&mut bytes[length..], from + length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// Counts in this process only.
pub(crate) fn count_here(plan: &Plan) -> Counts {
    let mut counts = Counts::default();
    for chunk in &plan.chunks {
        counts.add_chunk(chunk);
    }
    counts
}

/// The counts of one chunk, as they are kept in the state.
#[derive(Serialize, Deserialize)]
struct Done {
    total: u64,
    unreadable: u64,
    words: Vec<(String, u64)>,
}

/// What is done so far.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Total {
    pub(crate) chunks: u64,
    pub(crate) words: u64,
}

/// Where a worker is when it calls its hook: the tests kill it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    Started,
    Claimed,
    /// It has counted and is about to commit.
    Counted,
    Committed,
}

/// Called by each worker at each [`Stage`].
pub(crate) trait Hook: Fn(&Context, Stage) + Copy + Send + Sync + 'static {}

impl<F: Fn(&Context, Stage) + Copy + Send + Sync + 'static> Hook for F {}

/// Counts with `workers` processes; also tells how many had to be replaced.
pub(crate) fn count_in_processes(
    ctx: &Context,
    plan: &Plan,
    workers: usize,
    hook: impl Hook,
    mut progress: impl FnMut(Total) + Send,
) -> Result<(Counts, u64)> {
    let state = ctx.state();
    for (number, chunk) in plan.chunks.iter().enumerate() {
        state.set(&format!("chunk/{number:06}"), chunk)?;
    }
    let totals = state.watch(Filter::prefix("bar/")).start()?;
    let replaced = std::thread::scope(|scope| {
        scope.spawn(move || {
            for update in totals.flatten() {
                let change = |key| update.changes.iter().find(|change| change.key() == key);
                if let Some(Ok(Some(total))) = change("bar/total").map(|change| change.after()) {
                    progress(total);
                }
                if change("bar/over").is_some() {
                    break;
                }
            }
        });
        // More places than chunks would only stand empty.
        let places: Vec<_> = (0..workers.min(plan.chunks.len()))
            .map(|_| scope.spawn(|| fill_one_place(ctx, hook)))
            .collect();
        let replaced: Result<u64> = places
            .into_iter()
            .map(|place| place.join().expect("a place is filled without a panic"))
            .sum();
        state.set("bar/over", &true)?;
        replaced
    })?;
    let mut counts = Counts::default();
    for number in 0..plan.chunks.len() {
        let done: Option<Done> = state.get(&format!("done/{number:06}"))?;
        let done = done.ok_or_else(|| Error::msg(format!("chunk {number} was never done")))?;
        counts.unreadable += done.unreadable;
        for (word, count) in done.words {
            counts.add_word(&word, count);
        }
    }
    // Added up one commit at a time, and all at once: the same.
    let total: Total = state.get("bar/total")?.unwrap_or_default();
    assert_eq!(total.words, counts.total);
    Ok((counts, replaced))
}

/// Keeps one worker at work until there is nothing left to claim; tells how many it had to replace.
fn fill_one_place(ctx: &Context, hook: impl Hook) -> Result<u64> {
    for replaced in 0..=REPLACEMENTS_MAX {
        let worker = ctx.spawn(move |ctx: &Context, ()| work(ctx, hook), ())?;
        match worker.join() {
            Ok(end) => return end.map(|()| replaced),
            Err(error) if error.is_killed() => {}
            Err(error) => return Err(error),
        }
    }
    Err(Error::msg("workers are killed again and again"))
}

/// The life of a worker process.
fn work(ctx: &Context, hook: impl Hook) -> Result<()> {
    let state = ctx.state();
    let me = ctx.process_id().0;
    state.set_owned(&format!("worker/{me}"), &true)?;
    hook(ctx, Stage::Started);
    while let Some(number) = state.atomic(claim, me)? {
        hook(ctx, Stage::Claimed);
        let chunk: Option<Vec<Piece>> = state.get(&format!("chunk/{number:06}"))?;
        let mut counts = Counts::default();
        counts.add_chunk(&chunk.unwrap_or_default());
        let done = Done {
            total: counts.total,
            unreadable: counts.unreadable,
            words: counts.by_word.into_iter().collect(),
        };
        hook(ctx, Stage::Counted);
        state.atomic(commit, (me, number, done))?;
        hook(ctx, Stage::Committed);
    }
    Ok(())
}

/// Claims a chunk that a dead worker has left, or else the next one.
fn claim(txn: &mut Txn<'_>, me: u64) -> Result<Option<u64>> {
    for claim in txn.keys("claim/")? {
        if !txn.contains_key(&claim.replace("claim", "worker"))? {
            let number: Option<u64> = txn.get(&claim)?;
            txn.remove(&claim)?;
            txn.set(&format!("claim/{me}"), &number)?;
            return Ok(number);
        }
    }
    let number: u64 = txn.get("next")?.unwrap_or(0);
    if !txn.contains_key(&format!("chunk/{number:06}"))? {
        return Ok(None);
    }
    txn.set("next", &(number + 1))?;
    txn.set(&format!("claim/{me}"), &number)?;
    Ok(Some(number))
}

/// Makes the counts of a chunk count and ends the claim, if it still stands.
fn commit(txn: &mut Txn<'_>, (me, number, done): (u64, u64, Done)) -> Result<()> {
    let claim = format!("claim/{me}");
    if txn.get(&claim)? != Some(number) {
        return Ok(());
    }
    let mut total: Total = txn.get("bar/total")?.unwrap_or_default();
    total.chunks += 1;
    total.words += done.total;
    txn.set("bar/total", &total)?;
    txn.set(&format!("done/{number:06}"), &done)?;
    txn.remove(&claim)?;
    Ok(())
}
