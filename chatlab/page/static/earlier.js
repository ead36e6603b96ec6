// The button for the messages before those that the list shows. The page keeps only what
// it shows. So it asks the server again, as any client does that has an
// older offset, over a connection of its own.

import { fitting } from "./list.js";

const STEP = { items: 500, characters: 100_000 }; // of messages that are put in front at a time
const ANSWER_WITHIN = 10_000; // milliseconds
const button = document.getElementById("earlier");

// The messages before the offset `end` that a new connection gets: `{ rows, gone }`, where the
// messages up to `gone` are deleted. Undefined if the server does not send them.
function messagesBefore(end, line) {
  const rows = [];
  let gone = 0;
  return new Promise((resolve) => {
    const take = (page) => {
      rows.push(...page.filter(([, offset]) => offset < end));
      if (page.at(-1)[1] >= end - 1) resolve({ rows, gone });
    };
    line.on("catching up", ({ after, outcome }) => {
      if (outcome === "gap") {
        gone = Math.min(after, end - 1);
        rows.splice(0, rows.length, ...rows.filter(([, offset]) => offset > gone));
      }
      if (outcome === "reset") resolve(); // the page notices that too, when it connects again
    });
    line.on("chat message", (...row) => take([row]));
    line.on("chat messages", take);
    line.on("caught up", () => resolve({ rows, gone }));
    line.on("connect_error", () => resolve());
    line.on("disconnect", () => resolve());
    setTimeout(resolve, ANSWER_WITHIN); // the button works again
  });
}

export class Earlier {
  #online = false;
  #asking = false;

  // `connect(offset)` opens a connection that gets the messages after this offset. `itemOf(text,
  // offset)` and `gapOf(first, last)` make the items of the list.
  constructor(list, connect, itemOf, gapOf) {
    Object.assign(this, { list, connect, itemOf, gapOf });
    button.onclick = () => this.#ask();
  }

  connected() {
    this.#online = true;
    this.show();
  }

  disconnected() {
    this.#online = false;
    this.show();
  }

  // Show the button if there are earlier messages: an item of the list says in `data-first` which
  // is the first offset that it stands for.
  show() {
    const hidden = !(this.#online && this.list.first?.dataset.first > 1);
    if (hidden && document.activeElement === button) this.list.element.focus();
    button.hidden = hidden;
  }

  async #ask() {
    if (this.#asking) return;
    const { first } = this.list;
    const end = Number(first.dataset.first);
    const begin = Math.max(0, end - 1 - STEP.items);
    this.#asking = true;
    this.list.stay();
    const line = this.connect(begin);
    const answer = await messagesBefore(end, line);
    line.disconnect();
    this.#asking = false;
    if (answer && first === this.list.first) this.#add(answer, begin);
    else this.list.settle();
  }

  #add({ rows, gone }, begin) {
    const skipped = rows.length - fitting(rows.map(([text]) => String(text).length), STEP);
    const items = rows.slice(Math.max(0, skipped)).map(([text, offset]) => this.itemOf(text, offset));
    if (skipped <= 0) {
      if (gone) items.unshift(this.gapOf(1, gone));
      else (items[0] ?? this.list.first).dataset.first = begin + 1; // also if some are not there
    }
    this.list.addBefore(items);
  }
}
