// Names a file's content in its ETag. Also part of build.rs, hence no module documentation and no imports of ours.

use std::hash::Hasher;

/// 64 bits over the content, as 16 hex digits: changes when the file does, which is all an `ETag` is for.
#[allow(dead_code, reason = "the build script and the two ways of serving files each need it or not")]
pub(crate) fn content_hash(content: &[u8]) -> String {
    // SipHash with fixed keys: the same in every process built with this compiler.
    #[allow(clippy::default_trait_access)]
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(content);
    format!("{:016x}", hasher.finish())
}
