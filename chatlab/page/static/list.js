// The list of messages on the page.
//
// Messages may arrive by the thousand. A browser that lays the page out for each of them shows
// nothing else meanwhile, so they are drawn together: once a frame, and so many at a time that the
// page still answers its reader. However many there are, the list shows the newest ones, and those
// before them that its reader has asked for.

const STAY = { items: 2_000, characters: 250_000 }; // while the list follows its newest item
const AT_ONCE = { items: 200, characters: 20_000 }; // that are drawn at a time
const NO_FRAME = 250; // milliseconds; a page that is not visible has no frames, and draws after this
const NEAR_THE_END = 40; // pixels

// How many of the last items are within these limits, by the lengths of their texts: at least one.
export function fitting(lengths, { items, characters }) {
  let sum = 0;
  const tooFar = lengths.findLastIndex((length) => (sum += length) > characters);
  return Math.min(items, Math.max(1, lengths.length - 1 - tooFar));
}

const surplusOf = (lengths) => Math.max(0, lengths.length - fitting(lengths, STAY));

export class MessageList {
  #waiting = []; // the items to draw, oldest first: the length of the text, and what makes the item
  #cut = false; // whether those before the waiting ones were dropped: then they replace the list
  #scheduled = false;
  #following = true; // the list shows its newest item, until its reader scrolls up
  #top = 0; // where the list was put when it showed its newest item last

  // The list calls `changed()` when its first item may be another one.
  constructor(element, changed) {
    this.element = element;
    this.changed = changed;
    element.onscroll = () => this.settle();
    new ResizeObserver(() => this.#follow()).observe(element);
  }

  get first() {
    return this.element.firstElementChild;
  }

  // Draw an item in the next frames, after all that were added before it: `make` returns it, and
  // `length` is that of its text.
  add(length, make) {
    this.#waiting.push({ length, make });
    if (this.#waiting.length > 2 * STAY.items) this.#drop();
    this.#schedule();
  }

  clear() {
    [this.#waiting, this.#cut, this.#following] = [[], false, true];
    this.element.replaceChildren();
    this.changed();
  }

  // Show the newest items if they are held back, because the reader asked for many older ones.
  release() {
    if (!this.#cut && !this.#surplus) return;
    this.#following = true;
    this.#schedule();
  }

  // From now on, what the reader has in view stays there.
  stay() {
    this.#following = false;
  }

  // Follow the newest item again, if the reader is at the end.
  settle() {
    const { element } = this;
    const below = element.scrollHeight - element.scrollTop - element.clientHeight;
    // A list that has lost height is not at its end any more, though nobody has scrolled it.
    const untouched = element.scrollTop >= this.#top;
    this.#following = below < NEAR_THE_END || (this.#following && untouched);
    if (this.#following && this.#waiting.length) this.#schedule();
  }

  // Put older items in front of the others, and show where they end.
  addBefore(items) {
    const height = this.element.scrollHeight;
    this.element.prepend(...items);
    this.stay();
    const added = this.element.scrollHeight - height;
    this.element.scrollTop = added - this.element.clientHeight / 2;
    this.changed();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    const draw = () => {
      cancelAnimationFrame(frame);
      clearTimeout(timer);
      this.#scheduled = false;
      this.#draw();
    };
    const frame = requestAnimationFrame(draw);
    const timer = setTimeout(draw, NO_FRAME);
  }

  // Of the items that wait, drop those that would not stay.
  #drop() {
    const surplus = surplusOf(this.#waiting.map(({ length }) => length));
    this.#waiting.splice(0, surplus);
    this.#cut ||= surplus > 0;
  }

  get #surplus() {
    return surplusOf([...this.element.children].map((item) => item.textContent.length));
  }

  #draw() {
    this.#drop();
    // A reader of older items keeps them, until he is at the end again.
    if (!this.#following && (this.#cut || this.#surplus)) return;
    if (this.#cut) this.element.replaceChildren();
    this.#cut = false;
    const lengths = this.#waiting.map(({ length }) => length).reverse();
    const items = this.#waiting.splice(0, fitting(lengths, AT_ONCE));
    this.element.append(...items.map(({ make }) => make()));
    this.#follow();
    this.changed();
    if (this.#waiting.length) this.#schedule();
  }

  // Only the list is scrolled, never what is around it: the page may be a frame in a notebook.
  #follow() {
    if (!this.#following) return;
    for (let surplus = this.#surplus; surplus > 0; surplus -= 1) this.first.remove();
    this.element.scrollTop = this.element.scrollHeight;
    this.#top = this.element.scrollTop;
  }
}
