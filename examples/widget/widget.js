// Shows what Sillage offers to the customer of this page, and tells what became of it. `token` asks the page's own server for a
// short token; `show` puts an offer on the page, and `hide` takes it off again (or all of them, without an id).
export async function offers({ url, token, show, hide }) {
  const ask = async (method, headers, body) =>
    fetch(`${url}/v1/offers`, { method, body, headers: { authorization: `Bearer ${await token()}`, ...headers } });
  const tell = (outcome_id, type) =>
    ask("POST", { "content-type": "application/json" }, JSON.stringify({ outcome_id, type }));
  const on = {
    offer(offer) {
      const left = Date.parse(offer.expires_at) - Date.now();
      if (left <= 0) return;
      show(offer, () => tell(offer.outcome_id, "offer.accepted"), () => tell(offer.outcome_id, "offer.declined"));
      tell(offer.outcome_id, "offer.shown");
      setTimeout(() => hide(offer.outcome_id), left);
    },
    withdrawal: (withdrawal) => hide(withdrawal.outcome_id),
    reset: () => hide(),
  };
  for (let last = ""; ; ) {
    try {
      const answer = await ask("GET", last && { "last-event-id": last });
      if (!answer.ok) throw new Error(`no offers: ${answer.status}`);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = "", part; !(part = await reader.read()).done; ) {
        const events = (rest + part.value).split("\n\n");
        rest = events.pop();
        for (const event of events) {
          const line = (name) => event.split("\n").find((line) => line.startsWith(`${name}:`));
          const field = (name) => line(name)?.slice(name.length + 1).trim();
          on[field("event")]?.(JSON.parse(field("data")));
          last = field("id") ?? last;
        }
      }
    } catch (error) {
      console.warn(error);
    }
    // Its token has expired, or something broke: a moment later it goes on behind what it saw last.
    await new Promise((done) => setTimeout(done, 1000 + 2000 * Math.random()));
  }
}
