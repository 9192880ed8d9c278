//! Packs the module: LZMA makes a quarter less of it than what browsers unpack by themselves.

use std::io::Write;

use lzma_rust2::{LzmaOptions, LzmaWriter};

/// The bytes as an LZMA file, with its length in its head. `unpack.js` reads it.
pub fn pack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut options = LzmaOptions::with_preset(9);
    // Found by trying; instructions have no fixed length.
    (options.lc, options.lp, options.pb) = (4, 0, 0);
    options.nice_len = 273;
    options.dict_size = 1 << 22;
    let length = u64::try_from(bytes.len()).map_err(|fault| fault.to_string())?;
    let mut writer =
        LzmaWriter::new_use_header(Vec::new(), &options, Some(length)).map_err(|fault| fault.to_string())?;
    writer.write_all(bytes).map_err(|fault| fault.to_string())?;
    writer.finish().map_err(|fault| fault.to_string())
}
