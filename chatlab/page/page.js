// The chat page. It keeps the offset of the last message that it has shown, and says it whenever
// it connects; the server answers with the messages after it.

const CDN = "https://cdn.socket.io/4.8.4/socket.io.min.js";
const INTEGRITY = "sha384-fBrXvbDtHoeKWJ/hcA6M+YGueiDW+h45I7V6F2kD1S8bOkrF9rZYPLVkCR6BLR/1";
const ANSWER_WITHIN = 10_000; // milliseconds

const element = (id) => document.getElementById(id);
const [state, offset, line, reload, messages, form, problem, text] =
  ["state", "offset", "line", "reload", "messages", "form", "problem", "text"].map(element);

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

function show(content, position) {
  const item = document.createElement("li");
  item.textContent = content; // never as HTML: it comes from somebody else
  item.dir = "auto";
  item.dataset.offset = position;
  messages.append(item);
  follow();
}

function start() {
  const socket = io({
    path: new URL("socket.io", document.baseURI).pathname, // also right behind a proxy
    auth: { serverOffset: 0 },
  });
  let held = false; // whether the line is down because somebody pressed the button

  socket.on("chat message", (content, position) => {
    show(content, position);
    if (position !== undefined) {
      socket.auth.serverOffset = position;
      offset.textContent = position;
    }
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
  });
  socket.on("disconnect", showState);
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

  form.onsubmit = (event) => {
    event.preventDefault();
    const content = text.value;
    if (!socket.connected) {
      problem.textContent = "Not sent: there is no connection. Your text stays here.";
      return;
    }
    problem.textContent = "";
    text.value = "";
    socket.timeout(ANSWER_WITHIN).emit("chat message", content, (error, answer) => {
      if (error) problem.textContent = `No answer: the server may not have got “${content}”.`;
      else if (answer?.error) problem.textContent = `Not sent: ${answer.message}.`;
      else return;
      text.value ||= content;
    });
  };
}

reload.onclick = () => location.reload();
try {
  await loadClient();
  start();
} catch (error) {
  state.textContent = "not connected";
  problem.textContent = `The page cannot work: the Socket.IO client did not load (${error.message}).`;
}
