//! How to speak to a broker: as librdkafka is told to by its own properties, so that nobody writes them twice. What cannot be
//! done here is said in words; the brokers count as ones that cannot be asked then.

use std::collections::BTreeMap;

#[cfg(feature = "tls")]
use super::scram::Digest;
#[cfg(feature = "tls")]
use super::tls::Tls;

/// How to speak to a broker.
pub(super) struct Security {
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
}

/// How to say who one is.
pub(super) enum Sasl {
    Plain {
        user: String,
        password: String,
    },
    #[cfg(feature = "tls")]
    Scram {
        digest: Digest,
        user: String,
        password: String,
    },
}

impl Sasl {
    pub(super) fn mechanism(&self) -> &'static str {
        match self {
            Sasl::Plain { .. } => "PLAIN",
            #[cfg(feature = "tls")]
            Sasl::Scram { digest, .. } => digest.mechanism(),
        }
    }
}

impl Security {
    /// As these properties of librdkafka say.
    ///
    /// # Errors
    /// What of them cannot be done here.
    pub(super) fn of(properties: &BTreeMap<String, String>) -> Result<Self, String> {
        let get = |name: &str| properties.get(name).map_or("", String::as_str);
        let (encrypted, authenticated) = match get("security.protocol").to_ascii_lowercase().as_str() {
            "" | "plaintext" => (false, false),
            "ssl" => (true, false),
            "sasl_plaintext" => (false, true),
            "sasl_ssl" => (true, true),
            other => return Err(format!("`security.protocol: {other}` is not known here")),
        };
        let sasl = if authenticated { Some(sasl(&get)?) } else { None };
        #[cfg(feature = "tls")]
        let tls = if encrypted { Some(Tls::of(properties)?) } else { None };
        #[cfg(not(feature = "tls"))]
        if encrypted {
            return Err("this Sillage was built without TLS".to_owned());
        }
        Ok(Security {
            #[cfg(feature = "tls")]
            tls,
            sasl,
        })
    }
}

fn sasl<'a>(get: &impl Fn(&str) -> &'a str) -> Result<Sasl, String> {
    let (mechanism, alias) = (get("sasl.mechanism"), get("sasl.mechanisms"));
    let mechanism = if mechanism.is_empty() { alias } else { mechanism };
    let (user, password) = (get("sasl.username").to_owned(), get("sasl.password").to_owned());
    match mechanism {
        "PLAIN" => Ok(Sasl::Plain { user, password }),
        #[cfg(feature = "tls")]
        "SCRAM-SHA-256" => Ok(Sasl::Scram { digest: Digest::Sha256, user, password }),
        #[cfg(feature = "tls")]
        "SCRAM-SHA-512" => Ok(Sasl::Scram { digest: Digest::Sha512, user, password }),
        // librdkafka's own default.
        "" | "GSSAPI" => Err("the SASL mechanism GSSAPI is known to librdkafka only".to_owned()),
        other => Err(format!("the SASL mechanism {other} is known to librdkafka only")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(properties: &[(&str, &str)]) -> Result<Option<&'static str>, String> {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Security::of(&properties).map(|security| security.sasl.map(|sasl| sasl.mechanism()))
    }

    #[test]
    fn brokers_are_spoken_to_as_librdkafka_is_told_to_and_what_cannot_be_done_is_said() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("security.protocol", "PLAINTEXT"), ("sasl.mechanism", "OAUTHBEARER")]), Ok(None));
        let plain = [("security.protocol", "sasl_plaintext"), ("sasl.mechanisms", "PLAIN"), ("sasl.password", "p")];
        assert_eq!(of(&plain), Ok(Some("PLAIN")));
        for mechanism in ["OAUTHBEARER", "GSSAPI", ""] {
            let refused = of(&[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", mechanism)]);
            assert!(refused.as_ref().is_err_and(|reason| reason.contains("librdkafka only")), "{refused:?}");
        }
        #[cfg(not(feature = "tls"))]
        assert!(of(&[("security.protocol", "ssl")]).is_err_and(|reason| reason.contains("without TLS")));
        #[cfg(feature = "tls")]
        {
            let scram = [("security.protocol", "sasl_ssl"), ("sasl.mechanism", "SCRAM-SHA-512")];
            assert_eq!(of(&scram), Ok(Some("SCRAM-SHA-512")));
            let list = [("security.protocol", "ssl"), ("ssl.crl.location", "revoked.pem")];
            assert!(of(&list).is_err_and(|reason| reason.contains("ssl.crl.location")));
        }
    }
}
