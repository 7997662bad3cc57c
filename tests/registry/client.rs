//! What a Docker client does, over the registry's HTTP API, and what the registry has to tell of it.

use std::fmt::Write as _;
use std::time::Duration;

use ring::digest;
use serde_json::{Value, json};
use ureq::http::{Method, Request};

/// The kinds of manifests: of an image, its configuration, its layers, and of a list of images.
struct Kinds {
    manifest: &'static str,
    config: &'static str,
    layer: &'static str,
    list: &'static str,
}

const DOCKER: Kinds = Kinds {
    manifest: "application/vnd.docker.distribution.manifest.v2+json",
    config: "application/vnd.docker.container.image.v1+json",
    layer: "application/vnd.docker.image.rootfs.diff.tar.gzip",
    list: "application/vnd.docker.distribution.manifest.list.v2+json",
};
const OCI: Kinds = Kinds {
    manifest: "application/vnd.oci.image.manifest.v1+json",
    config: "application/vnd.oci.image.config.v1+json",
    layer: "application/vnd.oci.image.layer.v1.tar+gzip",
    list: "application/vnd.oci.image.index.v1+json",
};

/// Where the layer is that all images have.
const BASE: &str = "library/base";

/// What a notification has to say.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Told {
    pub(crate) action: String,
    pub(crate) repository: String,
    pub(crate) digest: String,
    pub(crate) tag: String,
    pub(crate) from_repository: String,
    /// How many things a manifest refers to.
    pub(crate) references: usize,
}

impl Told {
    fn new(action: &str, repository: &str, digest: &str) -> Self {
        let (action, repository, digest) = (action.to_owned(), repository.to_owned(), digest.to_owned());
        Self { action, repository, digest, tag: String::new(), from_repository: String::new(), references: 0 }
    }

    /// What an event of an envelope says.
    pub(crate) fn by(event: &Value) -> Self {
        let target = &event["target"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            action: text(&event["action"]),
            repository: text(&target["repository"]),
            digest: text(&target["digest"]),
            tag: text(&target["tag"]),
            from_repository: text(&target["fromRepository"]),
            references: target["references"].as_array().map_or(0, Vec::len),
        }
    }
}

/// A client, and what has happened by it.
pub(crate) struct Client {
    agent: ureq::Agent,
    registry: String,
    pub(crate) due: Vec<Told>,
}

struct Answer {
    location: String,
    body: Vec<u8>,
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into()
}

/// The body of what is at this URL.
pub(crate) fn get(url: &str) -> Vec<u8> {
    agent().get(url).call().unwrap().body_mut().read_to_vec().unwrap()
}

impl Client {
    pub(crate) fn new(registry: &str) -> Self {
        let mut client = Self { agent: agent(), registry: registry.to_owned(), due: Vec::new() };
        client.upload(BASE, &base());
        client
    }

    /// What a build machine does with one image of many: pushes it, pulls it now and then, and seldom deletes it.
    pub(crate) fn image(&mut self, number: usize) {
        let repository = format!("team-{}/app", number % 6);
        let (tag, kinds) = (format!("v{number}"), if number % 2 == 0 { DOCKER } else { OCI });
        let config =
            json!({"architecture": "amd64", "os": "linux", "config": {"Labels": {"image": number}}}).to_string();
        let layer = format!("the layer of image {number}, ").repeat(1 + number * number).into_bytes();
        let config = descriptor(kinds.config, &self.upload(&repository, config.as_bytes()), config.len());
        let layers =
            if number % 3 == 0 { self.upload_in_chunks(&repository, &layer) } else { self.upload(&repository, &layer) };
        let (mounted, base) = (self.mount(&repository), base());
        let layers = [descriptor(kinds.layer, &mounted, base.len()), descriptor(kinds.layer, &layers, layer.len())];
        let manifest =
            json!({"schemaVersion": 2, "mediaType": kinds.manifest, "config": config, "layers": layers}).to_string();
        let digest = self.push(&repository, &tag, kinds.manifest, &manifest, 3);
        if number % 3 == 1 {
            self.pull(&repository, &tag, &kinds, &digest, &manifest);
        }
        if number % 10 == 5 {
            let list = json!({"schemaVersion": 2, "mediaType": kinds.list, "manifests": [
                {"mediaType": kinds.manifest, "size": manifest.len(), "digest": digest, "platform": {"architecture": "amd64", "os": "linux"}},
            ]});
            self.push(&repository, &format!("list-{number}"), kinds.list, &list.to_string(), 1);
        }
        if number % 10 == 9 {
            self.delete(&repository, &tag, &digest);
        }
    }

