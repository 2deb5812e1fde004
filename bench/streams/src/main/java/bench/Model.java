package bench;

import java.util.HashMap;
import java.util.Map;

/**
 * The model {@code bench/plain.yaml}, written out: five stages without friction, baskets and checkouts. The property {@code
 * bench.model} names another file of that folder, which differs in some spans only.
 */
final class Model {
    static final String NAME = "five-stages-plain";
    static final int VERSION = 1;

    static final String[] STAGES = {"awareness", "consideration", "decision", "retention", "advocacy"};
    static final int CONSIDERATION = 1;
    static final int DECISION = 2;
    static final int RETENTION = 3;
    static final int ADVOCACY = 4;
    private static final long SECOND = 1_000;
    private static final long MINUTE = 60 * SECOND;
    private static final long DAY = 86_400 * SECOND;
    private static final boolean LIVE = System.getProperty("bench.model", "plain").equals("live");
    private static final boolean PROFILE = System.getProperty("bench.model", "plain").equals("profile");
    /** Abandoned after so long without a touchpoint; {@link Long#MAX_VALUE}: never. */
    static final long[] STAGE_QUIET = {
        30 * DAY, 7 * DAY, LIVE ? 3 * SECOND : 60 * MINUTE, 90 * DAY, Long.MAX_VALUE
    };
    static final long STAGE_RECOVERED_WITHIN = 7 * DAY;

    static final String[] KINDS = {"basket", "checkout"};
    static final long[] KIND_QUIET =
            LIVE ? new long[] {2 * SECOND, SECOND}
            : PROFILE ? new long[] {300 * DAY, 300 * DAY}
            : new long[] {30 * MINUTE, 15 * MINUTE};
    static final long KIND_RECOVERED_WITHIN = 7 * DAY;
    static final int CART_ID = 0;
    static final int CHECKOUT_ID = 1;
    static final int ORDER_ID = 2;
    static final String[] ID_NAMES = {"cart_id", "checkout_id", "order_id"};
    /** By kind: its ids in the order of its chain. */
    static final int[][] CHAINS = {{CART_ID, CHECKOUT_ID, ORDER_ID}, {CHECKOUT_ID, CART_ID, ORDER_ID}};

    /** What a type of touchpoint means. */
    enum Role { NONE, OPENS, COMPLETES, EMPTIES }

    /** By type: the stage it enters, -1 for none; whether it begins the next journey after a purchase; its role by kind. */
    record Meaning(int enters, boolean again, Role[] roles) {
        Role role(int kind) {
            return roles[kind];
        }

        /** Whether it is part of buying. */
        boolean buys() {
            return roles[0] != Role.NONE || roles[1] != Role.NONE;
        }
    }

    private static final Meaning OTHER = new Meaning(-1, false, new Role[] {Role.NONE, Role.NONE});
    private static final Map<String, Meaning> MEANINGS = new HashMap<>();

    private Model() {}

    static Meaning of(String type) {
        return MEANINGS.getOrDefault(type, OTHER);
    }

    private static void enters(int stage, String... types) {
        for (String type : types) {
            MEANINGS.put(type, new Meaning(stage, false, OTHER.roles));
        }
    }

    static {
        enters(0, "ad.seen", "email.opened", "post.seen", "press.read");
        enters(CONSIDERATION, "page.viewed", "list.viewed", "promo.engaged", "review.read", "store.visited");
        for (String type : new String[] {"product.viewed", "search.performed"}) {
            MEANINGS.put(type, new Meaning(CONSIDERATION, true, OTHER.roles));
        }
        enters(DECISION, "checkout.step", "payment.submitted", "payment.failed");
        MEANINGS.put("checkout.started", new Meaning(DECISION, false, new Role[] {Role.NONE, Role.OPENS}));
        MEANINGS.put("cart.added", new Meaning(DECISION, false, new Role[] {Role.OPENS, Role.NONE}));
        MEANINGS.put("cart.emptied", new Meaning(-1, false, new Role[] {Role.EMPTIES, Role.EMPTIES}));
        MEANINGS.put("order.completed", new Meaning(RETENTION, false, new Role[] {Role.COMPLETES, Role.COMPLETES}));
        enters(ADVOCACY, "review.published", "referral.shared");
    }
}
