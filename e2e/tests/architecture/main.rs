//! The rules of ARCHITECTURE.md that a program can check: who may import whom, and how the code is kept readable.
//!
//! Each test lists every violation, one a line, with what is allowed instead.

mod imports;
mod source;
mod tidy;

/// Fails with all of them.
fn none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}
