// Whether a channel's events came as promised. The page doesn't take the server's word for it: it
// knows what was published from this browser, and when it was stored.

const slack = 500; // ms by which two tabs may disagree on who was first

export class Proof {
  constructor(sent) {
    this.sent = sent; // by id, with at and, once stored, storedAt
    this.begin();
  }

  // begin forgets what went wrong before.
  begin() {
    this.twice = 0;
    this.disordered = 0;
    this.latest = 0;
  }

  // came notes an event; seen says whether it had come before.
  came(id, seen) {
    const at = this.sent.get(id)?.at;
    if (seen) this.twice += 1;
    else if (at < this.latest - slack) this.disordered += 1;
    this.latest = Math.max(this.latest, at ?? 0);
  }

  // wrong returns what isn't as it should be, in words, when everything stored before a time has to
  // have come; has says whether an event has.
  wrong(channel, socketId, from, before, has) {
    let missing = 0;
    for (const publish of this.sent.values()) {
      if (publish.channel === channel && publish.exclude !== socketId && publish.storedAt < before && publish.at >= from && !has(publish.id)) missing += 1;
    }
    const found = [];
    if (missing > 0) found.push(`${missing} never came`);
    if (this.twice > 0) found.push(`${this.twice} came twice`);
    if (this.disordered > 0) found.push(`${this.disordered} came too late`);
    return found;
  }
}
