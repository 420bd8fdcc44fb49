//! What the table of processes tells of real ones: CPU and memory, now and at the end.

use std::hint::black_box;
use std::time::Duration;
use zproc::{Context, ProcessState};

const MEMORY_BYTES: usize = 64 << 20;

/// Uses some memory and CPU, says so, and goes on until it is told to end.
fn busy(ctx: &Context, _: ()) {
    let memory = vec![1_u8; MEMORY_BYTES];
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(100) {
        black_box(&memory);
    }
    ctx.state().set("busy", &true).expect("set");
    ctx.state().wait_equal("end", &true).expect("wait");
    black_box(memory);
}

#[test]
fn what_a_process_uses_now_and_has_used_at_its_end() {
    let ctx = Context::new().expect("a tree");
    let process = ctx.process(busy).name("busy").spawn(()).expect("spawn");
    ctx.state().wait_equal("busy", &true).expect("wait");
    let processes = ctx.processes().expect("the table");
    let now = processes.find(process.id()).expect("it is listed");
    assert_eq!(now.state, ProcessState::Running);
    assert_eq!(now.pid, process.pid().expect("its record"));
    let memory = now.memory_bytes.expect("it can be asked");
    assert!(
        memory > MEMORY_BYTES as u64 && memory < 40 * MEMORY_BYTES as u64,
        "{memory}"
    );
    // How much of the time it got is the system's affair.
    assert!(now.cpu.expect("it can be asked") > Duration::ZERO);
    assert!(now.age > Duration::from_millis(50) && now.age < Duration::from_secs(3600));
    assert!(processes.to_string().contains("busy"), "{processes}");

    ctx.state().set("end", &true).expect("set");
    let outcome = process.outcome().expect("it ends");
    let processes = ctx.processes().expect("the table");
    let end = processes.find(process.id()).expect("it is listed");
    assert_eq!(end.state, ProcessState::Ended);
    assert_eq!(end.memory_bytes, Some(outcome.memory_bytes_max));
    assert_eq!(end.cpu, Some(outcome.cpu_user + outcome.cpu_system));
    assert_eq!(end.age, outcome.wall);
    assert!(outcome.memory_bytes_max > MEMORY_BYTES as u64);
}
