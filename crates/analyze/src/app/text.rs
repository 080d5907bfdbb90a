//! What peers say, as text.

/// Bytes as text; those that are no UTF-8 as `\xff`.
pub(super) fn text(bytes: &[u8]) -> String {
    // Nearly all is UTF-8, and that is quickly seen.
    if let Ok(text) = str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}
