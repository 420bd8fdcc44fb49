//! What is too large for one message: arguments and results of processes, which come and go in parts.
//!
//! The beginning of a large one goes with the message that it belongs to, the rest in parts, each a
//! request of its own, so that nobody else is held up long and a lost connection costs one part. Parts
//! that no request has named yet are their session's, and go with it. None of it is in the state, or
//! in the update log.

use super::super::codec;
use super::super::ids::{PartsId, ProcessId, SessionId};
use super::super::limits::Limits;
use super::super::marks::{self, Mark};
use super::super::message::{Failure, Reply, RestOf};
use super::super::session::Upload;
use super::Server;
use std::collections::btree_map::Entry;

/// The rests of what a process was given, and of what came of it.
#[derive(Debug, Default)]
pub(super) struct Rests {
    /// Of its argument, until it has fetched it.
    pub(super) argument: Vec<u8>,
    /// Of what it says that it returns, until it has ended.
    pub(super) finish: Vec<u8>,
    /// Of its result, once it has ended.
    result: Kept,
}

/// The rest of a result.
#[derive(Debug, Default)]
enum Kept {
    /// There is none, or nobody wants it any more.
    #[default]
    Nothing,
    Here(Vec<u8>),
    /// It had to make room for others, when there were so many bytes of them.
    Dropped(u64),
}

impl Rests {
    /// Those of a process to come.
    pub(super) fn of_argument(argument: Vec<u8>) -> Rests {
        Rests {
            argument,
            ..Rests::default()
        }
    }

    /// Bytes that count as parts on their way.
    pub(super) fn moving_bytes(&self) -> usize {
        self.argument.len() + self.finish.len()
    }

    /// Bytes that count as result.
    pub(super) fn result_bytes(&self) -> usize {
        match &self.result {
            Kept::Here(bytes) => bytes.len(),
            Kept::Nothing | Kept::Dropped(_) => 0,
        }
    }

    /// How long the rest of the result is, or was.
    pub(super) fn promised(&self) -> u64 {
        match &self.result {
            Kept::Here(bytes) => bytes.len() as u64,
            Kept::Nothing => 0,
            // To be asked for, and so to be told why it is not there.
            Kept::Dropped(_) => 1,
        }
    }

    /// The process has ended: what it said is its result. Gives the bytes that are no longer on
    /// their way.
    pub(super) fn settle(&mut self) -> usize {
        let bytes = self.moving_bytes();
        self.argument = Vec::new();
        let finish = std::mem::take(&mut self.finish);
        if !finish.is_empty() {
            self.result = Kept::Here(finish);
        }
        bytes
    }
}

impl Server {
    /// Keeps a part until a request names it.
    pub(super) fn part(
        &mut self,
        id: SessionId,
        parts: PartsId,
        (size, from): (u64, u64),
        bytes: &[u8],
    ) -> Vec<u8> {
        match self.put_part(id, parts, (size, from), bytes) {
            Ok(()) => {
                let revision = self.store.revision();
                codec::to_bytes(&Reply::Done { revision })
            }
            Err(failure) => {
                // What is missing a part is of no use.
                let _ = self.take_parts(id, Some(parts));
                self.failed(failure)
            }
        }
    }

