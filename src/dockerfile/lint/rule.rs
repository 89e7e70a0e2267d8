//! The rules, as data.

/// Where the rules are documented.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule";

/// Something that a Dockerfile should not do.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// What skip lists call it.
    pub name: &'static str,
    /// Why, for any Dockerfile.
    pub description: &'static str,
    /// Off unless it is asked for.
    pub experimental: bool,
    /// The last part of its URL; empty for none.
    page: &'static str,
    /// What is wrong with this Dockerfile, `{}` for each argument.
    message: &'static str,
}

impl Rule {
    const fn new(name: &'static str, page: &'static str, description: &'static str, message: &'static str) -> Self {
        Rule { name, description, experimental: false, page, message }
    }

    /// Where it is explained.
    pub fn url(&self) -> Option<String> {
        (!self.page.is_empty()).then(|| format!("{PAGES}/{}/", self.page))
    }

    /// The message with its arguments, in order.
    pub(super) fn message(&self, arguments: &[&str]) -> String {
        let mut arguments = arguments.iter();
        let mut pieces = self.message.split("{}");
        let first = pieces.next().unwrap_or_default().to_owned();
        pieces.fold(first, |text, piece| text + arguments.next().unwrap_or(&"") + piece)
    }
}

/// FROM … AS Name.
pub const STAGE_NAME_CASING: Rule = Rule::new(
    "StageNameCasing",
    "stage-name-casing",
    "Stage names should be lowercase",
    "Stage name '{}' should be lowercase",
);

/// FROM … as.
pub const FROM_AS_CASING: Rule = Rule::new(
    "FromAsCasing",
    "from-as-casing",
    "The 'as' keyword should match the case of the 'from' keyword",
    "'{}' and '{}' keywords' casing do not match",
);

/// A blank line after a line that continues.
pub const NO_EMPTY_CONTINUATION: Rule = Rule::new(
    "NoEmptyContinuation",
    "no-empty-continuation",
    "Empty continuation lines will become errors in a future release",
    "Empty continuation line",
);

/// RUN here, run there.
pub const CONSISTENT_INSTRUCTION_CASING: Rule = Rule::new(
    "ConsistentInstructionCasing",
    "consistent-instruction-casing",
    "All commands within the Dockerfile should use the same casing (either upper or lower)",
    "Command '{}' should match the case of the command majority ({})",
);

/// Two stages of one name.
pub const DUPLICATE_STAGE_NAME: Rule = Rule::new(
    "DuplicateStageName",
    "duplicate-stage-name",
    "Stage names should be unique",
    "Duplicate stage name {}, stage names should be unique",
);

/// A stage called `scratch` or `context`.
pub const RESERVED_STAGE_NAME: Rule = Rule::new(
    "ReservedStageName",
    "reserved-stage-name",
    "Reserved words should not be used as stage names",
    "Stage name should not use the same name as reserved stage {}",
);

/// CMD and ENTRYPOINT in shell form.
pub const JSON_ARGS_RECOMMENDED: Rule = Rule::new(
    "JSONArgsRecommended",
    "json-args-recommended",
    "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    "JSON arguments recommended for {} to prevent unintended behavior related to OS signals",
);

/// MAINTAINER.
pub const MAINTAINER_DEPRECATED: Rule = Rule::new(
    "MaintainerDeprecated",
    "maintainer-deprecated",
    "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    "Maintainer instruction is deprecated in favor of using label",
);

/// FROM of a variable that nothing declares.
pub const UNDEFINED_ARG_IN_FROM: Rule = Rule::new(
    "UndefinedArgInFrom",
    "undefined-arg-in-from",
    "FROM command must use declared ARGs",
    "FROM argument '{}' is not declared{}",
);

/// WORKDIR that depends on the base image's.
pub const WORKDIR_RELATIVE_PATH: Rule = Rule::new(
    "WorkdirRelativePath",
    "workdir-relative-path",
    "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base \
     image changes",
    "Relative workdir {} can have unexpected results if the base image changes",
);

