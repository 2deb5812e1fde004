package bench;

import bench.Customer.Closed;
import bench.Customer.Episode;
import bench.Customer.Id;
import bench.Customer.Watch;
import bench.Model.Role;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;

/** What a touchpoint and a deadline do to a customer: the meaning of the model, as Sillage's documentation has it. */
final class Engine {
    /** A touchpoint that entered the log later than this after it happened counts from its log time. */
    private static final long MAX_DELAY = 60_000;
    private static final long REMEMBERED_FOR = 7 * 86_400_000L;
    private static final int MAX_EPISODES = 64;
    private static final int MAX_ALIASES = 16;
    private static final int MAX_CLOSED = 256;

    private final Outcomes outcomes;

    Engine(Outcomes outcomes) {
        this.outcomes = outcomes;
    }

    /** Returns whether anything changed but the memory of ids. */
    boolean apply(Customer customer, Touchpoint touchpoint, long logTime) {
        if (customer.isRepeat(touchpoint.id, logTime)) {
            return false;
        }
        customer.count++;
        if (customer.journey == 0) {
            customer.journey = 1;
            customer.startedAt = touchpoint.at;
        }
        long from = logTime - touchpoint.at > MAX_DELAY ? logTime : touchpoint.at;
        Model.Meaning meaning = Model.of(touchpoint.type);
        for (int kind = 0; kind < 2; kind++) {
            stepEpisodes(customer, kind, meaning.role(kind), touchpoint, logTime, from);
        }
        stepStage(customer, meaning, touchpoint, from);
        if (!meaning.buys()) {
            customer.influenceId = touchpoint.id;
            customer.influenceType = touchpoint.type;
            customer.influenceChannel = touchpoint.channel;
            customer.influenceAt = touchpoint.at;
            customer.influenceStage = customer.stage;
        }
        return true;
    }

    /** Fires everything that is due exactly then: episodes by kind and number, then the stage. */
    void fire(Customer customer, long deadline) {
        List<Episode> due = new ArrayList<>(2);
        for (Episode episode : customer.episodes) {
            if (episode.watch.deadline == deadline) {
                due.add(episode);
            }
        }
        due.sort((one, other) -> one.kind != other.kind ? one.kind - other.kind : one.number - other.number);
        for (Episode episode : due) {
            outcomes.abandonment(customer, deadline, episode, episode.watch, episode.value);
            abandon(episode.watch, deadline);
            episode.abandoned = true;
            episode.latestThen = customer.opened[episode.kind];
        }
        if (customer.stage >= 0 && customer.standing.deadline == deadline) {
            outcomes.abandonment(customer, deadline, null, customer.standing, atStake(customer));
            abandon(customer.standing, deadline);
            customer.left = true;
        }
    }

    private void abandon(Watch watch, long at) {
        watch.deadline = Long.MAX_VALUE;
        watch.abandonments++;
        watch.abandonedAt = at;
        watch.abandonedHigh = outcomes.high;
        watch.abandonedLow = outcomes.low;
    }

    private void stepEpisodes(Customer customer, int kind, Role role, Touchpoint touchpoint, long logTime, long from) {
        List<Id> ids = ids(kind, touchpoint);
        forget(customer, kind, logTime);
        Episode touched = null;
        if (role == Role.EMPTIES) {
            drop(customer, kind, ids, touchpoint.session);
        } else if (role == Role.COMPLETES) {
            List<Episode> completed = completedBy(customer, kind, ids, touchpoint);
            customer.lastCompletion[kind] = Math.max(customer.lastCompletion[kind], touchpoint.at);
            close(customer, kind, completed, ids, touchpoint, logTime);
        } else if (isClosed(customer, kind, ids)) {
            close(customer, kind, allById(customer, kind, ids), ids, touchpoint, logTime);
        } else {
            touched = findOrOpen(customer, kind, role, ids, touchpoint, from);
        }
        for (Episode episode : customer.episodes) {
            if (episode.kind == kind && !episode.abandoned && episode != touched) {
                episode.watch.progress(touchpoint, from, Model.KIND_QUIET[kind]);
            }
        }
    }

    private static List<Id> ids(int kind, Touchpoint touchpoint) {
        List<Id> ids = List.of();
        for (int name : Model.CHAINS[kind]) {
            String value = touchpoint.ids[name];
            if (value != null && !value.isEmpty()) {
                ids = ids.isEmpty() ? new ArrayList<>(3) : ids;
                ids.add(new Id(name, value));
            }
        }
        return ids;
    }

    private static void forget(Customer customer, int kind, long now) {
        if (!customer.episodes.isEmpty()) {
            customer.episodes.removeIf(episode -> episode.kind == kind && episode.abandoned
                    && Math.max(episode.watch.abandonedAt, episode.watch.countsFrom) + REMEMBERED_FOR <= now);
        }
        ArrayDeque<Closed> closed = customer.closed.get(kind);
        if (!closed.isEmpty()) {
            closed.removeIf(one -> one.until() <= now);
        }
    }

