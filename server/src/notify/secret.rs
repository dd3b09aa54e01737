//! The secret that JSON webhooks are signed with: made once, kept in the data directory, readable by this user only.

use std::path::{Path, PathBuf};

use crate::http::Token;

/// The file's name in the data directory.
const FILE: &str = "webhook-secret";

/// Where the secret is kept, for who checks signatures.
pub fn secret_file(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// The secret; one of this run where none can be kept, which is said.
pub(super) fn of(data_dir: Option<&Path>) -> String {
    let kept = data_dir.map(|dir| Token::kept_at(&secret_file(dir)));
    let kept = kept.unwrap_or_else(Token::random).or_else(|error| {
        tracing::warn!(%error, "the secret for signing webhooks cannot be kept; this run has its own");
        Token::random()
    });
    match kept {
        Ok(secret) => secret.reveal().to_owned(),
        Err(error) => {
            tracing::error!(%error, "no secret for signing webhooks; signatures are worth nothing");
            String::new()
        }
    }
}
