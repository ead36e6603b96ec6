// The list that this tab shows, saved so that a reload does not ask for all of it again: the
// messages, the gaps, and the epoch of the server's log that the messages belong to.

import { Store, parsed } from "./store.js";

// One item for each message, named by its offset: [the offset of the message before it, its text].
// So the page notices if an item is missing, and then does not use the list: it would ask only for
// what is after the last message, and never get the missing one. Messages that are gone from the
// server share one item without a text, named by the offset of the last of them.
export class SavedList {
  constructor() {
    this.store = new Store("sessionStorage", "message");
    this.whole = true; // whether everything that was shown is saved
    this.last = 0; // the offset of the last message that is saved, or known to be gone
    this.epoch = undefined; // unknown if the server has not sent it
  }

  // The saved list: `{ before, offset, text }` for each message; without a text, the messages after
  // `before` up to `offset` are gone. If an item is missing, the list is empty.
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

  // From now on, offsets belong to this epoch. The saved messages are in this log too.
  enter(epoch) {
    this.epoch = epoch;
    if (epoch === undefined) this.store.remove("epoch");
    else this.#set("epoch", epoch);
  }

  // Start again with an empty list.
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
    if (!this.whole) this.store.clear(); // an incomplete list is of no use
  }
}
