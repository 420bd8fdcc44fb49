//! Which limits fit each other, and what the page of limits says of them.

use super::*;

/// Makes a set that fits into one that does not.
type Spoil = fn(&mut Limits);

#[test]
fn small_ones_that_fit_are_taken_and_others_are_refused_by_name() {
    let small = Limits {
        value_bytes_max: 100,
        part_bytes_max: 10,
        change_set_bytes_max: 300,
        change_set_changes_max: 4,
        owned_bytes_max: 299,
        owned_keys_max: 4,
        state_bytes_max: 1,
        ..Limits::USUAL
    };
    assert_eq!(small.check(), Ok(()));
    let cases: [(Spoil, &str); 17] = [
        (|l| l.in_flight_max = 0, "zero"),
        (|l| l.in_flight_max = 1, "that waits"),
        (|l| l.value_bytes_max = VALUE_BYTES_MAX + 1, "clients"),
        (|l| l.key_bytes_max = KEY_BYTES_MAX + 1, "a key"),
        (|l| l.depth_max = DEPTH_MAX + 1, "nesting"),
        (|l| l.value_bytes_max = 301, "a value does not fit"),
        (|l| l.part_bytes_max = 101, "a part"),
        (|l| l.parts_bytes_max = 1000, "all that are kept"),
        (|l| l.owned_bytes_max = 300, "owns"),
        (|l| l.owned_keys_max = 5, "owns"),
        (|l| l.history_bytes_max = 1024, "log"),
        (|l| l.replies_bytes_max = 1024, "retained"),
        (|l| l.outbox_bytes_max = 1024, "updates"),
        (
            |l| l.interests_per_session_bytes_max = 99,
            "wait for a value",
        ),
        (|l| l.connections_silent_max = 5000, "say nothing"),
        (|l| l.locks_per_session_max = 1025, "owns"),
        (|l| l.sessions_max = 1, "session"),
    ];
    for (spoil, text) in cases {
        let mut limits = small;
        spoil(&mut limits);
        let unfit = limits.check().expect_err(text);
        assert!(unfit.to_string().contains(text), "{unfit}");
        // As the user wrote them: each is a field with this figure, or a constant.
        let set = format!("{limits:?}");
        for (name, figure) in unfit.figures.iter().filter(|(name, _)| !name.is_empty()) {
            let field = set.contains(&format!("{name}: {figure}"));
            assert!(field || name.to_uppercase() == **name, "{unfit}");
            assert!(unfit.to_string().contains(&format!("{name} = {figure}")));
        }
    }
}

#[test]
fn figures_without_end_are_looked_at_like_others() {
    let spoils: [Spoil; 4] = [
        |l| l.value_bytes_max = usize::MAX,
        |l| l.change_set_changes_max = usize::MAX,
        |l| l.page_bytes_max = usize::MAX,
        |l| l.owned_bytes_max = usize::MAX,
    ];
    for spoil in spoils {
        let mut limits = Limits::USUAL;
        spoil(&mut limits);
        assert!(limits.check().is_err());
    }
    let mut limits = Limits::USUAL;
    (limits.in_flight_max, limits.state_bytes_max) = (usize::MAX, usize::MAX);
    assert_eq!(limits.check(), Ok(()));
}

/// A figure as the page of limits shows it.
fn shown(name: &str, figure: usize) -> String {
    let of_bytes = name.to_lowercase().contains("bytes");
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units
        .iter()
        .find(|(_, bytes)| of_bytes && figure.is_multiple_of(*bytes));
    unit.map_or(figure.to_string(), |(unit, bytes)| {
        format!("{} {unit}", figure / bytes)
    })
}

