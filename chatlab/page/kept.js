// The messages that this tab has shown, kept so that a reload does not ask for all of them again.

import { Store, parsed } from "./store.js";

// One item for each message, under its offset: [the offset of the message before it, its text]. So
// a list with a hole is noticed, whatever made the hole, and a list with a hole is not used: the
// page would ask for what is after the last message, and what is missing would never come.
export class Kept {
  constructor() {
    this.store = new Store("sessionStorage", "message");
    this.whole = true; // whether everything that was shown is kept
    this.last = 0; // the offset of the last message that is kept
  }

  // The kept list, as pairs of an offset and a text. If it is not whole, there is none.
  load() {
    const list = [];
    const stored = this.store.entries().map(([name, value]) => [Number(name), parsed(value)]);
    for (const [offset, item] of stored.sort(([one], [other]) => one - other)) {
      const follows = Number.isInteger(offset) && Array.isArray(item) && item[0] === this.last;
      if (!follows) {
        this.forget();
        return [];
      }
      list.push([offset, String(item[1])]);
      this.last = offset;
    }
    return list;
  }

  add(offset, text) {
    if (!this.whole) return;
    this.whole = this.store.set(offset, JSON.stringify([this.last, text]));
    if (this.whole) this.last = offset;
    else this.store.clear(); // half a list is worth nothing
  }

  // Begin anew, with nothing.
  forget() {
    this.store.clear();
    this.last = 0;
    this.whole = true;
  }
}
