//! `dashboard demo`: writes the static demo site, which needs no server but one for files.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  dashboard demo --out site            the static site in ./site, for any web server";

/// Options of `demo`.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Directory to write into; it is created if missing
    #[arg(long, env = "DASHBOARD_OUT", value_name = "DIR")]
    pub out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// If there is no demo site to write, or it cannot be written.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    let files = site::files()?;
    let mut bytes = 0;
    for (path, content) in &files {
        let target = args.out.join(path);
        write(&target, content).with_context(|| format!("cannot write {}", target.display()))?;
        bytes += content.len();
    }
    println!("{} files, {bytes} bytes, written to {}", files.len(), args.out.display());
    println!("Serve that directory with any server for static files, under any path.");
    Ok(())
}

fn write(target: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(target, content)
}

/// The static site, by path: the page's files, and a document for each of its fixed routes.
mod site {
    use std::borrow::Cow;

    /// All files.
    pub(super) fn files() -> anyhow::Result<Vec<(String, Cow<'static, [u8]>)>> {
        let mut files = page()?;
        files
            .extend(app::document::static_documents().into_iter().map(|(path, html)| (path, html.into_bytes().into())));
        Ok(files)
    }

    /// The page inside the binary.
    #[cfg(feature = "embed")]
    #[allow(clippy::unnecessary_wraps, reason = "reading from disk, the other way, can fail")]
    fn page() -> anyhow::Result<Vec<(String, Cow<'static, [u8]>)>> {
        Ok(crate::embedded::SITE.iter().map(|file| (file.path.to_owned(), file.plain.into())).collect())
    }

    /// The page of the last build.
    #[cfg(not(feature = "embed"))]
    fn page() -> anyhow::Result<Vec<(String, Cow<'static, [u8]>)>> {
        use anyhow::{Context, bail};
        use walkdir::WalkDir;

        let built = std::path::Path::new("target/site");
        if !built.join("pkg/dashboard.wasm").is_file() {
            bail!("there is no page in {}, and this build carries none: run `make page`", built.display());
        }
        let mut files = Vec::new();
        for entry in WalkDir::new(built).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot list {}", built.display()))?;
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(built)?.to_string_lossy().into_owned();
                let content = std::fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?;
                files.push((path, content.into()));
            }
        }
        Ok(files)
    }
}