#[test]
fn the_page_of_limits_has_each_with_its_figure() {
    let page = include_str!("../../guide/limits.rs");
    // `Limits { value_bytes_max: 1048576, ... }`
    let usual = format!("{:?}", Limits::USUAL);
    let fields = usual
        .split_once('{')
        .expect("a struct")
        .1
        .trim_end_matches('}');
    let fields = fields.split(',').map(|field| {
        let (name, figure) = field.split_once(':').expect("a field");
        (name.trim(), figure.trim().parse().expect("a number"))
    });
    let constants = [
        ("NAMESPACE_BYTES_MAX", NAMESPACE_BYTES_MAX),
        ("WATCH_KEYS_MAX", WATCH_KEYS_MAX),
        ("LEASED_KEYS_MAX", LEASED_KEYS_MAX),
        ("LEASE_STEPS_PER_TURN_MAX", LEASE_STEPS_PER_TURN_MAX),
        ("CONFLICTS_MAX", CONFLICTS_MAX as usize),
        ("QUEUED_AT_ONCE", QUEUED_AT_ONCE as usize),
        ("LOCK_NAME_BYTES_MAX", LOCK_NAME_BYTES_MAX),
        ("READS_MAX", READS_MAX),
        ("READS_BYTES_MAX", READS_BYTES_MAX),
        ("READ_NAMESPACES_MAX", READ_NAMESPACES_MAX),
        ("READ_RANGES_MAX", READ_RANGES_MAX),
        ("COMPARED_BYTES_MAX", COMPARED_BYTES_MAX),
        ("COMPARED_PER_TURN_BYTES_MAX", COMPARED_PER_TURN_BYTES_MAX),
        ("CREDIT_BYTES_MIN", CREDIT_BYTES_MIN as usize),
        ("FRAME_BYTES_MAX", FRAME_BYTES_MAX),
    ];
    let all: Vec<(&str, usize)> = fields.chain(constants).collect();
    for (name, figure) in &all {
        let row = format!("//! | `{name}` | {} | ", shown(name, *figure));
        assert_eq!(page.matches(&row).count(), 1, "the page needs: {row}");
    }
    let rows = page
        .lines()
        .filter(|line| line.starts_with("//! | `"))
        .count();
    assert_eq!(rows, all.len(), "the page has a limit that is none");
}

/// A limit that can't be set is one that nobody has thought about, unless it says why.
#[test]
fn each_constant_is_a_field_or_says_why_it_is_fixed() {
    let source = include_str!("../limits.rs");
    let usual = format!("{:?}", Limits::USUAL);
    let (mut fields, mut fixed) = (0, 0);
    let mut docs = String::new();
    for line in source.lines() {
        if let Some(text) = line.strip_prefix("/// ") {
            docs.push_str(text);
            docs.push('\n');
            continue;
        }
        let name = line
            .strip_prefix("pub const ")
            .filter(|rest| !rest.starts_with("fn "));
        if let Some((name, _)) = name.and_then(|rest| rest.split_once(':')) {
            // `Limits { key_bytes_max: 1024, ... }`
            let is_field = usual.contains(&format!(" {}: ", name.to_lowercase()));
            let has_reason = docs.lines().any(|line| line.starts_with("Fixed: "));
            assert!(is_field != has_reason, "{name}: {docs}");
            fields += usize::from(is_field);
            fixed += usize::from(has_reason);
        }
        docs.clear();
    }
    assert_eq!(fields, usual.matches(": ").count(), "each has its constant");
    assert!(fixed > 30, "{fixed}");
}

