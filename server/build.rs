//! With the feature `embed`: puts the built page into the binary.
//!
//! It has to be built before; a release without it would be an empty page, so that is refused here.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "src/http/content_hash.rs"]
mod content_hash;

/// Smaller than this, compressing is not worth a header.
const WORTH_COMPRESSING_BYTES: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/http/content_hash.rs");
    if env::var_os("CARGO_FEATURE_EMBED").is_none() {
        return Ok(());
    }
    let workspace = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("..");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let site = files(&workspace.join("target/site"), "pkg/dashboard.wasm", "make page")?;

    let mut code = String::from("pub(crate) static SITE: &[Embedded] = &[\n");
    for (index, (path, file)) in site.iter().enumerate() {
        let plain = fs::read(file)?;
        let brotli = compressed(&out, index, "br", &plain, brotli(&plain)?)?;
        let gzip = compressed(&out, index, "gz", &plain, gzip(&plain)?)?;
        let hash = content_hash::content_hash(&plain);
        writeln!(
            code,
            "    Embedded {{ path: {path:?}, plain: include_bytes!({file:?}), brotli: {brotli}, gzip: {gzip}, hash: {hash:?} }},"
        )?;
    }
    code.push_str("];\n");
    fs::write(out.join("embedded.rs"), code)?;
    Ok(())
}

/// All files below `root`, by their path relative to it, sorted. `expected` has to be among them.
fn files(root: &Path, expected: &str, command: &str) -> Result<Vec<(String, PathBuf)>, Box<dyn Error>> {
    println!("cargo::rerun-if-changed={}", root.display());
    if !root.join(expected).is_file() {
        let root = root.display();
        return Err(
            format!("the feature `embed` needs {root}/{expected}: run `make build`, or `{command}` first").into()
        );
    }
    let mut found = Vec::new();
    let mut waiting = vec![root.canonicalize()?];
    let base = waiting[0].clone();
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.file_name().is_some_and(|name| is_served(&name.to_string_lossy())) {
                let relative = path.strip_prefix(&base)?.to_string_lossy().replace('\\', "/");
                found.push((relative, path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Not the leftovers of the build: hidden files, type declarations.
fn is_served(name: &str) -> bool {
    !name.starts_with('.') && !name.ends_with(".d.ts")
}

/// Writes the compressed form beside the code, if it is smaller, and says how the code names it.
fn compressed(out: &Path, index: usize, ending: &str, plain: &[u8], packed: Vec<u8>) -> Result<String, Box<dyn Error>> {
    if plain.len() < WORTH_COMPRESSING_BYTES || packed.len() >= plain.len() {
        return Ok("None".to_owned());
    }
    let file = out.join(format!("{index}.{ending}"));
    fs::write(&file, packed)?;
    Ok(format!("Some(include_bytes!({file:?}))"))
}

fn brotli(plain: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut packed = Vec::new();
    let params = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    brotli::BrotliCompress(&mut &plain[..], &mut packed, &params)?;
    Ok(packed)
}

fn gzip(plain: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(plain)?;
    Ok(encoder.finish()?)
}
