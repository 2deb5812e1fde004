//! What operators look at, judged by the tools they use: a real Prometheus scrapes a run of the service on the embedded log
//! and answers every query of the dashboard; `promtool` and `docker-compose` read the files under `deploy/`.
//!
//! Needs Debian's `prometheus` (which brings `promtool`) and `docker-compose`; where they are missing the tests are skipped,
//! loudly, and fail in CI.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::harness::command::{binary, without_settings};
use super::harness::{model, now_millis, say, tail, wait};

const INSTALL: &str = "sudo apt-get install -y prometheus docker-compose chromium";
/// How long everything together may take to show something.
const PATIENCE: Duration = Duration::from_secs(90);
/// What Grafana puts in place of its variables.
const VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "6s"), ("$__range", "1m"), ("$model", ".*")];
/// Queries whose answer may be zero here, by legend, and why. All others must be positive at some instant.
const ZERO: [(&str, &str); 7] = [
    ("{{topic}}", "the worker keeps up with so small a shop"),
    ("misrouted", "the embedded log chooses the partition itself"),
    ("duplicates", "the embedded log drops repeats before the shard sees them"),
    ("clamped", "nobody's clock is ahead"),
    ("displaced episodes", "nobody has too many baskets"),
    ("stale outcomes", "nothing is decided late"),
    ("behind", "stream time is as near as the machine is fast"),
];

#[test]
fn every_query_of_the_dashboard_has_an_answer() {
    if is_missing(&["prometheus", "promtool"]) {
        return;
    }
    let home = tempfile::Builder::new().prefix("sillage-e2e-watch-").tempdir().expect("a temporary directory");
    let service = Service::start(&home);
    let prometheus = Prometheus::start(home.path(), &service.address, None);
    let mut waiting = queries();
    assert!(waiting.len() > 20, "the dashboard has lost its queries");

    let mut shop = Shop::default();
    let begun = Instant::now();
    while !waiting.is_empty() {
        let silent: Vec<_> = waiting.iter().map(|query| (&query.panel, &query.expression)).collect();
        assert!(begun.elapsed() < PATIENCE, "without an answer after {PATIENCE:?}: {silent:#?}");
        shop.trade(&service);
        waiting.retain(|query| !query.is_answered(&prometheus.ask(&query.expression)));
    }

    let before = service.get("/metrics");
    let told: Value = serde_json::from_str(&service.get("/v1/interventions")).expect("JSON");
    let metrics = service.get("/metrics");
    what_was_measured_is_told_alike(&before, &told, &metrics);
    let exported = exported(&metrics);
    let unknown: Vec<String> = named().into_iter().filter(|name| !exported.contains(name)).collect();
    assert_eq!(unknown, [""; 0], "the dashboard asks for what /metrics does not have");
    let read = fed(Command::new("promtool").args(["check", "metrics"]), metrics.as_bytes());
    assert!(read.status.success() && read.stderr.is_empty(), "promtool: {}", String::from_utf8_lossy(&read.stderr));
}

/// `/v1/interventions` says of each arm what the metrics say just before and just after.
fn what_was_measured_is_told_alike(before: &str, told: &Value, after: &str) {
    assert_eq!(told["partitions"], json!([0, 1]));
    assert_eq!(told["missing"], json!([]));
    let [reminder] = told["interventions"].as_array().expect("interventions").as_slice() else { panic!("{told:#}") };
    assert_eq!((&reminder["intervention"], &reminder["version"]), (&json!("observed/reminder"), &json!(1)));
    let arms = reminder["arms"].as_array().expect("arms");
    assert_eq!(arms.len(), 2, "{reminder:#}");
    for arm in arms {
        let name = arm["arm"].as_str().expect("a name");
        let [measured, converted] = ["measured", "converted"].map(|field| arm[field].as_u64().expect("a number"));
        let counted = |metrics: &str, result: &str| -> u64 {
            let begin = "sillage_interventions_measured_total{";
            let is = |line: &&str| {
                let labels = [format!("arm=\"{name}\""), format!("result=\"{result}\"")];
                line.starts_with(begin) && labels.iter().all(|label| line.contains(label.as_str()))
            };
            // Of what has not come yet there is no line.
            let Some(line) = metrics.lines().find(is) else { return 0 };
            line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok()).expect("a number") as u64
        };
        let all = |metrics: &str| counted(metrics, "converted") + counted(metrics, "not-converted");
        assert!((counted(before, "converted")..=counted(after, "converted")).contains(&converted), "{arm:#}");
        assert!((all(before)..=all(after)).contains(&measured), "{arm:#}");
        let worth: u64 = arm["values"][0]["smallest_units"].as_str().and_then(|units| units.parse().ok()).expect("cents");
        assert_eq!((worth, &arm["values"][0]["currency"]), (converted * 1_250, &json!("EUR")), "12.50 EUR each");
    }
}

