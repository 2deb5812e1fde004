package bench;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.BasicTypeInfo;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple3;
import org.apache.flink.api.java.typeutils.TupleTypeInfo;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** {@code bench.Flink BROKERS INPUT GROUP CHECKPOINT_MS FOLDER}: outcomes go to topics GROUP.transitions, … */
public final class Flink {
    private static final TypeInformation<byte[]> BYTES = PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO;
    private static final TupleTypeInfo<Tuple2<String, byte[]>> INPUT =
            new TupleTypeInfo<>(BasicTypeInfo.STRING_TYPE_INFO, BYTES);
    private static final TupleTypeInfo<Tuple3<String, byte[], byte[]>> OUTPUT =
            new TupleTypeInfo<>(BasicTypeInfo.STRING_TYPE_INFO, BYTES, BYTES);

    private Flink() {}

    public static void main(String[] arguments) throws Exception {
        String brokers = arguments[0];
        String group = arguments[2];
        Configuration settings = new Configuration();
        settings.setString("execution.checkpointing.interval", arguments[3] + " ms");
        settings.setString("execution.checkpointing.dir", "file://" + arguments[4]);
        settings.setString("execution.checkpointing.storage", "filesystem");
        settings.setString("state.backend.type", "hashmap");
        settings.setString("pipeline.object-reuse", "true");
        settings.setString("pipeline.generic-types", "false");
        settings.setString("rest.bind-port", "0");
        // A run that fails is to be seen.
        settings.setString("restart-strategy.type", "none");
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.createLocalEnvironment(1, settings);
        KafkaSource<Tuple2<String, byte[]>> source = KafkaSource.<Tuple2<String, byte[]>>builder()
                .setBootstrapServers(brokers)
                .setTopics(arguments[1])
                .setGroupId(group)
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new Reading())
                .setProperty("isolation.level", "read_committed")
                .setProperty("partition.discovery.interval.ms", "-1")
                .setProperty("check.crcs", "false")
                .setProperty("max.poll.records", "5000")
                .setProperty("max.partition.fetch.bytes", "4194304")
                .build();
        KafkaSink<Tuple3<String, byte[], byte[]>> sink = KafkaSink.<Tuple3<String, byte[], byte[]>>builder()
                .setBootstrapServers(brokers)
                .setRecordSerializer(new Writing(group))
                .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
                .setTransactionalIdPrefix(group)
                .setProperty("transaction.timeout.ms", "600000")
                .setProperty("compression.type", "lz4")
                .setProperty("batch.size", "262144")
                .setProperty("linger.ms", "100")
                .setProperty("buffer.memory", "134217728")
                .build();
        environment
                .fromSource(source, WatermarkStrategy.forMonotonousTimestamps(), "touchpoints", INPUT)
                .keyBy(record -> record.f0, BasicTypeInfo.STRING_TYPE_INFO)
                .process(new Journey(), OUTPUT)
                .sinkTo(sink);
        environment.execute("bench");
    }

    private static final class Reading implements KafkaRecordDeserializationSchema<Tuple2<String, byte[]>> {
        private static final long serialVersionUID = 1;

        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Tuple2<String, byte[]>> out) {
            out.collect(Tuple2.of(new String(record.key(), StandardCharsets.UTF_8), record.value()));
        }

        @Override
        public TypeInformation<Tuple2<String, byte[]>> getProducedType() {
            return INPUT;
        }
    }

    private static final class Writing implements KafkaRecordSerializationSchema<Tuple3<String, byte[], byte[]>> {
        private static final long serialVersionUID = 1;
        private final String prefix;

        Writing(String group) {
            prefix = group + ".";
        }

        /** With the present time: an old one would be deleted by retention at once. */
        @Override
        public ProducerRecord<byte[], byte[]> serialize(
                Tuple3<String, byte[], byte[]> outcome, KafkaSinkContext context, Long timestamp) {
            long now = System.currentTimeMillis();
            return new ProducerRecord<>(prefix + outcome.f0, null, now, outcome.f1, outcome.f2);
        }
    }

    /** Customers in Flink's own heap, as objects; one live timer for each, which is armed anew when it comes too early. */
    private static final class Journey
            extends KeyedProcessFunction<String, Tuple2<String, byte[]>, Tuple3<String, byte[], byte[]>> {
        private static final long serialVersionUID = 1;
        private transient ValueState<Customer> state;
        private transient Touchpoint touchpoint;
        private transient Engine engine;
        private transient ArrayDeque<Tuple2<String, byte[]>> told;

        @Override
        public void open(OpenContext context) {
            state = getRuntimeContext().getState(new ValueStateDescriptor<>("customers", new CustomerSerializer()));
            touchpoint = new Touchpoint();
            told = new ArrayDeque<>();
            engine = new Engine(new Outcomes((topic, value) -> told.add(Tuple2.of(topic, value))));
        }

        @Override
        public void processElement(
                Tuple2<String, byte[]> record, Context context, Collector<Tuple3<String, byte[], byte[]>> out)
                throws Exception {
            Customer customer = state.value();
            customer = customer == null ? new Customer(record.f0) : customer;
            long before = customer.nextDeadline();
            // The watermark is that of the slowest partition: what is due of this customer is decided here.
            fireUntil(customer, context.timestamp());
            try {
                touchpoint.read(record.f1);
            } catch (IOException | RuntimeException fault) {
                System.err.println("unusable record: " + fault.getMessage());
                return;
            }
            engine.apply(customer, touchpoint, context.timestamp());
            keep(customer, before, context, out);
        }

        @Override
        public void onTimer(long at, OnTimerContext context, Collector<Tuple3<String, byte[], byte[]>> out)
                throws Exception {
            Customer customer = state.value();
            if (customer != null) {
                fireUntil(customer, at);
                keep(customer, Long.MAX_VALUE, context, out);
            }
        }

        private void fireUntil(Customer customer, long until) {
            for (long due = customer.nextDeadline(); due <= until; due = customer.nextDeadline()) {
                engine.fire(customer, due);
            }
        }

        private void keep(
                Customer customer, long before, Context context, Collector<Tuple3<String, byte[], byte[]>> out)
                throws IOException {
            state.update(customer);
            long next = customer.nextDeadline();
            // A timer that stands already and is not later comes first and arms the next one.
            if (next < before || before <= context.timestamp() && next < Long.MAX_VALUE) {
                context.timerService().registerEventTimeTimer(next);
            }
            if (!told.isEmpty()) {
                byte[] key = customer.id.getBytes(StandardCharsets.UTF_8);
                for (Tuple2<String, byte[]> one = told.poll(); one != null; one = told.poll()) {
                    out.collect(Tuple3.of(one.f0, key, one.f1));
                }
            }
        }
    }
}
