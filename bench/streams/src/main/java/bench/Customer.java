package bench;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;

/** What is known of a customer. In the store it is a few bytes, written and read by hand. */
final class Customer {
    /** So many touchpoint ids are remembered against repeats, for a day. */
    private static final int MAX_SEEN = 64;
    private static final long SEEN_FOR = 86_400_000;

    /** The absence that is watched in a stage or an episode. */
    static final class Watch {
        String openedBy;
        long openedAt;
        String lastProgress;
        long lastProgressAt;
        int progress;
        long countsFrom;
        long deadline;
        /** How often it was abandoned; the last time, by which outcome, when. */
        int abandonments;
        long abandonedHigh;
        long abandonedLow;
        long abandonedAt;

        void open(Touchpoint by, long from) {
            openedBy = lastProgress = by.id;
            openedAt = lastProgressAt = by.at;
            progress = 1;
            countsFrom = from;
        }

        void progress(Touchpoint by, long from, long quiet) {
            progress++;
            if (by.at >= lastProgressAt) {
                lastProgress = by.id;
                lastProgressAt = by.at;
            }
            countsFrom = Math.max(countsFrom, from);
            arm(quiet);
        }

        void arm(long quiet) {
            deadline = quiet == Long.MAX_VALUE ? Long.MAX_VALUE : countsFrom + quiet;
        }

        boolean recovers(long at, long within) {
            return abandonments > 0 && at < abandonedAt + within;
        }

        private void write(Bytes out) {
            out.text(openedBy);
            out.whole(openedAt);
            out.text(lastProgress == null || lastProgress.equals(openedBy) ? null : lastProgress);
            out.whole(lastProgressAt - openedAt);
            out.whole(progress);
            out.whole(countsFrom - openedAt);
            out.whole(deadline == Long.MAX_VALUE ? -1 : deadline - openedAt);
            out.whole(abandonments);
            if (abandonments > 0) {
                out.fixed(abandonedHigh);
                out.fixed(abandonedLow);
                out.whole(abandonedAt);
            }
        }

        private void read(Bytes in) {
            openedBy = in.text();
            openedAt = in.whole();
            String last = in.text();
            lastProgress = last == null ? openedBy : last;
            lastProgressAt = openedAt + in.whole();
            progress = (int) in.whole();
            countsFrom = openedAt + in.whole();
            long until = in.whole();
            deadline = until < 0 ? Long.MAX_VALUE : openedAt + until;
            abandonments = (int) in.whole();
            if (abandonments > 0) {
                abandonedHigh = in.fixed();
                abandonedLow = in.fixed();
                abandonedAt = in.whole();
            }
        }
    }

    /** An explicit id: which property carried it, and its value. */
    record Id(int name, String value) {}

    /** An id that stays closed until an instant. */
    record Closed(Id id, long until) {}

    static final class Episode {
        int kind;
        int number;
        final List<Id> ids = new ArrayList<>(3);
        String session;
        /** Millionths; {@link Long#MIN_VALUE} for none. */
        long value;
        long touched;
        final Watch watch = new Watch();
        boolean abandoned;
        int latestThen;
    }

    String id;
    long count;
    int journey;
    long startedAt;
    long sequence;
    int transitions;
    /** -1 until a first stage is entered. */
    int stage = -1;
    Watch standing = new Watch();
    boolean left;
    final List<Episode> episodes = new ArrayList<>();
    final int[] opened = new int[2];
    final long[] lastCompletion = {Long.MIN_VALUE, Long.MIN_VALUE};
    final List<ArrayDeque<Closed>> closed = List.of(new ArrayDeque<>(), new ArrayDeque<>());
    /** The latest touchpoint that was not part of buying; no id for none. */
    String influenceId;
    String influenceType;
    String influenceChannel;
    long influenceAt;
    int influenceStage;
    private final ArrayDeque<long[]> seen = new ArrayDeque<>();

    Customer(String id) {
        this.id = id;
    }

    boolean isRepeat(String touchpoint, long logTime) {
        while (!seen.isEmpty() && seen.peekFirst()[1] + SEEN_FOR <= logTime) {
            seen.pollFirst();
        }
        long hash = hash(touchpoint);
        for (long[] known : seen) {
            if (known[0] == hash) {
                return true;
            }
        }
        if (seen.size() == MAX_SEEN) {
            seen.pollFirst();
        }
        seen.addLast(new long[] {hash, logTime});
        return false;
    }

