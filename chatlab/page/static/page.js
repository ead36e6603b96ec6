// The chat page. It keeps the offset of the last message that it has shown, and says it whenever
// it connects, with the epoch in which it is counted; the server answers with the messages after
// it. What is written here goes into the outbox, and from there to the server.

import { Join, signed } from "./join.js";
import { Kept } from "./kept.js";
import { showLetters } from "./letters.js";
import { Outbox } from "./outbox.js";
import { Teller } from "./teller.js";

const CDN = "https://cdn.socket.io/4.8.4/socket.io.min.js";
const INTEGRITY = "sha384-fBrXvbDtHoeKWJ/hcA6M+YGueiDW+h45I7V6F2kD1S8bOkrF9rZYPLVkCR6BLR/1";

const element = (id) => document.getElementById(id);
const [state, offset, line, reload, messages] =
  ["state", "offset", "line", "reload", "messages"].map(element);
const [form, problem, anew, notice, text] =
  ["form", "problem", "anew", "notice", "text"].map(element);

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

let held = false; // whether the line is down because somebody pressed the button

const join = new Join(() => {
  held = false;
  socket?.io.reconnection(true);
  socket?.disconnect().connect();
});

function itemOf(content, position) {
  const item = document.createElement("li");
  if (join.said.name) item.append(...signed(content));
  else item.textContent = content; // never as HTML: it comes from somebody else
  item.dir = "auto";
  item.dataset.offset = position;
  return item;
}

// What stands in the place of messages that are gone. It is no message, and has no offset.
function gapOf(first, last) {
  const item = document.createElement("li");
  const which = first === last ? `Message ${first} is` : `Messages ${first} to ${last} are`;
  item.textContent = `${which} gone from the server.`;
  item.className = "gap";
  return item;
}

// What is shown, and up to where. A server that numbers its messages sends a number as `position`;
// those of the first chapters send none, and what they send is shown and not kept.
const kept = new Kept();
let reached = 0; // the offset of the last message that is shown, or known to be gone

function reach(position) {
  reached = position;
  offset.textContent = position;
}

function showKept() {
  for (const { before, offset: position, text: content } of kept.load()) {
    const gone = content === undefined;
    messages.append(gone ? gapOf(before + 1, position) : itemOf(content, position));
    reach(position);
  }
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

// A number for a message that has one, and nothing for one of the first chapters.
const numbered = (position) => (Number.isInteger(position) ? position : undefined);

function showGap(position) {
  messages.append(gapOf(reached + 1, position));
  follow();
  reach(position);
  kept.addGap(position);
}

// Forget the list. What waits in the outbox is another matter: it is in no log yet.
function forget() {
  messages.replaceChildren();
  kept.forget();
  reach(0);
}

// The server tells how its log fits what we have: after which offset it goes on, and whether it can
// go on at all, or our offset means nothing there ("reset").
function goOn({ epoch, after, outcome }) {
  if (outcome !== "continued") teller.tell(outcome, undefined, after);
  if (outcome === "reset") {
    forget();
    anew.textContent = "The server has another history: the page began anew.";
  }
  if (after > reached) showGap(after);
  kept.enter(epoch);
  showNotice();
}

// The servers of the chapters tell nothing, but their first message may. If it is not after the
// offset that we asked from, that offset means nothing to this server: it has another log, or sends
// all of it to everybody. (If another log is longer than what we have, nobody notices.)
function guess(position, asked) {
  if (position <= asked) forget();
  kept.enter(undefined); // nobody knows the epoch of what comes now
}

let socket; // there is none until the client has loaded
const outbox = new Outbox(send, () => {
  showLetters(outbox, takeBack);
  showNotice();
  teller.tell();
});
const teller = new Teller(() => ({
  state: state.textContent,
  connected: Boolean(socket?.connected),
  reached,
  pending: outbox.letters.filter(({ refusal }) => refusal === undefined).length,
}));

const old = new Set(); // keys of letters that were sent already, or have waited for a connection

function send(content, key, answered) {
  if (old.has(key)) teller.tell("retry", content);
  old.add(key);
  socket.emit("chat message", content, key, (answer) => {
    if (!answer?.error) teller.tell("acknowledge", content, numbered(answer));
    else if (answer.error !== "not stored") teller.tell("refuse", content);
    answered(answer);
  });
}

const age = () => outbox.letters.forEach(({ key }) => old.add(key));

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
  let told; // whether we know how the server's log fits it
  socket = io({
    path: new URL("socket.io", document.baseURI).pathname, // also right behind a proxy
    autoConnect: !join.missing,
    auth: (send) => {
      [asked, told] = [reached, false];
      send({ ...join.said, serverOffset: asked, epoch: kept.epoch }); // if unknown, not sent
    },
  });

  socket.on("catching up", (place) => {
    told = true;
    goOn(place);
  });
  socket.on("chat message", (content, position) => {
    if (Number.isInteger(position) && !told) {
      told = true;
      guess(position, asked);
    }
    show(content, position);
    teller.tell("show", String(content), numbered(position));
  });

  socket.on("where", (answer) => answer(reached)); // a class asks how far we have come

  // A client whom the server refused or sent away does not try again on its own.
  const wanted = () => !held && socket.active;
  const showState = () => {
    const absent = held ? "line dropped" : wanted() ? "connecting …" : "not connected";
    state.textContent = socket.connected ? "connected" : absent;
    state.dataset.connected = socket.connected;
    line.textContent = wanted() ? "Drop the line" : "Reconnect";
  };
  let first = true; // whether this page has had no connection yet
  socket.on("connect", () => {
    problem.textContent = "";
    join.entered();
    showState();
    teller.tell(first ? "load" : "reconnect");
    first = false;
    outbox.connected();
  });
  socket.on("disconnect", () => {
    showState();
    teller.tell("drop");
    age();
    outbox.disconnected();
  });
  socket.on("connect_error", (error) => {
    if (join.concerns(error)) join.ask(error);
    else if (error.data) problem.textContent = `The server refuses: ${error.message}`;
    showState();
    teller.tell();
  });

  line.onclick = () => {
    held = wanted();
    socket.io.reconnection(!held);
    if (!held) socket.connect();
    else if (socket.connected) socket.io.engine.close();
    else socket.disconnect(); // and stop trying
    showState();
    teller.tell();
  };
  if (join.missing) {
    join.ask();
    showState();
  }
}

// Writing needs no connection, and not even the client: the outbox waits.
form.onsubmit = (event) => {
  event.preventDefault();
  teller.tell("send", text.value);
  outbox.add(text.value);
  if (!socket?.connected) age();
  text.value = "";
};
reload.onclick = () => location.reload();

showKept();
age(); // what an earlier page has left
showLetters(outbox, takeBack);
showNotice();
// In a frame the focus is where its reader works: a notebook must not lose it to this page.
if (window.top === window.self) text.focus();
try {
  await loadClient();
  start();
} catch (error) {
  state.textContent = "not connected";
  problem.textContent = `The page cannot work: the Socket.IO client did not load (${error.message}).`;
}