    private void drop(Customer customer, int kind, List<Id> ids, String session) {
        List<Episode> named = allById(customer, kind, ids);
        if (named.isEmpty() && !isClosed(customer, kind, ids)) {
            Episode open = nearest(customer, kind, session, episode -> !episode.abandoned);
            if (open != null && !couldBeNamed(open, ids)) {
                open = null;
            }
            if (open == null && ids.isEmpty()) {
                open = nearest(customer, kind, session, episode -> episode.abandoned);
            }
            named = open == null ? named : List.of(open);
        }
        customer.episodes.removeAll(named);
    }

    /** The episode that was touched or opened; null for none. */
    private Episode findOrOpen(Customer customer, int kind, Role role, List<Id> ids, Touchpoint by, long from) {
        Episode found = byId(customer, kind, ids);
        boolean belongs = role == Role.OPENS;
        if (found == null && ids.isEmpty()) {
            found = belongs ? nearest(customer, kind, by.session, episode -> !episode.abandoned) : null;
            if (found == null && belongs && by.at >= customer.lastCompletion[kind]) {
                return open(customer, kind, ids, by, from);
            }
        } else if (found == null && belongs) {
            return open(customer, kind, ids, by, from);
        }
        if (found == null) {
            return null;
        }
        adopt(found, ids);
        if (by.session != null) {
            found.session = by.session;
        }
        found.value = by.worth() == Long.MIN_VALUE ? found.value : by.worth();
        found.touched = customer.count;
        found.watch.progress(by, from, Model.KIND_QUIET[kind]);
        if (found.abandoned) {
            found.abandoned = false;
            outcomes.resumption(customer, by, found, found.watch, found.value);
        }
        return found;
    }

    private static Episode open(Customer customer, int kind, List<Id> ids, Touchpoint by, long from) {
        Episode oldest = null;
        int count = 0;
        for (Episode episode : customer.episodes) {
            if (episode.kind == kind) {
                count++;
                oldest = oldest == null && episode.abandoned ? episode : oldest;
            }
        }
        if (count >= MAX_EPISODES) {
            if (oldest == null) {
                return null;
            }
            customer.episodes.remove(oldest);
        }
        Episode episode = new Episode();
        episode.kind = kind;
        episode.number = ++customer.opened[kind];
        episode.ids.addAll(ids);
        episode.session = by.session;
        episode.value = by.worth();
        episode.touched = customer.count;
        episode.watch.open(by, from);
        episode.watch.arm(Model.KIND_QUIET[kind]);
        customer.episodes.add(episode);
        return episode;
    }

    private List<Episode> completedBy(Customer customer, int kind, List<Id> ids, Touchpoint by) {
        List<Episode> named = allById(customer, kind, ids);
        if (!named.isEmpty() || isClosed(customer, kind, ids)) {
            return named;
        }
        Predicate<Episode> awaits = episode -> episode.abandoned && recovers(customer, episode, by.at);
        if (ids.isEmpty()) {
            Episode open = nearest(customer, kind, by.session, episode -> !episode.abandoned);
            open = open == null ? nearest(customer, kind, by.session, awaits) : open;
            return open == null ? named : List.of(open);
        }
        List<Episode> open = new ArrayList<>(1);
        for (Episode episode : customer.episodes) {
            if (episode.kind == kind && !episode.abandoned && inScope(episode, by.session)) {
                open.add(episode);
            }
        }
        if (open.isEmpty()) {
            Episode latest = latest(customer, kind, by.session, awaits);
            return latest == null ? open : List.of(latest);
        }
        return open;
    }

    private static boolean recovers(Customer customer, Episode episode, long at) {
        return episode.latestThen == customer.opened[episode.kind]
                && episode.watch.recovers(at, Model.KIND_RECOVERED_WITHIN);
    }

    private void close(Customer customer, int kind, List<Episode> completed, List<Id> ids, Touchpoint by, long logTime) {
        customer.episodes.removeAll(completed);
        for (Episode episode : completed) {
            keepClosed(customer, kind, episode.ids, logTime);
        }
        keepClosed(customer, kind, ids, logTime);
        for (Episode episode : completed) {
            adopt(episode, ids);
            long value = by.worth() == Long.MIN_VALUE ? episode.value : by.worth();
            outcomes.completion(customer, by, episode, value);
            if (recovers(customer, episode, by.at)) {
                outcomes.recovery(customer, by, episode, episode.watch, value);
            }
        }
    }

    private static void keepClosed(Customer customer, int kind, List<Id> ids, long logTime) {
        ArrayDeque<Closed> closed = customer.closed.get(kind);
        for (Id id : ids) {
            if (isClosed(customer, kind, List.of(id))) {
                continue;
            }
            if (closed.size() == MAX_CLOSED) {
                closed.pollFirst();
            }
            closed.addLast(new Closed(id, logTime + REMEMBERED_FOR));
        }
    }

