//! The part `widget` of `deliver.yaml`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::deliver::settings::{Around, address};
use crate::deliver::token::{Key, Keys};
use crate::diagnostic::Faults;
use crate::yaml::{Entry, Value};

/// What the widget's listener serves, and to whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The pages that may ask, in lower case.
    pub origins: Vec<String>,
    /// What tokens are checked with.
    pub keys: Keys,
    /// Secrets by `kid`, for `sillage token`.
    pub secrets: BTreeMap<String, ring::hmac::Key>,
    /// Channels whose offers are shown; without any, all.
    pub channels: Vec<String>,
    /// Connections at once.
    pub connections: usize,
    /// Addresses of proxies, which may hold any number of connections.
    pub trusted_proxies: Vec<IpAddr>,
}

const ALGORITHMS: &[(&str, Algorithm)] = &[("HS256", Algorithm::Hs256), ("EdDSA", Algorithm::EdDsa)];

#[derive(Clone, Copy)]
enum Algorithm {
    Hs256,
    EdDsa,
}

/// Reads it.
pub(in crate::deliver) fn read(value: &Value<'_>, around: &Around<'_>, faults: &mut Faults) -> Option<Settings> {
    let mut reader = value.map("`widget`", faults)?;
    let listen = reader.optional("listen").and_then(|value| address(&value, faults));
    let origins = reader.required("origins", "origins: [https://shop.example.com]", faults);
    let origins = origins.and_then(|value| value.texts("an origin", faults)).unwrap_or_default();
    for origin in &origins {
        if !is_origin(&origin.value) {
            let cause = format!("{} is no origin of a page", origin.place.quoted(&origin.value));
            faults.error(
                "Y013",
                &origin.place,
                cause,
                "write scheme and host without a path, such as https://shop.example.com",
            );
        }
    }
    let audience = reader.required("audience", "audience: shop", faults).and_then(|value| value.text(faults));
    let example = "keys: { web: { algorithm: HS256, secret: { variable: WIDGET_SECRET } } }";
    let entries = reader.required("keys", example, faults).and_then(|value| value.entries("keys", faults));
    let mut keys = BTreeMap::new();
    let mut secrets = BTreeMap::new();
    for entry in entries.unwrap_or_default() {
        if let Some((key, secret)) = key(entry, around, faults) {
            keys.insert(entry.key.value.clone(), key);
            secrets.extend(secret.map(|secret| (entry.key.value.clone(), secret)));
        }
    }
    let channels = reader.optional("channels").and_then(|value| value.texts("a channel", faults)).unwrap_or_default();
    let connections = reader.optional("connections").and_then(|value| value.integer(1..=1_000, faults));
    let proxies = reader.optional("trusted_proxies").and_then(|value| value.texts("an address", faults));
    let mut trusted_proxies = Vec::new();
    for proxy in proxies.unwrap_or_default() {
        match proxy.value.parse() {
            Ok(address) => trusted_proxies.push(address),
            Err(_) => {
                let cause = format!("{} is no address", proxy.place.quoted(&proxy.value));
                faults.error("Y013", &proxy.place, cause, "write an address without a port, such as 10.0.0.7");
            }
        }
    }
    reader.finish(faults);
    Some(Settings {
        listen: listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8090))),
        origins: origins.into_iter().map(|origin| origin.value.to_ascii_lowercase()).collect(),
        keys: Keys { audience: audience?.value, keys },
        secrets,
        channels: channels.into_iter().map(|channel| channel.value).collect(),
        connections: connections.map_or(1_000, |connections| connections.value as usize),
        trusted_proxies,
    })
}

fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ',', ' ']))
}

fn key(entry: &Entry, around: &Around<'_>, faults: &mut Faults) -> Option<(Key, Option<ring::hmac::Key>)> {
    let value = Value::from(entry);
    let mut reader = value.map(format!("key `{}`", entry.key.value), faults)?;
    let algorithm = reader.required("algorithm", "algorithm: HS256", faults);
    let algorithm = algorithm.and_then(|value| value.word(ALGORITHMS, faults));
    let secret = reader.optional("secret").and_then(|value| around.secret(&value, faults));
    let public = reader.optional("public_key").and_then(|value| around.secret(&value, faults));
    reader.finish(faults);
    let made = match (algorithm?.value, secret, public) {
        (Algorithm::Hs256, Some(secret), None) => Key::hs256(secret.as_bytes()),
        (Algorithm::EdDsa, None, Some(public)) => Key::ed_dsa(&public),
        (Algorithm::Hs256, _, _) => Err("a key for HS256 has a `secret` and nothing else".to_owned()),
        (Algorithm::EdDsa, _, _) => Err("a key for EdDSA has a `public_key` and nothing else".to_owned()),
    };
    match made {
        Ok(key) => {
            let secret = match &key {
                Key::Hs256(secret) => Some(secret.clone()),
                Key::EdDsa(_) => None,
            };
            Some((key, secret))
        }
        Err(cause) => {
            faults.error("Y013", value.place(), cause, "make a secret with `openssl rand -hex 32`");
            None
        }
    }
}
