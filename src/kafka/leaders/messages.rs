//! The few messages of Kafka's protocol that librdkafka cannot send, and what it takes to send them: written and read by hand,
//! in versions that every broker from Kafka 2.3 on understands. Field by field as in Kafka's
//! `clients/src/main/resources/common/message`. A crate with all messages would cost a first build more than ten seconds.

use crate::ledger::group::{BrokerId, Leadership};

/// A request, and the version that is spoken here; none of them is a "flexible" one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Metadata,
    SaslHandshake,
    ApiVersions,
    OffsetForLeaderEpoch,
    SaslAuthenticate,
}

impl Question {
    pub(super) fn key(self) -> i16 {
        match self {
            Question::Metadata => 3,
            Question::SaslHandshake => 17,
            Question::ApiVersions => 18,
            Question::OffsetForLeaderEpoch => 23,
            Question::SaslAuthenticate => 36,
        }
    }

    pub(super) fn version(self) -> i16 {
        match self {
            // The first one with the leaders' epochs.
            Question::Metadata => 7,
            Question::SaslHandshake | Question::SaslAuthenticate => 1,
            Question::ApiVersions => 0,
            // The first one that a consumer may send as a consumer.
            Question::OffsetForLeaderEpoch => 3,
        }
    }
}

/// What brokers answer instead of something: `error_code`.
pub(super) type Code = i16;

pub(super) const NONE: Code = 0;
pub(super) const TOPIC_AUTHORIZATION_FAILED: Code = 29;
pub(super) const CLUSTER_AUTHORIZATION_FAILED: Code = 31;
pub(super) const UNSUPPORTED_VERSION: Code = 35;
pub(super) const SASL_AUTHENTICATION_FAILED: Code = 58;

/// A consumer, in a request that replicas send as well.
const CONSUMER: i32 = -1;

/// A request under construction.
pub(super) struct Request(Vec<u8>);

impl Request {
    /// With its header; the length before it is written at the end.
    fn new(api: Question, correlation: i32, client: &str) -> Self {
        let mut request = Request(vec![0; 4]);
        request.short(api.key());
        request.short(api.version());
        request.int(correlation);
        request.text(client);
        request
    }

    fn short(&mut self, value: i16) {
        self.0.extend(value.to_be_bytes());
    }

    fn int(&mut self, value: i32) {
        self.0.extend(value.to_be_bytes());
    }

    /// Topics and client ids are shorter than 32 kB: brokers refuse others.
    fn text(&mut self, value: &str) {
        self.short(value.len().min(usize::from(u16::MAX >> 1)) as i16);
        self.0.extend(value.bytes().take(usize::from(u16::MAX >> 1)));
    }

    fn count(&mut self, count: usize) {
        self.int(i32::try_from(count).unwrap_or(i32::MAX));
    }

    fn bytes(mut self) -> Vec<u8> {
        let length = i32::try_from(self.0.len() - 4).unwrap_or(i32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0
    }
}

pub(super) fn api_versions(correlation: i32, client: &str) -> Vec<u8> {
    Request::new(Question::ApiVersions, correlation, client).bytes()
}

/// Who leads the partitions of these topics; creates none.
pub(super) fn metadata(correlation: i32, client: &str, topics: &[&str]) -> Vec<u8> {
    let mut request = Request::new(Question::Metadata, correlation, client);
    request.count(topics.len());
    topics.iter().for_each(|topic| request.text(topic));
    request.0.push(0);
    request.bytes()
}

/// Where the latest epoch of these partitions ends, asked of their leader: the end of its log. By topic: partition and epoch.
pub(super) fn log_ends(correlation: i32, client: &str, topics: &[(&str, Vec<(i32, i32)>)]) -> Vec<u8> {
    let mut request = Request::new(Question::OffsetForLeaderEpoch, correlation, client);
    request.int(CONSUMER);
    request.count(topics.len());
    for (topic, partitions) in topics {
        request.text(topic);
        request.count(partitions.len());
        for (partition, epoch) in partitions {
            request.int(*partition);
            // A broker that knows of another epoch refuses; one that leads in this one says where it ends.
            request.int(*epoch);
            request.int(*epoch);
        }
    }
    request.bytes()
}

pub(super) fn handshake(correlation: i32, client: &str, mechanism: &str) -> Vec<u8> {
    let mut request = Request::new(Question::SaslHandshake, correlation, client);
    request.text(mechanism);
    request.bytes()
}

pub(super) fn authenticate(correlation: i32, client: &str, token: &[u8]) -> Vec<u8> {
    let mut request = Request::new(Question::SaslAuthenticate, correlation, client);
    request.count(token.len());
    request.0.extend(token);
    request.bytes()
}

/// An answer, read from its beginning. Whatever the bytes are: an error, never a panic.
pub(super) struct Answer<'a>(&'a [u8]);

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled;