    private static boolean isClosed(Customer customer, int kind, List<Id> ids) {
        for (Closed one : customer.closed.get(kind)) {
            if (ids.contains(one.id())) {
                return true;
            }
        }
        return false;
    }

    private static Episode byId(Customer customer, int kind, List<Id> ids) {
        for (Id id : ids) {
            for (Episode episode : customer.episodes) {
                if (episode.kind == kind && episode.ids.contains(id)) {
                    return episode;
                }
            }
        }
        return null;
    }

    private static List<Episode> allById(Customer customer, int kind, List<Id> ids) {
        List<Episode> found = List.of();
        for (Episode episode : customer.episodes) {
            if (episode.kind == kind && ids.stream().anyMatch(episode.ids::contains)) {
                found = found.isEmpty() ? new ArrayList<>(1) : found;
                found.add(episode);
            }
        }
        return found;
    }

    /** Of the session where there is one, else of the customer: the one touched last that fits. */
    private static Episode nearest(Customer customer, int kind, String session, Predicate<Episode> fits) {
        Episode found = latest(customer, kind, session, fits);
        return found == null && session != null ? latest(customer, kind, null, fits) : found;
    }

    private static Episode latest(Customer customer, int kind, String session, Predicate<Episode> fits) {
        Episode found = null;
        for (Episode episode : customer.episodes) {
            boolean later = found == null || episode.touched >= found.touched;
            if (episode.kind == kind && later && inScope(episode, session) && fits.test(episode)) {
                found = episode;
            }
        }
        return found;
    }

    private static boolean inScope(Episode episode, String session) {
        return session == null || session.equals(episode.session);
    }

    private static boolean couldBeNamed(Episode episode, List<Id> ids) {
        return ids.stream().noneMatch(id -> episode.ids.stream().anyMatch(known -> known.name() == id.name()));
    }

    private static void adopt(Episode episode, List<Id> ids) {
        for (Id id : ids) {
            if (episode.ids.size() < MAX_ALIASES && !episode.ids.contains(id)) {
                episode.ids.add(id);
            }
        }
    }

    private void stepStage(Customer customer, Model.Meaning meaning, Touchpoint by, long from) {
        int enters = meaning.enters();
        int at = customer.stage;
        if (at < 0) {
            if (enters >= 0) {
                enter(customer, enters, forward(-1, enters), meaning, by, from);
            }
        } else if (at == Model.DECISION && by.type.equals("cart.emptied")) {
            enter(customer, Model.CONSIDERATION, "regress", meaning, by, from);
        } else if (at >= Model.RETENTION && meaning.again()) {
            enter(customer, enters, "re-enter", meaning, by, from);
        } else if (enters > at) {
            enter(customer, enters, forward(at, enters), meaning, by, from);
        } else if (!customer.left) {
            customer.standing.progress(by, from, Model.STAGE_QUIET[at]);
        } else if (enters == at) {
            customer.standing.progress(by, from, Model.STAGE_QUIET[at]);
            customer.left = false;
            outcomes.resumption(customer, by, null, customer.standing, atStake(customer));
        }
    }

    private static String forward(int from, int to) {
        if (to == Model.STAGES.length - 1) {
            return "complete";
        }
        return to == from + 1 ? "advance" : "skip";
    }

    private void enter(Customer customer, int to, String movement, Model.Meaning meaning, Touchpoint by, long from) {
        long value = atStake(customer);
        int before = customer.stage;
        long since = before < 0 ? 0 : Math.max(0, by.at - customer.standing.openedAt);
        boolean forward = !movement.equals("regress") && !movement.equals("re-enter");
        if (before >= 0 && forward && customer.standing.recovers(by.at, Model.STAGE_RECOVERED_WITHIN)) {
            outcomes.recovery(customer, by, null, customer.standing, value);
        }
        if (movement.equals("re-enter")) {
            customer.journey++;
            customer.startedAt = by.at;
            customer.transitions = 0;
        }
        customer.transitions++;
        customer.stage = to;
        boolean purchase = forward && meaning.role(0) == Role.COMPLETES;
        outcomes.transition(customer, by, before, movement, since, value, purchase);
        customer.standing = new Watch();
        customer.standing.open(by, from);
        customer.standing.arm(Model.STAGE_QUIET[to]);
        customer.left = false;
    }

    /** The worth of the open episode touched last that has one. */
    private static long atStake(Customer customer) {
        Episode found = null;
        for (Episode episode : customer.episodes) {
            if (!episode.abandoned && episode.value != Long.MIN_VALUE
                    && (found == null || episode.touched >= found.touched)) {
                found = episode;
            }
        }
        return found == null ? Long.MIN_VALUE : found.value;
    }
}
