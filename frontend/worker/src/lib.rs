//! The WASM of the page's worker. `public/worker.js` carries its frames.

use wasm_bindgen::prelude::wasm_bindgen;

/// Answers the page; see [`dashboard_core::worker`].
#[wasm_bindgen]
#[derive(Debug, Default)]
pub struct Worker(dashboard_core::worker::Worker);

#[wasm_bindgen]
impl Worker {
    /// A worker that plays nothing yet.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a frame of the page, as JSON, is answered with, as JSON. Nothing for what is no frame: page and worker are
    /// of one build.
    pub fn handle(&mut self, frame: &str) -> Vec<String> {
        let frames = serde_json::from_str(frame).map(|frame| self.0.handle(frame)).unwrap_or_default();
        frames.iter().filter_map(|frame| serde_json::to_string(frame).ok()).collect()
    }
}
