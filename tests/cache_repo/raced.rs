//! Several caches at once. What is shown is the order of events: nothing depends on how long they take.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use yadokari::cache::{LayerCache, TieredCache};
use yadokari::digest::DiffId;
use yadokari::digest::Digest;
use yadokari::image::Reference;

use crate::{Place, Registry, key};

/// In front of a registry: lets requests through once it is open, and tells when one has arrived.
#[derive(Clone)]
struct Gate {
    address: String,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    arrived: usize,
    open: bool,
}

impl Gate {
    fn before(registry: &Registry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let gate = Self { address: listener.local_addr().expect("address").to_string(), state: Arc::default() };
        let (own, upstream) = (gate.clone(), registry.0.address.clone());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (gate, upstream) = (own.clone(), upstream.clone());
                // A client that goes away is its own business.
                thread::spawn(move || gate.pass(client, &upstream).ok());
            }
        });
        gate
    }

    fn repository(&self, name: &str) -> Reference {
        format!("{}/{name}", self.address).parse().expect("reference")
    }

    fn pass(&self, mut client: TcpStream, upstream: &str) -> io::Result<()> {
        let mut first = vec![0; 1 << 16];
        let count = client.read(&mut first)?;
        self.change(|state| state.arrived += 1);
        self.wait(|state| state.open);
        let mut server = TcpStream::connect(upstream)?;
        server.write_all(&first[..count])?;
        let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
        thread::spawn(move || io::copy(&mut from, &mut to).and_then(|_| to.shutdown(Shutdown::Write)));
        io::copy(&mut server, &mut client)?;
        client.shutdown(Shutdown::Both)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.0.lock().expect("lock"));
        self.state.1.notify_all();
    }

    fn wait(&self, until: impl Fn(&State) -> bool) {
        drop(self.state.1.wait_while(self.state.0.lock().expect("lock"), |state| !until(state)).expect("lock"));
    }

    fn wait_for_arrival(&self) {
        self.wait(|state| state.arrived > 0);
    }

    fn open(&self) {
        self.change(|state| state.open = true);
    }
}

fn tiered(place: &Place, repositories: &[Reference]) -> TieredCache {
    let empty = TieredCache::new(place.local(None), place.observer());
    repositories
        .iter()
        .fold(empty, |tiered, repository| tiered.with_remote(Arc::new(place.registry(repository, None)), false))
}

#[test]
fn a_slow_cache_does_not_delay_what_one_before_it_has() {
    let registry = Registry::start();
    let slow = Gate::before(&registry);
    let maker = Place::new();
    let record = maker.record("one");
    maker.registry(&registry.repository("first"), None).save(&record).expect("save");
    let place = Place::new();
    let caches = tiered(&place, &[registry.repository("first"), slow.repository("second")]);
    let hits = caches.look_up(&[record.key]);
    assert_eq!(hits[0].as_ref().map(|hit| &hit.record), Some(&record));
    // It was asked, or will be: it has not answered, for it is still shut.
    slow.wait_for_arrival();
    slow.open();
}

#[test]
fn slow_caches_are_waited_for_at_the_same_time() {
    let registry = Registry::start();
    let gates = [Gate::before(&registry), Gate::before(&registry)];
    let place = Place::new();
    let caches = tiered(&place, &gates.clone().map(|gate| gate.repository("none")));
    let layer = DiffId(Digest::sha256(b"layer"));
    thread::scope(|scope| {
        let looking = scope.spawn(|| (caches.look_up(&[key("absent")]), caches.layer_toc(&layer)));
        // Both are asked before either answers.
        gates.iter().for_each(Gate::wait_for_arrival);
        gates.iter().for_each(Gate::open);
        assert_eq!(looking.join().expect("no panic"), (vec![None], None));
    });
    assert_eq!(place.listener.warnings(), Vec::<String>::new());
}

#[test]
fn the_first_in_order_counts_even_when_it_answers_last() {
    let registry = Registry::start();
    let slow = Gate::before(&registry);
    let maker = Place::new();
    let (preferred, other) = (maker.record("preferred"), maker.record("other"));
    let other = yadokari::cache::Record { key: preferred.key, ..other };
    maker.registry(&registry.repository("first"), None).save(&preferred).expect("save");
    maker.registry(&registry.repository("second"), None).save(&other).expect("save");
    let place = Place::new();
    let caches = tiered(&place, &[slow.repository("first"), registry.repository("second")]);
    let only_second = tiered(&place, &[registry.repository("second")]);
    thread::scope(|scope| {
        let looking = scope.spawn(|| caches.look_up(&[preferred.key]));
        slow.wait_for_arrival();
        assert_eq!(only_second.look_up(&[preferred.key])[0].as_ref().map(|hit| &hit.record), Some(&other));
        slow.open();
        let hits = looking.join().expect("no panic");
        assert_eq!(hits[0].as_ref().map(|hit| &hit.record), Some(&preferred));
    });
}
