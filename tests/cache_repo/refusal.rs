//! A registry that takes images only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use yadokari::image::Reference;
use yadokari::report::Event;

use crate::contract::{base_layers_have_contents_too, results_are_found_under_both_keys};
use crate::{Place, Registry};

/// Passes requests on to `backend`, but refuses manifests that are artifacts, as some registries do.
fn start_refusing_proxy(backend: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let backend = backend.clone();
            std::thread::spawn(move || pass_on(stream, &backend));
        }
    });
    address
}

fn pass_on(mut client: TcpStream, backend: &str) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let is_artifact = String::from_utf8_lossy(&body).contains("\"artifactType\"");
    if head.starts_with("PUT ") && head.contains("/manifests/") && is_artifact {
        let text = r#"{"errors":[{"code":"MANIFEST_INVALID","message":"no artifacts here"}]}"#;
        let length = text.len();
        write!(client, "HTTP/1.1 400 Bad Request\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}")
            .ok()?;
        return Some(());
    }
    let mut server = TcpStream::connect(backend).ok()?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes()).and_then(|()| server.write_all(&body)).ok()?;
    std::io::copy(&mut server, &mut client).ok().map(drop)
}

#[test]
fn a_registry_without_artifacts_gets_images() {
    let registry = Registry::start();
    let address = start_refusing_proxy(registry.0.address.clone());
    let repository: Reference = format!("{address}/cache").parse().expect("reference");
    let place = Place::new();
    let cache = place.registry(&repository, None);
    results_are_found_under_both_keys(&place, &cache);
    base_layers_have_contents_too(&place, &cache);
    assert_eq!(place.listener.warnings(), Vec::<String>::new());
    let told = |text: &str| {
        let events = place.listener.0.lock().expect("lock");
        events.iter().filter(|e| matches!(e, Event::Info(info) if info.contains(text))).count()
    };
    assert_eq!(told("no artifacts here"), 1);
}
