//! The program's functions where they run: atomic functions and conditions in the server, a
//! process's function in the process.
//!
//! Each of the three has a [`Signature`] and a [`Body`]; the body is where the types of a user's
//! function are still known, so there its argument is decoded and its result encoded.

use super::context::{Context, Home, unexpected};
use super::parts;
use super::txn::Txn;
use super::value::{self, Side};
use super::view::{Verdict, View};
use crate::error::{Error, Kind, Operation, Result};
use crate::process::code::{self, Body, Signature};
use crate::process::panics;
use crate::proto::message::{Fault, Finish, FunctionRef, Reply, Request, RestOf};
use crate::proto::server::{FaultText, FunctionFailure, Functions};
use crate::proto::store;
use crate::proto::value as wire;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde::ser::{Impossible, Serializer};
use std::fmt::Display;
use std::marker::PhantomData;
use std::panic::Location;

/// How atomic functions are called.
#[derive(Debug)]
pub(crate) enum AtomicSignature {}

impl Signature for AtomicSignature {
    const SHAPE: u64 = 0x61_74_6f_6d_69_63;
    type Input<'a> = (Txn<'a>, &'a [u8]);
    type Output = Result<Vec<u8>, FunctionFailure>;
}

/// An atomic function of an argument `A` that gives an `R`.
#[derive(Debug)]
pub(crate) struct AtomicBody<A, R>(PhantomData<fn(A) -> R>);

impl<F, A, R> Body<F, AtomicSignature> for AtomicBody<A, R>
where
    F: Fn(&mut Txn<'_>, A) -> Result<R>,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    fn run(f: &F, (mut txn, args): (Txn<'_>, &[u8])) -> Result<Vec<u8>, FunctionFailure> {
        let args = value::decode(args).map_err(|kind| undecodable("its argument", &kind))?;
        let result = f(&mut txn, args).map_err(|error| returned(&error))?;
        value::encode_as(Side::Result, &result).map_err(|kind| unreturnable(&kind))
    }
}

/// How conditions are called.
#[derive(Debug)]
pub(crate) enum ConditionSignature {}

impl Signature for ConditionSignature {
    const SHAPE: u64 = 0x63_6f_6e_64_69_74;
    type Input<'a> = (View<'a>, &'a [u8]);
    type Output = Result<Option<Vec<u8>>, FunctionFailure>;
}

/// A condition with a verdict `V`.
#[derive(Debug)]
pub(crate) struct ConditionBody<V>(PhantomData<fn() -> V>);

