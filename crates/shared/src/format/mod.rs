//! The file formats: one module each, readers and writers side by side.
