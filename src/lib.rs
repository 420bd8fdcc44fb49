//! Many processes, one live state.

#[cfg(not(target_os = "linux"))]
compile_error!("zproc runs on Linux only (x86-64 and aarch64)");

pub mod client;
pub mod proto;
pub mod runtime;
pub mod sync;
