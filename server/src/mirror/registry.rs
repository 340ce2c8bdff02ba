//! The schema of the topic's values, registered where those who read it look for it: over the protocol of Confluent's schema
//! registry, which Redpanda serves as well.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::Status;
use super::settings::origin;
use crate::config::{Config, MirrorValues};
use crate::kafka::{Properties, chosen, sessions};
use crate::shutdown::Tasks;
use crate::wire::EVENT_SCHEMA;

/// How long one request may take, from the look-up of the name to the last byte of the answer.
const REQUEST: Duration = Duration::from_secs(10);
/// How much of an answer is looked at.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// What goes in and comes out.
const CONTENT_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Among the settings of the mirror's client: who the server is to the registry, and by which certificates it knows that one.
const USERNAME: &str = "schema.registry.username";
const PASSWORD: &str = "schema.registry.password";
const CA_FILE: &str = "schema.registry.ca.file";

/// Why the schema is not registered.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// A setting is wrong.
    #[error("the schema is not registered, see {settings}: {error}")]
    Settings {
        /// Where it comes from.
        settings: &'static str,
        /// What is wrong.
        error: String,
    },
    /// The registry is not there.
    #[error("the schema is not registered, {url} does not answer: {error}")]
    Unanswered {
        /// Where it should be.
        url: String,
        /// What was met instead.
        error: ureq::Error,
    },
    /// The registry does not take it.
    #[error("the schema is not registered, {url} answers {status}{hint}: {answer}")]
    Refused {
        /// Where it is.
        url: String,
        /// The status of HTTP.
        status: u16,
        /// What to do about it.
        hint: &'static str,
        /// What it says.
        answer: String,
    },
}

/// Registers the schema, if the settings ask for it: as often as it takes, and in nobody's way.
pub(super) fn start(config: &Config, status: &Arc<Status>, tasks: &Tasks) {
    // Values in JSON have no schema in protobuf.
    if config.mirror_schema_registry_url.is_empty() || config.mirror_values != MirrorValues::Protobuf {
        return;
    }
    let (config, status, watched) = (config.clone(), status.clone(), tasks.clone());
    let longest = Duration::from_millis(config.mirror_retry_ms_max);
    tasks.thread("schema-registry", move || {
        let session = |_: &mut dyn FnMut()| {
            let (subject, id) = register(&config)?;
            status.schema_problem.note(None);
            tracing::info!(subject, id, "the schema of the mirror's values is registered");
            Ok(())
        };
        let failed = |failure: &Failure, delay: Duration| {
            if status.schema_problem.note(Some(failure.to_string())) {
                tracing::warn!(%failure, retry_in = ?delay, "the schema is registered later");
            }
        };
        sessions(&watched, longest, session, failed);
    });
}

/// Registers the schema, or finds that it is. Gives the subject, and the number that the registry gives the schema.
fn register(config: &Config) -> Result<(String, u64), Failure> {
    let origin = origin(config);
    let wrong = |error| Failure::Settings { settings: origin.name, error };
    let properties = chosen(origin).map_err(wrong)?;
    let subject = format!("{}-value", config.mirror_topic);
    let url = config.mirror_schema_registry_url.trim_end_matches('/');
    let place = format!("{url}/subjects/{subject}/versions");
    let mut request = agent(&properties).map_err(wrong)?.post(&place).content_type(CONTENT_TYPE);
    if let Some(username) = properties.get(USERNAME) {
        let password = properties.get(PASSWORD).map_or("", String::as_str);
        let credentials = BASE64_STANDARD.encode(format!("{username}:{password}"));
        request = request.header("authorization", format!("Basic {credentials}"));
    }
    let body = json!({ "schemaType": "PROTOBUF", "schema": EVENT_SCHEMA }).to_string();
    let unanswered = |error| Failure::Unanswered { url: url.to_owned(), error };
    let mut answer = request.header("accept", CONTENT_TYPE).send(body).map_err(unanswered)?;
    let text =
        answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(unanswered)?;
    let said: Option<Value> = serde_json::from_str(&text).ok();
    let said = |name: &str| said.as_ref().map(|said| said[name].clone()).unwrap_or_default();
    let status = answer.status();
    match said("id").as_u64().filter(|_| status.is_success()) {
        Some(id) => Ok((subject, id)),
        None => Err(Failure::Refused {
            url: url.to_owned(),
            status: status.as_u16(),
            hint: hint(status.as_u16()),
            answer: said("message").as_str().unwrap_or("it is no schema registry").to_owned(),
        }),
    }
}

const fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => " (see schema.registry.username and schema.registry.password in mirror_client_file)",
        409 => " (another schema is registered for this topic: remove that, or choose another mirror_topic)",
        _ => "",
    }
}

fn agent(properties: &Properties) -> Result<Agent, String> {
    let mut tls = TlsConfig::builder();
    if let Some(file) = properties.get(CA_FILE) {
        let text = fs::read(file).map_err(|error| format!("{file} cannot be read: {error}"))?;
        let certificate = |item| if let Ok(PemItem::Certificate(it)) = item { Some(it) } else { None };
        let certificates: Vec<_> = parse_pem(&text).filter_map(certificate).collect();
        if certificates.is_empty() {
            return Err(format!("{file} has no certificates"));
        }
        tls = tls.root_certs(RootCerts::new_with_certs(&certificates));
    }
    let agent = Agent::config_builder().timeout_global(Some(REQUEST)).http_status_as_error(false);
    // It is reached as the brokers are: directly.
    Ok(agent.proxy(None).tls_config(tls.build()).build().into())
}
