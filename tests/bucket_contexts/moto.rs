//! An S3 service as a separate process, with STS and IAM beside it: moto, told to check every signature.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The service; ends with the test.
pub(crate) struct Moto {
    process: Child,
    pub(crate) address: String,
    /// Of a user who may read.
    pub(crate) key: (String, String),
}

impl Moto {
    /// With the bucket `box`, a user and the role `reader`, who may both read it.
    pub(crate) fn start() -> Self {
        let mut process = Command::new(program())
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("moto runs");
        let mut output = BufReader::new(process.stderr.take().expect("piped"));
        let address = loop {
            let mut line = String::new();
            assert!(output.read_line(&mut line).expect("a line") > 0, "moto ended");
            if let Some((_, address)) = line.split_once("Running on http://") {
                break address.trim().to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let mut moto = Self { process, address, key: Default::default() };
        moto.ask("PUT", "/box", "s3", &[]);
        moto.key = moto.make_identities();
        moto
    }

    fn make_identities(&self) -> (String, String) {
        let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C\
            %22Action%22%3A%22s3%3A*%22%2C%22Resource%22%3A%22*%22%7D%5D%7D";
        let iam = |text: &str| self.ask("POST", "/", "iam", format!("Version=2010-05-08&{text}").as_bytes());
        iam("Action=CreateUser&UserName=u");
        let answer = iam("Action=CreateAccessKey&UserName=u");
        iam(&format!("Action=PutUserPolicy&UserName=u&PolicyName=p&PolicyDocument={policy}"));
        iam(&format!("Action=CreateRole&RoleName=reader&AssumeRolePolicyDocument={policy}"));
        iam(&format!("Action=PutRolePolicy&RoleName=reader&PolicyName=p&PolicyDocument={policy}"));
        (element(&answer, "AccessKeyId"), element(&answer, "SecretAccessKey"))
    }

    pub(crate) fn put(&self, key: &str, body: &[u8]) {
        self.ask("PUT", &format!("/box/{key}"), "s3", body);
    }

    /// From now on all but the first `free` requests must be signed.
    pub(crate) fn guard(&self, free: usize) {
        self.ask("POST", "/moto-api/reset-auth", "s3", free.to_string().as_bytes());
    }

    fn ask(&self, method: &str, target: &str, service: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("moto accepts");
        let kind = if service == "iam" { "application/x-www-form-urlencoded" } else { "application/octet-stream" };
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\nContent-Type: {kind}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=key/20200101/us-east-1/{service}/aws4_request\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 200"), "{method} {target}: {answer}");
        answer
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn element(xml: &str, name: &str) -> String {
    let rest = xml.split_once(&format!("<{name}>")).expect(name).1;
    rest.split_once('<').expect(name).0.to_owned()
}

/// Where `test.sh` installs moto.
fn program() -> PathBuf {
    let below = |directory: &Path| Some(directory.join("moto/bin/moto_server")).filter(|path| path.exists());
    let found = Path::new(env!("CARGO_BIN_EXE_executor")).ancestors().find_map(below);
    found.expect("moto below target/: run cache-server/tests/moto.sh first")
}
