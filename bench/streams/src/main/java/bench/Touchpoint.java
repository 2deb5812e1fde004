package bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.time.Instant;

/** A touchpoint as the model needs it, read by a streaming parser into one reused object: no tree, no binding. */
final class Touchpoint {
    private static final JsonFactory FACTORY = new JsonFactory();
    /** By place in a kind's list of ids; see {@link Model#ID_NAMES}. */
    final String[] ids = new String[3];
    String id;
    String customer;
    String type;
    String channel;
    String session;
    long at;
    private double value;
    private boolean hasValue;
    private String currency;

    void read(byte[] json) throws IOException {
        id = customer = type = channel = session = currency = null;
        ids[0] = ids[1] = ids[2] = null;
        hasValue = false;
        at = Long.MIN_VALUE;
        try (JsonParser parser = FACTORY.createParser(json)) {
            parser.nextToken();
            for (String name = parser.nextFieldName(); name != null; name = parser.nextFieldName()) {
                parser.nextToken();
                switch (name) {
                    case "event_id" -> id = parser.getText();
                    case "customer_id" -> customer = parser.getText();
                    case "occurred_at" -> at = instant(parser.getText());
                    case "type" -> type = parser.getText();
                    case "channel" -> channel = parser.getText();
                    case "session_id" -> session = parser.getText();
                    case "properties" -> properties(parser);
                    default -> parser.skipChildren();
                }
            }
        }
        if (id == null || customer == null || type == null || at == Long.MIN_VALUE) {
            throw new IOException("not a touchpoint");
        }
    }

    private void properties(JsonParser parser) throws IOException {
        for (String name = parser.nextFieldName(); name != null; name = parser.nextFieldName()) {
            JsonToken token = parser.nextToken();
            switch (name) {
                case "cart_id" -> ids[Model.CART_ID] = parser.getText();
                case "checkout_id" -> ids[Model.CHECKOUT_ID] = parser.getText();
                case "order_id" -> ids[Model.ORDER_ID] = parser.getText();
                case "currency" -> currency = parser.getText();
                case "value" -> {
                    hasValue = token.isNumeric();
                    value = hasValue ? parser.getDoubleValue() : 0;
                }
                default -> parser.skipChildren();
            }
        }
    }

    /** What it is worth, in millionths; {@link Long#MIN_VALUE} where it says nothing. The load knows one currency. */
    long worth() {
        return hasValue && "EUR".equals(currency) ? Math.round(value * 1e6) : Long.MIN_VALUE;
    }

    /** The usual form by hand, {@code 2026-11-24T10:00:00.000Z}; anything else by the library. */
    private static long instant(String text) {
        if (text.length() != 24 || text.charAt(23) != 'Z' || text.charAt(19) != '.') {
            return Instant.parse(text).toEpochMilli();
        }
        int year = number(text, 0, 4);
        int month = number(text, 5, 7);
        long y = month <= 2 ? year - 1 : year;
        long era = Math.floorDiv(y, 400);
        long yoe = y - era * 400;
        long doy = (153L * (month + (month > 2 ? -3 : 9)) + 2) / 5 + number(text, 8, 10) - 1;
        long day = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
        long seconds = day * 86_400 + number(text, 11, 13) * 3_600L + number(text, 14, 16) * 60L + number(text, 17, 19);
        return seconds * 1_000 + number(text, 20, 23);
    }

    private static int number(String text, int from, int to) {
        int number = 0;
        for (int at = from; at < to; at++) {
            number = number * 10 + text.charAt(at) - '0';
        }
        return number;
    }
}
