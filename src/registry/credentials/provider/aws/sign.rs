//! AWS Signature Version 4, for a POST with a body.

use jiff::Timestamp;
use ring::hmac;
use sha2::{Digest as _, Sha256};

use super::super::super::Secret;
use super::super::exchange::Question;

/// An access key of Amazon's.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Not secret.
    pub id: String,
    /// What requests are signed with.
    pub secret: Secret,
    /// Of temporary keys; goes with every request.
    pub session: Option<Secret>,
}

/// Signs `question` for `service` in `region`: all its headers, host and time besides.
///
/// # Source
/// AWS IAM User Guide, "Create a signed AWS API request".
pub(super) fn sign(question: Question, keys: &Keys, region: &str, service: &str, now: Timestamp) -> Question {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut question = question.header("x-amz-date", time.clone());
    if let Some(session) = &keys.session {
        question = question.secret_header("x-amz-security-token", session);
    }
    let (canonical, signed) = canonical(&question);
    let date = time.get(..8).unwrap_or_default();
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let first = format!("AWS4{}", keys.secret.expose());
    let key = [date, region, service, "aws4_request"].iter().fold(first.into_bytes(), |key, part| mac(&key, part));
    let signature = hex(&mac(&key, &text));
    let credential = &keys.id;
    question.header(
        "authorization",
        format!("AWS4-HMAC-SHA256 Credential={credential}/{scope}, SignedHeaders={signed}, Signature={signature}"),
    )
}

/// The canonical request, and the names of its headers.
fn canonical(question: &Question) -> (String, String) {
    let host = question.url.host_str().unwrap_or_default();
    let host = question.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut headers: Vec<(&str, &str)> =
        question.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    headers.push(("host", &host));
    headers.sort_unstable();
    let signed = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let body = question.body.as_ref().map_or("", Secret::expose);
    let (path, query) = (question.url.path(), question.url.query().unwrap_or_default());
    let hash = hex(&Sha256::digest(body));
    (format!("{}\n{path}\n{query}\n{lines}\n{signed}\n{hash}", question.method), signed)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::exchange::Distance;
    use super::*;

    fn signature(question: Question) -> String {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let keys = Keys { id: "AKIDEXAMPLE".to_owned(), secret, session: None };
        let now = "2015-08-30T12:36:00Z".parse().expect("time");
        let signed = sign(question, &keys, "us-east-1", "service", now);
        let value = signed.headers.iter().find(|(name, _)| name == "authorization").expect("signed");
        value.1.expose().to_owned()
    }

    /// `get-vanilla` and `post-x-www-form-urlencoded` of AWS's own test suite.
    #[test]
    fn the_test_suite_of_aws() {
        let url = || "https://example.amazonaws.com/".parse().expect("url");
        assert_eq!(
            signature(Question::get(url(), Distance::Cloud)),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        let post = Question::post(url(), "application/x-www-form-urlencoded", "Param1=value1");
        let expected = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        assert!(signature(post).ends_with(expected));
    }
}
