//! The program `zproc-sim`; see `zproc-sim --help`.

fn main() -> std::process::ExitCode {
    zproc_sim::runner::main()
}
