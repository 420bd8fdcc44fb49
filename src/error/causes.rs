//! What went wrong below, as it is told above.

use super::{Kind, Wanted};
use crate::client::CallError;
use crate::proto::message::Failure;
use crate::proto::setup::Unfit;

impl From<CallError> for Kind {
    fn from(error: CallError) -> Kind {
        match error {
            CallError::TimedOut => Kind::TimedOut,
            CallError::Stopped => Kind::Stopped,
            CallError::Nested(within) => Kind::Nested(within.into()),
            CallError::ServerLost(loss) => Kind::ServerLost(loss),
            CallError::SessionLost => Kind::SessionLost,
            CallError::OutcomeUnknown => Kind::OutcomeUnknown,
            CallError::Refused(displayed, ..) => Kind::Refused(displayed),
            CallError::Protocol(what) => Kind::Protocol(what),
            CallError::TooLarge { limit, actual, max } => Kind::Limit {
                limit: limit.to_string(),
                actual,
                max,
            },
            CallError::Compacted { oldest } => Kind::Compacted {
                oldest,
                wanted: Wanted::Next,
            },
            CallError::Closed => Kind::Closed,
            CallError::Forked => Kind::Forked,
            CallError::Connect(error) => Kind::Connect(error.to_string()),
        }
    }
}

impl From<Unfit> for Kind {
    fn from(unfit: Unfit) -> Kind {
        match unfit {
            Unfit::Limit { limit, actual, max } => Kind::Limit {
                limit: limit.to_owned(),
                actual: actual as u64,
                max: max as u64,
            },
            Unfit::Nonsense(what) => Kind::Setup(what.to_owned()),
        }
    }
}

impl From<Failure<'_>> for Kind {
    fn from(failure: Failure<'_>) -> Kind {
        match failure {
            Failure::Error(fault) => Kind::Remote(fault.into()),
            Failure::Panic(fault) => Kind::Panic(fault.into()),
            Failure::Undecodable(fault) => Kind::Undecodable(fault.into()),
            Failure::UnknownFunction { name } => Kind::UnknownFunction(name.to_owned()),
            Failure::NoFunctions { name } => Kind::NoFunctions(name.to_owned()),
            Failure::NotDeterministic { name, what } => Kind::NotDeterministic {
                name: name.to_owned(),
                what: what.to_owned(),
            },
            Failure::Limit { limit, actual, max } => Kind::Limit {
                limit: limit.to_owned(),
                actual,
                max,
            },
            Failure::ReadOnly => Kind::ReadOnly,
            Failure::Unmet { key } => Kind::Unmet(key.to_owned()),
            Failure::NotInteger { found } => Kind::not_integer(found),
            Failure::Overflow => Kind::Overflow,
            Failure::UnknownProcess { process } => Kind::UnknownProcess(process),
            Failure::Malformed { what } => Kind::Malformed(what.to_owned()),
            Failure::Setup { what } => Kind::Setup(what.to_owned()),
            // They go with the session, and nothing comes of them alone.
            Failure::NoParts => Kind::SessionLost,
            Failure::Conflict { barred, held } => Kind::Conflict { barred, held },
            Failure::Future { asked } => Kind::Future(asked),
        }
    }
}
