#![no_main]

use dashboard_core::record::Tool;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    dashboard_fuzz::check(Tool::OpenCode, data);
    dashboard_fuzz::check_document(Tool::OpenCode, "storage/message/ses_1/msg_1.json", data);
});
