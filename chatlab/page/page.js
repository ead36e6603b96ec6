// The chat page. It keeps the offset of the last message that it has shown, and says it whenever
// it connects; the server answers with the messages after it. What is written here goes into the
// outbox, and from there to the server.

import { Kept } from "./kept.js";
import { showLetters } from "./letters.js";
import { Outbox } from "./outbox.js";

const CDN = "https://cdn.socket.io/4.8.4/socket.io.min.js";
const INTEGRITY = "sha384-fBrXvbDtHoeKWJ/hcA6M+YGueiDW+h45I7V6F2kD1S8bOkrF9rZYPLVkCR6BLR/1";

const element = (id) => document.getElementById(id);
const [state, offset, line, reload, messages, form, problem, notice, text] =
  ["state", "offset", "line", "reload", "messages", "form", "problem", "notice", "text"].map(element);

function loadScript(src, attributes = {}) {
  return new Promise((resolve, reject) => {
    const script = Object.assign(document.createElement("script"), { src, ...attributes });
    script.onload = resolve;
    script.onerror = () => reject(new Error(`cannot load ${src}`));
    document.head.append(script);
  });
}

// The client that was fetched when the package was installed, or else the same file from its CDN.
async function loadClient() {
  try {
    await loadScript("page/vendor/socket.io.min.js");
  } catch {
    await loadScript(CDN, { integrity: INTEGRITY, crossOrigin: "anonymous" });
  }
}

// The list follows the conversation, until its reader scrolls up. Only the list is scrolled, never
// what is around it: the page may be a frame in a notebook.
let following = true;
const follow = () => {
  if (following) messages.scrollTop = messages.scrollHeight;
};
messages.onscroll = () => {
  following = messages.scrollHeight - messages.scrollTop - messages.clientHeight < 40;
};
new ResizeObserver(follow).observe(messages);

function itemOf(content, position) {
  const item = document.createElement("li");
  item.textContent = content; // never as HTML: it comes from somebody else
  item.dir = "auto";
  item.dataset.offset = position;
  return item;
}

// What is shown, and up to where. A server that numbers its messages sends a number as `position`;
// those of the first chapters send none, and what they send is shown and not kept.
const kept = new Kept();
let reached = 0; // the offset of the last message

function reach(position) {
  reached = position;
  offset.textContent = position;
}

function showKept() {
  const list = kept.load();
  messages.append(...list.map(([position, content]) => itemOf(content, position)));
  if (list.length) reach(kept.last);
  follow();
}

function show(content, position) {
  messages.append(itemOf(content, position));
  follow();
  if (!Number.isInteger(position)) return;
  reach(position);
  kept.add(position, content);
  showNotice();
}

function forget() {
  messages.replaceChildren();
  kept.forget();
  reach(0);
}

let socket; // there is none until the client has loaded
const outbox = new Outbox(
  (content, key, answered) => socket.emit("chat message", content, key, answered),
  () => {
    showLetters(outbox, takeBack);
    showNotice();
  },
);

// Take the text of a letter back into the form, in front of what is being written there.
function takeBack(letter) {
  text.value = [letter.text, text.value].filter(Boolean).join(" ");
  text.focus();
}

// What this browser cannot keep, in words.
function showNotice() {
  const words = [];
  if (!outbox.safe) {
    const why = outbox.works ? "has no room" : "stores nothing";
    words.push(`This browser ${why}: unsent messages are gone after a reload.`);
  }
  if (!kept.whole) words.push("The list is not kept: a reload asks for all messages again.");
  const sentences = words.join(" ");
  if (notice.textContent !== sentences) notice.textContent = sentences; // said once
}

function start() {
  let asked; // the offset that was sent with this connection
  let first; // whether its first message is still to come
  socket = io({
    path: new URL("socket.io", document.baseURI).pathname, // also right behind a proxy
    auth: (send) => {
      [asked, first] = [reached, true];
      send({ serverOffset: asked });
    },
  });
  let held = false; // whether the line is down because somebody pressed the button

  socket.on("chat message", (content, position) => {
    // A server sends only what is after the offset it was given. If it sends something that is not,
    // our offset means nothing to it: it has another log, and what is shown here is not in it.
    if (Number.isInteger(position)) {
      if (first && position <= asked) forget();
      first = false;
    }
    show(content, position);
  });

  // A client whom the server refused or sent away does not try again on its own.
  const wanted = () => !held && socket.active;
  const showState = () => {
    const absent = held ? "line dropped" : wanted() ? "connecting …" : "not connected";
    state.textContent = socket.connected ? "connected" : absent;
    state.dataset.connected = socket.connected;
    line.textContent = wanted() ? "Drop the line" : "Reconnect";
  };
  socket.on("connect", () => {
    problem.textContent = "";
    showState();
    outbox.connected();
  });
  socket.on("disconnect", () => {
    showState();
    outbox.disconnected();
  });
  socket.on("connect_error", (error) => {
    if (error.data) problem.textContent = `The server refuses: ${error.message}`;
    showState();
  });

  line.onclick = () => {
    held = wanted();
    socket.io.reconnection(!held);
    if (!held) socket.connect();
    else if (socket.connected) socket.io.engine.close();
    else socket.disconnect(); // and stop trying
    showState();
  };
}

// Writing needs no connection, and not even the client: the outbox waits.
form.onsubmit = (event) => {
  event.preventDefault();
  outbox.add(text.value);
  text.value = "";
};
reload.onclick = () => location.reload();

showKept();
showLetters(outbox, takeBack);
showNotice();
try {
  await loadClient();
  start();
} catch (error) {
  state.textContent = "not connected";
  problem.textContent = `The page cannot work: the Socket.IO client did not load (${error.message}).`;
}
