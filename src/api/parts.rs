//! Arguments and results that are too large for one message: sent and fetched in parts.

use super::context::{Context, unexpected};
use crate::error::{Error, Kind, Operation, Result};
use crate::proto::ids::PartsId;
use crate::proto::limits::PAYLOAD_BYTES_MAX;
use crate::proto::message::{Reply, Request, RestOf};
use crate::proto::time::Time;

/// What of `bytes` goes with the message that they belong to. If that is not all, the rest has been
/// sent, under a name for the message.
pub(super) fn send<'a>(
    ctx: &Context,
    operation: &Operation<'_>,
    bytes: &'a [u8],
) -> Result<(&'a [u8], Option<PartsId>)> {
    let part_bytes = ctx.connection().part_bytes_max();
    if bytes.len() <= part_bytes {
        return Ok((bytes, None));
    }
    let (head, rest) = bytes.split_at(part_bytes);
    let parts = ctx.connection().name_parts();
    for (index, part) in rest.chunks(part_bytes).enumerate() {
        let request = Request::Part {
            parts,
            size: rest.len() as u64,
            from: (index * part_bytes) as u64,
            bytes: part,
        };
        ctx.call(operation, None, &request, |reply| match reply {
            Reply::Done { .. } => Ok(()),
            other => Err(unexpected(other)),
        })?;
    }
    Ok((head, Some(parts)))
}

/// Fetches the rest of what begins with `bytes`, and gives all of it.
pub(super) fn fetch(
    ctx: &Context,
    operation: &Operation<'_>,
    deadline: Option<Time>,
    mut bytes: Vec<u8>,
    (rest, of): (u64, RestOf),
) -> Result<Vec<u8>> {
    let breach = |what: &str| Error::new(Kind::Protocol(what.to_owned()), operation);
    let missing = usize::try_from(rest)
        .ok()
        .filter(|rest| *rest <= PAYLOAD_BYTES_MAX)
        .ok_or_else(|| breach("a value over its limit"))?;
    let whole = bytes.len() + missing;
    bytes.reserve_exact(missing);
    let mut from = 0;
    while bytes.len() < whole {
        let request = Request::Fetch { rest: of, from };
        let count = ctx.call_by(operation, deadline, &request, |reply| match reply {
            Reply::Part { bytes: part } => {
                bytes.extend_from_slice(part);
                Ok(part.len())
            }
            other => Err(unexpected(other)),
        })?;
        if count == 0 || bytes.len() > whole {
            return Err(breach("a part that does not fit"));
        }
        from += count as u64;
    }
    Ok(bytes)
}
