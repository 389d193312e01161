//! Home regions: keys that are written in one region only, so that nothing about them is ever concurrent.

use serde::{Deserialize, Serialize};

/// Keys that one region writes; the others forward commands on them to it, and read their own copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HomeRegion {
    /// Keys that begin with this. Either this or `tag`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Keys with this hash tag, the part between `{` and `}`, whatever they begin with. Either this or `prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The region, one of spec.regions. When it is changed, the keys move: they are written in the new one once everything written in the old one has come.
    pub region: String,
    /// What other regions do with writes of these keys while the region cannot be reached. Default Refuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_unreachable: Option<WhenUnreachable>,
}

/// What other regions do with writes while the home region cannot be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "kubernetes", derive(schemars::JsonSchema))]
pub enum WhenUnreachable {
    /// They are answered -HOMEUNREACHABLE: nothing is ever concurrent.
    #[default]
    Refuse,
    /// They are executed where they are, and merged later like those of keys without a home.
    AcceptLocally,
}

/// The same with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeRule {
    /// Keys that begin with this; empty where `tag` is not.
    pub prefix: String,
    /// Keys with this hash tag; empty where `prefix` is not.
    pub tag: String,
    /// The region that writes them.
    pub region: String,
    /// Others write them while it cannot be reached.
    pub accept_locally: bool,
}

impl HomeRegion {
    /// With every default filled in.
    pub fn settle(&self) -> HomeRule {
        HomeRule {
            prefix: self.prefix.clone().unwrap_or_default(),
            tag: self.tag.clone().unwrap_or_default(),
            region: self.region.clone(),
            accept_locally: self.when_unreachable == Some(WhenUnreachable::AcceptLocally),
        }
    }
}
