package bench;

import bench.Customer.Episode;
import bench.Customer.Id;
import bench.Customer.Watch;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.function.BiConsumer;

/** Writes outcomes with every field that Sillage writes, in its order and form, and names them as it does. */
final class Outcomes {
    static final String[] TOPICS = {"transitions", "completions", "abandonments", "recoveries"};
    private static final int TRANSITIONS = 0;
    private static final int COMPLETIONS = 1;
    private static final int ABANDONMENTS = 2;
    private static final int RECOVERIES = 3;
    private static final long NAMESPACE_HIGH = 0x6a1d5c0e77b44d0aL;
    private static final long NAMESPACE_LOW = 0x9c655111a9e05e11L;
    private static final byte[] HEX = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);

    private final MessageDigest sha1;
    private final Bytes name = new Bytes(new byte[256]);
    private final Bytes out = new Bytes(new byte[2_048]);
    private final BiConsumer<String, byte[]> publish;
    /** Of the outcome told last. */
    long high;
    long low;

    Outcomes(BiConsumer<String, byte[]> publish) {
        this.publish = publish;
        try {
            sha1 = MessageDigest.getInstance("SHA-1");
        } catch (NoSuchAlgorithmException impossible) {
            throw new IllegalStateException(impossible);
        }
    }

    void transition(Customer of, Touchpoint cause, int from, String movement, long since, long value, boolean purchase) {
        begin(of, "transition", null, Model.STAGES[of.stage], null, cause, null, 0);
        head(of, "transition", cause.at, cause.id);
        text("from", from < 0 ? null : Model.STAGES[from]);
        text("to", Model.STAGES[of.stage]);
        text("movement", movement);
        if (from < 0) {
            absent("time_in_stage_ms");
        } else {
            whole("time_in_stage_ms", since);
        }
        absent("subject");
        absent("opened_by");
        absent("opened_at");
        absent("last_progress");
        absent("last_progress_at");
        absent("progress_count");
        absent("answers");
        value(value);
        absent("segment");
        if (purchase && of.influenceId != null) {
            out.ascii(",\"decision\":{\"stage\":");
            quoted(of.influenceStage < 0 ? null : Model.STAGES[of.influenceStage]);
            text("touchpoint", of.influenceId);
            text("type", of.influenceType);
            text("channel", of.influenceChannel);
            whole("before_ms", Math.max(0, cause.at - of.influenceAt));
            out.put((byte) '}');
        } else {
            absent("decision");
        }
        absent("friction");
        absent("retracts");
        out.ascii(",\"hindsight\":false,\"says\":\"");
        String to = Model.STAGES[of.stage];
        if (from < 0) {
            out.ascii("enters " + to + (movement.equals("skip") ? ", skipping" : ""));
        } else {
            out.ascii(Model.STAGES[from]);
            out.ascii(" → ");
            switch (movement) {
                case "regress" -> out.ascii("back to " + to);
                case "re-enter" -> out.ascii(to + ", beginning journey " + of.journey);
                case "skip" -> out.ascii(to + ", skipping");
                default -> out.ascii(to);
            }
        }
        end(TRANSITIONS);
    }

    void completion(Customer of, Touchpoint cause, Episode episode, long value) {
        told(of, "completion", "completes", COMPLETIONS, cause.at, cause, episode, episode.watch, value, false);
    }

    void abandonment(Customer of, long at, Episode episode, Watch watch, long value) {
        told(of, "abandonment", "abandons", ABANDONMENTS, at, null, episode, watch, value, false);
    }

    void resumption(Customer of, Touchpoint cause, Episode episode, Watch watch, long value) {
        told(of, "resumption", "resumes", RECOVERIES, cause.at, cause, episode, watch, value, true);
    }

    void recovery(Customer of, Touchpoint cause, Episode episode, Watch watch, long value) {
        told(of, "recovery", "recovers", RECOVERIES, cause.at, cause, episode, watch, value, true);
    }

    /** About an episode, or about the stage that the customer stands in. */
    private void told(
            Customer of, String kind, String verb, int topic, long at, Touchpoint cause, Episode episode, Watch watch,
            long value, boolean answers) {
        begin(
                of, kind, episode == null ? "stage" : "episode",
                episode == null ? Model.STAGES[of.stage] : Model.KINDS[episode.kind], watch.openedBy, cause, watch, at);
        head(of, kind, at, cause == null ? null : cause.id);
        absent("from");
        absent("to");
        absent("movement");
        absent("time_in_stage_ms");
        out.ascii(",\"subject\":{\"stage\":");
        quoted(episode == null ? Model.STAGES[of.stage] : null);
        text("episode", episode == null ? null : Model.KINDS[episode.kind]);
        if (episode == null) {
            absent("number");
            out.ascii(",\"ids\":{}");
        } else {
            whole("number", episode.number);
            ids(episode);
        }
        absent("session");
        out.put((byte) '}');
        text("opened_by", watch.openedBy);
        instant("opened_at", watch.openedAt);
        text("last_progress", watch.lastProgress);
        instant("last_progress_at", watch.lastProgressAt);
        whole("progress_count", watch.progress);
        if (answers) {
            out.ascii(",\"answers\":{\"outcome_id\":");
            uuid(watch.abandonedHigh, watch.abandonedLow);
            instant("at", watch.abandonedAt);
            out.put((byte) '}');
        } else {
            absent("answers");
        }
        value(value);
        absent("segment");
        absent("decision");
        absent("friction");
        absent("retracts");
        out.ascii(",\"hindsight\":false,\"says\":\"");
        out.ascii(verb);
        out.put((byte) ' ');
        if (episode == null) {
            out.ascii(Model.STAGES[of.stage]);
        } else {
            out.ascii(Model.KINDS[episode.kind]);
            out.put((byte) ' ');
            out.ascii(episode.ids.isEmpty() ? "#" + episode.number : episode.ids.get(0).value());
            if (value != Long.MIN_VALUE) {
                out.ascii(" (");
                out.digits(value / 1_000_000);
                int cents = (int) ((value % 1_000_000 + 5_000) / 10_000);
                if (value % 1_000_000 != 0) {
                    out.put((byte) '.');
                    out.digits(cents, 2);
                }
                out.ascii(" EUR)");
            }
        }
        if (kind.equals("abandonment")) {
            out.ascii(" after ");
            span(Math.max(0, at - watch.lastProgressAt));
        }
        end(topic);
    }

    /**
     * Numbers the outcome and computes its id: a UUID of version 5 over what it is. Nothing in it is an ordinal. What comes of an
     * absence is named by the last progress and the deadline.
     */
    private void begin(Customer of, String kind, String subject, String name, String openedBy, Touchpoint cause, Watch watch, long at) {
        of.sequence++;
        this.name.at = 0;
        this.name.fixed(NAMESPACE_HIGH);
        this.name.fixed(NAMESPACE_LOW);
        part(Model.NAME);
        part(of.id);
        part("customer");
        part(kind);
        if (subject == null) {
            part(name);
        } else {
            part(subject);
            part(name);
            part(openedBy);
        }
        if (cause == null) {
            part("absence after");
            part(watch.lastProgress);
            this.name.fixed(at);
        } else {
            part("cause");
            part(cause.id);
        }
        sha1.update(this.name.array, 0, this.name.at);
        Bytes hash = new Bytes(sha1.digest());
        high = hash.fixed() & 0xFFFFFFFFFFFF0FFFL | 0x5000L;
        low = hash.fixed() & 0x3FFFFFFFFFFFFFFFL | 0x8000000000000000L;
    }

    private void part(String text) {
        number(text.length());
        name.ascii(text);
    }

    private void number(int value) {
        name.room(4);
        for (int place = 0; place < 4; place++) {
            name.array[name.at++] = (byte) (value >>> (24 - 8 * place));
        }
    }

    private void head(Customer of, String kind, long at, String cause) {
        out.at = 0;
        out.ascii("{\"outcome_id\":");
        uuid(high, low);
        text("kind", kind);
        text("model", Model.NAME);
        whole("model_version", Model.VERSION);
        text("customer_id", of.id);
        absent("anonymous_id");
        whole("journey", of.journey);
        instant("journey_started_at", of.startedAt);
        whole("sequence", of.sequence);
        instant("at", at);
        text("cause", cause);
    }

    /** One episode can be known by several ids of one name, so each name has a list. */
    private void ids(Episode episode) {
        out.ascii(",\"ids\":{");
        for (int place = 0; place < episode.ids.size(); place++) {
            Id first = episode.ids.get(place);
            boolean before = false;
            for (int other = 0; other < place; other++) {
                before |= episode.ids.get(other).name() == first.name();
            }
            if (before) {
                continue;
            }
            out.ascii(place == 0 ? "\"" : ",\"");
            out.ascii(Model.ID_NAMES[first.name()]);
            out.ascii("\":[");
            quoted(first.value());
            for (int other = place + 1; other < episode.ids.size(); other++) {
                if (episode.ids.get(other).name() == first.name()) {
                    out.put((byte) ',');
                    quoted(episode.ids.get(other).value());
                }
            }
            out.put((byte) ']');
        }
        out.put((byte) '}');
    }

    private void end(int topic) {
        out.ascii("\"}");
        publish.accept(TOPICS[topic], out.copy());
    }

    private void field(String name) {
        out.ascii(",\"");
        out.ascii(name);
        out.ascii("\":");
    }

    private void text(String name, String value) {
        field(name);
        quoted(value);
    }

    private void absent(String name) {
        field(name);
        out.ascii("null");
    }

    private void whole(String name, long value) {
        field(name);
        out.digits(value);
    }

    private void value(long value) {
        if (value == Long.MIN_VALUE) {
            absent("value");
            return;
        }
        out.ascii(",\"value\":{\"amount\":");
        out.digits(value / 1_000_000);
        int rest = (int) (value % 1_000_000);
        if (rest > 0) {
            int places = 6;
            for (; rest % 10 == 0; rest /= 10) {
                places--;
            }
            out.put((byte) '.');
            out.digits(rest, places);
        }
        out.ascii(",\"currency\":\"EUR\"}");
    }

    private void quoted(String text) {
        if (text == null) {
            out.ascii("null");
            return;
        }
        out.put((byte) '"');
        for (int place = 0; place < text.length(); place++) {
            char letter = text.charAt(place);
            if (letter == '"' || letter == '\\') {
                out.put((byte) '\\');
                out.put((byte) letter);
            } else if (letter < 0x20) {
                out.ascii(String.format("\\u%04x", (int) letter));
            } else if (letter < 0x80) {
                out.put((byte) letter);
            } else {
                out.put(text.substring(place).getBytes(StandardCharsets.UTF_8));
                break;
            }
        }
        out.put((byte) '"');
    }

    private void uuid(long high, long low) {
        out.put((byte) '"');
        hex(high, 60, 32);
        out.put((byte) '-');
        hex(high, 28, 16);
        out.put((byte) '-');
        hex(high, 12, 0);
        out.put((byte) '-');
        hex(low, 60, 48);
        out.put((byte) '-');
        hex(low, 44, 0);
        out.put((byte) '"');
    }

    private void hex(long value, int from, int to) {
        for (int shift = from; shift >= to; shift -= 4) {
            out.put(HEX[(int) (value >>> shift) & 0xF]);
        }
    }

    private void instant(String name, long at) {
        field(name);
        out.put((byte) '"');
        long days = Math.floorDiv(at, 86_400_000L);
        int rest = (int) Math.floorMod(at, 86_400_000L);
        long z = days + 719_468;
        long era = Math.floorDiv(z, 146_097L);
        long doe = z - era * 146_097;
        long yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
        long doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        long mp = (5 * doy + 2) / 153;
        int month = (int) (mp < 10 ? mp + 3 : mp - 9);
        out.digits((int) (yoe + era * 400 + (month <= 2 ? 1 : 0)), 4);
        out.put((byte) '-');
        out.digits(month, 2);
        out.put((byte) '-');
        out.digits((int) (doy - (153 * mp + 2) / 5 + 1), 2);
        out.put((byte) 'T');
        out.digits(rest / 3_600_000, 2);
        out.put((byte) ':');
        out.digits(rest / 60_000 % 60, 2);
        out.put((byte) ':');
        out.digits(rest / 1_000 % 60, 2);
        out.put((byte) '.');
        out.digits(rest % 1_000, 3);
        out.ascii("Z\"");
    }

    private void span(long ms) {
        if (ms == 0) {
            out.ascii("0s");
            return;
        }
        String[] names = {"y", "d", "h", "m", "s", "ms"};
        long[] units = {365 * 86_400_000L, 86_400_000, 3_600_000, 60_000, 1_000, 1};
        boolean first = true;
        for (int unit = 0; unit < units.length; unit++) {
            if (ms / units[unit] > 0) {
                if (!first) {
                    out.put((byte) ' ');
                }
                first = false;
                out.digits(ms / units[unit]);
                out.ascii(names[unit]);
                ms %= units[unit];
            }
        }
    }
}
