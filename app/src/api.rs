//! Asks the server for what the state does not hold, and tells it what the user wants. Not called where there is none.
//!
//! Answers stay JavaScript values and are read field by field: a decoder for every report's type would be the larger
//! part of the WASM, for tables whose cells are texts in the end.

use leptos::prelude::window;
use leptos::wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{Headers, RequestInit, Response};

/// An answer without a body.
const NO_CONTENT: u16 = 204;

/// The JSON at `path`, or what went wrong in words.
pub(crate) async fn get(path: &str) -> Result<JsValue, String> {
    answer(window().fetch_with_str(path)).await
}

/// Sends JSON to `path`. What is answered, null if nothing is; or what went wrong in words.
pub(crate) async fn send(method: &str, path: &str, body: &str) -> Result<JsValue, String> {
    let init = RequestInit::new();
    init.set_method(method);
    init.set_body(&JsValue::from_str(body));
    if let Ok(headers) = Headers::new() {
        // Names and values are plain.
        let _ = headers.set("content-type", "application/json");
        init.set_headers(&headers);
    }
    answer(window().fetch_with_str_and_init(path, &init)).await
}

async fn answer(asked: js_sys::Promise) -> Result<JsValue, String> {
    let unreachable = |_| "the server does not answer".to_owned();
    let response = JsFuture::from(asked).await.map_err(unreachable)?;
    let response: Response = response.dyn_into().map_err(unreachable)?;
    let status = response.status();
    let ok = response.ok();
    if status == NO_CONTENT {
        return Ok(JsValue::NULL);
    }
    let body = response.json().map_err(unreachable)?;
    let body = JsFuture::from(body).await.map_err(|_| format!("the server answers {status} without a reason"))?;
    if ok { Ok(body) } else { Err(text(&body, "message").unwrap_or_else(|| format!("the server answers {status}"))) }
}

/// A field; undefined if there is none.
pub(crate) fn field(value: &JsValue, name: &str) -> JsValue {
    js_sys::Reflect::get(value, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
}

/// A text; `None` if it is null or missing.
pub(crate) fn text(value: &JsValue, name: &str) -> Option<String> {
    field(value, name).as_string()
}

/// A number; `None` if it is null or missing.
pub(crate) fn number(value: &JsValue, name: &str) -> Option<f64> {
    field(value, name).as_f64()
}

/// A count; 0 if it is missing.
pub(crate) fn count(value: &JsValue, name: &str) -> u64 {
    // The server counts below 2^53; the cast saturates.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let count = number(value, name).unwrap_or_default() as u64;
    count
}

/// The items of a list; none if it is missing.
pub(crate) fn list(value: &JsValue, name: &str) -> Vec<JsValue> {
    field(value, name).dyn_into::<js_sys::Array>().map(|list| list.to_vec()).unwrap_or_default()
}
