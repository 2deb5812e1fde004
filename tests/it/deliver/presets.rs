//! Each preset against a stub that answers as the vendor's documentation says; the heads of `presets/*.yaml` name the pages.

use std::time::Duration;

use serde_json::{Value, json};
use sillage::time::Span;

use super::receiver::{Got, Receiver, Then};
use super::{SECRET, Work, offer, withdrawal};

/// Delivers an offer and then its withdrawal; what the stub got of each.
fn deliver(stub: &Receiver, preset: &str, requests: (usize, usize)) -> (Vec<Got>, Vec<Got>) {
    let work = Work::begin(&format!(
        "destinations:\n  it: {{ url: \"{}\", private_addresses: [127.0.0.1], {preset} }}\n",
        stub.url()
    ));
    work.log.publish(&offer(1, "c/17 \"é\"", (work.now)() + Span::from_secs(60)));
    work.log.wait("the offer", Duration::from_secs(10), |log| !log.touchpoints.is_empty());
    assert_eq!(work.log.look().touchpoints[0]["type"], "intervention.delivered", "{:?}", work.log.look().dead_letters);
    assert_eq!(stub.got().len(), requests.0);
    work.log.publish(&withdrawal(101, 1, "c/17 \"é\""));
    stub.wait_for(requests.0 + requests.1);
    work.end();
    let mut offered = stub.got();
    let withdrawn = offered.split_off(requests.0);
    (offered, withdrawn)
}

fn lines(got: &[Got]) -> Vec<&str> {
    got.iter().map(|got| got.line.as_str()).collect()
}

#[test]
fn a_webhook_is_the_outcome_as_published_and_signed() {
    let stub = Receiver::new(|_, _| Then::Answer(204, ""));
    let (offered, withdrawn) = deliver(&stub, "preset: webhook, signing_secret: { variable: S }", (1, 1));
    assert_eq!(lines(&offered), ["POST /"]);
    assert_eq!(
        (offered[0].body["kind"].as_str(), withdrawn[0].body["kind"].as_str()),
        (Some("intervention"), Some("withdrawal"))
    );
    assert_eq!(offered[0].headers["content-type"], "application/json");
    offered.iter().chain(&withdrawn).for_each(|got| got.verify(SECRET));
}

/// `POST contacts`: 200, or 422 where the identifier is taken. `POST contacts/filter`: `payload` is a list of contacts.
/// `POST conversations`: the conversation, with its `id`. `POST conversations/{id}/toggle_status`: 200.
#[test]
fn chatwoot_gets_a_conversation_with_a_contact_that_may_exist_already() {
    for status in [200, 422] {
        let stub = Receiver::judging(move |got, _, _| match got.line.as_str() {
            "POST /api/v1/accounts/7/contacts" => Then::Answer(status, ""),
            "POST /api/v1/accounts/7/contacts/filter" => {
                Then::Say(200, json!({"meta": {"count": 1}, "payload": [{"id": 42}]}))
            }
            "POST /api/v1/accounts/7/conversations" => Then::Say(200, json!({"id": 99, "account_id": 7, "inbox_id": 3})),
            "POST /api/v1/accounts/7/conversations/99/toggle_status" => Then::Say(200, json!({"meta": {}})),
            _ => Then::Answer(404, ""),
        });
        let preset = "preset: chatwoot, values: { account: 7, inbox: 3 }, secret: { variable: S }";
        let (offered, withdrawn) = deliver(&stub, preset, (3, 1));
        assert!(offered.iter().chain(&withdrawn).all(|got| got.headers["api_access_token"] == SECRET));
        assert_eq!(offered[0].body["identifier"], "c/17 \"é\"");
        assert_eq!(offered[1].body["payload"][0]["values"], json!(["c/17 \"é\""]));
        let conversation = &offered[2].body;
        assert_eq!((&conversation["contact_id"], &conversation["inbox_id"]), (&json!("42"), &json!("3")));
        assert_eq!(conversation["message"]["content"], "help \"with\" payment");
        assert_eq!(conversation["custom_attributes"]["outcome_id"], "00000000-0000-0000-0000-000000000001");
        assert_eq!(lines(&withdrawn), ["POST /api/v1/accounts/7/conversations/99/toggle_status"]);
        assert_eq!(withdrawn[0].body, json!({"status": "resolved"}));
    }
}

/// `POST /track` with basic authentication; 200 `{"success": true}`. `userId` or `anonymousId` must be there.
#[test]
fn segment_gets_a_track_call_with_a_message_id() {
    let stub = Receiver::new(|_, _| Then::Say(200, json!({"success": true})));
    let (offered, withdrawn) = deliver(&stub, "preset: segment, secret: { variable: S }", (1, 1));
    assert_eq!(lines(&offered), ["POST /track"]);
    assert_eq!(offered[0].headers["authorization"], format!("Basic {SECRET}"));
    let body = &offered[0].body;
    assert_eq!(body["messageId"], "00000000-0000-0000-0000-000000000001");
    assert_eq!((&body["type"], &body["userId"]), (&json!("track"), &json!("c/17 \"é\"")));
    assert_eq!(body.get("anonymousId"), None);
    assert_eq!(body["properties"]["payload"], json!({"text": "help \"with\" payment"}));
    assert_eq!(withdrawn[0].body["properties"]["outcome_id"], "00000000-0000-0000-0000-000000000001");
    assert_eq!(withdrawn[0].body["messageId"], "00000000-0000-0000-0000-000000000065");
}

/// `POST /api/contacts/new`: `{"contact": {"id": 47, …}}`. `POST /api/campaigns/C/contact/K/add` and `/remove`: `{"success": 1}`.
#[test]
fn mautic_gets_the_contact_into_a_campaign_and_out_again() {
    let stub = Receiver::judging(|got, _, _| match got.line.as_str() {
        "POST /api/contacts/new" => Then::Say(201, json!({"contact": {"id": 47, "isPublished": true}})),
        "POST /api/campaigns/5/contact/47/add" | "POST /api/campaigns/5/contact/47/remove" => {
            Then::Say(200, json!({"success": 1}))
        }
        _ => Then::Answer(404, ""),
    });
    let preset = "preset: mautic, values: { campaign: 5 }, secret: { variable: S }";
    let (offered, withdrawn) = deliver(&stub, preset, (2, 1));
    assert_eq!(offered[0].body, json!({"customer_id": "c/17 \"é\""}));
    assert_eq!(lines(&withdrawn), ["POST /api/campaigns/5/contact/47/remove"]);
    assert_eq!((offered[1].body.clone(), offered[1].headers.get("content-type")), (Value::Null, None));
}

/// `POST /services/T…/B…/X…` with `text` and `blocks`: 200 `ok`.
#[test]
fn slack_gets_plain_text() {
    let stub = Receiver::new(|_, _| Then::Answer(200, ""));
    let (offered, withdrawn) = deliver(&stub, "preset: slack, secret: { variable: S }", (1, 1));
    assert!(offered[0].line.starts_with("POST /services/whsec_C2FV"), "{}", offered[0].line);
    let text = &offered[0].body["blocks"][0]["text"];
    assert_eq!((&text["type"], &text["text"]), (&json!("plain_text"), &json!("c/17 \"é\" offers rescue (plain)")));
    assert_eq!(withdrawn.len(), 1);
}
