//! What the simulator `zproc-sim`, the benches and the fuzz targets are built on. **Unstable:
//! exempt from semantic versioning.**
//!
//! The simulator runs the crate's own core, client and api, and puts its own world behind the port.
//! For that it needs parts which programs do not. They are named here, so that this file is all
//! that is shared with it; the stable rest is on the crate's front page.

pub use crate::api::shipped::{Finished, ShippedFunctions, run_process, run_task};
pub use crate::process::code::build_id;
pub use crate::process::panics;
#[cfg(feature = "recording")]
pub use crate::process::record;
pub use crate::process::stopping::end_by_signals;
pub use crate::tree::socket_path;

#[doc(inline)]
pub use crate::{client, proto, runtime};
