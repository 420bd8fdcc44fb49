//! The state, as it grows and as many look at it: what one operation costs among few and many entries,
//! memory per entry, many callers at once and many operations in one call, one update to many watchers,
//! catching up, what others notice of somebody who asks for much, what each limit costs when it is
//! reached, and how many instructions the core takes. Beside Redis, where `redis-server` is installed.
//!
//! ```text
//! cargo bench --bench state [-- [--json] [PART]...]
//! ```
//!
//! The parts are `alone`, `callers`, `cost`, `memory`, `watchers`, `others`, `full`, `instructions`; without
//! one, all of them.

#[path = "../measure/mod.rs"]
mod measure;

mod alone;
mod callers;
mod cost;
mod fills;
mod full;
mod instructions;
mod memory;
mod others;
mod redis;
mod tree;
mod watchers;

use measure::Options;

type Part = fn(&Options) -> Result<(), Failure>;
type Failure = Box<dyn std::error::Error>;

/// One figure, with that of a peer if there is one.
fn tell(options: &Options, name: &str, figure: f64, unit: &str, peer: Option<(&str, f64)>) {
    if options.json {
        let peer = peer.map_or(String::new(), |(name, figure)| {
            format!(r#","peer_name":"{name}","peer":{figure:.3}"#)
        });
        println!(r#"{{"name":"{name}","ours":{figure:.3},"unit":"{unit}"{peer}}}"#);
        return;
    }
    print!("{name:<44} {figure:>12.1} {unit}");
    if let Some((name, other)) = peer {
        print!("   {name} {other:.1}   {:.2} x", figure / other);
    }
    println!();
}

/// How much of everything: all of it in earnest, little in a trial run.
fn amount(options: &Options, in_earnest: usize) -> usize {
    match options.in_earnest {
        true => in_earnest,
        false => in_earnest.min(200),
    }
}

fn main() -> Result<(), Failure> {
    let options = Options::from_arguments();
    let asked: Vec<String> = std::env::args().collect();
    if let [_, calls_of, operation, count] = &asked[..]
        && calls_of == instructions::CALLS_OF
    {
        return instructions::calls_of(operation, count.parse()?);
    }
    let parts: [(&str, Part); 8] = [
        ("callers", callers::run),
        ("memory", memory::run),
        ("watchers", watchers::run),
        ("others", others::run),
        ("full", full::run),
        ("alone", alone::run),
        ("cost", cost::run),
        ("instructions", instructions::run),
    ];
    let any = parts
        .iter()
        .any(|(name, _)| asked.iter().any(|a| a == name));
    for (name, run) in parts {
        if !any || asked.iter().any(|a| a == name) {
            if !options.json {
                println!("\n{name}");
            }
            run(&options)?;
        }
    }
    Ok(())
}
