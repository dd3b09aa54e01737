#![no_main]

use dashboard_core::record::Tool;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    dashboard_fuzz::check(Tool::Gemini, data);
    dashboard_fuzz::check_document(Tool::Gemini, "tmp/engine/chats/session-f00.json", data);
});
