//! The secret that opens the dashboard, and where one that nobody chose is kept.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::platform;

/// Fewest characters of a token: with less, trying would be worth it.
const MIN_CHARS: usize = 16;
/// Most characters of a token.
const MAX_CHARS: usize = 256;
/// Random bytes of a token or session id that is made here.
const RANDOM_BYTES: usize = 32;
/// Name of the token's file in the data directory.
const FILE_NAME: &str = "token";

/// A secret that opens the dashboard.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// A token that is too short, or could not travel in a URL or a header as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token is 16 to 256 letters, digits and any of - . _ ~; `auto` makes one")]
pub struct BadToken;

impl FromStr for Token {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        let fits = (MIN_CHARS..=MAX_CHARS).contains(&text.len()) && text.bytes().all(plain);
        fits.then(|| Self(text.into())).ok_or(BadToken)
    }
}

impl Token {
    /// A new one that nobody can guess: 256 random bits in hexadecimal.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0; RANDOM_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(format!("no random numbers: {error}")))?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(text.into()))
    }

    /// The token kept in the data directory `dir`, made if there is none. Its file is readable by this user only; one
    /// that others could read, or that holds no token, is replaced.
    ///
    /// # Errors
    /// If the file can neither be read nor written.
    pub fn kept_in(dir: &Path) -> io::Result<Self> {
        Self::kept_at(&Self::file_in(dir))
    }

    /// The same in this file.
    ///
    /// # Errors
    /// If the file can neither be read nor written.
    pub fn kept_at(file: &Path) -> io::Result<Self> {
        match read(file) {
            Ok(Some(token)) => return Ok(token),
            Ok(None) => fs::remove_file(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        platform::create_private_dir(file.parent().unwrap_or(Path::new("")))?;
        let token = Self::random()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(file) {
            Ok(mut open) => open.write_all(token.0.as_bytes()).map(|()| token),
            // Another dashboard that is starting was quicker.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => read(file)?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    /// Where [`Token::kept_in`] keeps it.
    pub fn file_in(dir: &Path) -> PathBuf {
        dir.join(FILE_NAME)
    }

    /// The secret itself, for the address that is shown to the one who started the dashboard.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in a time that depends on the lengths alone.
    pub(super) fn matches(&self, offered: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), offered.as_bytes());
        let difference = ours.iter().zip(theirs).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
        difference == 0 && ours.len() == theirs.len()
    }
}

/// The token in `file`; none if it holds none, or if others could have read it.
fn read(file: &Path) -> io::Result<Option<Token>> {
    let open = fs::File::open(file)?;
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&open.metadata()?.permissions()) & 0o077 != 0 {
        return Ok(None);
    }
    let mut text = String::new();
    match open.take(MAX_CHARS as u64 + 1).read_to_string(&mut text) {
        Ok(_) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(error),
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What `--token` says.
#[derive(Clone, Debug)]
pub enum TokenChoice {
    /// This one.
    Given(Token),
    /// One that is made and kept in the data directory.
    Auto,
}

impl FromStr for TokenChoice {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        if text == "auto" { Ok(Self::Auto) } else { text.parse().map(Self::Given) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_plain_text_and_not_printed() {
        let long = "a".repeat(257);
        for text in ["", "short", "fifteen-letters", "sixteen letters!", "sixteen-letters/", long.as_str(), "auto"] {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
        assert!("fifteen-letters".parse::<Token>().unwrap_err().to_string().contains("16"));
        let token: Token = "sixteen-letters-".parse().unwrap();
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!(matches!("auto".parse(), Ok(TokenChoice::Auto)));
        assert!(matches!("sixteen-letters-".parse(), Ok(TokenChoice::Given(_))));
    }

    #[test]
    fn comparing_takes_the_whole_token() {
        let token: Token = "sixteen-letters-".parse().unwrap();
        assert!(token.matches("sixteen-letters-"));
        for wrong in ["", "sixteen-letters", "sixteen-letters-x", "Sixteen-letters-"] {
            assert!(!token.matches(wrong), "{wrong}");
        }
        assert_ne!(Token::random().unwrap().reveal(), Token::random().unwrap().reveal());
    }

    #[test]
    #[cfg(unix)]
    fn a_made_token_is_kept_for_this_user_and_reused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let first = Token::kept_in(&data).unwrap();
        let file = Token::file_in(&data);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(Token::kept_in(&data).unwrap().reveal(), first.reveal());
        assert_eq!(fs::read_to_string(&file).unwrap(), first.reveal());

        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        let second = Token::kept_in(&data).unwrap();
        assert_ne!(second.reveal(), first.reveal(), "others could have read it");
        for bad in ["too-short", "", "\u{0}\u{1}"] {
            fs::write(&file, bad).unwrap();
            assert!(Token::kept_in(&data).unwrap().reveal().len() >= MIN_CHARS);
        }
        fs::write(&file, [0xff; 40]).unwrap();
        assert!(Token::kept_in(&data).is_ok());
    }
}