type Read<T> = Result<T, Garbled>;

impl<'a> Answer<'a> {
    /// The bytes behind the correlation id.
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Answer(bytes)
    }

    fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Garbled)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Garbled)
    }

    fn short(&mut self) -> Read<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn int(&mut self) -> Read<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn long(&mut self) -> Read<i64> {
        self.array().map(i64::from_be_bytes)
    }

    /// One that is absent is empty.
    fn text(&mut self) -> Read<String> {
        let length = usize::try_from(self.short()?).unwrap_or(0);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = usize::try_from(self.int()?).unwrap_or(0);
        self.take(length)
    }

    fn each<T>(&mut self, mut one: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = usize::try_from(self.int()?).unwrap_or(0);
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(one(self)?);
        }
        Ok(all)
    }

    /// Whether the broker understands all of these.
    pub(super) fn api_versions(mut self) -> Read<Result<Vec<Question>, Code>> {
        let code = self.short()?;
        if code != NONE {
            return Ok(Err(code));
        }
        let all = [
            Question::Metadata,
            Question::SaslHandshake,
            Question::ApiVersions,
            Question::OffsetForLeaderEpoch,
            Question::SaslAuthenticate,
        ];
        let ranges = self.each(|answer| Ok((answer.short()?, answer.short()?, answer.short()?)))?;
        let speaks = |api: &Question| {
            ranges.iter().any(|(key, least, most)| *key == api.key() && (*least..=*most).contains(&api.version()))
        };
        Ok(Ok(all.into_iter().filter(speaks).collect()))
    }

    pub(super) fn metadata(mut self) -> Read<Metadata> {
        let _throttled_for = self.int()?;
        let brokers = self.each(|answer| {
            let (id, host, port, _rack) = (answer.int()?, answer.text()?, answer.int()?, answer.text()?);
            Ok((id, (host, u16::try_from(port).map_err(|_| Garbled)?)))
        })?;
        let (_cluster, _controller) = (self.text()?, self.int()?);
        let mut partitions = Vec::new();
        let mut refused = Vec::new();
        self.each(|answer| {
            let (code, topic, _is_internal) = (answer.short()?, answer.text()?, answer.take(1)?);
            if code != NONE {
                refused.push((topic.clone(), code));
            }
            answer.each(|answer| {
                let _code = answer.short()?;
                let (number, broker, epoch) = (answer.int()?, answer.int()?, answer.int()?);
                let (replicas, in_sync) = (answer.each(Answer::int)?.len(), answer.each(Answer::int)?.len());
                let _offline = answer.each(Answer::int)?;
                let leader = (broker >= 0).then_some(Leadership { broker, epoch });
                partitions.push(Led { topic: topic.clone(), number, leader, replicas, in_sync });
                Ok(())
            })
        })?;
        Ok(Metadata { brokers, partitions, refused })
    }

    pub(super) fn log_ends(mut self) -> Read<Vec<Ends>> {
        let _throttled_for = self.int()?;
        let topics = self.each(|answer| {
            let topic = answer.text()?;
            answer.each(|answer| {
                let (code, number, epoch, offset) = (answer.short()?, answer.int()?, answer.int()?, answer.long()?);
                Ok(Ends { topic: topic.clone(), number, code, epoch, offset })
            })
        })?;
        Ok(topics.into_iter().flatten().collect())
    }

    /// A refusal, or the mechanisms that the broker knows instead.
    pub(super) fn handshake(mut self) -> Read<Result<(), String>> {
        let code = self.short()?;
        let known = self.each(Answer::text)?;
        Ok(if code == NONE { Ok(()) } else { Err(known.join(", ")) })
    }

    /// The broker's token, or the code and the words of a refusal.
    pub(super) fn authenticate(mut self) -> Read<Result<Token<'a>, (Code, String)>> {
        let (code, words, token) = (self.short()?, self.text()?, self.bytes()?);
        let lasts_millis = self.long()?;
        Ok(if code == NONE { Ok(Token { token, lasts_millis }) } else { Err((code, words)) })
    }
}

/// What a broker says to a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub token: &'a [u8],
    /// For so long the session is good; 0 where it does not end.
    pub lasts_millis: i64,
}

