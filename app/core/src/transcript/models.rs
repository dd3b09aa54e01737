//! Models as tools that work with any vendor name them.

use super::window_tokens;
use crate::ids::ModelId;
use crate::units::Tokens;

/// Size of the context window of Gemini 2.5 and 3, all variants.
const GEMINI_WINDOW: Tokens = Tokens(1_048_576);

/// The model of this name, as its own vendor and the price table name it.
///
/// Tools that reach models through a gateway put the provider before the name (`anthropic/claude-opus-4.5`,
/// `openrouter/google/gemini-3-pro`): what is before the last `/` is dropped. Some write the version of a Claude model
/// with a dot: it becomes a dash. Nothing else is changed, so a variant that costs less (`:free`), and the longer names
/// of other clouds, have no price rather than a wrong one.
pub(super) fn model_named(name: Option<&str>) -> ModelId {
    let name = name.unwrap_or("unknown");
    let name = name.rsplit('/').next().filter(|last| !last.is_empty()).unwrap_or(name);
    if name.starts_with("claude-") && name.contains('.') {
        return ModelId::new(name.replace('.', "-"));
    }
    ModelId::new(name)
}

/// Size of a model's context window, where that follows from its name; `seen` is a fill that was seen with it.
pub(super) fn window_of(model: &ModelId, seen: Tokens) -> Option<Tokens> {
    let name = model.as_str();
    if name.starts_with("claude-") {
        Some(window_tokens(model, seen))
    } else {
        name.starts_with("gemini-").then_some(GEMINI_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn names_are_brought_to_their_vendors_form() {
        for (name, expected) in [
            (Some("claude-sonnet-4-5"), "claude-sonnet-4-5"),
            (Some("claude-sonnet-4.5"), "claude-sonnet-4-5"),
            (Some("anthropic/claude-opus-4.5"), "claude-opus-4-5"),
            (Some("openrouter/google/gemini-2.5-pro"), "gemini-2.5-pro"),
            (Some("gpt-5.2"), "gpt-5.2"),
            (Some("qwen/qwen3-coder:free"), "qwen3-coder:free"),
            (Some("us.anthropic.claude-sonnet-4-20250514-v1:0"), "us.anthropic.claude-sonnet-4-20250514-v1:0"),
            (Some("odd/"), "odd/"),
            (None, "unknown"),
        ] {
            assert_eq!(model_named(name).as_str(), expected, "{name:?}");
        }
    }

    #[test]
    fn windows_that_a_name_tells() {
        assert_eq!(window_of(&"gemini-3-pro".into(), Tokens(1)), Some(GEMINI_WINDOW));
        assert_eq!(window_of(&"claude-sonnet-4-5".into(), Tokens(1)), Some(Tokens(200_000)));
        assert_eq!(window_of(&"gpt-5".into(), Tokens(1)), None);
    }
}
