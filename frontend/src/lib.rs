//! The page's WASM entry point.

/// Builds the page at the end of the body. Called by the loader (`public/loader.js`), which then takes away what was
/// served.
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn mount() {
    console_error_panic_hook::set_once();
    leptos::mount::mount_to_body(app::App);
}
