//! Writes `crds/generated/*.yaml`, the definitions that an API server is given, from the types and rules of this crate.

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("generated");
    fs::create_dir_all(&folder)?;
    for definition in trireme_crds::kubernetes::definitions() {
        fs::write(folder.join(&definition.file), definition.text()?)?;
    }
    Ok(())
}
