package bench;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.PriorityQueue;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;

/**
 * One partition's customers. Deadlines stand in a heap that is looked at for each record: exact, and far cheaper than a
 * punctuator of stream time. A customer has at most one live entry in it.
 */
final class Journeys implements Processor<byte[], byte[], byte[], byte[]> {
    static final String STORE = "customers";

    /** A customer to be looked at. */
    private record Due(long at, String customer) implements Comparable<Due> {
        @Override
        public int compareTo(Due other) {
            return at != other.at ? Long.compare(at, other.at) : customer.compareTo(other.customer);
        }
    }

    private final PriorityQueue<Due> due = new PriorityQueue<>();
    private final Touchpoint touchpoint = new Touchpoint();
    private final Bytes buffer = new Bytes(new byte[4_096]);
    private final Outcomes outcomes = new Outcomes(this::publish);
    private final Engine engine = new Engine(outcomes);
    private ProcessorContext<byte[], byte[]> context;
    private KeyValueStore<byte[], byte[]> store;
    private byte[] key;
    private long logTime = Long.MIN_VALUE;
    private long unusable;

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
        store = context.getStateStore(STORE);
        try (KeyValueIterator<byte[], byte[]> all = store.all()) {
            while (all.hasNext()) {
                var next = all.next();
                String id = new String(next.key, StandardCharsets.UTF_8);
                arm(Customer.read(id, next.value), Long.MAX_VALUE);
            }
        }
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        logTime = Math.max(logTime, record.timestamp());
        while (!due.isEmpty() && due.peek().at <= logTime) {
            fire(due.poll());
        }
        try {
            touchpoint.read(record.value());
        } catch (IOException | RuntimeException fault) {
            System.err.println("unusable record " + ++unusable + ": " + fault.getMessage());
            return;
        }
        key = touchpoint.customer.getBytes(StandardCharsets.UTF_8);
        byte[] known = store.get(key);
        Customer customer =
                known == null ? new Customer(touchpoint.customer) : Customer.read(touchpoint.customer, known);
        long before = customer.nextDeadline();
        if (engine.apply(customer, touchpoint, logTime)) {
            keep(customer);
            arm(customer, before);
        }
    }

    /** An entry may be stale: the customer's deadline has moved since. Then there is one more look, at the new instant. */
    private void fire(Due entry) {
        key = entry.customer.getBytes(StandardCharsets.UTF_8);
        byte[] known = store.get(key);
        if (known == null) {
            return;
        }
        Customer customer = Customer.read(entry.customer, known);
        long deadline = customer.nextDeadline();
        if (deadline < entry.at) {
            // An earlier entry stood for it.
            return;
        }
        if (deadline == entry.at) {
            engine.fire(customer, deadline);
            keep(customer);
        }
        arm(customer, Long.MAX_VALUE);
    }

    private void keep(Customer customer) {
        buffer.at = 0;
        customer.write(buffer);
        store.put(key, buffer.copy());
    }

    /** Puts an entry in the heap unless one stands there already that is not later. */
    private void arm(Customer customer, long before) {
        long next = customer.nextDeadline();
        if (next < before) {
            due.add(new Due(next, customer.id));
        }
    }

    /** With the present time: an old one would be deleted by retention at once. */
    private void publish(String topic, byte[] value) {
        context.forward(new Record<>(key, value, System.currentTimeMillis()), topic);
    }
}
