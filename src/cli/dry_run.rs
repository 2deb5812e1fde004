//! `sillage run --dry-run`: what the inputs promise, without anything being created, read or written.

use std::io::Write;

use super::Failure;
use crate::config::{Config, Log};
use crate::kafka::{self, Promise, Silence, Trouble};

/// Says what the inputs promise.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let Log::Kafka(log) = &config.log else {
        return print("the configuration is fine; the embedded log promises what it has acknowledged\n");
    };
    let promises = kafka::promises(&log.connection).map_err(|trouble| match trouble {
        Trouble::Unreachable(reason) => Failure::could_not_run(reason),
        Trouble::Unfit(reason) => Failure::answer_is_no(reason),
    })?;
    let lines: Vec<String> = promises.iter().flat_map(told).collect();
    print(&(lines.join("\n") + "\n"))?;
    let missing: Vec<&str> =
        promises.iter().filter(|promise| promise.standing.is_none()).map(|promise| promise.topic.as_str()).collect();
    if missing.is_empty() || log.create.is_some() {
        return Ok(());
    }
    let names = missing.join(", ");
    Err(Failure::answer_is_no(format!("topics are missing: {names}; create them, or set `create_topics: true`")))
}

fn print(text: &str) -> Result<(), Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::could_not_run(format!("cannot write to standard output: {error}")))
}

/// A line about an input, and one for each thing that it does not promise.
fn told(promise: &Promise) -> Vec<String> {
    let Promise { topic, standing, silence } = promise;
    let Some(standing) = standing else { return vec![format!("{topic}: there is no such topic yet")] };
    let mut lines = vec![format!(
        "{topic}: partitions {}, replicas {}, min.insync.replicas {}, {}",
        standing.partitions, standing.replicas, standing.in_sync_least, standing.stamped
    )];
    match (standing.replicas, standing.in_sync_least) {
        (0 | 1, _) => lines.push("  one replica: what its broker loses is lost".to_owned()),
        (_, 0 | 1) => lines.push(
            "  one replica in sync is enough for acks=all: what was acknowledged can be lost with its leader; set \
             min.insync.replicas=2"
                .to_owned(),
        ),
        _ => lines
            .push("  a record that is acknowledged with acks=all outlives its leader; with acks=1 it need not".to_owned()),
    }
    lines.push(match silence {
        Silence::Proved => "  silence is proved: the leaders say where their logs end".to_owned(),
        Silence::Unknown => "  whether silence can be proved is not known: not every leader answered; try again".to_owned(),
        Silence::Waited { reason, silence, enough } => {
            let waited = format!("  silence is not proved ({reason}): what is missing is decided after {silence}");
            let short = format!("; a replica may stand still for {enough}: raise `settle`, or leave it out");
            if silence < enough { waited + &short } else { waited }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Standing;
    use crate::time::Span;

    #[test]
    fn what_an_input_does_not_promise_is_said() {
        let told = |replicas, in_sync_least, silence| {
            let standing = Standing { partitions: 6, replicas, in_sync_least, stamped: "LogAppendTime".to_owned() };
            told(&Promise { topic: "web".to_owned(), standing: Some(standing), silence }).join("\n")
        };
        let good = told(3, 2, Silence::Proved);
        assert!(good.starts_with("web: partitions 6, replicas 3, min.insync.replicas 2, LogAppendTime\n"), "{good}");
        assert!(good.contains("outlives its leader") && good.contains("silence is proved"), "{good}");
        assert!(told(1, 1, Silence::Proved).contains("one replica: "));
        let (reason, enough) = ("GSSAPI".to_owned(), Span::from_secs(45));
        let waited = told(3, 1, Silence::Waited { reason, silence: Span::from_millis(50), enough });
        assert!(waited.contains("set min.insync.replicas=2"), "{waited}");
        assert!(
            waited.contains("(GSSAPI): what is missing is decided after 50ms; a replica may stand still for 45s"),
            "{waited}"
        );
        let missing = Promise { topic: "web".to_owned(), standing: None, silence: Silence::Unknown };
        assert_eq!(super::told(&missing), ["web: there is no such topic yet"]);
    }
}