    private static long hash(String text) {
        long hash = 0xcbf29ce484222325L;
        for (int place = 0; place < text.length(); place++) {
            hash = (hash ^ text.charAt(place)) * 0x100000001b3L;
        }
        return hash;
    }

    long nextDeadline() {
        long next = stage < 0 ? Long.MAX_VALUE : standing.deadline;
        for (Episode episode : episodes) {
            next = Math.min(next, episode.watch.deadline);
        }
        return next;
    }

    void write(Bytes out) {
        out.whole(count);
        out.whole(journey);
        out.whole(startedAt);
        out.whole(sequence);
        out.whole(transitions);
        out.whole(stage);
        if (stage >= 0) {
            standing.write(out);
            out.put((byte) (left ? 1 : 0));
        }
        out.whole(episodes.size());
        for (Episode episode : episodes) {
            out.whole(episode.kind);
            out.whole(episode.number);
            out.whole(episode.ids.size());
            for (Id id : episode.ids) {
                out.put((byte) id.name);
                out.text(id.value);
            }
            out.text(episode.session);
            out.put((byte) (episode.value == Long.MIN_VALUE ? 0 : 1));
            if (episode.value != Long.MIN_VALUE) {
                out.whole(episode.value);
            }
            out.whole(episode.touched);
            episode.watch.write(out);
            out.put((byte) (episode.abandoned ? 1 : 0));
            out.whole(episode.latestThen);
        }
        for (int kind = 0; kind < 2; kind++) {
            out.whole(opened[kind]);
            out.put((byte) (lastCompletion[kind] == Long.MIN_VALUE ? 0 : 1));
            if (lastCompletion[kind] != Long.MIN_VALUE) {
                out.whole(lastCompletion[kind]);
            }
            out.whole(closed.get(kind).size());
            for (Closed one : closed.get(kind)) {
                out.put((byte) one.id.name);
                out.text(one.id.value);
                out.whole(one.until);
            }
        }
        out.text(influenceId);
        if (influenceId != null) {
            out.text(influenceType);
            out.text(influenceChannel);
            out.whole(influenceAt);
            out.whole(influenceStage);
        }
        out.whole(seen.size());
        for (long[] one : seen) {
            out.fixed(one[0]);
            out.whole(one[1] - startedAt);
        }
    }

    static Customer read(String id, byte[] bytes) {
        Bytes in = new Bytes(bytes);
        Customer customer = new Customer(id);
        customer.count = in.whole();
        customer.journey = (int) in.whole();
        customer.startedAt = in.whole();
        customer.sequence = in.whole();
        customer.transitions = (int) in.whole();
        customer.stage = (int) in.whole();
        if (customer.stage >= 0) {
            customer.standing.read(in);
            customer.left = bytes[in.at++] == 1;
        }
        int episodes = (int) in.whole();
        for (int one = 0; one < episodes; one++) {
            Episode episode = new Episode();
            episode.kind = (int) in.whole();
            episode.number = (int) in.whole();
            int ids = (int) in.whole();
            for (int place = 0; place < ids; place++) {
                episode.ids.add(new Id(bytes[in.at++], in.text()));
            }
            episode.session = in.text();
            episode.value = bytes[in.at++] == 0 ? Long.MIN_VALUE : in.whole();
            episode.touched = in.whole();
            episode.watch.read(in);
            episode.abandoned = bytes[in.at++] == 1;
            episode.latestThen = (int) in.whole();
            customer.episodes.add(episode);
        }
        for (int kind = 0; kind < 2; kind++) {
            customer.opened[kind] = (int) in.whole();
            customer.lastCompletion[kind] = bytes[in.at++] == 0 ? Long.MIN_VALUE : in.whole();
            int closed = (int) in.whole();
            for (int one = 0; one < closed; one++) {
                Id known = new Id(bytes[in.at++], in.text());
                customer.closed.get(kind).addLast(new Closed(known, in.whole()));
            }
        }
        customer.influenceId = in.text();
        if (customer.influenceId != null) {
            customer.influenceType = in.text();
            customer.influenceChannel = in.text();
            customer.influenceAt = in.whole();
            customer.influenceStage = (int) in.whole();
        }
        int seen = (int) in.whole();
        for (int one = 0; one < seen; one++) {
            customer.seen.addLast(new long[] {in.fixed(), customer.startedAt + in.whole()});
        }
        return customer;
    }
}
