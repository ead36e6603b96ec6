// The list of what is not sent yet, under the messages.

const list = document.getElementById("letters");
const items = new Map(); // the item of each letter that is shown

function stateOf(letter, outbox) {
  if (letter.refusal !== undefined) return ""; // the refusal says it
  if (!outbox.online) return "waits for the connection";
  if (letter !== outbox.current) return "waits for its turn";
  return letter.trouble === undefined ? "on its way …" : `${letter.trouble}; it will be sent again`;
}

function part(tag, className, content = "") {
  return Object.assign(document.createElement(tag), { className, textContent: content });
}

function button(label, press) {
  return Object.assign(part("button", "", label), { type: "button", onclick: press });
}

// An item: the text, its state in words, and room for a refusal. Only the refusal is read aloud
// when it changes: that a letter waits, and then does not, would be said for each of them.
function newItem(letter) {
  const item = part("li", "");
  const text = part("span", "text", letter.text); // never as HTML, here as everywhere
  text.dir = "auto";
  const refusal = part("p", "refusal");
  refusal.setAttribute("aria-live", "polite");
  item.append(text, part("span", "state"), refusal);
  return item;
}

function addButtons(item, letter, outbox, takeBack) {
  const discard = () => {
    outbox.remove(letter);
    document.getElementById("text").focus(); // the button that had the focus is gone
  };
  const edit = () => {
    outbox.remove(letter);
    takeBack(letter);
  };
  item.append(button("Edit", edit), button("Discard", discard));
}

function showLetter(item, letter, outbox, takeBack) {
  const [, state, refusal] = item.children;
  const words = stateOf(letter, outbox);
  if (state.textContent !== words) state.textContent = words;
  if (letter.refusal === undefined || refusal.textContent) return;
  refusal.textContent = `Not sent: ${letter.refusal}.`;
  item.classList.add("refused");
  addButtons(item, letter, outbox, takeBack);
}

// Show the letters as they are now. Items stay where they are, so that nobody loses the focus.
export function showLetters(outbox, takeBack) {
  const here = new Set(outbox.letters);
  for (const [letter, item] of items) {
    if (here.has(letter)) continue;
    item.remove();
    items.delete(letter);
  }
  let newest;
  for (const letter of here) {
    if (!items.has(letter)) {
      items.set(letter, newItem(letter));
      list.append(items.get(letter));
      newest = items.get(letter);
    }
    showLetter(items.get(letter), letter, outbox, takeBack);
  }
  list.hidden = here.size === 0;
  if (newest) list.scrollTop = list.scrollHeight; // what was just written is in view
}