    fn put_part(
        &mut self,
        id: SessionId,
        parts: PartsId,
        (size, from): (u64, u64),
        bytes: &[u8],
    ) -> Result<(), Failure<'static>> {
        let limits = self.config.limits;
        let over = |limit, actual: u64, max: usize| Failure::Limit {
            limit,
            actual,
            max: max as u64,
        };
        let count = bytes.len() as u64;
        if bytes.len() > limits.part_bytes_max {
            return Err(over("PART_BYTES_MAX", count, limits.part_bytes_max));
        }
        if bytes.is_empty() || from.saturating_add(count) > size {
            return Err(Failure::Malformed {
                what: "a part that does not fit",
            });
        }
        let Some(session) = self.sessions.get_mut(&id) else {
            return Err(Failure::NoParts);
        };
        let uploads = session.uploads.len();
        let own: usize = session.uploads.values().map(|upload| upload.size).sum();
        let upload = match session.uploads.entry(parts) {
            Entry::Occupied(upload) => upload.into_mut(),
            Entry::Vacant(_) if from > 0 => return Err(Failure::NoParts),
            Entry::Vacant(place) => {
                let max = limits.payload_bytes_max;
                let Ok(room) = usize::try_from(size)
                    .map_err(drop)
                    .and_then(|size| (size <= max).then_some(size).ok_or(()))
                else {
                    return Err(over("PAYLOAD_BYTES_MAX", size, max));
                };
                let max = limits.uploads_per_session_max;
                if uploads >= max {
                    return Err(over("UPLOADS_PER_SESSION_MAX", uploads as u64 + 1, max));
                }
                let (own, max) = (own + room, limits.parts_per_session_bytes_max);
                if own > max {
                    marks::reached(Mark::PartsFull);
                    return Err(over("PARTS_PER_SESSION_BYTES_MAX", own as u64, max));
                }
                let (all, max) = (self.parts_bytes + room, limits.parts_bytes_max);
                if all > max {
                    marks::reached(Mark::PartsFull);
                    return Err(over("PARTS_BYTES_MAX", all as u64, max));
                }
                self.parts_bytes = all;
                place.insert(Upload {
                    size: room,
                    // To announce much costs nobody memory.
                    bytes: Vec::new(),
                })
            }
        };
        if upload.bytes.len() as u64 != from || upload.size as u64 != size {
            return Err(Failure::NoParts);
        }
        upload.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// All parts of a name, which are nobody's from now on.
    pub(super) fn take_parts(
        &mut self,
        id: SessionId,
        parts: Option<PartsId>,
    ) -> Result<Vec<u8>, Failure<'static>> {
        let Some(parts) = parts else {
            return Ok(Vec::new());
        };
        let session = self.sessions.get_mut(&id);
        let upload = session.and_then(|session| session.uploads.remove(&parts));
        let upload = upload.ok_or(Failure::NoParts)?;
        self.parts_bytes -= upload.size;
        if upload.bytes.len() < upload.size {
            return Err(Failure::NoParts);
        }
        Ok(upload.bytes)
    }

    /// A part of the rest of an argument or a result.
    pub(super) fn fetch(&mut self, asker: ProcessId, rest: RestOf, from: u64) -> Vec<u8> {
        let of = match rest {
            RestOf::Argument => asker,
            RestOf::Result { process } => process,
        };
        let Some(process) = self.processes.get_mut(&of) else {
            return self.failed(Failure::UnknownProcess { process: of });
        };
        let rests = &mut process.rests;
        let bytes: &[u8] = match (rest, &rests.result) {
            (RestOf::Argument, _) => &rests.argument,
            (RestOf::Result { .. }, Kept::Here(bytes)) => bytes,
            (RestOf::Result { .. }, Kept::Nothing) => &[],
            (RestOf::Result { .. }, Kept::Dropped(actual)) => {
                let failure = Failure::Limit {
                    limit: "RESULTS_BYTES_MAX",
                    actual: *actual,
                    max: self.config.limits.results_bytes_max as u64,
                };
                return self.failed(failure);
            }
        };
        let part = piece(bytes, from, &self.config.limits);
        let reply = codec::to_bytes(&Reply::Part { bytes: part });
        if rest == RestOf::Argument && part.is_empty() {
            // It has all of it.
            self.parts_bytes -= rests.argument.len();
            rests.argument = Vec::new();
        }
        reply
    }

    /// The rest of this result makes room.
    pub(super) fn forget(&mut self, id: ProcessId) -> Vec<u8> {
        if let Some(process) = self.processes.get_mut(&id) {
            self.results_bytes -= process.rests.result_bytes();
            if let Kept::Here(_) = process.rests.result {
                process.rests.result = Kept::Nothing;
            }
        }
        let revision = self.store.revision();
        codec::to_bytes(&Reply::Done { revision })
    }

    /// The rest of this result makes room for others, and who asks for it is told so.
    pub(super) fn drop_rest(&mut self, id: ProcessId) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        let bytes = process.rests.result_bytes();
        if bytes > 0 {
            marks::reached(Mark::ResultDropped);
            process.rests.result = Kept::Dropped(self.results_bytes as u64);
            self.results_bytes -= bytes;
        }
    }
}

/// What one message takes of the bytes from there on.
fn piece<'a>(bytes: &'a [u8], from: u64, limits: &Limits) -> &'a [u8] {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let rest = bytes.get(from..).unwrap_or_default();
    &rest[..rest.len().min(limits.part_bytes_max)]
}
