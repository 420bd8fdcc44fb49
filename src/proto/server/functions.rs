//! The program's functions, as the server's machine knows them.

use super::super::message::{Failure, FunctionRef};
use super::super::store::{Transaction, View};
use super::wire;

/// The functions of the program, which the server calls in the middle of its work.
pub trait Functions: Send {
    /// Runs an atomic function on the transaction; gives its encoded result.
    ///
    /// # Errors
    /// What came of it instead; everything it wrote is then undone.
    fn atomic(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        transaction: &mut Transaction<'_>,
    ) -> Result<Vec<u8>, FunctionFailure>;

    /// Tests a condition; gives its encoded result if it holds.
    ///
    /// # Errors
    /// What came of it instead; it ends that wait alone.
    fn condition(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        view: &View<'_>,
    ) -> Result<Option<Vec<u8>>, FunctionFailure>;
}

/// Of a server that runs none.
#[derive(Debug, Clone, Copy)]
pub struct NoFunctions;

impl Functions for NoFunctions {
    fn atomic(
        &mut self,
        _: &str,
        _: &FunctionRef<'_>,
        _: &[u8],
        _: &mut Transaction<'_>,
    ) -> Result<Vec<u8>, FunctionFailure> {
        Err(FunctionFailure::Unknown)
    }

    fn condition(
        &mut self,
        _: &str,
        _: &FunctionRef<'_>,
        _: &[u8],
        _: &View<'_>,
    ) -> Result<Option<Vec<u8>>, FunctionFailure> {
        Err(FunctionFailure::Unknown)
    }
}

/// An error or a panic, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaultText {
    /// What it says.
    pub message: String,
    /// `file:line:column`, if known.
    pub location: String,
    /// The backtrace, if there is one.
    pub backtrace: String,
}

/// Why a function gave no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionFailure {
    /// It returned an error.
    Error(FaultText),
    /// It panicked.
    Panic(FaultText),
    /// Its argument could not be decoded or its result not encoded.
    Undecodable(FaultText),
    /// Its result is over this limit.
    TooLarge {
        /// The limit's name.
        limit: String,
        /// What it is.
        actual: u64,
        /// What is allowed.
        max: u64,
    },
    /// There is no such function in this program.
    Unknown,
    /// It was run twice on the same state and did not do the same: what differs, in words.
    NotDeterministic(String),
}

impl FunctionFailure {
    /// As its caller is told; `name` is the function's.
    #[must_use]
    pub fn told<'a>(&'a self, name: &'a str) -> Failure<'a> {
        wire::function_failure(self, name)
    }
}
