package bench;

import java.util.Map;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.state.KeyValueBytesStoreSupplier;
import org.apache.kafka.streams.state.RocksDBConfigSetter;
import org.apache.kafka.streams.state.Stores;
import org.rocksdb.BlockBasedTableConfig;
import org.rocksdb.BloomFilter;
import org.rocksdb.Options;

/**
 * {@code bench.Main BROKERS INPUT APPLICATION memory|rocksdb FOLDER COMMIT_MS}: outcomes go to topics APPLICATION.transitions,
 * … Says when it runs.
 */
public final class Main {
    private Main() {}

    public static void main(String[] arguments) throws InterruptedException {
        String input = arguments[1];
        String application = arguments[2];
        boolean memory = arguments[3].equals("memory");
        KafkaStreams streams = new KafkaStreams(topology(input, application, memory), settings(arguments));
        CountDownLatch ended = new CountDownLatch(1);
        streams.setStateListener((now, before) -> {
            if (now == KafkaStreams.State.RUNNING) {
                System.out.println("running");
            }
            if (now == KafkaStreams.State.ERROR || now == KafkaStreams.State.NOT_RUNNING) {
                ended.countDown();
            }
        });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        ended.await();
    }

    private static Topology topology(String input, String application, boolean memory) {
        KeyValueBytesStoreSupplier supplier =
                memory ? Stores.inMemoryKeyValueStore(Journeys.STORE) : Stores.persistentKeyValueStore(Journeys.STORE);
        // No cache before the store: few customers come twice within a commit, and it would cost more than it saves.
        var store = Stores.keyValueStoreBuilder(supplier, Serdes.ByteArray(), Serdes.ByteArray())
                .withCachingDisabled()
                .withLoggingEnabled(Map.of());
        Topology topology = new Topology();
        topology.addSource("touchpoints", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), input);
        topology.addProcessor("journeys", Journeys::new, "touchpoints");
        topology.addStateStore(store, "journeys");
        for (String topic : Outcomes.TOPICS) {
            topology.addSink(
                    topic, application + "." + topic, Serdes.ByteArray().serializer(), Serdes.ByteArray().serializer(),
                    "journeys");
        }
        return topology;
    }

    private static Properties settings(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[2]);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Integer.parseInt(arguments[5]));
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.BUFFERED_RECORDS_PER_PARTITION_CONFIG, 5_000);
        settings.put(StreamsConfig.ROCKSDB_CONFIG_SETTER_CLASS_CONFIG, Rocks.class);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), 5_000);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), 4 << 20);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.CHECK_CRCS_CONFIG), false);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 100);
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BUFFER_MEMORY_CONFIG), 128L << 20);
        return settings;
    }

    /** Point look-ups of small values: a Bloom filter, whole blocks in the cache, large write buffers. */
    public static final class Rocks implements RocksDBConfigSetter {
        private final BloomFilter filter = new BloomFilter(10);

        @Override
        public void setConfig(String name, Options options, Map<String, Object> settings) {
            BlockBasedTableConfig table = (BlockBasedTableConfig) options.tableFormatConfig();
            table.setFilterPolicy(filter);
            table.setWholeKeyFiltering(true);
            options.setTableFormatConfig(table);
            options.setWriteBufferSize(32 << 20);
            options.setMaxWriteBufferNumber(3);
        }

        @Override
        public void close(String name, Options options) {
            filter.close();
        }
    }
}