#[test]
fn the_health_check_of_the_image_tells_ready_from_not() {
    let home = tempfile::Builder::new().prefix("sillage-e2e-watch-").tempdir().expect("a temporary directory");
    let service = Service::start(&home);
    let check = |address: &str| {
        let mut command = Command::new("bash");
        command.arg(root().join("deploy/healthcheck.sh")).arg(address).stderr(Stdio::null());
        command.status().expect("bash starts").success()
    };
    wait::until_true("the health check to pass", Duration::from_secs(20), || check(&service.address));
    drop(service);
    assert!(!check(&format!("127.0.0.1:{}", free_port())), "nobody listens there");
}

#[test]
fn prometheus_reads_the_scrape_configuration() {
    if is_missing(&["promtool"]) {
        return;
    }
    let read =
        Command::new("promtool").args(["check", "config"]).arg(root().join("deploy/prometheus/prometheus.yml")).output();
    let read = read.expect("promtool starts");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
}

/// Pending and firing when they should be, and silent otherwise.
#[test]
fn the_alerts_say_what_they_are_meant_to_say() {
    if is_missing(&["promtool"]) {
        return;
    }
    let read =
        Command::new("promtool").args(["test", "rules"]).arg(root().join("deploy/prometheus/alerts.test.yml")).output();
    let read = read.expect("promtool starts");
    let said = [read.stdout, read.stderr].concat();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn docker_compose_reads_the_compose_file() {
    if is_missing(&["docker-compose"]) {
        return;
    }
    let read = Command::new("docker-compose").arg("-f").arg(root().join("docker-compose.yml")).arg("config").output();
    let read = read.expect("docker-compose starts");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let told = String::from_utf8(read.stdout).expect("text");
    let entries = |key: &str| -> Vec<String> {
        let key = format!("{key}: ");
        told.lines().filter_map(|line| line.trim().strip_prefix(&key)).map(str::to_owned).collect()
    };
    let images = entries("image");
    assert_eq!(images.len(), 5, "{images:?}");
    for image in images {
        assert!(image.split_once(':').is_some_and(|(_, tag)| tag != "latest"), "{image} has no exact tag");
    }
    assert_eq!(entries("stop_grace_period").len(), 5, "every service is given time to end");
    assert_eq!(told.matches("healthcheck:").count(), 4, "all but sillage, whose image has one, say how they are");
    let published: Vec<&str> = told.lines().map(str::trim).filter(|line| line.ends_with("/tcp")).collect();
    assert_eq!(published.len(), 4, "{published:?}");
    assert!(published.iter().all(|port| port.starts_with("- 127.0.0.1:")), "{published:?} must be on loopback");
    let mounted = told.lines().filter_map(|line| line.trim().strip_prefix("- /"));
    let mounted: Vec<&str> = mounted.filter(|mount| mount.contains(":/")).collect();
    for mount in &mounted {
        let source = format!("/{}", mount.split(':').next().unwrap_or_default());
        assert!(Path::new(&source).exists() && mount.ends_with(":ro"), "{mount}");
    }
    assert!(mounted.len() >= 5, "{mounted:?}");
}

/// A query of the dashboard.
#[derive(Debug)]
struct Query {
    panel: String,
    legend: String,
    expression: String,
}

impl Query {
    fn is_answered(&self, values: &[f64]) -> bool {
        let may_be_zero = ZERO.iter().any(|(legend, _)| *legend == self.legend);
        values.iter().any(|value| value.is_finite() && (*value > 0.0 || may_be_zero))
    }
}

/// All queries of the dashboard, with its variables filled in.
fn queries() -> Vec<Query> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut queries = Vec::new();
    for panel in dashboard()["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = text(&target["expr"]);
            let expression = VARIABLES.iter().fold(expression, |text, (name, value)| text.replace(name, value));
            assert!(!expression.is_empty() && !expression.contains('$'), "{expression} of {panel}");
            queries.push(Query { panel: text(&panel["title"]), legend: text(&target["legendFormat"]), expression });
        }
    }
    queries
}

