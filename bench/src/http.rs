//! The little of HTTP/1.1 that the harness needs to ask a running Sillage: one connection, one request after the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer that the harness asks for is larger.
const MOST: usize = 16 << 20;

/// A connection.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// What was answered.
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// The text.
    pub body: String,
}

impl Connection {
    /// Connects to `host:port`.
    pub fn to(address: &str) -> Result<Connection, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("cannot connect to {address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
        Ok(Connection { stream: BufReader::new(stream) })
    }

    /// Asks for a path.
    pub fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"), b"")
    }

    /// Sends lines of JSON to a path.
    pub fn post(&mut self, path: &str, lines: &[u8]) -> Result<Answer, String> {
        let length = lines.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: {length}\r\n\r\n"
        );
        self.ask(&head, lines)
    }

    fn ask(&mut self, head: &str, body: &[u8]) -> Result<Answer, String> {
        let request = [head.as_bytes(), body].concat();
        self.stream.get_mut().write_all(&request).map_err(|error| format!("cannot ask: {error}"))?;
        self.answer().map_err(|error| format!("no answer that can be read: {error}"))
    }

    fn answer(&mut self) -> std::io::Result<Answer> {
        let broken = |what: &str| std::io::Error::other(what.to_owned());
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| broken("no status"))?;
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(broken("the connection was closed"));
            }
            if line.trim().is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken("a header without a value"))?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| broken("a length that is no number"))?;
            }
        }
        if length > MOST {
            return Err(broken("an answer too large"));
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// The sum of a metric over all its labels, out of the text of `/metrics`.
pub fn metric(text: &str, name: &str) -> f64 {
    let of = |line: &str| {
        let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
        rest.rsplit(' ').next()?.parse::<f64>().ok()
    };
    text.lines().filter_map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_told_from_longer_names() {
        let text = "# HELP sillage_outcomes_total x\nsillage_outcomes_total{kind=\"a\"} 3\nsillage_outcomes_total{kind=\"b\"} 4\n\
                    sillage_outcomes_total_more 9\nsillage_lag_records 2\n";
        assert!((metric(text, "sillage_outcomes_total") - 7.0).abs() < 1e-9);
        assert!((metric(text, "sillage_lag_records") - 2.0).abs() < 1e-9);
    }
}
