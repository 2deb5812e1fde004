//! librdkafka called directly, for what its Rust wrapper does not have: taking records in batches, producing to a topic by
//! its handle, and a flush that ends when it is done. The only `unsafe` code of this package.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::ptr::{NonNull, null_mut};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::types::RDKafkaRespErr;

/// The queue of a consumer, taken in batches.
pub struct Batches<'a> {
    queue: NonNull<rd::rd_kafka_queue_t>,
    records: Vec<*mut rd::rd_kafka_message_t>,
    /// The queue is the consumer's.
    _consumer: &'a BaseConsumer,
}

impl<'a> Batches<'a> {
    /// The consumer's queue, at most so many records at a time.
    pub fn of(consumer: &'a BaseConsumer, most: usize) -> Self {
        // SAFETY: the pointer is that of a living consumer, which `_consumer` keeps alive.
        let queue = unsafe { rd::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("a consumer with a group has a queue");
        Batches { queue, records: vec![null_mut(); most], _consumer: consumer }
    }

    /// Takes what is there, waiting for it so long, and shows the partition and offset of each record.
    pub fn take(&mut self, wait: Duration, mut each: impl FnMut(i32, i64)) -> Result<usize, String> {
        // SAFETY: the queue is alive, and the list has room for as many pointers as it is said to have.
        let taken = unsafe {
            let (list, room) = (self.records.as_mut_ptr(), self.records.len());
            rd::rd_kafka_consume_batch_queue(self.queue.as_ptr(), wait.as_millis() as i32, list, room)
        };
        let taken = usize::try_from(taken).map_err(|_| "cannot take records".to_owned())?;
        let mut trouble = None;
        for record in &self.records[..taken] {
            // SAFETY: the call above filled in so many records, which are ours until they are destroyed here, once each.
            unsafe {
                let found = &**record;
                match found.err {
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => each(found.partition, found.offset),
                    error => trouble = Some(format!("{error:?}")),
                }
                rd::rd_kafka_message_destroy(*record);
            }
        }
        trouble.map_or(Ok(taken), Err)
    }
}

impl Drop for Batches<'_> {
    fn drop(&mut self) {
        // SAFETY: the queue is alive, and this is the only reference that we hold.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Waits until everything that was handed over is acknowledged. Returns at once when it is, which the wrapper's own flush does
/// not where deliveries that went well are not reported: it looks ten times a second.
pub fn flush(producer: &BaseProducer, within: Duration) -> Result<(), String> {
    // SAFETY: the pointer is that of a living producer.
    let code = unsafe { rd::rd_kafka_flush(producer.client().native_ptr(), within.as_millis() as i32) };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        error => Err(format!("what was written is not acknowledged: {error:?}")),
    }
}

/// A topic of a producer, by its handle.
pub struct Topic<'a> {
    handle: NonNull<rd::rd_kafka_topic_t>,
    /// The handle is the producer's.
    _producer: &'a BaseProducer,
}

impl<'a> Topic<'a> {
    /// The topic of this name.
    pub fn of(producer: &'a BaseProducer, name: &str) -> Self {
        let name = CString::new(name).expect("a topic's name has no zero in it");
        // SAFETY: the pointer is that of a living producer, and the name ends with a zero.
        let handle = unsafe { rd::rd_kafka_topic_new(producer.client().native_ptr(), name.as_ptr(), null_mut()) };
        Topic { handle: NonNull::new(handle).expect("a topic with default settings"), _producer: producer }
    }

    /// Hands a record over, which the client copies. Whether the client had room for it.
    pub fn produce(&self, partition: i32, key: Option<&[u8]>, value: &[u8]) -> bool {
        let (key, length) = key.map_or((std::ptr::null(), 0), |key| (key.as_ptr(), key.len()));
        // SAFETY: both texts live until the call returns, and the client copies them.
        let code = unsafe {
            let (value, bytes) = (value.as_ptr().cast_mut().cast(), value.len());
            let flags = rd::RD_KAFKA_MSG_F_COPY;
            rd::rd_kafka_produce(self.handle.as_ptr(), partition, flags, value, bytes, key.cast(), length, null_mut())
        };
        code == 0
    }
}

impl Drop for Topic<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is alive, and this is the only reference that we hold.
        unsafe { rd::rd_kafka_topic_destroy(self.handle.as_ptr()) }
    }
}
