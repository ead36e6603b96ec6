// The list that this tab shows, saved so that a reload does not ask for all of it again: the
// messages, the gaps, and the epoch of the server's log in which the messages count.

import { Store, parsed } from "./store.js";

// One item for each message, under its offset: [the offset of the message before it, its text]. So
// the page notices a hole in the list, whatever made it, and does not use a list with a hole: it
// would ask for what is after the last message, and what is missing would never come. Messages that
// are gone from the server make no hole: they have one item for all of them, under the offset of
// the last, and that item has no text.
export class SavedList {
  constructor() {
    this.store = new Store("sessionStorage", "message");
    this.whole = true; // whether everything that was shown is saved
    this.last = 0; // the offset of the last message that is saved, or known to be gone
    this.epoch = undefined; // unknown if the server has not sent it
  }

  // The saved list: `{ before, offset, text }` for each message, and the same without a text where
  // all after `before` and up to `offset` are gone. If it is not whole, there is none.
  load() {
    const { epoch, ...items } = Object.fromEntries(this.store.entries());
    const stored = Object.entries(items).map(([name, value]) => [Number(name), parsed(value)]);
    const list = [];
    for (const [offset, item] of stored.sort(([one], [other]) => one - other)) {
      const follows = Number.isInteger(offset) && Array.isArray(item) && item[0] === this.last;
      if (!follows) {
        this.forget();
        return [];
      }
      list.push({ before: item[0], offset, text: item.length > 1 ? String(item[1]) : undefined });
      this.last = offset;
    }
    this.epoch = epoch;
    return list;
  }

  add(offset, text) {
    this.#addItem(offset, [this.last, text]);
  }

  addGap(offset) {
    this.#addItem(offset, [this.last]);
  }

  // From now on, the server counts in this epoch. What is saved already is in its log too.
  enter(epoch) {
    this.epoch = epoch;
    if (epoch === undefined) this.store.remove("epoch");
    else this.#set("epoch", epoch);
  }

  // Begin anew, with nothing.
  forget() {
    this.store.clear();
    this.last = 0;
    this.epoch = undefined;
    this.whole = true;
  }

  #addItem(offset, item) {
    this.#set(offset, JSON.stringify(item));
    if (this.whole) this.last = offset;
  }

  #set(name, value) {
    if (!this.whole) return;
    this.whole = this.store.set(name, value);
    if (!this.whole) this.store.clear(); // half a list is worth nothing
  }
}
