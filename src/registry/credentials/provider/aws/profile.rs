//! `~/.aws/credentials` and `~/.aws/config`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::exchange::{Failure, read_file};
use super::super::variables::Variables;

/// The settings of each profile.
#[derive(Debug, Default)]
pub(super) struct Profiles(BTreeMap<String, BTreeMap<String, String>>);

/// One profile's settings.
pub(super) type Profile = BTreeMap<String, String>;

impl Profiles {
    /// Reads both files, as far as they are there; the credentials file wins.
    ///
    /// # Errors
    /// A file that is there, or named by a variable, and cannot be read.
    pub(super) fn read(variables: &Variables) -> Result<Self, Failure> {
        let (config, keys) = files(variables);
        let mut profiles = Self::default();
        for ((path, named), is_config) in [(config, true), (keys, false)] {
            if named || path.exists() {
                profiles.add(&read_file(&path)?, is_config);
            }
        }
        Ok(profiles)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    /// Lines of the usual form: `[profile name]`, `key = value`, comments. What is none of them does not count.
    ///
    /// # Source
    /// AWS SDKs and Tools Reference Guide, "Shared config and credentials files".
    fn add(&mut self, text: &str, is_config: bool) {
        let mut profile = None;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                profile = section.split_once(']').and_then(|(name, _)| profile_name(name.trim(), is_config));
            } else if let (Some(name), Some((key, value))) = (&profile, line.split_once('='))
                && !line.starts_with(['#', ';'])
            {
                let settings = self.0.entry(String::clone(name)).or_default();
                settings.insert(key.trim().to_ascii_lowercase(), uncommented(value).to_owned());
            }
        }
    }
}

/// Both files, and whether a variable names them.
fn files(variables: &Variables) -> ((PathBuf, bool), (PathBuf, bool)) {
    let file = |name: &str, usual: &str| {
        variables.path(name).map_or_else(|| (variables.at_home(usual), false), |path| (path, true))
    };
    (file("AWS_CONFIG_FILE", ".aws/config"), file("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"))
}

/// Whether there is any of them.
pub(super) fn exists(variables: &Variables) -> bool {
    let (config, keys) = files(variables);
    config.0.exists() || keys.0.exists()
}

/// A setting of the profile that variables name, else of `default`.
pub(super) fn chosen(variables: &Variables, profiles: &Profiles, key: &str) -> Option<String> {
    let named = variables.get("AWS_PROFILE").or_else(|| variables.get("AWS_DEFAULT_PROFILE"));
    let profile = profiles.get(named.as_deref().unwrap_or("default"))?;
    profile.get(key).filter(|value| !value.is_empty()).cloned()
}

/// In the config file all but `default` are written `profile NAME`.
fn profile_name(section: &str, is_config: bool) -> Option<String> {
    let named = section.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t'])).map(str::trim);
    match named {
        Some(name) if is_config => Some(name.to_owned()),
        None if !is_config || section == "default" => Some(section.to_owned()),
        _ => None,
    }
}

fn uncommented(value: &str) -> &str {
    let value = value.trim();
    let end = value.find(" #").or_else(|| value.find(" ;")).unwrap_or(value.len());
    value.get(..end).unwrap_or(value).trim()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[a-z]{1,5}", key in "[A-Z_]{1,9}", value in "[!-~]{1,20}", junk in "[^\\[]{0,40}") {
            let mut profiles = Profiles::default();
            profiles.add(&format!("{junk}\n[ {name} ]\n {key} = {value} \n[other]\n{junk}"), false);
            let read = profiles.get(&name).and_then(|profile| profile.get(&key.to_lowercase()));
            prop_assert_eq!(read, Some(&value));
        }
    }

    #[test]
    fn both_files_are_one() {
        let mut profiles = Profiles::default();
        let config = "# all\n[default]\nregion=eu-west-1\n[profile a b]\nrole_arn = r # why\nsource_profile=default\n\
            [a b]\nrole_arn=other\n[sso-session x]\nregion=other\n";
        profiles.add(config, true);
        profiles
            .add("[default]\naws_access_key_id = AK=\n  aws_secret_access_key=s#1\nregion=us-east-1\n[b]\nx\n", false);
        let default = profiles.get("default").expect("default");
        assert_eq!(default["region"], "us-east-1");
        assert_eq!((&*default["aws_access_key_id"], &*default["aws_secret_access_key"]), ("AK=", "s#1"));
        assert_eq!(profiles.get("a b").expect("a b")["role_arn"], "r");
        assert!(profiles.get("x").is_none() && profiles.get("sso-session x").is_none());
    }
}
