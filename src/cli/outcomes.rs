//! `sillage outcomes`: what a running service has published, one JSON object a line, from a position on.

use crate::terminal::plain_json;
use std::io::{self, Write};
use std::time::Duration;

use super::Failure;
use super::client::{Answer, Client, DEFAULT_URL, Request, Waiting};

/// Outcomes asked for at once.
const PAGE: u64 = 10_000;
/// How long the service is to wait for something to happen before it answers that nothing did.
const WAIT: u64 = 25;
/// Following has no end.
const FOR_EVER: Duration = Duration::MAX;

/// Print what a running service has published (embedded log).
///
/// Each line carries its position; `--after` goes on behind it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the service listens.
    #[arg(long, value_name = "URL", default_value = DEFAULT_URL)]
    url: String,
    /// Begin after this position.
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    /// Go on with what comes, also when the service is away for a while.
    #[arg(long)]
    follow: bool,
    /// Only this topic; may be given several times. Without it, all but the dead letters.
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// End after so many lines.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// Runs the command.
///
/// # Errors
/// Exit code 1: the service refused. Exit code 2: it is not there.
pub fn run(args: Args) -> Result<(), Failure> {
    match Reader::new(args)?.read(&mut io::stdout().lock()) {
        Ok(()) => Ok(()),
        Err(End::Unread) => Ok(()),
        Err(End::Failed(failure)) => Err(failure),
    }
}

/// Why reading ended early.
enum End {
    /// Nobody reads what is printed any more.
    Unread,
    Failed(Failure),
}

impl From<io::Error> for End {
    fn from(cause: io::Error) -> Self {
        match cause.kind() {
            io::ErrorKind::BrokenPipe => End::Unread,
            _ => End::Failed(Failure::could_not_run(format!("standard output cannot be written: {cause}"))),
        }
    }
}

struct Reader {
    client: Client,
    filter: String,
    position: u64,
    follow: bool,
    left: u64,
}

impl Reader {
    fn new(args: Args) -> Result<Self, Failure> {
        let client = Client::new(&args.url)?;
        let mut filter = String::new();
        for topic in &args.topics {
            if !topic.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') {
                return Err(Failure::could_not_run(format!(
                    "{topic:?} is not the name of a topic; write it as abandonments"
                )));
            }
            filter += &format!("&topic={topic}");
        }
        Ok(Reader { client, filter, position: args.after, follow: args.follow, left: args.limit.unwrap_or(u64::MAX) })
    }

    fn read(&mut self, out: &mut impl Write) -> Result<(), End> {
        while self.left > 0 {
            let page = self.page()?;
            let lines = page.body.iter().filter(|byte| **byte == b'\n').count() as u64;
            out.write_all(&plain_json(&page.body))?;
            out.flush()?;
            self.left = self.left.saturating_sub(lines);
            let position = page.position.ok_or_else(|| End::Failed(self.stranger()))?;
            if !self.follow && position == self.position {
                break;
            }
            self.position = position;
        }
        Ok(())
    }

    /// The next page; while following, tried again until there is one.
    fn page(&self) -> Result<Answer, End> {
        let wait = if self.follow { WAIT } else { 0 };
        let path = format!("/v1/outcomes?after={}&limit={}&wait={wait}{}", self.position, self.left.min(PAGE), self.filter);
        let request = Request { method: "GET", path: &path, headers: &[], body: b"" };
        let mut waiting = Waiting::new(FOR_EVER);
        loop {
            let reason = match self.client.ask(&request) {
                Ok(answer) if answer.is_success() => return Ok(answer),
                Ok(answer) if !answer.is_passing() => return Err(End::Failed(answer.refusal())),
                Ok(answer) => answer.words(),
                Err(reason) => reason,
            };
            if !self.follow {
                return Err(End::Failed(Failure::could_not_run(reason)));
            }
            waiting.pause(&reason, None).map_err(End::Failed)?;
        }
    }

    fn stranger(&self) -> Failure {
        Failure::could_not_run(format!("what answers at {} is not Sillage; give its address with --url", self.client.base()))
    }
}