    fn call(&self, method: &Method, place: &str, headers: &[(&str, &str)], body: &[u8], expected: u16) -> Answer {
        let url = if place.starts_with('/') { format!("{}{place}", self.registry) } else { place.to_owned() };
        let mut request = Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let has_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
        let answer = if has_body {
            self.agent.run(request.body(body).unwrap())
        } else {
            self.agent.run(request.body(()).unwrap())
        };
        let mut answer = answer.unwrap();
        let location = answer.headers().get("location").map(|value| value.to_str().unwrap().to_owned());
        let status = answer.status().as_u16();
        let body = answer.body_mut().read_to_vec().unwrap();
        assert_eq!(status, expected, "{method} {url}: {}", String::from_utf8_lossy(&body));
        Answer { location: location.unwrap_or_default(), body }
    }

    /// Uploads a blob in one piece. Its digest.
    fn upload(&mut self, repository: &str, blob: &[u8]) -> String {
        let place = self.call(&Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], b"", 202).location;
        self.finish_upload(repository, &place, blob, digest_of(blob))
    }

    /// Uploads a blob in two chunks and the rest. Its digest.
    fn upload_in_chunks(&mut self, repository: &str, blob: &[u8]) -> String {
        let mut place = self.call(&Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], b"", 202).location;
        let mut at = 0;
        let third = blob.len() / 3;
        for chunk in [&blob[..third], &blob[third..2 * third]] {
            let range = format!("{at}-{}", at + chunk.len() - 1);
            let headers = [("content-type", "application/octet-stream"), ("content-range", &range)];
            place = self.call(&Method::PATCH, &place, &headers, chunk, 202).location;
            at += chunk.len();
        }
        self.finish_upload(repository, &place, &blob[at..], digest_of(blob))
    }

    fn finish_upload(&mut self, repository: &str, place: &str, rest: &[u8], digest: String) -> String {
        let place = format!("{place}{}digest={digest}", if place.contains('?') { '&' } else { '?' });
        self.call(&Method::PUT, &place, &[("content-type", "application/octet-stream")], rest, 201);
        self.due.push(Told::new("push", repository, &digest));
        digest
    }

    /// Has the common layer in this repository too. Its digest.
    fn mount(&mut self, repository: &str) -> String {
        let digest = digest_of(&base());
        self.call(&Method::POST, &format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={BASE}"), &[], b"", 201);
        self.due.push(Told { from_repository: BASE.to_owned(), ..Told::new("mount", repository, &digest) });
        digest
    }

    fn push(&mut self, repository: &str, tag: &str, kind: &str, manifest: &str, references: usize) -> String {
        let headers = [("content-type", kind)];
        self.call(&Method::PUT, &format!("/v2/{repository}/manifests/{tag}"), &headers, manifest.as_bytes(), 201);
        let digest = digest_of(manifest.as_bytes());
        self.due.push(Told { tag: tag.to_owned(), references, ..Told::new("push", repository, &digest) });
        digest
    }

    /// Pulls an image: the manifest by its tag and by its digest, and the layer that all have.
    fn pull(&mut self, repository: &str, tag: &str, kinds: &Kinds, digest: &str, manifest: &str) {
        for reference in [tag, digest] {
            let place = format!("/v2/{repository}/manifests/{reference}");
            let got = self.call(&Method::GET, &place, &[("accept", kinds.manifest)], b"", 200).body;
            assert_eq!(got, manifest.as_bytes());
            let tag = if reference == tag { tag.to_owned() } else { String::new() };
            self.due.push(Told { tag, references: 3, ..Told::new("pull", repository, digest) });
        }
        let layer = digest_of(&base());
        for method in [&Method::HEAD, &Method::GET] {
            let got = self.call(method, &format!("/v2/{repository}/blobs/{layer}"), &[], b"", 200).body;
            assert!(*method == Method::HEAD || got == base());
            self.due.push(Told::new("pull", repository, &layer));
        }
    }

    /// Deletes an image, and from its repository the layer that all have. With a manifest go its tags, which is told too.
    fn delete(&mut self, repository: &str, tag: &str, digest: &str) {
        let layer = digest_of(&base());
        for (kind, digest) in [("manifests", digest), ("blobs", &layer)] {
            self.call(&Method::DELETE, &format!("/v2/{repository}/{kind}/{digest}"), &[], b"", 202);
            self.due.push(Told::new("delete", repository, digest));
        }
        self.due.push(Told { tag: tag.to_owned(), ..Told::new("delete", repository, "") });
    }
}

fn base() -> Vec<u8> {
    b"what all images have ".repeat(4_000)
}

fn descriptor(kind: &str, digest: &str, size: usize) -> Value {
    json!({"mediaType": kind, "size": size, "digest": digest})
}

fn digest_of(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