/// A variable that nothing sets.
pub const UNDEFINED_VAR: Rule = Rule::new(
    "UndefinedVar",
    "undefined-var",
    "Variables should be defined before their use",
    "Usage of undefined variable '${}'{}",
);

/// A second CMD, ENTRYPOINT or HEALTHCHECK.
pub const MULTIPLE_INSTRUCTIONS_DISALLOWED: Rule = Rule::new(
    "MultipleInstructionsDisallowed",
    "multiple-instructions-disallowed",
    "Multiple instructions of the same type should not be used in the same stage",
    "Multiple {} instructions should not be used in the same stage because only the last one will be used",
);

/// ENV and LABEL without `=`.
pub const LEGACY_KEY_VALUE_FORMAT: Rule = Rule::new(
    "LegacyKeyValueFormat",
    "legacy-key-value-format",
    "Legacy key/value format with whitespace separator should not be used",
    "\"{} key=value\" should be used instead of legacy \"{} key value\" format",
);

/// The registry had only another platform.
pub const INVALID_BASE_IMAGE_PLATFORM: Rule = Rule::new(
    "InvalidBaseImagePlatform",
    "",
    "Base image platform does not match expected target platform",
    "Base image {} was pulled with platform {}, expected {} for current build",
);

/// `--platform=$TARGETPLATFORM`.
pub const REDUNDANT_TARGET_PLATFORM: Rule = Rule::new(
    "RedundantTargetPlatform",
    "redundant-target-platform",
    "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    "Setting platform to predefined {} in FROM is redundant as this is the default behavior",
);

/// Passwords in the image.
pub const SECRETS_USED_IN_ARG_OR_ENV: Rule = Rule::new(
    "SecretsUsedInArgOrEnv",
    "secrets-used-in-arg-or-env",
    "Sensitive data should not be used in the ARG or ENV commands",
    "Do not use ARG or ENV instructions for sensitive data ({} {})",
);

/// FROM that does not work without build arguments.
pub const INVALID_DEFAULT_ARG_IN_FROM: Rule = Rule::new(
    "InvalidDefaultArgInFrom",
    "invalid-default-arg-in-from",
    "Default value for global ARG results in an empty or invalid base image name",
    "Default value for ARG {} results in empty or invalid base image name",
);

/// `--platform=linux/amd64`.
pub const FROM_PLATFORM_FLAG_CONST_DISALLOWED: Rule = Rule::new(
    "FromPlatformFlagConstDisallowed",
    "from-platform-flag-const-disallowed",
    "FROM --platform flag should not use a constant value",
    "FROM --platform flag should not use constant value {}",
);

/// COPY of what the context leaves out.
pub const COPY_IGNORED_FILE: Rule = Rule::new(
    "CopyIgnoredFile",
    "copy-ignored-file",
    "Attempting to Copy file that is excluded by .dockerignore",
    "Attempting to {} file {} that is excluded by .dockerignore",
);

/// A comment that should describe an ARG or stage.
pub const INVALID_DEFINITION_DESCRIPTION: Rule = Rule {
    experimental: true,
    ..Rule::new(
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is \
         not intended to be a description comment, add an empty line or comment between the instruction and the \
         comment.",
        "Comment for {} should follow the format: `# {} <description>`",
    )
};

/// `EXPOSE 80/TCP`.
pub const EXPOSE_PROTO_CASING: Rule = Rule::new(
    "ExposeProtoCasing",
    "expose-proto-casing",
    "Protocol in EXPOSE instruction should be lowercase",
    "Defined protocol '{}' in EXPOSE instruction should be lowercase",
);

/// `EXPOSE 127.0.0.1:80:80`.
pub const EXPOSE_INVALID_FORMAT: Rule = Rule::new(
    "ExposeInvalidFormat",
    "expose-invalid-format",
    "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future \
     release",
    "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
);
