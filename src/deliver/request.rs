//! How a destination is asked: its steps, and the requests that they come to. Sends nothing.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::Value;

use super::lanes::delivery::What;
use super::lanes::lane::Limits;
use super::signature::Secrets;
use super::template::{self, Names, Text, Tree};
use crate::time::{Span, Timestamp};

/// Where interventions are delivered.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Its name.
    pub name: Arc<str>,
    /// What it gets, and how fast.
    pub limits: Limits,
    /// Scheme, host and the beginning of the path; nothing of it is a template.
    pub url: String,
    /// What is asked for an offer, in this order.
    pub offer: Arc<[Step]>,
    /// What is asked for a withdrawal.
    pub withdrawal: Arc<[Step]>,
    /// `values.…` of the templates.
    pub values: BTreeMap<String, String>,
    /// `secret` of the templates.
    pub secret: Option<Secret>,
    /// Signs the requests, by Standard Webhooks.
    pub signing: Option<Secrets>,
    /// How long an answer may take.
    pub timeout: Span,
    /// Which addresses that are not public may be connected to.
    pub private: Private,
    /// Certificates, in PEM, that are trusted instead of the public ones.
    pub authorities: Option<Vec<u8>>,
}

/// A text that is shown nowhere.
#[derive(Clone)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(crate::terminal::HIDDEN)
    }
}

/// Which addresses that are not public may be connected to.
#[derive(Clone, Debug, Default)]
pub struct Private {
    /// These.
    pub addresses: Vec<IpAddr>,
    /// All, since the configuration names the host itself.
    pub host: bool,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Step {
    /// `POST`, say.
    pub method: &'static str,
    /// Behind the destination's URL.
    pub path: Text,
    /// Names in lower case.
    pub headers: Vec<(String, Text)>,
    /// What is sent.
    pub body: Body,
    /// What is needed of the answer, and where it stands there. Where all of it is known, the step is left out.
    pub keep: Vec<(String, String)>,
    /// Answers that are fine beside 2xx.
    pub fine: Vec<u16>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing.
    Nothing,
    /// The outcome as published.
    Outcome,
    /// JSON.
    Json(Tree),
}

/// What is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST`, say.
    pub method: &'static str,
    /// The whole of it.
    pub url: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// What is sent.
    pub body: Vec<u8>,
}

impl Destination {
    /// What is asked for this.
    pub fn steps(&self, what: What) -> &Arc<[Step]> {
        match what {
            What::Offer { .. } => &self.offer,
            What::Withdrawal { .. } => &self.withdrawal,
        }
    }

    /// The request of a step. `id` is the outcome's, the same in every try.
    ///
    /// # Errors
    /// Why there can be none: something that the templates look up is not there.
    pub fn request(
        &self,
        step: &Step,
        (id, record, outcome): (&str, &str, &Value),
        captured: &BTreeMap<String, String>,
        at: Timestamp,
    ) -> Result<Request, String> {
        let plain = Names { outcome, values: &self.values, captured, secret: None };
        let secret = self.secret.as_ref().map(|secret| secret.0.as_str());
        let with_secret = Names { secret, ..plain };
        let url = self.url.clone() + &self.path(&step.path, &with_secret)?;
        let mut headers = vec![("user-agent".to_owned(), concat!("sillage/", env!("CARGO_PKG_VERSION")).to_owned())];
        for (name, text) in &step.headers {
            let value = text.fill(&with_secret, str::to_owned)?;
            if !value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
                return Err(format!("the header {name} would not be plain ASCII"));
            }
            headers.push((name.clone(), value));
        }
        let body = match &step.body {
            Body::Nothing => Vec::new(),
            Body::Outcome => record.as_bytes().to_vec(),
            Body::Json(tree) => tree.fill(&plain)?.to_string().into_bytes(),
        };
        if !body.is_empty() {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        if let Some(secrets) = &self.signing {
            let signed = secrets.sign(id, at, &body);
            headers.push(("webhook-id".to_owned(), id.to_owned()));
            headers.push(("webhook-timestamp".to_owned(), signed.timestamp));
            headers.push(("webhook-signature".to_owned(), signed.signature));
        }
        Ok(Request { method: step.method, url, headers, body })
    }

    /// What is looked up is one segment; the secret, which is ours, may be several.
    fn path(&self, path: &Text, names: &Names<'_>) -> Result<String, String> {
        let is_secret = path.names().any(|name| name == "secret");
        path.fill(names, if is_secret { segments } else { template::segment })
    }
}

fn segments(text: &str) -> String {
    text.split('/').map(template::segment).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(text: &str) -> Text {
        Text::read(text).expect("a template")
    }

    fn destination() -> Destination {
        let limits = Limits {
            channels: Vec::new(),
            interventions: Vec::new(),
            withdrawals: true,
            at_once: 1,
            rate: 1,
            burst: 1,
            waiting: 1,
        };
        Destination {
            name: Arc::from("desk"),
            limits,
            url: "https://desk.example.com/api".to_owned(),
            offer: Arc::from([]),
            withdrawal: Arc::from([]),
            values: BTreeMap::new(),
            secret: Some(Secret("hush".to_owned())),
            signing: Some(Secrets::read("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("a secret")),
            timeout: Span::from_secs(10),
            private: Private::default(),
            authorities: None,
        }
    }

    #[test]
    fn a_hostile_customer_changes_neither_host_nor_path_nor_headers() {
        let outcome = json!({"customer_id": "../../@evil.example/\r\nx-evil: 1?a#b"});
        let step = Step {
            method: "POST",
            path: text("/contacts/{{ customer }}/add"),
            headers: vec![("authorization".to_owned(), text("Bearer {{ secret }}"))],
            body: Body::Json(Tree::Map(vec![("id".to_owned(), Tree::Text(text("{{ customer }}")))])),
            keep: Vec::new(),
            fine: Vec::new(),
        };
        let made = destination().request(&step, ("id-1", "{}", &outcome), &BTreeMap::new(), Timestamp::from_millis(0));
        let made = made.expect("a request");
        let path = "%2E%2E%2F%2E%2E%2F%40evil%2Eexample%2F%0D%0Ax-evil%3A%201%3Fa%23b";
        assert_eq!(made.url, format!("https://desk.example.com/api/contacts/{path}/add"));
        let value = |name: &str| made.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!((value("authorization"), value("webhook-id")), (Some("Bearer hush"), Some("id-1")));
        assert!(!format!("{:?}", destination()).contains("hush"));
        // Into a header it does not get at all.
        let step = Step { headers: vec![("x-id".to_owned(), text("{{ customer }}"))], ..step };
        let made = destination().request(&step, ("id-1", "{}", &outcome), &BTreeMap::new(), Timestamp::from_millis(0));
        assert!(made.is_err());
    }
}
