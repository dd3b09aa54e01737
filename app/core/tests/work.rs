//! What reading costs, in work that can be counted: allocations. Time is for `make bench`.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write;

use allocation_counter::{AllocationInfo, measure};
use dashboard_core::ledger::Ledger;
use dashboard_core::record::{Record, Tool};
use dashboard_core::transcript::TranscriptReader;

const LINES: u64 = 2_000;

/// A line as the tool writes it, on the response of this number.
fn response(id: u64, output: u64) -> String {
    format!(
        r#"{{"type":"assistant","parentUuid":"a7","sessionId":"f00","cwd":"/home/ada/engine","gitBranch":"main","version":"2.1.270","requestId":"req_{id}","timestamp":"2026-09-20T10:00:00.000Z","message":{{"id":"msg_{id}","model":"claude-opus-4-5-20251101","content":[{{"type":"text","text":"some words\nof an \"answer\""}}],"usage":{{"input_tokens":10,"output_tokens":{output},"cache_read_input_tokens":20000}}}}}}"#
    )
}

/// A line without usage.
fn prompt(length: usize) -> String {
    let text = "words\\n".repeat(length / 7);
    format!(
        r#"{{"type":"user","sessionId":"f00","timestamp":"2026-09-20T10:00:00.000Z","message":{{"content":"{text}"}}}}"#
    )
}

/// Allocations of reading these lines and counting what they say.
fn cost_of(line: impl Fn(u64) -> String) -> AllocationInfo {
    let mut text = String::new();
    for number in 0..LINES {
        writeln!(text, "{}", line(number)).unwrap();
    }
    let mut ledger = Ledger::default();
    let file = ledger.file(Tool::ClaudeCode, "projects/p/f00.jsonl");
    let mut reader = TranscriptReader::new(Tool::ClaudeCode, "projects/p/f00.jsonl");
    measure(|| {
        for chunk in text.as_bytes().chunks(256 << 10) {
            let _ = reader.read(chunk, &mut |record| {
                if let Record::Usage(usage) = record {
                    ledger.claim(file, &usage, &mut |_| {});
                }
            });
        }
    })
}

#[test]
fn a_line_without_usage_costs_one_allocation_whatever_its_length() {
    let (short, long) = (cost_of(|_| prompt(70)), cost_of(|_| prompt(70_000)));
    assert!(short.count_total <= LINES + 20, "{short:?}");
    // Only a line cut by the end of a chunk is copied, in two steps.
    let chunks = LINES * prompt(70_000).len() as u64 / (256 << 10) + 1;
    assert!(long.count_total <= LINES + 20 + 2 * chunks, "{long:?}");
}

#[test]
fn a_response_costs_few_allocations_and_little_memory() {
    let responses = cost_of(|number| response(number, 300));
    assert!(responses.count_total <= 4 * LINES + 100, "{responses:?}");
    // What stays is the claim and its ids; the ledger grows by doubling.
    assert!(responses.bytes_current <= 400 * i64::try_from(LINES).unwrap(), "{responses:?}");
}

#[test]
fn lines_that_repeat_a_response_leave_nothing_behind() {
    let (once, repeated) = (cost_of(|_| response(1, 300)), cost_of(|number| response(1, number)));
    assert!(once.bytes_current < 4_096 && repeated.bytes_current < 4_096, "{once:?} {repeated:?}");
    assert!(once.count_total <= 3 * LINES + 20 && repeated.count_total <= 5 * LINES + 20, "{once:?} {repeated:?}");
}
