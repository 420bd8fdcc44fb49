//! The program's functions in the server, each written down before it is called.

use super::page::Page;
use super::sys;
use crate::proto::message::FunctionRef;
use crate::proto::server::{FunctionFailure, Functions};
use crate::proto::store::{Transaction, View};
use std::os::fd::{AsFd as _, OwnedFd};

/// Functions that are noted in the tree's page while they run, so that whatever they do to the
/// server, it is known which it was.
pub(crate) struct Noted<F> {
    functions: F,
    page: Page,
    /// Rung when the keeper does not watch.
    bell: OwnedFd,
}

impl<F> Noted<F> {
    pub(crate) fn new(functions: F, page: Page, bell: OwnedFd) -> Noted<F> {
        Noted {
            functions,
            page,
            bell,
        }
    }

    fn noted<R>(&mut self, function: &FunctionRef<'_>, call: impl FnOnce(&mut F) -> R) -> R {
        if self.page.begin(function.offset) {
            sys::ring(self.bell.as_fd());
        }
        // Panics are caught further in, so the end is always noted.
        let result = call(&mut self.functions);
        self.page.end();
        result
    }
}

impl<F: Functions> Functions for Noted<F> {
    fn atomic(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        transaction: &mut Transaction<'_>,
    ) -> Result<Vec<u8>, FunctionFailure> {
        self.noted(function, |functions| {
            functions.atomic(namespace, function, args, transaction)
        })
    }

    fn condition(
        &mut self,
        namespace: &str,
        function: &FunctionRef<'_>,
        args: &[u8],
        view: &View<'_>,
    ) -> Result<Option<Vec<u8>>, FunctionFailure> {
        self.noted(function, |functions| {
            functions.condition(namespace, function, args, view)
        })
    }
}
