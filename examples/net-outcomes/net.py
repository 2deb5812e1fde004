#!/usr/bin/env python3
"""Keeps the outcomes that hold: reads outcomes as JSON, one a line, and writes those that hold at the end, one a line.

Touchpoints can come out of order, and then an outcome that has been published is taken back (kind `retraction`) or published
again under its id. Of all records that name an `outcome_id`, the one with the greatest `sequence` holds; a retraction says that
none does. That is all a consumer has to know, and it needs no order of arrival: topics can be read side by side, and a record
can be read twice.

    kafka-console-consumer.sh --bootstrap-server localhost:9092 --isolation-level read_committed --from-beginning \\
        --include 'sillage\\.(transitions|completions|abandonments|recoveries|friction)' --timeout-ms 10000 | python3 net.py

What `sillage outcomes` writes, each outcome in an envelope, is read as well. Only the standard library is used.
"""

import json
import sys


class Truth:
    """The latest record of each outcome. A service would keep this in its database, keyed by `outcome_id`."""

    def __init__(self):
        self.latest = {}

    def read(self, outcome):
        known = self.latest.get(outcome["outcome_id"])
        if known is None or outcome["sequence"] > known["sequence"]:
            self.latest[outcome["outcome_id"]] = outcome

    def holds(self):
        """What holds, by customer, model and order."""
        standing = [outcome for outcome in self.latest.values() if outcome["kind"] != "retraction"]

        def place(outcome):
            customer = outcome["customer_id"] or "", outcome["anonymous_id"] or ""
            return customer, outcome["model"], outcome["sequence"]

        return sorted(standing, key=place)


def main():
    truth = Truth()
    for line in sys.stdin:
        if line.strip():
            record = json.loads(line)
            # A deleted record of a compacted topic has no value.
            if record is None:
                continue
            truth.read(record.get("outcome", record))
    for outcome in truth.holds():
        print(json.dumps(outcome, ensure_ascii=False))


if __name__ == "__main__":
    main()