impl<F, V> Body<F, ConditionSignature> for ConditionBody<V>
where
    F: Fn(&View<'_>) -> V,
    V: Verdict,
{
    fn run(f: &F, (view, _args): (View<'_>, &[u8])) -> Result<Option<Vec<u8>>, FunctionFailure> {
        let verdict = f(&view).decide().map_err(|error| returned(&error))?;
        verdict
            .map(|result| value::encode_as(Side::Result, &result))
            .transpose()
            .map_err(|kind| unreturnable(&kind))
    }
}

/// How processes' functions are called.
#[derive(Debug)]
pub(crate) enum ProcessSignature {}

impl Signature for ProcessSignature {
    const SHAPE: u64 = 0x70_72_6f_63_65_73;
    type Input<'a> = (&'a Context, &'a [u8]);
    type Output = Finished;
}

/// A process's function of an argument `A` that gives an `R`.
#[derive(Debug)]
pub(crate) struct ProcessBody<A, R>(PhantomData<fn(A) -> R>);

impl<F, A, R> Body<F, ProcessSignature> for ProcessBody<A, R>
where
    F: Fn(&Context, A) -> R,
    A: DeserializeOwned + 'static,
    R: Serialize + 'static,
{
    fn run(f: &F, (ctx, args): (&Context, &[u8])) -> Finished {
        let args = match value::decode(args) {
            Ok(args) => args,
            Err(kind) => return Finished::Undecodable(fault_of("its argument", &kind)),
        };
        let result = f(ctx, args);
        match value::encode_payload(Side::Result, &result) {
            Ok(value) if is_err(&result) => Finished::Error {
                text: error_text(&value),
                value,
            },
            Ok(value) => Finished::Value(value),
            Err(kind) => Finished::unreturnable(&kind),
        }
    }
}

/// What a process runs that does something whenever a condition holds: a pair of both. It goes by
/// the name of what it does.
#[derive(Debug)]
pub(crate) struct WhenBody<V>(PhantomData<fn() -> V>);

impl<W, F, V> Body<(W, F), ProcessSignature> for WhenBody<V>
where
    W: Fn(&View<'_>) -> V + Copy,
    V: Verdict,
    F: Fn(&Context, V::Output) -> Result<()>,
{
    fn name() -> &'static str {
        std::any::type_name::<F>()
    }

    fn run((when, f): &(W, F), (ctx, args): (&Context, &[u8])) -> Finished {
        let body = |ctx: &Context, (): ()| super::when::each(ctx, when, f);
        ProcessBody::<(), Result<()>>::run(&body, (ctx, args))
    }
}

/// How the functions are called that run in a process before its own.
#[derive(Debug)]
pub(crate) enum InitSignature {}

impl Signature for InitSignature {
    const SHAPE: u64 = 0x69_6e_69_74;
    type Input<'a> = &'a Context;
    type Output = ();
}

/// Such a function.
#[derive(Debug)]
pub(crate) enum InitBody {}

impl<F: Fn(&Context)> Body<F, InitSignature> for InitBody {
    fn run(f: &F, ctx: &Context) {
        f(ctx);
    }
}

/// What came of a process's function: a [`Finish`] of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// It returned this value, encoded.
    Value(Vec<u8>),
    /// It returned `Err`.
    Error {
        /// The whole `Result`, encoded.
        value: Vec<u8>,
        /// How the error reads.
        text: String,
    },
    /// It panicked.
    Panic(FaultText),
    /// The function, its argument or its result could not be found, decoded or encoded.
    Undecodable(FaultText),
    /// It returned more than this limit allows, or has room for now.
    TooLarge {
        /// The limit's name.
        limit: String,
        /// What it would have come to.
        actual: u64,
        /// What is allowed.
        max: u64,
    },
}

impl Finished {
    /// Its result can't be told, for this reason.
    fn unreturnable(kind: &Kind) -> Finished {
        match kind.over() {
            Some((limit, actual, max)) => Finished::TooLarge {
                limit: limit.to_owned(),
                actual,
                max,
            },
            None => Finished::Undecodable(fault_of("its result", kind)),
        }
    }

    /// The value, if there is one.
    fn value(&self) -> &[u8] {
        match self {
            Finished::Value(value) | Finished::Error { value, .. } => value,
            Finished::Panic(_) | Finished::Undecodable(_) | Finished::TooLarge { .. } => &[],
        }
    }

    /// As it is sent, with so much of the value.
    #[must_use]
    fn as_finish<'a>(&'a self, value: &'a [u8]) -> Finish<'a> {
        fn fault(text: &FaultText) -> Fault<'_> {
            Fault {
                message: &text.message,
                location: &text.location,
                backtrace: &text.backtrace,
            }
        }
        match self {
            Finished::Value(_) => Finish::Value(value),
            Finished::Error { text, .. } => Finish::Error { value, text },
            Finished::Panic(text) => Finish::Panic(fault(text)),
            Finished::Undecodable(text) => Finish::Undecodable(fault(text)),
            Finished::TooLarge { limit, actual, max } => Finish::TooLarge {
                limit,
                actual: *actual,
                max: *max,
            },
        }
    }
}

/// The program's functions, for the server to call.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShippedFunctions;

impl Functions for ShippedFunctions {
    fn atomic(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        txn: &mut store::Transaction<'_>,
    ) -> Result<Vec<u8>, FunctionFailure> {
        let shipped = code::find::<AtomicSignature>(function).ok_or(FunctionFailure::Unknown)?;
        panics::capture(|| shipped.call((Txn::new(txn, namespace), args)))
            .map_err(FunctionFailure::Panic)?
    }

    fn condition(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        view: &store::View<'_>,
    ) -> Result<Option<Vec<u8>>, FunctionFailure> {
        let shipped = code::find::<ConditionSignature>(function).ok_or(FunctionFailure::Unknown)?;
        panics::capture(|| shipped.call((View::new(view, namespace), args)))
            .map_err(FunctionFailure::Panic)?
    }
}

/// Runs a process's function, and tells what came of it; a panic is caught.
#[must_use]
pub fn run_process(ctx: &Context, function: &FunctionRef<'_>, args: &[u8]) -> Finished {
    let Some(shipped) = code::find::<ProcessSignature>(function) else {
        return unknown(function);
    };
    let init = ctx.home().init;
    let run = || {
        if let Some(init) = init {
            init.call(ctx);
        }
        shipped.call((ctx, args))
    };
    panics::capture(run).unwrap_or_else(Finished::Panic)
}

