use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use crate::digest::Digest;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("lock").clone()).expect("UTF-8")
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn events() -> Vec<Event> {
    let info = |title: &str| StepInfo { stage: "build".into(), title: title.into(), line: 2 };
    vec![
        Event::Planned { steps: vec![info("COPY . ."), info("RUN make")] },
        Event::Debug("detail".into()),
        Event::StepCached { step: 0, by: CacheTier::Registry },
        Event::StepStarted { step: 1, miss: "file src/a.c changed".into() },
        Event::StepOutput { step: 1, stderr: false, bytes: b"one\ntw".to_vec() },
        Event::StepOutput { step: 1, stderr: false, bytes: b"o".to_vec() },
        Event::StepFinished { step: 1, took: Duration::from_millis(1500), layer_bytes: Some(12_345) },
        Event::Phase { name: "build", took: Duration::from_millis(1510) },
        Event::Finished(Summary {
            digest: Digest::sha256(b""),
            image_bytes: 5_000_000,
            layers: 3,
            outputs: vec!["localhost:5000/x:1".into()],
            cached_steps: 1,
            run_steps: 1,
            requests: 7,
            round_trips: 4,
            took: Duration::from_secs(65),
        }),
    ]
}

#[test]
fn plain_lines() {
    let (log, output) = (Buffer::default(), Buffer::default());
    let plain = Plain::new(log.clone(), output.clone(), false, Verbosity::Info);
    events().into_iter().for_each(|event| plain.event(event));
    // The seconds depend on the machine.
    let lines: Vec<String> = log.text().lines().map(|line| format!("{} {}", &line[..4], &line[11..])).collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert_eq!(output.text(), "[build 2/2] one\n[build 2/2] two\n");
}

#[test]
fn json_lines_are_objects() {
    let log = Buffer::default();
    let json = Json::new(log.clone(), Verbosity::Debug);
    events().into_iter().for_each(|event| json.event(event));
    let lines: Vec<serde_json::Value> = log.text().lines().map(|l| serde_json::from_str(l).expect(l)).collect();
    assert_eq!(lines.len(), 9);
    assert!(lines.iter().all(|l| l["level"].is_string() && l["msg"].is_string() && l["time"].is_string()));
}

#[test]
fn quiet_says_nothing_but_failures() {
    let log = Buffer::default();
    let plain = Plain::new(log.clone(), Buffer::default(), false, Verbosity::Error);
    events().into_iter().for_each(|event| plain.event(event));
    assert_eq!(log.text(), "");
}

#[test]
fn figures_for_people() {
    assert_eq!(
        [0, 999, 1000, 9_940, 99_400_000, 999_999_999].map(human_bytes),
        ["0 B", "999 B", "1.0 kB", "9.9 kB", "99 MB", "1.0 GB"]
    );
    assert_eq!(human_duration(Duration::from_millis(7)), "7 ms");
    assert_eq!(human_duration(Duration::from_secs(125)), "2 min 05 s");
}
