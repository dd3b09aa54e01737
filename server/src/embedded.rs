//! The built page inside the binary; written by build.rs.

/// A file of the site, with its compressed forms where they are smaller.
pub(crate) struct Embedded {
    /// Relative to the site, with `/`.
    pub(crate) path: &'static str,
    /// The file.
    pub(crate) plain: &'static [u8],
    /// Compressed for browsers.
    pub(crate) brotli: Option<&'static [u8]>,
    /// Compressed for the others.
    pub(crate) gzip: Option<&'static [u8]>,
    /// Names the content.
    pub(crate) hash: &'static str,
}

// `SITE`, sorted by path.
include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