fn unknown(function: &FunctionRef<'_>) -> Finished {
    Finished::Undecodable(panics::bound(FaultText {
        message: format!("this executable has no function {} to spawn", function.name),
        location: String::new(),
        backtrace: String::new(),
    }))
}

/// What a process was asked to do.
struct Task {
    offset: i64,
    name: String,
    args: Vec<u8>,
    namespace: String,
    init: Option<(i64, String)>,
}

impl Task {
    /// Does it.
    fn run(&self, ctx: &Context) -> Finished {
        let function = FunctionRef {
            offset: self.offset,
            name: &self.name,
        };
        let init = match &self.init {
            None => None,
            Some((offset, name)) => {
                let offset = *offset;
                let init = FunctionRef { offset, name };
                match code::find::<InitSignature>(&init) {
                    None => return unknown(&init),
                    found => found,
                }
            }
        };
        let home = Home {
            namespace: self.namespace.as_str().into(),
            init,
        };
        run_process(&ctx.at_home(home), &function, &self.args)
    }
}

/// The whole life of a child process on its connection: asks what to run, runs it, says what came
/// of it.
///
/// # Errors
/// When the server can't be asked or told.
#[track_caller]
pub fn run_task(ctx: &Context) -> Result<()> {
    let operation = |verb| Operation {
        verb,
        object: None,
        namespace: None,
        caller: Location::caller(),
    };
    let owned = |function: &FunctionRef<'_>| (function.offset, function.name.to_owned());
    let begin = operation("begin");
    let (mut task, rest) = ctx.call(&begin, None, &Request::Begin, |reply| match reply {
        Reply::Task {
            function,
            args,
            rest,
            namespace,
            init,
        } => {
            let task = Task {
                offset: function.offset,
                name: function.name.to_owned(),
                args: args.to_vec(),
                namespace: (*namespace).to_owned(),
                init: init.as_ref().map(owned),
            };
            Ok((task, *rest))
        }
        other => Err(unexpected(other)),
    })?;
    task.args = fetch_argument(ctx, &begin, task.args, rest)?;
    let finished = task.run(ctx);
    let finish = operation("finish");
    match say_finished(ctx, &finish, &finished) {
        // There is no room for the result now.
        Err(error) if error.is_limit() && !finished.value().is_empty() => {
            say_finished(ctx, &finish, &Finished::unreturnable(error.kind()))
        }
        said => said,
    }
}

/// The whole argument, of which `args` is the beginning.
fn fetch_argument(
    ctx: &Context,
    operation: &Operation<'_>,
    args: Vec<u8>,
    rest: u64,
) -> Result<Vec<u8>> {
    if rest == 0 {
        return Ok(args);
    }
    let of = RestOf::Argument;
    let args = parts::fetch(ctx, operation, None, args, (rest, of))?;
    // To ask for its end lets the server forget it.
    let end = Request::Fetch {
        rest: of,
        from: rest,
    };
    ctx.call(operation, None, &end, |_| Ok(()))?;
    Ok(args)
}

fn say_finished(ctx: &Context, operation: &Operation<'_>, finished: &Finished) -> Result<()> {
    let (value, rest) = parts::send(ctx, operation, finished.value())?;
    let request = Request::Finish {
        finish: finished.as_finish(value),
        rest,
    };
    ctx.call(operation, None, &request, |reply| match reply {
        Reply::Done { .. } => Ok(()),
        other => Err(unexpected(other)),
    })
}

fn returned(error: &Error) -> FunctionFailure {
    FunctionFailure::Error(panics::bound(error.to_fault()))
}

/// A result that can't be told, for this reason.
fn unreturnable(kind: &Kind) -> FunctionFailure {
    match kind.over() {
        Some((limit, actual, max)) => FunctionFailure::TooLarge {
            limit: limit.to_owned(),
            actual,
            max,
        },
        None => undecodable("its result", kind),
    }
}

fn undecodable(part: &str, kind: &Kind) -> FunctionFailure {
    FunctionFailure::Undecodable(fault_of(part, kind))
}

fn fault_of(part: &str, kind: &dyn Display) -> FaultText {
    panics::bound(FaultText {
        message: format!("{part}: {kind}"),
        location: String::new(),
        backtrace: String::new(),
    })
}

