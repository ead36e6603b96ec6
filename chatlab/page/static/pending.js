// The list of the messages that are not sent yet, or not in their place yet, below the messages of
// the chat.

const list = document.getElementById("pending");
const items = new Map(); // the item of each message that is shown

function stateOf(message, outbox) {
  if (message.refusal !== undefined) return ""; // the refusal is shown instead
  if (message.offset !== undefined) return "sent; those before it are still coming";
  if (!outbox.online) return "waits for the connection";
  if (message !== outbox.current) return "waits for its turn";
  return message.trouble === undefined ? "on its way …" : `${message.trouble}; it will be sent again`;
}

function part(tag, className, content = "") {
  return Object.assign(document.createElement(tag), { className, textContent: content });
}

function button(label, press) {
  return Object.assign(part("button", "", label), { type: "button", onclick: press });
}

// An item: the text, its state in words, and room for a refusal. A screen reader announces only a
// refusal: the states of all messages would be too many announcements.
function newItem(message) {
  const item = part("li", "");
  const text = part("span", "text", message.text); // never as HTML, here as everywhere
  text.dir = "auto";
  const refusal = part("p", "refusal");
  refusal.setAttribute("aria-live", "polite");
  item.append(text, part("span", "state"), refusal);
  return item;
}

function addButtons(item, message, outbox, takeBack) {
  const discard = () => {
    outbox.remove(message);
    document.getElementById("text").focus(); // the button that had the focus is gone
  };
  const edit = () => {
    outbox.remove(message);
    takeBack(message);
  };
  item.append(button("Edit", edit), button("Discard", discard));
}

function showMessage(item, message, outbox, takeBack) {
  const [, state, refusal] = item.children;
  const words = stateOf(message, outbox);
  if (state.textContent !== words) state.textContent = words;
  if (message.refusal === undefined || refusal.textContent) return;
  refusal.textContent = `Not sent: ${message.refusal}.`;
  item.classList.add("refused");
  addButtons(item, message, outbox, takeBack);
}

// Show the messages as they are now. Do not move items: a moved item would lose the focus.
export function showPending(outbox, takeBack) {
  const present = new Set([...outbox.sent, ...outbox.messages]);
  for (const [message, item] of items) {
    if (present.has(message)) continue;
    item.remove();
    items.delete(message);
  }
  let newest;
  for (const message of present) {
    if (!items.has(message)) {
      items.set(message, newItem(message));
      list.append(items.get(message));
      newest = items.get(message);
    }
    showMessage(items.get(message), message, outbox, takeBack);
  }
  list.hidden = present.size === 0;
  if (newest) list.scrollTop = list.scrollHeight; // shows what was just written
}