/// The metrics that the dashboard names, in its queries and in its variables.
fn named() -> BTreeSet<String> {
    let variables = dashboard()["templating"].to_string();
    let mut names = BTreeSet::new();
    for text in queries().into_iter().map(|query| query.expression).chain([variables]) {
        for (at, _) in text.match_indices("sillage_") {
            let name: String = text[at..].chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            names.insert(name.trim_end_matches("_bucket").to_owned());
        }
    }
    names
}

/// The metrics that a scrape describes.
fn exported(metrics: &str) -> BTreeSet<String> {
    let types = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn dashboard() -> Value {
    let text = std::fs::read_to_string(root().join("deploy/grafana/dashboards/journey.json")).expect("the dashboard");
    serde_json::from_str(&text).expect("the dashboard is JSON")
}

/// Customers who look, take things up, leave them, come back and buy.
#[derive(Default)]
struct Shop {
    customers: usize,
    touchpoints: usize,
    /// Who filled a basket, and when.
    baskets: Vec<(usize, Instant)>,
    lines: Vec<String>,
}

impl Shop {
    /// A moment of the shop's life, in one post.
    fn trade(&mut self, service: &Service) {
        self.customers += 1;
        let customer = self.customers;
        self.happens(customer, "product.viewed");
        self.happens(customer, "cart.added");
        self.happens(customer, "weather.changed");
        match customer % 3 {
            0 => self.happens(customer, "order.completed"),
            _ => self.baskets.push((customer, Instant::now())),
        }
        // Every other basket that was left is taken up again; that is within the recovery window, and after the abandonment.
        let due: Vec<_> = self.baskets.extract_if(.., |(_, since)| since.elapsed() > Duration::from_millis(2_500)).collect();
        for (customer, _) in due.into_iter().filter(|(customer, _)| customer % 2 == 0) {
            self.happens(customer, "cart.added");
            self.happens(customer, "order.completed");
        }
        self.lines.push("{\"type\": \"without.customer\"}".to_owned());
        service.post(&self.lines.join("\n"), customer);
        self.lines.clear();
    }

    fn happens(&mut self, customer: usize, kind: &str) {
        self.touchpoints += 1;
        let touchpoint = json!({
            "event_id": format!("t{}", self.touchpoints),
            "customer_id": format!("c{customer}"),
            "occurred_at": now_millis(),
            "type": kind,
            "properties": {"cart_id": format!("b{customer}"), "value": 12.5, "currency": "EUR"},
        });
        self.lines.push(touchpoint.to_string());
    }
}

/// The service on the embedded log.
struct Service {
    address: String,
    _process: Leashed,
}

impl Service {
    fn start(home: &TempDir) -> Service {
        let (config, announced) = (home.path().join("sillage.yaml"), home.path().join("address"));
        let model = model("observed.yaml");
        let lines =
            format!("models: [\"{}\"]\nlisten: 127.0.0.1:0\nworkers: 2\npartitions: 2\ngrace: 2s\n", model.display());
        std::fs::write(&config, lines).expect("the configuration can be written");
        let binary = binary();
        let arguments: [&Path; 6] =
            [binary.as_ref(), "run".as_ref(), "-c".as_ref(), &config, "--announce".as_ref(), &announced];
        let process = Leashed::start(&arguments, home.path().join("sillage.log"));
        let address = wait::until("the service's address", Duration::from_secs(20), || {
            std::fs::read_to_string(&announced).ok().filter(|address| !address.is_empty())
        });
        let service = Service { address, _process: process };
        wait::until_true("the service to be ready", Duration::from_secs(20), || {
            ureq::get(service.url("/readyz")).call().is_ok()
        });
        service
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> String {
        ureq::get(self.url(path)).call().expect("an answer").body_mut().read_to_string().expect("text")
    }

    fn post(&self, lines: &str, number: usize) {
        let post = ureq::post(self.url("/v1/touchpoints?unusable=dead-letter"));
        let post = post.header("content-type", "application/x-ndjson").header("idempotency-key", format!("post-{number}"));
        post.send(lines).expect("the touchpoints are taken");
    }
}

/// A Prometheus of our own, on a port of our own.
pub(crate) struct Prometheus {
    address: String,
    _process: Leashed,
}

impl Prometheus {
    /// Scrapes one service, and judges these rules.
    pub(crate) fn start(home: &Path, target: &str, rules: Option<&Path>) -> Prometheus {
        let config = home.join("prometheus.yml");
        let rules = rules.map_or_else(String::new, |rules| format!("\"{}\"", rules.display()));
        let lines = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\n\
             rule_files: [{rules}]\n\
             scrape_configs: [{{job_name: sillage, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        std::fs::write(&config, lines).expect("the configuration can be written");
        let address = format!("127.0.0.1:{}", free_port());
        let arguments = [
            PathBuf::from("prometheus"),
            format!("--config.file={}", config.display()).into(),
            format!("--storage.tsdb.path={}", home.join("prometheus").display()).into(),
            format!("--web.listen-address={address}").into(),
        ];
        let arguments: Vec<&Path> = arguments.iter().map(PathBuf::as_path).collect();
        let process = Leashed::start(&arguments, home.join("prometheus.log"));
        let prometheus = Prometheus { address, _process: process };
        wait::until_true("Prometheus to be ready", Duration::from_secs(30), || {
            ureq::get(format!("http://{}/-/ready", prometheus.address)).call().is_ok()
        });
        prometheus
    }

    /// The alerts that are pending or firing.
    pub(crate) fn alerts(&self) -> Vec<String> {
        let answer = ureq::get(format!("http://{}/api/v1/alerts", self.address)).call().expect("an answer");
        let answer: Value = serde_json::from_reader(answer.into_body().into_reader()).expect("JSON");
        let alerts = answer["data"]["alerts"].as_array().expect("alerts");
        let name = |alert: &Value| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned();
        alerts.iter().map(name).collect()
    }

    /// The values of an instant query; panics where Prometheus refuses it.
    fn ask(&self, expression: &str) -> Vec<f64> {
        let answer = ureq::get(format!("http://{}/api/v1/query", self.address)).query("query", expression).call();
        let mut answer = answer.unwrap_or_else(|error| panic!("Prometheus refuses {expression}: {error}"));
        let answer = answer.body_mut().read_to_string().expect("text");
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(
            (&answer["status"], &answer["data"]["resultType"]),
            (&json!("success"), &json!("vector")),
            "{expression}"
        );
        let samples = answer["data"]["result"].as_array().expect("samples");
        samples.iter().map(|sample| sample["value"][1].as_str().unwrap_or_default().parse().expect("a number")).collect()
    }
}

/// A process that ends when this one does, however that ends.
struct Leashed {
    process: Child,
    log: PathBuf,
}

impl Leashed {
    fn start(arguments: &[&Path], log: PathBuf) -> Leashed {
        // The shell waits for the end of its standard input, which is ours to close.
        let script = r#""$@" & child=$!; cat >/dev/null; kill "$child" 2>/dev/null; wait "$child""#;
        let file = std::fs::File::create(&log).expect("a log file");
        let mut command = without_settings(Command::new("sh"));
        command.args(["-c", script, "leash"]).args(arguments).stdin(Stdio::piped());
        command.stdout(file.try_clone().expect("a log file")).stderr(file);
        Leashed { process: command.spawn().expect("sh starts"), log }
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- {} ends so:\n{}", self.log.display(), tail(&self.log, 30));
        }
    }
}

/// Whether one of the programs is missing, which is said loudly, and refused in CI.
pub(crate) fn is_missing(programs: &[&str]) -> bool {
    let found = |program: &&&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
    };
    let Some(missing) = programs.iter().find(|program| !found(program)) else { return false };
    let notice = format!("\n*** A test was SKIPPED: `{missing}` is missing.\n*** Install it with:  {INSTALL}\n");
    assert!(std::env::var("CI").is_err(), "{notice}");
    say(&notice);
    true
}

/// Runs a command with something on its standard input.
fn fed(command: &mut Command, input: &[u8]) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("its standard input").write_all(input).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port").local_addr().expect("its address").port()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
