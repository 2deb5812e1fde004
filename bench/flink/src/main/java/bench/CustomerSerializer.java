package bench;

import java.io.IOException;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;

/**
 * A customer in a checkpoint: the same bytes as in the store of Kafka Streams. A checkpoint is written by another thread while
 * records go on being processed, so each gets a serializer, and a buffer, of its own.
 */
public final class CustomerSerializer extends TypeSerializerSingleton<Customer> {
    private static final long serialVersionUID = 1;
    private transient Bytes buffer;

    private Bytes written(Customer customer) {
        buffer = buffer == null ? new Bytes(new byte[4_096]) : buffer;
        buffer.at = 0;
        customer.write(buffer);
        return buffer;
    }

    @Override
    public CustomerSerializer duplicate() {
        return new CustomerSerializer();
    }

    @Override
    public boolean isImmutableType() {
        return false;
    }

    @Override
    public Customer createInstance() {
        return new Customer("");
    }

    @Override
    public Customer copy(Customer from) {
        return Customer.read(from.id, written(from).array);
    }

    @Override
    public Customer copy(Customer from, Customer reuse) {
        return copy(from);
    }

    @Override
    public int getLength() {
        return -1;
    }

    @Override
    public void serialize(Customer customer, DataOutputView target) throws IOException {
        Bytes bytes = written(customer);
        target.writeUTF(customer.id);
        target.writeInt(bytes.at);
        target.write(bytes.array, 0, bytes.at);
    }

    @Override
    public Customer deserialize(DataInputView source) throws IOException {
        String id = source.readUTF();
        byte[] bytes = new byte[source.readInt()];
        source.readFully(bytes);
        return Customer.read(id, bytes);
    }

    @Override
    public Customer deserialize(Customer reuse, DataInputView source) throws IOException {
        return deserialize(source);
    }

    @Override
    public void copy(DataInputView source, DataOutputView target) throws IOException {
        serialize(deserialize(source), target);
    }

    @Override
    public TypeSerializerSnapshot<Customer> snapshotConfiguration() {
        return new Snapshot();
    }

    /** How a checkpoint knows this serializer. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<Customer> {
        public Snapshot() {
            super(CustomerSerializer::new);
        }
    }
}
