//! TLS as librdkafka does it, with the same OpenSSL, by the same properties.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::path::Path;

use openssl::error::ErrorStack;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::ssl::{HandshakeError, SslConnector, SslConnectorBuilder, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::X509;

use super::fault::Fault;

/// Properties that are known to librdkafka only.
const NOT_HERE: [&str; 5] =
    ["ssl.crl.location", "ssl.engine.location", "ssl.engine.id", "ssl.providers", "ssl.sigalgs.list"];
/// Where systems keep the certificates of known authorities, as librdkafka looks for them.
const AUTHORITIES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
];

/// How to encrypt, and whom to trust.
pub(super) struct Tls {
    connector: SslConnector,
    names_matter: bool,
}

impl Tls {
    /// As these properties of librdkafka say.
    ///
    /// # Errors
    /// What of them cannot be done here, or is wrong.
    pub(super) fn of(properties: &BTreeMap<String, String>) -> Result<Self, String> {
        let get = |name: &str| properties.get(name).map(String::as_str).filter(|value| !value.is_empty());
        if let Some(name) = NOT_HERE.iter().find(|name| get(name).is_some()) {
            return Err(format!("`{name}` is known to librdkafka only"));
        }
        let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|error| error.to_string())?;
        let fault = |what: &'static str| move |error: ErrorStack| format!("{what}: {error}");
        trust(&mut builder, &get).map_err(fault("the certificates of the authorities cannot be read"))?;
        if let Some(ciphers) = get("ssl.cipher.suites") {
            builder.set_cipher_list(ciphers).map_err(fault("`ssl.cipher.suites` is not understood"))?;
        }
        if let Some(curves) = get("ssl.curves.list") {
            builder.set_groups_list(curves).map_err(fault("`ssl.curves.list` is not understood"))?;
        }
        show(&mut builder, &get)?;
        if get("enable.ssl.certificate.verification").is_some_and(is_off) {
            builder.set_verify(SslVerifyMode::NONE);
        }
        let names_matter = get("ssl.endpoint.identification.algorithm") != Some("none");
        Ok(Tls { connector: builder.build(), names_matter })
    }

    pub(super) fn encrypt(&self, host: &str, stream: TcpStream) -> Result<SslStream<TcpStream>, Fault> {
        let configured = self.connector.configure().map_err(|error| Fault::Refused(error.to_string()))?;
        configured.verify_hostname(self.names_matter).connect(host, stream).map_err(|error| match error {
            // A broker that went away, or does not answer in time, says nothing about the certificates.
            HandshakeError::WouldBlock(_) => Fault::Passing("it does not answer".to_owned()),
            HandshakeError::Failure(failed) if failed.error().io_error().is_some() => {
                Fault::Passing(failed.error().to_string())
            }
            HandshakeError::Failure(failed) => Fault::Refused(format!("TLS: {}", failed.error())),
            HandshakeError::SetupFailure(error) => Fault::Refused(format!("TLS: {error}")),
        })
    }
}

/// As librdkafka reads it.
fn is_off(value: &str) -> bool {
    ["false", "f", "0"].iter().any(|off| value.eq_ignore_ascii_case(off))
}

/// Whom to trust.
fn trust<'a>(builder: &mut SslConnectorBuilder, get: &impl Fn(&str) -> Option<&'a str>) -> Result<(), ErrorStack> {
    if let Some(pem) = get("ssl.ca.pem") {
        X509::stack_from_pem(pem.as_bytes())?.into_iter().try_for_each(|one| builder.cert_store_mut().add_cert(one))?;
    }
    match get("ssl.ca.location").filter(|location| *location != "probe").map(Path::new) {
        Some(folder) if folder.is_dir() => builder.load_verify_locations(None, Some(folder)),
        Some(file) => builder.set_ca_file(file),
        None if get("ssl.ca.pem").is_some() => Ok(()),
        // OpenSSL that was built in does not know where this system keeps them.
        None => match AUTHORITIES.iter().find(|file| Path::new(file).exists()) {
            Some(file) => builder.set_ca_file(file),
            None => Ok(()),
        },
    }
}

/// The client's own certificate, where it has one.
fn show<'a>(builder: &mut SslConnectorBuilder, get: &impl Fn(&str) -> Option<&'a str>) -> Result<(), String> {
    let fault = |error: ErrorStack| format!("the client's certificate or key cannot be used: {error}");
    let unread = |file: &str, error: io::Error| format!("{file} cannot be read: {error}");
    let password = get("ssl.key.password").unwrap_or_default().as_bytes();
    match (get("ssl.certificate.location"), get("ssl.certificate.pem")) {
        (Some(file), _) => builder.set_certificate_chain_file(file).map_err(fault)?,
        (None, Some(pem)) => chain(builder, X509::stack_from_pem(pem.as_bytes()).map_err(fault)?).map_err(fault)?,
        (None, None) => {}
    }
    let key = match (get("ssl.key.location"), get("ssl.key.pem")) {
        (Some(file), _) => Some(std::fs::read(file).map_err(|error| unread(file, error))?),
        (None, pem) => pem.map(|pem| pem.as_bytes().to_vec()),
    };
    if let Some(key) = key {
        // Without a password it would be asked for at the terminal.
        let key = PKey::private_key_from_pem_passphrase(&key, password).map_err(fault)?;
        builder.set_private_key(&key).map_err(fault)?;
    }
    if let Some(file) = get("ssl.keystore.location") {
        let bytes = std::fs::read(file).map_err(|error| unread(file, error))?;
        let store =
            Pkcs12::from_der(&bytes).and_then(|store| store.parse2(get("ssl.keystore.password").unwrap_or_default()));
        let store = store.map_err(fault)?;
        let own = store.cert.into_iter().chain(store.ca.into_iter().flatten()).collect();
        chain(builder, own).map_err(fault)?;
        store.pkey.map_or(Ok(()), |key| builder.set_private_key(&key)).map_err(fault)?;
    }
    Ok(())
}

/// The first is the client's own; the others lead to an authority.
fn chain(builder: &mut SslConnectorBuilder, certificates: Vec<X509>) -> Result<(), ErrorStack> {
    for (at, certificate) in certificates.into_iter().enumerate() {
        match at {
            0 => builder.set_certificate(&certificate)?,
            _ => builder.add_extra_chain_cert(certificate)?,
        }
    }
    Ok(())
}
