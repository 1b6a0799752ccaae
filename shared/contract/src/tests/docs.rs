//! `docs/contract.md` names everything that a caller can meet.

use crate::call::{QUERIES, UPDATES};
use crate::{
    ACTIVE_EVENT, ALIVE_EVENT, AMENDED_EVENT, CLOSED_EVENT, EXCHANGED_EVENT, PUBLISHED_EVENT, STATUS_EVENT,
    TERMINATED_EVENT,
};

const PAGE: &str = include_str!("../../../../docs/contract.md");
const REASONS: &str = include_str!("../../../../docs/reasons.md");

fn is_named(page: &str, word: &str) -> bool {
    page.contains(&format!("`{word}`"))
}

/// The words that stand between quotes right after `before` in a source.
fn words<'a>(source: &'a str, before: &str) -> Vec<&'a str> {
    let after = source.split(before).skip(1);
    after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next()).collect()
}

#[test]
fn every_function_is_documented_with_whether_it_reads_only() {
    for function in UPDATES {
        assert!(PAGE.lines().any(|line| line.starts_with("| `") && is_named(line, function)), "{function}");
    }
    for function in QUERIES {
        assert!(PAGE.contains(&format!("| `{function}` *q* |")), "{function}");
    }
    // And nothing is documented that is not there.
    for line in PAGE.lines().filter(|line| line.starts_with("| `")) {
        let cell = line.split('|').nth(1).unwrap();
        for name in cell.split('`').skip(1).step_by(2).filter(|name| name.contains(':')) {
            assert!(UPDATES.contains(&name) || QUERIES.contains(&name), "{name}");
        }
    }
}

#[test]
fn every_error_has_its_place_on_the_page() {
    let codes = words(include_str!("../error.rs"), "=>");
    assert!(codes.len() > 35, "{codes:?}");
    for code in codes {
        assert!(is_named(PAGE, code), "{code}");
    }
}

#[test]
fn every_verdict_and_event_has_its_place_on_a_page() {
    let codes =
        [include_str!("../data/publish.rs"), include_str!("../data/chain.rs")].map(|text| words(text, "refuse("));
    let codes: Vec<&str> = codes.into_iter().flatten().collect();
    assert!(codes.len() > 15, "{codes:?}");
    for code in codes {
        assert!(is_named(PAGE, code) || is_named(REASONS, code), "{code}");
    }
    let events = [
        ACTIVE_EVENT,
        ALIVE_EVENT,
        AMENDED_EVENT,
        CLOSED_EVENT,
        EXCHANGED_EVENT,
        PUBLISHED_EVENT,
        STATUS_EVENT,
        TERMINATED_EVENT,
        "configured",
    ];
    for event in events {
        assert!(is_named(PAGE, event), "{event}");
    }
}
