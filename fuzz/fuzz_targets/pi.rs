#![no_main]

use dashboard_core::record::Tool;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| dashboard_fuzz::check(Tool::Pi, data));
