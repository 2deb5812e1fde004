//! Bringing interventions to those who act on them, and what became of each back as touchpoints.
//!
//! Pure: [`lanes`] decides what is sent when, [`notice`] reads what the topic says, [`signature`] signs, [`addresses`] says where
//! nobody is connected to, [`template`] fills in, [`token`] checks who a widget is. Around them, [`desk`] performs what the lanes
//! decide, [`courier`] asks receivers over HTTP by what [`request`] makes, [`widget`] shows offers on web pages, and [`settings`]
//! reads `deliver.yaml`.

pub mod addresses;
pub mod courier;
pub mod desk;
pub mod lanes;
pub mod notice;
pub mod request;
pub mod settings;
pub mod signature;
pub mod template;
pub mod token;
pub mod widget;
