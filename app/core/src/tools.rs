//! The list of tools: one line each. Everything that is per tool follows from it.
//!
//! A line names the variant of [`Tool`](crate::record::Tool), the id, and the module in `transcript/` that holds the
//! tool's parser (`State`, `Parser`) and its [`ToolSpec`](crate::transcript::ToolSpec) (`SPEC`). The id is what options,
//! checkpoints and databases hold: it never changes. The first line is the default tool.
//!
//! [`tools!`] passes the list to a macro; those that take it define the enum, the parsers and their states.

macro_rules! tools {
    ($then:ident) => {
        $then! {
            /// Anthropic's Claude Code.
            ClaudeCode = "claude-code" in claude;
            /// OpenAI's Codex CLI.
            Codex = "codex" in codex;
            /// Google's Gemini CLI.
            Gemini = "gemini" in gemini;
            /// OpenCode, with models of any vendor.
            OpenCode = "opencode" in opencode;
            /// pi, with models of any vendor.
            Pi = "pi" in pi;
            /// GitHub's Copilot CLI.
            Copilot = "copilot" in copilot;
        }
    };
}

pub(crate) use tools;
