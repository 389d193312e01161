//! The table can be read, and the page is written from it.

use std::path::Path;

#[test]
fn the_page_is_written_from_the_table() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let page = Path::new(&folder).join("README.md");
    let text = trireme_conflicts::markdown(&trireme_conflicts::table().unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&page, &text).unwrap();
    }
    let there = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(there == text, "run UPDATE_GOLDEN=1 cargo test -p trireme-conflicts, and read the difference");
}