/// Users read them there: the constants that have the figures are not among the public docs.
#[test]
fn the_docs_of_each_field_say_what_the_page_says() {
    let page = include_str!("../../guide/limits.rs");
    let source = include_str!("../limits.rs");
    let fields = source
        .split_once("pub struct Limits {")
        .expect("it is here")
        .1;
    let mut docs = String::new();
    let mut documented = 0;
    for line in fields
        .lines()
        .skip(1)
        .map(str::trim)
        .take_while(|line| *line != "}")
    {
        if let Some(text) = line.strip_prefix("/// ") {
            docs.push_str(text);
            docs.push(' ');
            continue;
        }
        let name = line.trim_start_matches("pub ").trim_end_matches(": usize,");
        let row = page
            .lines()
            .find(|row| row.starts_with(&format!("//! | `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("the page has no row for {name}"));
        let cells: Vec<&str> = row
            .split(" | ")
            .map(|cell| cell.trim_end_matches(" |"))
            .collect();
        let [_, _, usual, what, at_it] = cells[..] else {
            panic!("{row}");
        };
        let said = format!("{what}. Usually {usual}. At it: {at_it}.");
        assert!(
            docs.contains(&said),
            "{name} says {docs:?}, and the page {said:?}"
        );
        docs.clear();
        documented += 1;
    }
    assert!(documented > 30, "{documented}");
}

#[test]
fn no_limit_may_be_zero() {
    let spoils: [Spoil; 30] = [
        |l| l.key_bytes_max = 0,
        |l| l.depth_max = 0,
        |l| l.value_bytes_max = 0,
        |l| l.part_bytes_max = 0,
        |l| l.uploads_per_session_max = 0,
        |l| l.owned_bytes_max = 0,
        |l| l.owned_keys_max = 0,
        |l| l.history_entries_max = 0,
        |l| l.state_bytes_max = 0,
        |l| l.namespaces_max = 0,
        |l| l.in_flight_max = 0,
        |l| l.outbox_bytes_max = 0,
        |l| l.watches_per_session_max = 0,
        |l| l.connections_silent_max = 0,
        |l| l.locks_max = 0,
        |l| l.locks_per_session_max = 0,
        |l| l.lock_waiters_max = 0,
        |l| l.connections_max = 0,
        |l| l.processes_live_max = 0,
        |l| l.processes_ended_max = 0,
        |l| l.results_bytes_max = 0,
        |l| l.frames_per_turn_max = 0,
        |l| l.log_entries_per_turn_max = 0,
        |l| l.log_entries_per_tick_max = 0,
        |l| l.updates_queued_bytes_max = 0,
        |l| l.page_entries_max = 0,
        |l| l.page_bytes_max = 0,
        |l| l.leases_max = 0,
        |l| l.leases_per_session_max = 0,
        |l| l.validation_steps_max = 0,
    ];
    for (number, spoil) in spoils.iter().enumerate() {
        let mut limits = Limits::USUAL;
        spoil(&mut limits);
        let unfit = limits.check().expect_err("it is zero").to_string();
        let name = unfit.trim_end_matches(" = 0)").rsplit('(').next();
        let name = name.expect("it is named");
        // That it is this one: the others are not.
        let set = format!("{limits:?}");
        assert!(
            set.contains(&format!("{name}: 0")),
            "number {number}: {unfit}"
        );
    }
}

/// One of the usual limits is set to a figure that is taken, and to its neighbour that is not.
fn turns_at(refused: usize, taken: usize, set: fn(&mut Limits, usize), unfit: &str) {
    let with = |figure| {
        let mut limits = Limits::USUAL;
        set(&mut limits, figure);
        limits.check()
    };
    assert_eq!(with(taken), Ok(()));
    let told = with(refused).expect_err(unfit).to_string();
    assert!(told.contains(unfit), "{told}");
}

#[test]
fn frames_have_room_for_messages_of_the_largest_size() {
    let room = FRAME_BYTES_MAX - MESSAGE_OVERHEAD_BYTES_MAX;
    let changes = (room - CHANGE_SET_BYTES_MAX) / 64;
    let set: fn(&mut Limits, usize) = |l, figure| l.change_set_changes_max = figure;
    turns_at(
        changes + 1,
        changes,
        set,
        "a change set does not fit a frame",
    );
    let page = room - VALUE_BYTES_MAX - KEY_BYTES_MAX - 8 * PAGE_ENTRIES_MAX;
    let set: fn(&mut Limits, usize) = |l, figure| l.page_bytes_max = figure;
    turns_at(page + 1, page, set, "a page");
    let outcome = VALUE_BYTES_MAX
        + 2 * FAILURE_BYTES_MAX
        + 2 * OUTPUT_TAIL_BYTES_MAX
        + MESSAGE_OVERHEAD_BYTES_MAX;
    let set: fn(&mut Limits, usize) = |l, figure| l.replies_bytes_max = figure;
    turns_at(outcome - 1, outcome, set, "retained");
}
