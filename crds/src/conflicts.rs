//! Lists of conflicts that users can read.

use serde::{Deserialize, Serialize};

/// How long a list is if nothing is said.
const LENGTH: u32 = 1_000;

/// Where what was written at the same time in several regions is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Conflicts {
    /// What the lists' keys begin with: that of the region eu is the name, a colon and eu. Each region's leader writes its own, and all regions have all of them.
    pub list: String,
    /// Elements that each list keeps, the newest last. Default 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
}

impl Conflicts {
    /// With every default filled in.
    pub fn settle(&self) -> Conflicts {
        Conflicts { list: self.list.clone(), length: Some(self.length()) }
    }

    /// Elements that each list keeps.
    pub fn length(&self) -> u32 {
        self.length.unwrap_or(LENGTH)
    }
}