/// How the `Err` of an encoded `Result` reads: its text, if it is one or is this crate's error;
/// else what it is.
fn error_text(result: &[u8]) -> String {
    let text = match rmp_serde::from_slice::<Result<serde::de::IgnoredAny, String>>(result) {
        Ok(Err(text)) => text,
        _ => match rmp_serde::from_slice::<Result<serde::de::IgnoredAny, Error>>(result) {
            Ok(Err(error)) => error.to_string(),
            // {"Err": ...}: a map of one entry whose key is four bytes long.
            _ => wire::describe(result.get(5..).unwrap_or_default()),
        },
    };
    panics::bounded(&text, crate::proto::limits::FAILURE_BYTES_MAX)
}

/// Is this value an `Err`? Asked of its `Serialize`, since a generic `R` can't be asked.
fn is_err<T: Serialize>(value: &T) -> bool {
    matches!(value.serialize(Probe), Err(Probed::Err))
}

/// A serializer that looks at the first thing it is told, and no further.
struct Probe;

#[derive(Debug)]
enum Probed {
    /// The value is the `Err` of a `Result`.
    Err,
    Other,
}

impl Display for Probed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a probe")
    }
}

impl std::error::Error for Probed {}

impl serde::ser::Error for Probed {
    fn custom<T: Display>(_: T) -> Probed {
        Probed::Other
    }
}

macro_rules! others {
    ($($method:ident($($type:ty),*) -> $ok:ty),* $(,)?) => {
        $(fn $method(self $(, _: $type)*) -> Result<$ok, Probed> {
            Err(Probed::Other)
        })*
    };
}

impl Serializer for Probe {
    type Ok = ();
    type Error = Probed;
    type SerializeSeq = Impossible<(), Probed>;
    type SerializeTuple = Impossible<(), Probed>;
    type SerializeTupleStruct = Impossible<(), Probed>;
    type SerializeTupleVariant = Impossible<(), Probed>;
    type SerializeMap = Impossible<(), Probed>;
    type SerializeStruct = Impossible<(), Probed>;
    type SerializeStructVariant = Impossible<(), Probed>;

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        _: &T,
    ) -> Result<(), Probed> {
        if name == "Result" && variant == "Err" {
            Err(Probed::Err)
        } else {
            Err(Probed::Other)
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> Result<(), Probed> {
        Err(Probed::Other)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: &T,
    ) -> Result<(), Probed> {
        Err(Probed::Other)
    }

    others! {
        serialize_bool(bool) -> (),
        serialize_i8(i8) -> (),
        serialize_i16(i16) -> (),
        serialize_i32(i32) -> (),
        serialize_i64(i64) -> (),
        serialize_u8(u8) -> (),
        serialize_u16(u16) -> (),
        serialize_u32(u32) -> (),
        serialize_u64(u64) -> (),
        serialize_f32(f32) -> (),
        serialize_f64(f64) -> (),
        serialize_char(char) -> (),
        serialize_str(&str) -> (),
        serialize_bytes(&[u8]) -> (),
        serialize_none() -> (),
        serialize_unit() -> (),
        serialize_unit_struct(&'static str) -> (),
        serialize_unit_variant(&'static str, u32, &'static str) -> (),
        serialize_seq(Option<usize>) -> Self::SerializeSeq,
        serialize_tuple(usize) -> Self::SerializeTuple,
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct,
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> Self::SerializeTupleVariant,
        serialize_map(Option<usize>) -> Self::SerializeMap,
        serialize_struct(&'static str, usize) -> Self::SerializeStruct,
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> Self::SerializeStructVariant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_err_is_known_from_a_value() {
        assert!(is_err(&Err::<u32, _>("no")));
        assert!(!is_err(&Ok::<u32, String>(5)));
        assert!(!is_err(&Some(5)));
        let looks_alike = std::collections::BTreeMap::from([("Err", 5)]);
        assert!(!is_err(&looks_alike));
    }

    #[test]
    fn how_an_err_reads() {
        fn text<E: Serialize>(error: E) -> String {
            error_text(
                &value::encode_as(Side::Result, &Err::<(), E>(error)).expect("it is a fine value"),
            )
        }
        assert_eq!(text("no luck"), "no luck");
        assert_eq!(text(Error::msg("of our own")), "of our own");
        assert_eq!(text(7), "the integer 7");
        assert_eq!(text((1, "a")), "an array of 2 elements");
    }
}
