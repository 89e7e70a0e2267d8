//! Which registries belong to which provider. Every match is of whole labels, from the first to the last.

/// A registry of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cloud {
    /// A registry of an account.
    Ecr(EcrHost),
    /// `public.ecr.aws`.
    EcrPublic,
    /// Container and Artifact Registry.
    Google,
    /// Azure Container Registry.
    Azure(AzureCloud),
}

/// What the name of an ECR registry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EcrHost {
    pub(super) region: String,
    pub(super) fips: bool,
}

/// The separate clouds of Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AzureCloud {
    Public,
    China,
    Government,
}

/// The cloud that runs `registry` (in lower case, without port), if there is one.
pub(super) fn cloud(registry: &str) -> Option<Cloud> {
    let host = without_https_port(registry);
    if !host.split('.').all(is_label) {
        return None;
    }
    if host == "public.ecr.aws" {
        return Some(Cloud::EcrPublic);
    }
    if host == "gcr.io" || is_below(host, "gcr.io") || is_below(host, "pkg.dev") {
        return Some(Cloud::Google);
    }
    azure(host).map(Cloud::Azure).or_else(|| ecr(host).map(Cloud::Ecr))
}

/// `host:443` is `host`; another port is another server.
pub(super) fn without_https_port(registry: &str) -> &str {
    registry.strip_suffix(":443").unwrap_or(registry)
}

fn is_label(label: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.bytes().all(inner)
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn azure(host: &str) -> Option<AzureCloud> {
    let domains =
        [("azurecr.io", AzureCloud::Public), ("azurecr.cn", AzureCloud::China), ("azurecr.us", AzureCloud::Government)];
    domains.into_iter().find(|(domain, _)| is_below(host, domain)).map(|(_, cloud)| cloud)
}

/// `<account>.dkr.ecr[-fips].<region>.<domain>`, or with `dkr-ecr` in one label.
///
/// # Source
/// amazon-ecr-credential-helper, the pattern of registry names.
fn ecr(host: &str) -> Option<EcrHost> {
    let (account, rest) = host.split_once('.')?;
    if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let rest = rest.strip_prefix("dkr.ecr").or_else(|| rest.strip_prefix("dkr-ecr"))?;
    let (fips, rest) = rest.strip_prefix("-fips").map_or((false, rest), |rest| (true, rest));
    let (region, domain) = rest.strip_prefix('.')?.split_once('.')?;
    let known = [
        "amazonaws.com",
        "amazonaws.com.cn",
        "amazonaws.eu",
        "on.aws",
        "on.amazonwebservices.com.cn",
        "sc2s.sgov.gov",
        "c2s.ic.gov",
        "cloud.adc-e.uk",
        "csp.hci.ic.gov",
    ];
    known.contains(&domain).then(|| EcrHost { region: region.to_owned(), fips })
}

/// The domain of a region's services.
///
/// # Source
/// AWS partitions, by the prefix of the region.
pub(super) fn aws_domain(region: &str) -> &'static str {
    let partitions = [
        ("cn-", "amazonaws.com.cn"),
        ("us-iso-", "c2s.ic.gov"),
        ("us-isob-", "sc2s.sgov.gov"),
        ("us-isof-", "csp.hci.ic.gov"),
        ("eu-isoe-", "cloud.adc-e.uk"),
        ("eusc-", "amazonaws.eu"),
    ];
    let found = partitions.into_iter().find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("amazonaws.com", |(_, domain)| domain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ecr_host(region: &str, fips: bool) -> Option<Cloud> {
        Some(Cloud::Ecr(EcrHost { region: region.to_owned(), fips }))
    }

    #[test]
    fn registries_of_clouds() {
        for (host, expected) in [
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", ecr_host("eu-west-1", false)),
            ("123456789012.dkr.ecr.eu-west-1.amazonaws.com:443", ecr_host("eu-west-1", false)),
            ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", ecr_host("us-gov-west-1", true)),
            ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", ecr_host("cn-north-1", false)),
            ("123456789012.dkr-ecr.us-east-1.on.aws", ecr_host("us-east-1", false)),
            ("123456789012.dkr-ecr-fips.us-east-1.on.aws", ecr_host("us-east-1", true)),
            ("public.ecr.aws", Some(Cloud::EcrPublic)),
            ("gcr.io", Some(Cloud::Google)),
            ("eu.gcr.io", Some(Cloud::Google)),
            ("europe-west1-docker.pkg.dev", Some(Cloud::Google)),
            ("team.azurecr.io", Some(Cloud::Azure(AzureCloud::Public))),
            ("team.westeurope.data.azurecr.io", Some(Cloud::Azure(AzureCloud::Public))),
            ("team.azurecr.cn", Some(Cloud::Azure(AzureCloud::China))),
            ("team.azurecr.us", Some(Cloud::Azure(AzureCloud::Government))),
        ] {
            assert_eq!(cloud(host), expected, "{host}");
        }
    }

    #[test]
    fn names_that_only_look_alike_belong_to_nobody() {
        for host in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com.evil.example",
            "123456789012.dkr.ecr.eu-west-1.evilamazonaws.com",
            "12345678901.dkr.ecr.eu-west-1.amazonaws.com",
            "evil.123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.evil.example/.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.evil.amazonaws.com",
            "123456789012.dkr.ecr..amazonaws.com",
            "123456789012.dkr.ecrx.eu-west-1.amazonaws.com",
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com:5000",
            "public.ecr.aws.evil.example",
            "evilpublic.ecr.aws",
            "x.public.ecr.aws",
            "evilgcr.io",
            "gcr.io.evil.example",
            "gcr.io.",
            ".gcr.io",
            "a@gcr.io",
            "pkg.dev",
            "evilpkg.dev",
            "x.azurecr.io.evil.example",
            "evilazurecr.io",
            "azurecr.io",
            "x.azurecr.io.",
            "x.azurecr.io:8443",
            "x.аzurecr.io",
            "docker.io",
            "127.0.0.1:5000",
            "",
        ] {
            assert_eq!(cloud(host), None, "{host}");
        }
    }

    proptest! {
        /// Whatever goes before or after a known name, a match still ends with the provider's domain.
        #[test]
        fn a_match_ends_with_a_domain_of_the_provider(
            before in "[ -~]{0,6}",
            name in "123456789012\\.dkr\\.ecr\\.a\\.amazonaws\\.com|public\\.ecr\\.aws|x\\.gcr\\.io|x\\.pkg\\.dev|x\\.azurecr\\.io",
            after in "[ -~]{0,6}",
        ) {
            let host = format!("{before}{name}{after}");
            if cloud(&host).is_some() {
                let domains = [".amazonaws.com", "public.ecr.aws", ".gcr.io", ".pkg.dev", ".azurecr.io", ".amazonaws.com.cn"];
                let host = without_https_port(&host);
                prop_assert!(domains.iter().any(|domain| host.ends_with(domain)), "{}", host);
                prop_assert!(host.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b)));
            }
        }
    }

    #[test]
    fn regions_have_domains() {
        assert_eq!(aws_domain("eu-west-1"), "amazonaws.com");
        assert_eq!(aws_domain("us-gov-west-1"), "amazonaws.com");
        assert_eq!(aws_domain("cn-northwest-1"), "amazonaws.com.cn");
        assert_eq!(aws_domain("us-isob-east-1"), "sc2s.sgov.gov");
    }
}
