use super::*;

fn key(tag: &str) -> Key {
    ("a".parse().expect("a name"), tag.parse().expect("a tag"))
}

const LONG: Duration = Duration::from_secs(60);

fn granted(acquired: Acquired) -> Lease {
    match acquired {
        Acquired::Granted(lease) => lease,
        Acquired::Held => panic!("held"),
    }
}

#[tokio::test(start_paused = true)]
async fn one_holds_it_until_it_is_given_back() {
    let leases = Leases::new();
    let at_once = || Instant::now();
    let first = granted(leases.acquire(key("x"), LONG, at_once()).await);
    assert_eq!(leases.acquire(key("x"), LONG, at_once()).await, Acquired::Held);
    granted(leases.acquire(key("y"), LONG, at_once()).await);
    assert!(!leases.release(&key("x"), Uuid::new_v4()));
    assert!(leases.release(&key("x"), first.id));
    let second = granted(leases.acquire(key("x"), LONG, at_once()).await);
    assert!(second.fence > first.fence);
    assert!(!leases.renew(&key("x"), first.id, LONG));
    let (repository, tag) = key("x");
    assert!(leases.is_overtaken(&repository, &tag, first.fence));
    assert!(!leases.is_overtaken(&repository, &tag, second.fence));
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_dead_holder_passes_on() {
    let leases = Leases::new();
    let first = granted(leases.acquire(key("x"), Duration::from_secs(10), Instant::now()).await);
    let start = Instant::now();
    let second = granted(leases.acquire(key("x"), LONG, start + LONG).await);
    assert_eq!(start.elapsed().as_secs(), 10);
    assert!(!leases.renew(&key("x"), first.id, LONG) && leases.renew(&key("x"), second.id, LONG));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_keeps_it() {
    let leases = Leases::new();
    let lease = granted(leases.acquire(key("x"), Duration::from_secs(10), Instant::now()).await);
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        assert!(leases.renew(&key("x"), lease.id, Duration::from_secs(10)));
    }
    assert_eq!(leases.acquire(key("x"), LONG, Instant::now()).await, Acquired::Held);
}

#[tokio::test]
async fn whoever_waits_hears_of_the_end() {
    let leases = Arc::new(Leases::new());
    granted(leases.acquire(key("x"), LONG, Instant::now()).await);
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let leases = Arc::clone(&leases);
            tokio::spawn(async move { leases.acquire(key("x"), LONG, Instant::now() + LONG).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let (repository, tag) = key("x");
    leases.fulfil(&repository, &[tag]);
    let mut grants = 0;
    for task in waiting {
        // One that came only after the end takes the lease: the record is there, it will see.
        grants += usize::from(matches!(task.await.expect("no panic"), Acquired::Granted(_)));
    }
    assert!(grants <= 1);
}

#[tokio::test]
async fn a_later_server_gives_greater_fences() {
    let mut last = 0;
    for _ in 0..3 {
        let leases = Leases::new();
        for tag in ["x", "y", "z"] {
            let fence = granted(leases.acquire(key(tag), LONG, Instant::now()).await).fence;
            assert!(fence > last);
            last = fence;
        }
        // A server does not start within a microsecond of another one's lease.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
