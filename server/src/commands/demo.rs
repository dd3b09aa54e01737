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

#[cfg(feature = "embed")]
mod site {
    use std::borrow::Cow;

    /// The site inside the binary, by path.
    #[allow(clippy::unnecessary_wraps, reason = "reading from disk, the other way, can fail")]
    pub(super) fn files() -> anyhow::Result<Vec<(String, Cow<'static, [u8]>)>> {
        Ok(crate::embedded::DEMO.iter().map(|(path, content)| ((*path).to_owned(), (*content).into())).collect())
    }
}

#[cfg(not(feature = "embed"))]
mod site {
    use std::borrow::Cow;
    use std::path::Path;

    use anyhow::{Context, bail};
    use walkdir::WalkDir;

    /// Where the build puts it.
    const BUILT: &str = "target/demo";

    /// The site of the last build, by path.
    pub(super) fn files() -> anyhow::Result<Vec<(String, Cow<'static, [u8]>)>> {
        if !Path::new(BUILT).join("index.html").is_file() {
            bail!("there is no demo site in {BUILT}, and this build carries none: run `make demo`");
        }
        let mut files = Vec::new();
        for entry in WalkDir::new(BUILT).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot list {BUILT}"))?;
            if entry.file_type().is_file() {
                let path = entry.path().strip_prefix(BUILT)?.to_string_lossy().into_owned();
                let content = std::fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?;
                files.push((path, content.into()));
            }
        }
        Ok(files)
    }
}