/// What a broker knows of the others.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub brokers: Vec<(BrokerId, (String, u16))>,
    pub partitions: Vec<Led>,
    /// Topics of which it says nothing, and why.
    pub refused: Vec<(String, Code)>,
}

/// Who leads a partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Led {
    pub topic: String,
    pub number: i32,
    pub leader: Option<Leadership>,
    pub replicas: usize,
    pub in_sync: usize,
}

/// Where the log of a partition's leader ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ends {
    pub topic: String,
    pub number: i32,
    pub code: Code,
    pub epoch: i32,
    pub offset: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as they are written in Kafka's documentation of the protocol.
    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn requests_are_the_bytes_that_kafka_documents() {
        for (request, expected) in [
            (api_versions(1, "s"), "0000000b 0012 0000 00000001 0001 73"),
            (metadata(2, "s", &["in"]), "00000014 0003 0007 00000002 0001 73 00000001 0002 696e 00"),
            (
                log_ends(3, "s", &[("in", vec![(4, 9)])]),
                "00000027 0017 0003 00000003 0001 73 ffffffff 00000001 0002 696e 00000001 00000004 00000009 00000009",
            ),
            (handshake(4, "s", "PLAIN"), "00000012 0011 0001 00000004 0001 73 0005 504c41494e"),
            (authenticate(5, "s", b"\0u\0p"), "00000013 0024 0001 00000005 0001 73 00000004 00 75 00 70"),
        ] {
            assert_eq!(request, bytes(expected), "{expected}");
        }
    }

    #[test]
    fn answers_are_read_as_kafka_documents_them() {
        let known = bytes("0000 00000003 0003 0000 000d 0017 0002 0004 0011 0002 0003");
        assert_eq!(Answer::of(&known).api_versions(), Ok(Ok(vec![Question::Metadata, Question::OffsetForLeaderEpoch])));
        let metadata = bytes(
            "00000000 00000002 00000001 0001 61 00002384 ffff 00000002 0001 62 00002385 0001 72 ffff 00000001 \
             00000002 0000 0002 696e 00 00000002 \
             0000 00000000 00000002 00000007 00000002 00000001 00000002 00000002 00000002 00000001 00000000 \
             0005 00000001 ffffffff 00000008 00000001 00000001 00000001 00000001 00000001 00000001 \
             001d 0001 78 00 00000000",
        );
        let led = |number, leader, replicas| Led { topic: "in".to_owned(), number, leader, replicas, in_sync: replicas };
        let expected = Metadata {
            brokers: vec![(1, ("a".to_owned(), 9_092)), (2, ("b".to_owned(), 9_093))],
            partitions: vec![led(0, Some(Leadership { broker: 2, epoch: 7 }), 2), led(1, None, 1)],
            refused: vec![("x".to_owned(), TOPIC_AUTHORIZATION_FAILED)],
        };
        assert_eq!(Answer::of(&metadata).metadata(), Ok(expected));
        let ends = bytes(
            "00000000 00000001 0002 696e 00000002 0000 00000000 00000007 000000000000000f 004a 00000001 ffffffff ffffffffffffffff",
        );
        let end = |number, code, epoch, offset| Ends { topic: "in".to_owned(), number, code, epoch, offset };
        assert_eq!(Answer::of(&ends).log_ends(), Ok(vec![end(0, NONE, 7, 15), end(1, 74, -1, -1)]));
        let refused = bytes("0021 00000001 000d 534352414d2d5348412d323536");
        assert_eq!(Answer::of(&refused).handshake(), Ok(Err("SCRAM-SHA-256".to_owned())));
        let passed = bytes("0000 ffff 00000002 763d 0000000000000e10");
        assert_eq!(Answer::of(&passed).authenticate(), Ok(Ok(Token { token: b"v=", lasts_millis: 3_600 })));
    }

    #[test]
    fn an_answer_that_is_cut_off_or_lies_about_its_length_is_garbled() {
        let whole = bytes("00000000 00000001 0002 696e 00000001 0000 00000000 00000007 000000000000000f");
        for length in 0..whole.len() {
            assert_eq!(Answer::of(&whole[..length]).log_ends(), Err(Garbled), "{length}");
        }
        assert_eq!(Answer::of(&bytes("00000000 7fffffff 00")).log_ends(), Err(Garbled));
        assert_eq!(Answer::of(&bytes("00000000 7fffffff")).metadata(), Err(Garbled));
    }
}
