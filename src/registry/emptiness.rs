use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::Client;
use crate::image::Reference;

/// Whether a repository has nothing at all, which saves asking for one thing after the other.
#[derive(Debug, Default)]
pub struct Emptiness(Arc<OnceLock<Answer>>);

#[derive(Debug)]
struct Answer {
    is_empty: bool,
    at: Instant,
}

impl Emptiness {
    /// Asks for tags; to be called once. Nobody waits for the answer: a registry may take long to list its tags, or
    /// refuse to.
    pub fn ask(&self, client: &Client, repository: &Reference) {
        let (client, repository, answer) = (client.clone(), repository.clone(), Arc::clone(&self.0));
        thread::spawn(move || {
            if let Ok(has_tags) = client.has_tags(&repository) {
                // Set here only.
                let _ = answer.set(Answer { is_empty: !has_tags, at: Instant::now() });
            }
        });
    }

    /// Whether an answer that is no older than `age` said so. Others push, too.
    pub fn is_known(&self, age: Duration) -> bool {
        self.0.get().is_some_and(|answer| answer.is_empty && answer.at.elapsed() < age)
    }
}
